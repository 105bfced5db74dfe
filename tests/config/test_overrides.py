from __future__ import annotations

import pytest
from transformers import BertConfig, GPT2Config

from tl_toolkit.config.overrides import parse_overrides
from tl_toolkit.errors import UserError
from tl_toolkit.models import RnnConfig


def test_values_take_the_types_of_their_fields() -> None:
    parsed = parse_overrides("hidden_size=12,hidden_dropout_prob=1e-1,is_decoder=true,hidden_act=relu", BertConfig)
    assert parsed == {"hidden_size": 12, "hidden_dropout_prob": 0.1, "is_decoder": True, "hidden_act": "relu"}
    assert type(parsed["hidden_size"]) is int
    assert parse_overrides("bidirectional=true,cell_type=gru", RnnConfig) == {"bidirectional": True, "cell_type": "gru"}


def test_a_field_whose_default_is_none_can_be_set_and_unset() -> None:
    assert parse_overrides("n_inner=64", GPT2Config) == {"n_inner": 64}
    assert parse_overrides("n_inner=none", GPT2Config) == {"n_inner": None}


def test_names_that_transformers_maps_are_accepted() -> None:
    assert parse_overrides("hidden_size=12", GPT2Config) == {"n_embd": 12}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("hidden_sise=3", ["hidden_sise", "hidden_size"]),
        ("hidden_size=three", ["hidden_size", "three", "int"]),
        ("hidden_size", ["hidden_size", "key=value"]),
        ("cell_type=lstn", ["cell_type", "lstn", "lstm", "gru"]),
        ("model_type=bert", ["model_type"]),
    ],
)
def test_a_wrong_override_is_named(text: str, names: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        parse_overrides(text, RnnConfig)
    assert all(name in str(caught.value) for name in names)
