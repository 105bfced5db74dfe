"""A Hub server on loopback for the real `huggingface_hub`, `transformers` and `datasets`.

It implements the parts of the Hub's HTTP interface that these libraries use, as described in their sources and at
https://huggingface.co/docs/hub/api, without Xet, as for a client with `HF_HUB_DISABLE_XET`. As on the real Hub, large
files are on another host (`localhost` instead of `127.0.0.1`), which detects a token that follows a redirect. Nothing
is written to disk.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import threading
import traceback
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import server_files  # noqa: F401 - registers routes
import server_pulls  # noqa: F401 - registers routes
from server_faults import Fault, Faults
from server_http import Request, Response, answer, find
from server_store import Commit, Refused, Store

USER = "user"


@dataclass
class Logged:
    """A request to the server; `token` is whether a token was sent."""

    method: str
    path: str
    host: str
    token: bool
    received: int
    status: int | None = None


class HubServer:
    """The server; start it with `with HubServer() as hub:`.

    `endpoint` is its address, and `token` lets `user` read and write. `page_size` is the number of entries in a page
    of a tree listing, `part_size` the size in bytes above which uploads have several parts (None: never).
    """

    def __init__(self, home: Path | None = None) -> None:
        self.home = home
        self.store = Store()
        self.faults = Faults()
        self.requests: list[Logged] = []
        self.errors: list[str] = []  # internal errors of this server
        self.organisations: dict[str, set[str]] = {"organisation": {USER}}
        self.page_size = 1000
        self.part_size: int | None = None
        self.secret = secrets.token_bytes(16)
        self._tokens: dict[str, tuple[str, str]] = {}
        self._expired: set[str] = set()
        self.token = self.new_token()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.storage = f"http://localhost:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.faults.clear()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # Users

    def new_token(self, user: str = USER, role: str = "write") -> str:
        """A token of a user; `role` is "write" or "read"."""
        token = "hf_" + secrets.token_hex(17)
        self._tokens[token] = (user, role)
        return token

    def expire(self, token: str) -> None:
        """Treat the token as expired from now on."""
        self._expired.add(token)

    def members(self, namespace: str) -> set[str]:
        return self.organisations.get(namespace, {namespace})

    def identify(self, header: str | None) -> tuple[str | None, str | None]:
        """The user and the role behind an Authorization header."""
        if not header:
            return None, None
        token = header.removeprefix("Bearer ").strip()
        if token in self._expired:
            raise Refused(401, 'User Access Token "test" is expired')
        if token not in self._tokens:
            raise Refused(401, "Invalid credentials in Authorization header")
        return self._tokens[token]

    # For tests

    def environment(self, token: bool = True, **extra: str) -> dict[str, str]:
        """The environment of a subprocess that uses this Hub: own caches, no other Hugging Face settings, and no token
        if `token` is False."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "TRANSFO"))}
        home = str(self.home) if self.home else "/nonexistent"
        kept |= {"HF_ENDPOINT": self.endpoint, "HF_HOME": home, "HF_HUB_DISABLE_XET": "1"}
        kept |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1", "TOKENIZERS_PARALLELISM": "false"}
        kept |= {"no_proxy": "127.0.0.1,localhost", "OMP_NUM_THREADS": "1"}
        return kept | ({"HF_TOKEN": self.token} if token else {}) | extra

    def files(self, repo_id: str, revision: str = "main", repo_type: str = "model") -> dict[str, bytes]:
        """The files of a revision, including the `.gitattributes` that every repository has."""
        commit = self.store.repositories[repo_type, repo_id].at(revision)
        return {path: self.store.content(entry) for path, entry in sorted(commit.files.items())}

    def commits(self, repo_id: str, revision: str = "main", repo_type: str = "model") -> list[Commit]:
        """The commits of a revision, newest first; the last is the Hub's initial commit with `.gitattributes`."""
        return self.store.repositories[repo_type, repo_id].at(revision).history()

    def fault(self, kind: str, **rule: Any) -> Fault:
        """Make requests fail according to a `Fault`; `name_taken` affects the creation of repositories by default."""
        if kind == "name_taken":
            rule.setdefault("path", "/api/repos/create$")
        return self.faults.add(Fault(kind, **rule))

    def sent(self, method: str | None = None, path: str = "") -> list[Logged]:
        """The requests with this method and this text in their path."""
        return [each for each in self.requests if (method is None or each.method == method) and path in each.path]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    hub: HubServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def log_message(self, format: str, *args: object) -> None:
        """Do nothing: the server logs in `hub.requests`, not on standard error."""

    def serve(self) -> None:
        parts = urlsplit(self.path)
        storage = self.headers.get("Host", "").startswith("localhost")
        token = self.headers.get("Authorization")
        logged = Logged(self.command, parts.path, "storage" if storage else "hub", token is not None, 0)
        self.hub.requests.append(logged)
        fault = self.hub.faults.of(self.command, parts.path)
        if fault is not None and fault.kind == "hang":
            fault.released.wait(fault.seconds)
            return self.cut()
        body = self.read_body(logged, fault)
        if body is None:
            return self.cut()
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, parts.path, parse_qs(parts.query), headers, body, logged.host)
        response = self.respond(request, token, fault)
        logged.status = response.status
        if fault is not None and fault.kind == "lost_response":
            return self.cut()
        self.write(response, fault.after_bytes if fault is not None and fault.kind == "cut" else None)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = serve

    def read_body(self, logged: Logged, fault: Fault | None) -> bytes | None:
        """The request's body; None if it ends early or a fault cuts it."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            length = int(self.headers.get("Content-Length") or 0)
            cut = fault is not None and fault.kind == "cut" and length > 0
            wanted = min(fault.after_bytes, length) if cut and fault is not None else length
            body = self.rfile.read(wanted)
            if cut or len(body) < length:
                logged.received = len(body)
                return None
        logged.received = len(body)
        return body

    def respond(self, request: Request, token: str | None, fault: Fault | None) -> Response:
        try:
            if fault is not None:
                self.refuse(fault)
            request.user, request.role = self.hub.identify(token)
            handler = find(request)
            if handler is None:
                code = "RepoNotFound" if re.match("/api/(models|datasets|spaces)/|.+/resolve/", request.path) else None
                raise Refused(404, "Sorry, we can't find the page you are looking for.", code)
            return handler(self.hub, request)
        except Exception as error:
            refused = error
            if not isinstance(refused, Refused):  # a bug of this server: return a status that clients do not retry
                self.hub.errors.append(f"{request.method} {request.path}: {traceback.format_exc()}")
                refused = Refused(501, f"The test server failed: {error!r}")
            response = answer({"error": refused.message, **refused.body}, refused.status)
            response.headers["X-Error-Message"] = refused.message
            if refused.code:
                response.headers["X-Error-Code"] = refused.code
            response.headers |= refused.headers
            return response

    @staticmethod
    def refuse(fault: Fault) -> None:
        if fault.kind == "status":
            headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            message = "Too Many Requests" if fault.status == 429 else fault.message
            raise Refused(fault.status, message, headers=headers)
        if fault.kind == "expired_token":
            raise Refused(401, 'User Access Token "test" is expired')
        if fault.kind == "name_taken":
            raise Refused(409, "You already created this model repo", url="")

    def write(self, response: Response, after_bytes: int | None) -> None:
        """Send a response, or only the beginning of its body."""
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("X-Request-Id", f"Root=1-{uuid.uuid4().hex}")
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body if after_bytes is None else response.body[:after_bytes])
        self.wfile.flush()
        if after_bytes is not None:
            self.cut()

    def cut(self) -> None:
        """Close the connection immediately."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
