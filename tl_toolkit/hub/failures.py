"""What the Hub and the way to it can refuse, each as a paragraph that says what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..errors import UserError, without_tokens

_RETRIED_STATUS = (408, 429, 500, 502, 503, 504)
LOGIN = (
    "Make one with the role 'write' at https://huggingface.co/settings/tokens, and log in by `hf auth login` or set "
    "HF_TOKEN"
)


class HubError(UserError):
    """Something on the Hub, or on the way to it, did not work; `command`, if there is one, continues."""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it, the outermost first."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _answer(error: BaseException) -> Any:
    """The error with which huggingface_hub passes on what the Hub answered, if it answered."""
    from huggingface_hub.errors import HfHubHTTPError

    return next((one for one in _chain(error) if isinstance(one, HfHubHTTPError)), None)


def status_of(error: BaseException) -> int | None:
    """The HTTP status that the Hub answered with, if it answered."""
    answer = _answer(error)
    return None if answer is None else int(answer.response.status_code)


def retry_after(error: BaseException) -> float | None:
    """The seconds that the Hub asks to wait for."""
    answer = _answer(error)
    value = "" if answer is None else answer.response.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None


def is_from_hub(error: BaseException) -> bool:
    """Whether it is of the kinds that the Hub's client raises about the world, rather than a defect."""
    import httpx2

    return isinstance(error, (httpx2.HTTPError, OSError, ValueError, RuntimeError))


def is_transient(error: BaseException) -> bool:
    """Whether the same request may well succeed a moment later."""
    import httpx2

    status = status_of(error)
    if status is not None:
        return status in _RETRIED_STATUS
    passing = (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError, json.JSONDecodeError)
    return any(isinstance(one, passing) for one in _chain(error))


def explain(error: BaseException, what: str, command: str = "", *, sending: bool = False) -> HubError:
    """`error` as one paragraph.

    Args:
        what: what failed, as the start of a sentence: "Publishing 'user/name' failed".
        sending: files were on their way.
        command: goes on where this stopped; printed below the paragraph where trying again can help.
    """
    status, answered = status_of(error), getattr(_answer(error), "server_message", None)
    said = f" ({' '.join(str(answered).split())[:300].rstrip('. ')})" if answered else ""
    if status is None:
        reason, again = _without_answer(error)
    else:
        reason, again = _REASONS.get(status) or (_TROUBLE if status >= 500 else _REFUSED)
    fate = (
        " What was sent already is kept by the Hub and is not sent again; no revision was changed." if sending else ""
    )
    advice = " To go on:" if again and command else ""
    text = f"{what}: {reason.replace('{status}', str(status)).replace('{said}', said)}.{fate}{advice}"
    return HubError(without_tokens(text), command=command if again else "")


# By status: the reason, and whether the same command can go on once it is gone.
_REASONS = {
    401: ("the Hub does not accept the token: it has expired or was revoked{said}. " + LOGIN, True),
    402: ("the Hub wants this to be paid for{said}", False),
    403: (
        "the token has no right to write there{said}. A repository is written to by its owner and by members of its "
        "organisation, with a token whose role is 'write'. Choose a name of your own, or propose the files to the "
        "owner with --create_pr",
        False,
    ),
    404: (
        "there is no such repository or revision, or the token may not see it{said}. A name that somebody else's "
        "private repository has is taken",
        False,
    ),
    409: (
        "the name is taken, or something else is being done with it{said}. Choose another --repo_id, or try again in a "
        "minute",
        True,
    ),
    412: (
        "somebody else committed while the files were on their way{said}. Nothing was overwritten. Look at the new "
        "commit before publishing over it",
        True,
    ),
    413: ("something is too large for the Hub{said}", False),
    429: (
        "the Hub asks for patience, also after every wait{said}: too many requests were made with this token or from "
        "this address",
        True,
    ),
    507: ("there is no room left for it on the Hub{said}", False),
}
_TROUBLE = ("the Hub has trouble of its own (status {status}), also after several attempts{said}", True)
_REFUSED = ("the Hub refuses it (status {status}){said}", False)


def _without_answer(error: BaseException) -> tuple[str, bool]:
    import httpx2
    from huggingface_hub.errors import OfflineModeIsEnabled

    for one in _chain(error):
        if isinstance(one, OfflineModeIsEnabled):
            return "HF_HUB_OFFLINE is set, which forbids every request. Unset it", True
        if isinstance(one, httpx2.TimeoutException):
            return "the Hub did not answer in time, also after several attempts", True
        if isinstance(one, httpx2.ConnectError):
            return "the Hub cannot be reached from here; there is no network, or HF_ENDPOINT names another place", True
        if isinstance(one, httpx2.TransportError):
            return "the connection was cut, also after several attempts", True
    return " ".join(str(error).split())[:400].rstrip(". "), False
