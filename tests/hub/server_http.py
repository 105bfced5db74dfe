"""Requests, responses and the routes of the server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

if TYPE_CHECKING:
    from server import HubServer


@dataclass
class Request:
    """A request with the identified user and role."""

    method: str
    path: str  # without the query, still quoted
    query: dict[str, list[str]]
    headers: dict[str, str]  # lower-case names
    body: bytes
    host: str  # "hub", or "storage" for large files
    user: str | None = None
    role: str | None = None
    groups: dict[str, Any] = field(default_factory=dict)  # named groups of the route's pattern, unquoted

    def json(self) -> dict[str, Any]:
        return json.loads(self.body or b"{}")

    def form(self) -> dict[str, list[str]]:
        """The fields of a form, sent as JSON or URL-encoded."""
        if "json" in self.headers.get("content-type", ""):
            return {key: value if isinstance(value, list) else [str(value)] for key, value in self.json().items()}
        return parse_qs(self.body.decode())

    def first(self, name: str) -> str | None:
        return self.query.get(name, [None])[0]  # type: ignore[list-item]


@dataclass
class Response:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[["HubServer", Request], Response]
ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []


def answer(content: object, status: int = 200) -> Response:
    return Response(status, json.dumps(content).encode(), {"Content-Type": "application/json; charset=utf-8"})


def route(methods: str, pattern: str) -> Callable[[Handler], Handler]:
    """Register the handler of a path, e.g. `route("GET HEAD", "/a/(?P<name>.+)")`."""

    def register(handler: Handler) -> Handler:
        ROUTES.extend((method, re.compile(pattern), handler) for method in methods.split())
        return handler

    return register


def find(request: Request) -> Handler | None:
    """The handler of a request, or None; fills the request's groups."""
    for method, pattern, handler in ROUTES:
        if method == request.method and (match := pattern.fullmatch(request.path)):
            request.groups = {key: value and unquote(value) for key, value in match.groupdict().items()}
            return handler
    return None
