"""Progress bars are hidden while a run loads and saves, and restored afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from transformers.utils import logging

from tl_toolkit.errors import UserError
from tl_toolkit.workflows.lifecycle import without_progress_bars


@pytest.fixture(autouse=True)
def bars() -> Iterator[None]:
    before = logging.is_progress_bar_enabled(), are_progress_bars_disabled()
    yield
    (logging.enable_progress_bar if before[0] else logging.disable_progress_bar)()
    (disable_progress_bars if before[1] else enable_progress_bars)()


@pytest.mark.parametrize("of_the_hub", [True, False])
@pytest.mark.parametrize("of_transformers", [True, False])
def test_bars_are_restored(of_transformers: bool, of_the_hub: bool) -> None:
    (logging.enable_progress_bar if of_transformers else logging.disable_progress_bar)()
    (enable_progress_bars if of_the_hub else disable_progress_bars)()
    with pytest.raises(KeyError), without_progress_bars():
        assert not logging.is_progress_bar_enabled() and are_progress_bars_disabled()
        raise KeyError
    found = logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    assert found == (of_transformers, of_the_hub)


def test_a_run_restores_the_bars(finetune: Callable[..., dict], tiny_rnn: dict) -> None:
    logging.enable_progress_bar()
    finetune(**tiny_rnn, num_train_epochs=1)
    assert logging.is_progress_bar_enabled()
    with pytest.raises(UserError):
        finetune("other", model_type="no-such-architecture")
    assert logging.is_progress_bar_enabled()
