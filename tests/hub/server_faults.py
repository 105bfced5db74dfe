"""Faults of a Hub server that tests can request."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field

KINDS = ("hang", "status", "cut", "expired_token", "name_taken", "lost_response")


@dataclass
class Fault:
    """A rule that makes matching requests fail; `hits` counts the failed requests.

    Kinds:
    - `hang`: no response for `seconds`, then the connection is closed
    - `status`: a response with `status` (429, 500, 503, …) and, if set, a `Retry-After` of `retry_after` seconds
    - `cut`: the connection is closed after `after_bytes` of the request body, or of the response body if there is none
    - `expired_token`: 401, as for a token that is no longer valid
    - `name_taken`: 409, as for the creation of a repository that somebody else has just created
    - `lost_response`: the request is executed, but the connection is closed before the response
    """

    kind: str
    method: str | None = None
    path: str = ""  # a regular expression, searched for in the path
    times: int | None = 1  # None: always
    skip: int = 0  # matching requests that succeed before the first failure
    status: int = 500
    retry_after: int | None = None
    seconds: float = 30.0
    after_bytes: int = 0
    message: str = "Internal Error - We're working hard to fix this as soon as possible!"
    hits: int = 0
    seen: int = 0
    released: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown fault {self.kind!r}; the faults are {', '.join(KINDS)}")

    def meets(self, method: str, path: str) -> bool:
        """Count this request and return whether it fails."""
        if (self.method and method != self.method) or not re.search(self.path, path):
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        return True


class Faults:
    """The faults of a server, in the order of creation."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

    def of(self, method: str, path: str) -> Fault | None:
        """The first fault that matches a request."""
        with self._lock:
            return next((fault for fault in self._faults if fault.meets(method, path)), None)

    def clear(self) -> None:
        """End all faults and release hanging requests."""
        with self._lock:
            for fault in self._faults:
                fault.released.set()
            self._faults.clear()
