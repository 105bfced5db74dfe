"""Our greedy and beam search against transformers' own, and what is left to it."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from transformers import GenerationMixin, TextStreamer

from tl_toolkit.models import (
    AwdLstmConfig,
    AwdLstmForCausalLM,
    RnnEncoderDecoderConfig,
    RnnEncoderDecoderForConditionalGeneration,
)
from tl_toolkit.models.rnn_search import CHUNK, SearchMixin, best_continuations

VOCAB, PAD, EOS, SENTENCES = 2 * CHUNK + 3, 0, 1, 13
SIZES: dict[str, Any] = {"vocab_size": VOCAB, "embedding_size": 7, "hidden_size": 11, "pad_token_id": PAD}
SIZES |= {"eos_token_id": EOS}


def model(kind: str) -> Any:
    torch.manual_seed(5)
    if kind == "language model":
        made: Any = AwdLstmForCausalLM(AwdLstmConfig(**SIZES, num_hidden_layers=2))
    else:
        fields = {"attention": kind.split()[0], "input_feeding": "feeding" in kind, "decoder_start_token_id": 2}
        made = RnnEncoderDecoderForConditionalGeneration(RnnEncoderDecoderConfig(**SIZES, **fields))
    with torch.no_grad():  # large weights: the choices differ from step to step, and texts end at different steps
        for parameter in made.parameters():
            parameter.uniform_(-1.5, 1.5)
        made.lm_head.bias[EOS] = 2.0
    return made.eval()


def texts() -> tuple[Tensor, Tensor]:
    """Token ids, padded on the left, and their mask."""
    ids = torch.randint(3, VOCAB, (SENTENCES, 5), generator=torch.Generator().manual_seed(7))
    mask = (torch.arange(5) >= torch.arange(SENTENCES)[:, None] % 4).long()
    return ids * mask, mask


OPTIONS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "greedy with a processor": {"no_repeat_ngram_size": 2, "min_new_tokens": 3},
    "beam": {"num_beams": 5},
    "several texts": {"num_beams": 4, "length_penalty": 0.6, "num_return_sequences": 3},
    "early": {"num_beams": 3, "early_stopping": True, "length_penalty": -1.0},
    "never early": {"num_beams": 3, "early_stopping": "never", "length_penalty": 1.5},
    "beam with processors": {"num_beams": 3, "no_repeat_ngram_size": 2, "min_new_tokens": 4},
    "two end tokens": {"num_beams": 3, "eos_token_id": [EOS, 9]},
    "forced": {"num_beams": 3, "forced_bos_token_id": 8, "forced_eos_token_id": EOS},
}


@pytest.mark.parametrize("options", list(OPTIONS.values()), ids=list(OPTIONS))
@pytest.mark.parametrize("kind", ["language model", "bahdanau", "luong feeding"])
def test_the_texts_are_those_of_transformers(kind: str, options: dict[str, Any]) -> None:
    network, (ids, mask) = model(kind), texts()
    given = {"attention_mask": mask, "max_new_tokens": 9, **options}
    found = network.generate(ids, **given)
    with mock.patch.object(SearchMixin, "_is_usual", lambda *_, **__: False):
        expected = network.generate(ids, **given)
    assert torch.equal(found, expected)
    assert len({tuple(row) for row in found.tolist()}) > 3
    assert not found.is_inference()  # it can be an input in training


@pytest.mark.parametrize("beams", [1, 5])
def test_finished_sentences_leave_the_batch(beams: int) -> None:
    network, (ids, mask), rows = model("luong feeding"), texts(), []
    run = network.lm_head.forward
    with mock.patch.object(network.lm_head, "forward", lambda states: rows.append(len(states)) or run(states)):
        network.generate(ids, attention_mask=mask, max_new_tokens=9, num_beams=beams)
    assert rows[0] == SENTENCES * beams and rows == sorted(rows, reverse=True)
    assert rows[-1] < rows[0]


@pytest.mark.parametrize("vocabulary", [CHUNK // 2, 3 * CHUNK, 5 * CHUNK + 7])
def test_best_continuations_are_the_top_k(vocabulary: int) -> None:
    torch.manual_seed(0)
    log_probs, scores = torch.randn(3 * 4, vocabulary).log_softmax(dim=-1), torch.randn(3, 4)
    log_probs[:, ::3] = -torch.inf
    best, beam, token = best_continuations(log_probs, scores, 8)
    sums = (log_probs.view(3, 4, vocabulary) + scores[:, :, None]).flatten(1)
    expected, places = sums.topk(8)
    assert torch.equal(best, expected)
    assert torch.equal(beam * vocabulary + token, places)


@pytest.mark.parametrize(
    ("options", "method"),
    [
        ({"return_dict_in_generate": True}, "_sample"),
        ({"do_sample": True}, "_sample"),
        ({"streamer": mock.Mock(spec=TextStreamer)}, "_sample"),
        ({"use_cache": False, "num_beams": 2}, "_beam_search"),
        ({"max_time": 60.0, "num_beams": 2}, "_beam_search"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_unusual_is_left_to_transformers(options: dict[str, Any], method: str) -> None:
    network, (ids, mask) = model("luong"), texts()
    with mock.patch.object(GenerationMixin, method, return_value="theirs") as theirs:
        assert network.generate(ids, attention_mask=mask, max_new_tokens=3, **options) == "theirs"
    theirs.assert_called_once()


def test_a_wrapped_forward_is_called_for_every_token() -> None:
    """As accelerate wraps it for mixed precision."""
    network, (ids, mask) = model("bahdanau"), texts()
    expected, calls, run = network.generate(ids, attention_mask=mask, max_new_tokens=4), [], network.forward

    def wrapped(**given: Any) -> Any:
        calls.append(given)
        return run(**given)

    with mock.patch.object(network, "forward", wrapped):
        assert torch.equal(network.generate(ids, attention_mask=mask, max_new_tokens=4), expected)
    assert len(calls) == 4
