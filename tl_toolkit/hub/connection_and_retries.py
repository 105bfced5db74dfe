"""The way to the Hub: who asks, how long an answer may take, and how often one is asked again."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ..errors import without_tokens
from .failures import LOGIN, HubError, explain, is_from_hub, is_transient, retry_after, status_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")

ATTEMPTS = 6  # as often as huggingface_hub itself tries those requests that it does repeat
_LONGEST_WAIT = 8.0  # seconds between two attempts, where the Hub does not ask for more

logger = logging.getLogger(__name__)


def connect(timeout: float, token: str | None = None) -> HfApi:
    """The Hub that HF_ENDPOINT names, by default with the token of HF_TOKEN or of `hf auth login`.

    huggingface_hub itself waits for ever; here every answer has `timeout` seconds to begin. HubError without a token.
    """
    from huggingface_hub import HfApi, get_token

    if token is None and get_token() is None:
        raise HubError(f"Publishing needs a token of the Hub, and none is saved or in HF_TOKEN. {LOGIN}.")
    set_timeout(timeout)
    return HfApi(token=token)


def set_timeout(seconds: float) -> None:
    """Give every request of huggingface_hub in this process an end, and keep signed addresses out of its warnings."""
    import httpx2
    from huggingface_hub.utils import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    def client() -> httpx2.Client:
        made = default_client_factory()
        made.timeout = httpx2.Timeout(seconds)
        return made

    set_client_factory(client)
    noisy = logging.getLogger("huggingface_hub.utils._http")
    if not any(isinstance(one, _Quieter) for one in noisy.filters):
        noisy.addFilter(_Quieter())


class _Quieter(logging.Filter):
    """Addresses that are warned about lose their query, where storage has its signatures, and any token."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = without_tokens(re.sub(r"(https?://[^\s?]+)\?\S+", r"\1", record.getMessage()))
        record.args = ()
        return True


def retrying(
    request: Callable[[], T], what: str, command: str = "", *, sending: bool = False, attempts: int = ATTEMPTS
) -> T:
    """What `request` returns, asked again after a growing wait where that can help; a Retry-After is heeded.

    For requests that huggingface_hub makes once only; each has to be one that may be made twice. A failure for good is
    a HubError, made by `explain`.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return request()
        except Exception as error:
            if isinstance(error, HubError) or not is_from_hub(error):
                raise
            if not is_transient(error) or attempt == attempts:
                raise explain(error, what, command, sending=sending) from error
            seconds = retry_after(error) or min(_LONGEST_WAIT, 2.0 ** (attempt - 1))
            status = status_of(error)
            trouble = f"The Hub answered with status {status}" if status else f"No answer ({type(error).__name__})"
            logger.warning("%s. Trying again in %g s.", trouble, seconds)
            time.sleep(seconds)
