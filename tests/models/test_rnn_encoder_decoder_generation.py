"""Generation with a recurrent encoder-decoder: with and without its state, single sentences and batches."""

from __future__ import annotations

import math
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from tl_toolkit.models import RnnEncoderDecoderConfig, RnnEncoderDecoderForConditionalGeneration
from tl_toolkit.models.rnn_attention import RnnAttention
from tl_toolkit.models.rnn_cache import RnnDecoderCache

VOCAB, TARGET_VOCAB, PAD, EOS, START, NEW = 29, 19, 0, 1, 2, 7
KINDS: dict[str, dict[str, Any]] = {
    "none": {"reverse_source": True, "num_encoder_layers": 2},
    "bahdanau": {"attention": "bahdanau", "bidirectional_encoder": True, "cell_type": "gru", "num_decoder_layers": 2},
    "luong": {"attention": "luong", "cell_type": "rnn_tanh"},
    "feeding": {"attention": "luong", "input_feeding": True, "bidirectional_encoder": True, "num_decoder_layers": 2},
    "local": {"attention": "luong", "attention_score": "concat", "attention_window": "local_p"},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sample": {"do_sample": True, "top_k": 5, "num_return_sequences": 2},
    "beam": {"num_beams": 3},
    "beam-length-penalty": {"num_beams": 4, "length_penalty": 2.0, "num_return_sequences": 3},
    "beam-early": {"num_beams": 3, "early_stopping": True, "length_penalty": -1.0},
    "beam-sample": {"num_beams": 3, "do_sample": True},
}
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 1, 1, 0, 1, 1], [0, 0, 0, 0, 1, 1]])


def model(kind: str, **fields: Any) -> RnnEncoderDecoderForConditionalGeneration:
    torch.manual_seed(3)
    sizes = {"vocab_size": VOCAB, "decoder_vocab_size": TARGET_VOCAB, "embedding_size": 11, "hidden_size": 13}
    special = {"pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": START}
    config = RnnEncoderDecoderConfig(**{**sizes, **special, **KINDS[kind], **fields})
    made = RnnEncoderDecoderForConditionalGeneration(config).eval()
    with torch.no_grad():  # large weights: the choices differ from step to step
        for parameter in made.parameters():
            parameter.uniform_(-1.5, 1.5)
        made.lm_head.bias.zero_()
    return made


@pytest.fixture
def sources() -> Tensor:
    return torch.randint(3, VOCAB, (3, 6), generator=torch.Generator().manual_seed(7))


def generate(network: RnnEncoderDecoderForConditionalGeneration, ids: Tensor, **options: Any) -> Tensor:
    torch.manual_seed(11)
    return network.generate(ids, **{"attention_mask": MASK[: len(ids)], "max_new_tokens": NEW, **options})


@pytest.mark.parametrize("options", list(OPTIONS.values()), ids=list(OPTIONS))
@pytest.mark.parametrize("kind", list(KINDS))
def test_cached_equals_uncached(kind: str, options: dict[str, Any], sources: Tensor) -> None:
    network = model(kind)
    cached = generate(network, sources, use_cache=True, **options)
    lengths = []
    run = network.model.decoder.forward

    def watched(inputs_embeds: Tensor, **given: Any) -> Any:
        assert given["cache"] is None
        lengths.append(inputs_embeds.shape[1])
        return run(inputs_embeds, **given)

    with mock.patch.object(network.model.decoder, "forward", watched):
        uncached = generate(network, sources, use_cache=False, **options)
    assert lengths == list(range(1, len(lengths) + 1))  # each step reads the whole target again
    assert len(lengths) > 2 and torch.equal(cached, uncached)
    assert len({tuple(row.tolist()) for row in cached}) > 1


@pytest.mark.parametrize("options", [{}, OPTIONS["beam"]], ids=["greedy", "beam"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_batch_equals_single_sentences(kind: str, options: dict[str, Any], sources: Tensor) -> None:
    network = model(kind)
    together = generate(network, sources, **options)
    for row in range(3):
        source = sources[row, MASK[row].bool()][None]
        alone = generate(network, source, attention_mask=torch.ones_like(source), **options)
        assert together[row, : alone.shape[1]].tolist() == alone[0].tolist()
        assert (together[row, alone.shape[1] :] == PAD).all()


@torch.no_grad()
@pytest.mark.parametrize("kind", list(KINDS))
def test_greedy_by_hand(kind: str, sources: Tensor) -> None:
    network = model(kind)
    expected = torch.tensor([[START]])
    for _ in range(NEW):
        logits = network(sources[:1], decoder_input_ids=expected, use_cache=False).logits
        expected = torch.cat([expected, logits[:, -1:].argmax(-1)], dim=1)
        if expected[0, -1] == EOS:
            break
    assert torch.equal(generate(network, sources[:1]), expected)


@torch.no_grad()
def test_wide_beam_finds_the_best_texts(sources: Tensor) -> None:
    """A beam as wide as the vocabulary is exhaustive over two steps, including its n best texts."""
    network, row = model("feeding"), sources[:1]
    wide = {"num_beams": TARGET_VOCAB, "max_new_tokens": 2, "length_penalty": 0.0, "num_return_sequences": 3}
    found = generate(network, row, **wide)
    first = network(row, decoder_input_ids=torch.tensor([[START]])).logits[0, -1].log_softmax(-1)
    scores = {(EOS, PAD): float(first[EOS])}
    for token in range(TARGET_VOCAB):
        if token != EOS:
            logits = network(row, decoder_input_ids=torch.tensor([[START, token]])).logits
            second = logits[0, -1].log_softmax(-1)
            scores |= {(token, other): float(first[token] + second[other]) for other in range(TARGET_VOCAB)}
    best = sorted(scores, key=lambda text: -scores[text])[:3]
    assert [tuple(text) for text in found[:, 1:].tolist()] == best
    assert not math.isclose(scores[best[0]], scores[best[1]])


@pytest.mark.parametrize("kind", ["bahdanau", "feeding", "local"])
def test_keys_are_projected_once_and_a_memory_is_never_repeated(kind: str, sources: Tensor) -> None:
    network = model(kind)
    remember, remembered = RnnAttention.remember, []

    def watched(attention: RnnAttention, values: Tensor, mask: Tensor | None) -> Any:
        remembered.append(len(values))
        return remember(attention, values, mask)

    with mock.patch.object(RnnAttention, "remember", watched):
        generate(network, sources, num_beams=4)
    assert remembered == [3]


def test_sources_repeated_by_the_caller(sources: Tensor) -> None:
    """Repeating the sources, the default of transformers, gives the same texts."""
    network = model("bahdanau")
    network.generation_config.eos_token_id = None
    expected = generate(network, sources, num_beams=3)
    with mock.patch.object(type(network), "_expand_inputs_for_generation", _expand_everything):
        assert torch.equal(generate(network, sources, num_beams=3), expected)


def _expand_everything(self: Any, expand_size: int = 1, input_ids: Any = None, **kwargs: Any) -> Any:
    kwargs.pop("is_encoder_decoder")
    encoded = kwargs["encoder_outputs"]
    for name in ("last_hidden_state", "final_state"):
        encoded[name] = encoded[name].repeat_interleave(expand_size, dim=0)
    kwargs["attention_mask"] = kwargs["attention_mask"].repeat_interleave(expand_size, dim=0)
    return input_ids.repeat_interleave(expand_size, dim=0), kwargs


@pytest.mark.parametrize("kind", list(KINDS))
def test_continuing_from_a_returned_state(kind: str, sources: Tensor) -> None:
    network = model(kind)
    network.generation_config.eos_token_id = None
    whole = generate(network, sources)
    half = generate(network, sources, max_new_tokens=3, return_dict_in_generate=True)
    assert isinstance(half.past_key_values, RnnDecoderCache)
    given = {"past_key_values": half.past_key_values, "decoder_input_ids": half.sequences}
    given["decoder_attention_mask"] = torch.ones_like(half.sequences)  # tells generate which tokens were read
    assert torch.equal(generate(network, sources, max_new_tokens=NEW - 3, **given), whole)


@torch.no_grad()
@pytest.mark.parametrize("kind", list(KINDS))
def test_rows_of_a_state(kind: str, sources: Tensor) -> None:
    network = model(kind)
    target = torch.randint(3, TARGET_VOCAB, (3, 4))
    encoded = network.get_encoder()(sources, MASK)

    def state() -> RnnDecoderCache:
        return network(encoder_outputs=encoded, attention_mask=MASK, decoder_input_ids=target).past_key_values

    def following(cache: RnnDecoderCache, tokens: list[int]) -> Tensor:
        given = {"encoder_outputs": encoded, "attention_mask": MASK, "past_key_values": cache, "use_cache": True}
        return network(decoder_input_ids=torch.tensor(tokens)[:, None], **given).logits

    expected = following(state(), [3, 4, 5])
    repeated = state()
    repeated.batch_repeat_interleave(2)
    torch.testing.assert_close(following(repeated, [3, 3, 4, 4, 5, 5]), expected.repeat_interleave(2, dim=0))
    repeated = state()
    repeated.batch_repeat_interleave(2)
    repeated.batch_select_indices(torch.tensor([5, 0, 2]))
    torch.testing.assert_close(following(repeated, [5, 3, 4]), expected[[2, 0, 1]])
    reordered = state()
    reordered.reorder_cache(torch.tensor([2, 0, 1]))
    torch.testing.assert_close(following(reordered, [5, 3, 4]), expected[[2, 0, 1]])
    cache = state()
    assert (cache.get_seq_length(), cache.batch_size, cache.is_compileable) == (4, 3, False)
    cache.reset()
    assert cache.states is None and cache.memory is None


def test_alignments_of_a_generated_text(sources: Tensor) -> None:
    network = model("feeding")
    written = generate(network, sources, output_attentions=True, return_dict_in_generate=True)
    stepwise = torch.cat([step[0] for step in written.cross_attentions], dim=2)
    whole = network(sources, MASK, decoder_input_ids=written.sequences[:, :-1], output_attentions=True)
    torch.testing.assert_close(stepwise, whole.cross_attentions[0])
