"""Where an entry's knowledge comes from."""

from __future__ import annotations

import pytest

from tl_toolkit.records.kind import kind_of


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"strategy": {"name": "scratch"}, "model": {"model_type": "rnn"}}, "scratch"),
        ({}, "scratch"),
        (
            {"strategy": {"name": "scratch"}, "model": {"model_type": "rnn"}, "arguments": {"vectors": "glove.txt"}},
            "word_vectors",
        ),
        ({"strategy": {"name": "probe"}, "model": {"model_type": "bag_of_ngrams"}}, "linear"),
        (
            {
                "strategy": {"name": "probe"},
                "model": {"model_type": "bag_of_ngrams"},
                "arguments": {"config_overrides": "max_ngrams=0"},
            },
            "constant",
        ),
        ({"strategy": {"name": "probe"}, "model": {"model_type": "bert"}}, "transformer"),
        ({"strategy": {"name": "full"}, "model": {"model_type": "gpt2"}}, "transformer"),
        ({"strategy": {"name": "gradual_unfreezing"}, "model": {"model_type": "awd_lstm"}}, "ulmfit"),
        ({"strategy": {"name": "full"}, "model": {"model_type": "gpt2"}, "stages": [{"name": "lm"}]}, "ulmfit"),
        ({"strategy": {"name": "distilled"}, "model": {"model_type": "rnn"}}, "distilled"),
        ({"kind": "prompt", "strategy": {"name": "scratch"}}, "prompt"),
    ],
)
def test_the_kind_of_a_record(record, kind):
    assert kind_of(record) == kind
