"""`builtin:recall`: a language, exactly the configured number of filler words, and the question."""

from __future__ import annotations

from collections import Counter

import pytest

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.data.recall import FILLERS, LANGUAGES, SIZES, splits
from tl_toolkit.data.sources import load_source
from tl_toolkit.errors import UserError


@pytest.mark.parametrize("distance", [2, 53])
def test_the_label_is_the_language_named_before_the_fillers(distance: int) -> None:
    made = splits(distance)
    for split, own in made.items():
        for row in own:
            *start, language = row["text"].split()[:5]
            fillers, end = row["text"].split()[5:-4], row["text"].split()[-4:]
            assert (start, end) == (["She", "grew", "up", "with"], ["so", "now", "she", "reads"])
            assert LANGUAGES[row["label"]] == language and len(fillers) == distance and set(fillers) <= set(FILLERS)
        assert set(Counter(row["label"] for row in own).values()) == {SIZES[split] // len(LANGUAGES)}
    assert len({row["text"] for own in made.values() for row in own}) == sum(SIZES.values())


def test_the_rows_are_fixed() -> None:
    """Changed rows would invalidate published results."""
    source = load_source(DataArguments(dataset_name="builtin:recall:2"))
    assert source.dataset["test"].features["label"].names == list(LANGUAGES)
    assert source.record == {
        "name": "builtin:recall:2", "config": "2", "revision": None, "versions": None,
        "fingerprint": "d899f4474d069d35",
    }  # fmt: skip


@pytest.mark.parametrize("config", ["1", "1001", "ten", "²"])
def test_a_configuration_is_a_distance(config: str) -> None:
    with pytest.raises(UserError, match=r"number of filler words, from 2 to 1000, such as builtin:recall:50"):
        load_source(DataArguments(dataset_name="builtin:recall", dataset_config_name=config))
