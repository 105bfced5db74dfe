"""What can go wrong with a Hub, to be asked for by a test."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field

KINDS = ("hang", "status", "cut", "expired_token", "name_taken", "lost_response")


@dataclass
class Fault:
    """A rule that makes matching requests fail; `hits` counts those it has met.

    Kinds:
    - `hang`: nothing is answered for `seconds`, then the connection is closed
    - `status`: answered with `status` (429, 500, 503, …) and, if given, a `Retry-After` of `retry_after` seconds
    - `cut`: the connection is closed after `after_bytes` of the request's body, or, without a body, of the answer's
    - `expired_token`: 401, as for a token that is no longer valid
    - `name_taken`: 409, as when a repository is created under a name that somebody else took a moment before
    - `lost_response`: the request is carried out, and the connection closed before the answer
    """

    kind: str
    method: str | None = None
    path: str = ""  # a regular expression, searched for in the path
    times: int | None = 1  # None: always
    skip: int = 0  # matching requests that go well before the first that fails
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
            raise ValueError(f"no fault {self.kind!r}; there are {', '.join(KINDS)}")

    def meets(self, method: str, path: str) -> bool:
        """Whether this request fails; counts it."""
        if (self.method and method != self.method) or not re.search(self.path, path):
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        return True


class Faults:
    """The faults of a server, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

    def of(self, method: str, path: str) -> Fault | None:
        """The first fault that meets a request."""
        with self._lock:
            return next((fault for fault in self._faults if fault.meets(method, path)), None)

    def clear(self) -> None:
        """Ends all faults, and lets go of the requests that hang."""
        with self._lock:
            for fault in self._faults:
                fault.released.set()
            self._faults.clear()
