"""Failures of the Hub and the connection, each explained in a paragraph with a remedy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..errors import UserError, without_tokens

_RETRIED_STATUS = (408, 429, 500, 502, 503, 504)
LOGIN = (
    "Create one with the role 'write' at https://huggingface.co/settings/tokens, then run `hf auth login` or set "
    "HF_TOKEN"
)


class HubError(UserError):
    """A failure on the Hub or of the connection to it; `command`, if set, resumes the upload."""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, outermost first."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _http_error(error: BaseException) -> Any:
    """The huggingface_hub error that holds the Hub's response, or None."""
    from huggingface_hub.errors import HfHubHTTPError

    return next((one for one in _chain(error) if isinstance(one, HfHubHTTPError)), None)


def status_of(error: BaseException) -> int | None:
    """The HTTP status of the Hub's response, or None."""
    failure = _http_error(error)
    return None if failure is None else int(failure.response.status_code)


def retry_after(error: BaseException) -> float | None:
    """The wait in seconds that the Hub requests with Retry-After, or None."""
    failure = _http_error(error)
    value = "" if failure is None else failure.response.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None


def is_from_hub(error: BaseException) -> bool:
    """Whether the Hub's client raises this type for external failures, as opposed to a bug."""
    import httpx2

    return isinstance(error, (httpx2.HTTPError, OSError, ValueError, RuntimeError))


def is_transient(error: BaseException) -> bool:
    """Whether repeating the request may succeed."""
    import httpx2

    status = status_of(error)
    if status is not None:
        return status in _RETRIED_STATUS
    passing = (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError, json.JSONDecodeError)
    return any(isinstance(one, passing) for one in _chain(error))


def explain(error: BaseException, what: str, command: str = "", *, sending: bool = False) -> HubError:
    """Explain `error` in one paragraph.

    Args:
        what: what failed, as the start of a sentence: "Publishing 'user/name' failed".
        sending: whether files were being sent.
        command: resumes the upload; printed below the paragraph if trying again can help.
    """
    status, message = status_of(error), getattr(_http_error(error), "server_message", None)
    reply = f" ({' '.join(str(message).split())[:300].rstrip('. ')})" if message else ""
    if status is None:
        reason, again = _without_response(error)
    else:
        reason, again = _REASONS.get(status) or (_TROUBLE if status >= 500 else _REFUSED)
    fate = (
        " The Hub keeps the files sent so far and does not need them again; no revision was changed." if sending else ""
    )
    advice = " To resume:" if again and command else ""
    text = f"{what}: {reason.replace('{status}', str(status)).replace('{reply}', reply)}.{fate}{advice}"
    return HubError(without_tokens(text), command=command if again else "")


# By status: the reason, and whether the same command can resume later.
_REASONS = {
    401: ("the Hub does not accept the token, which has expired or was revoked{reply}. " + LOGIN, True),
    402: ("the Hub requires payment for this{reply}", False),
    403: (
        "the token has no write access there{reply}. Choose a repository of your own, or propose the files to the "
        "owner with --create_pr. Only the owner and members of its organisation can write to a repository, with a "
        "token of the role 'write'",
        False,
    ),
    404: (
        "the repository or revision does not exist or is hidden from the token{reply}. If it is somebody else's "
        "private repository, its name is taken",
        False,
    ),
    409: (
        "the name is taken, or another operation on it is running{reply}. Choose another --repo_id, or try again in a "
        "minute",
        True,
    ),
    412: (
        "somebody else committed during the upload{reply}. Nothing was overwritten. Look at the new commit before you "
        "publish over it",
        True,
    ),
    413: ("a file is too large for the Hub{reply}", False),
    429: (
        "the Hub still limits the request rate after several waits{reply}: there were too many requests with this "
        "token or from this address",
        True,
    ),
    507: ("the Hub has no storage left for it{reply}", False),
}
_TROUBLE = ("the Hub reports a server error (status {status}) after several attempts{reply}", True)
_REFUSED = ("the Hub refuses the request (status {status}){reply}", False)


def _without_response(error: BaseException) -> tuple[str, bool]:
    import httpx2
    from huggingface_hub.errors import OfflineModeIsEnabled

    for one in _chain(error):
        if isinstance(one, OfflineModeIsEnabled):
            return "HF_HUB_OFFLINE is set, which forbids every request. Unset it", True
        if isinstance(one, httpx2.TimeoutException):
            return "the Hub did not respond in time, even after several attempts", True
        if isinstance(one, httpx2.ConnectError):
            return "the Hub cannot be reached. Check the network and HF_ENDPOINT", True
        if isinstance(one, httpx2.TransportError):
            return "the connection was lost, even after several attempts", True
    return " ".join(str(error).split())[:400].rstrip(". "), False
