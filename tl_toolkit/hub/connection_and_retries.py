"""Connect to the Hub: token, timeouts and retries."""

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

ATTEMPTS = 6  # the number of attempts of huggingface_hub for the requests that it repeats itself
_LONGEST_WAIT = 8.0  # seconds between two attempts, unless the Hub requests more

logger = logging.getLogger(__name__)


def connect(timeout: float, token: str | None = None) -> HfApi:
    """A client of the Hub at HF_ENDPOINT, by default with the token of HF_TOKEN or of `hf auth login`.

    Every response must start within `timeout` seconds; huggingface_hub has no limit. HubError without a token.
    """
    from huggingface_hub import HfApi, get_token

    if token is None and get_token() is None:
        raise HubError(f"Publishing needs a Hub token, but none is saved or in HF_TOKEN. {LOGIN}.")
    set_timeout(timeout)
    return HfApi(token=token)


def set_timeout(seconds: float) -> None:
    """Set a timeout for all huggingface_hub requests of this process, and remove signed addresses from its warnings."""
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
    """Remove tokens and the queries of addresses, which contain storage signatures, from log messages."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = without_tokens(re.sub(r"(https?://[^\s?]+)\?\S+", r"\1", record.getMessage()))
        record.args = ()
        return True


def retrying(
    request: Callable[[], T], what: str, command: str = "", *, sending: bool = False, attempts: int = ATTEMPTS
) -> T:
    """The result of `request`, retried with increasing waits where that can help; a Retry-After is respected.

    For requests that huggingface_hub does not retry itself; `request` must be safe to repeat. A permanent failure
    raises the HubError of `explain`.
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
            trouble = f"The Hub returned status {status}" if status else f"No response ({type(error).__name__})"
            logger.warning("%s. Trying again in %g s.", trouble, seconds)
            time.sleep(seconds)
