"""The generation settings of a model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset
from transformers import GenerationConfig

from tl_toolkit.tasks.generation import settle_generation


@pytest.mark.parametrize(("requested", "tokens"), [(None, 3), (1, 1), (7, 7)])
def test_the_start_token_does_not_count_as_output(requested: int | None, tokens: int) -> None:
    model: Any = SimpleNamespace(generation_config=GenerationConfig())
    given = {"generation_num_beams": 5, "generation_length_penalty": None, "generation_max_length": requested}
    args: Any = SimpleNamespace(**given)
    settle_generation(model, args, Dataset.from_dict({"labels": [[4, 2], [5, 6, 2]]}))
    assert (model.generation_config.max_length, model.generation_config.num_beams) == (tokens + 1, 5)
