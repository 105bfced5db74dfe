"""Generation with a causal self-attention model, compared with plain loops over the forward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import DynamicCache, PreTrainedTokenizerFast, StaticCache, pipeline

from tl_toolkit.models import SelfAttentionConfig, SelfAttentionForCausalLM

LENGTH = 6


@pytest.fixture(params=["sinusoidal", "learned"])
def model(request: pytest.FixtureRequest) -> SelfAttentionForCausalLM:
    """A random model with varying texts, and with flat enough distributions that beams leave the greedy path."""
    torch.manual_seed(6)
    config = SelfAttentionConfig(
        vocab_size=31,
        embedding_size=13,
        hidden_size=22,
        num_hidden_layers=3,
        num_attention_heads=2,
        position_embedding_type=request.param,
        max_position_embeddings=29,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    model = SelfAttentionForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.7 * torch.randn_like(parameter))
        model.lm_head.weight.mul_(0.2)
    return model


def prompts() -> Tensor:
    return torch.randint(1, 31, (3, 5), generator=torch.Generator().manual_seed(7))


def greedy_loop(model: Any, ids: Tensor) -> Tensor:
    """Greedy generation that repeats the whole forward pass for every token."""
    for _ in range(LENGTH):
        ids = torch.cat([ids, model(ids, use_cache=False).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    return ids


@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_equals_a_loop(model: Any, use_cache: bool) -> None:
    output = model.generate(prompts(), max_new_tokens=LENGTH, do_sample=False, use_cache=use_cache)
    assert torch.equal(output, greedy_loop(model, prompts()))


def test_beams_with_cache_equal_beams_without(model: Any) -> None:
    settings: dict[str, Any] = {"max_new_tokens": LENGTH, "num_beams": 3, "num_return_sequences": 3}
    settings |= {"do_sample": False, "return_dict_in_generate": True, "output_scores": True}
    with_cache = model.generate(prompts(), use_cache=True, **settings)
    without = model.generate(prompts(), use_cache=False, **settings)
    assert torch.equal(with_cache.sequences, without.sequences)
    torch.testing.assert_close(with_cache.sequences_scores, without.sequences_scores)
    assert not torch.equal(with_cache.sequences[::3], greedy_loop(model, prompts()))


def test_two_beams_are_the_best_two_of_all_continuations(model: Any) -> None:
    """With as many beams as there are tokens, beam search over two steps is exhaustive."""
    ids = prompts()[:1]
    output = model.generate(ids, max_new_tokens=2, num_beams=31, do_sample=False, length_penalty=0.0)
    first = model(ids).logits[0, -1].log_softmax(-1)
    pairs = torch.cat([ids.expand(31, -1), torch.arange(31)[:, None]], dim=1)
    scores = first[:, None] + model(pairs).logits[:, -1].log_softmax(-1)
    best = scores.argmax().item()
    assert output[0, 5:].tolist() == [best // 31, best % 31]


@pytest.mark.parametrize("use_cache", [True, False])
def test_sampling_follows_the_distribution(model: Any, use_cache: bool) -> None:
    torch.manual_seed(0)
    ids = prompts()[:1]
    output = model.generate(
        ids, max_new_tokens=2, do_sample=True, top_k=0, num_return_sequences=1600, use_cache=use_cache
    )
    first = model(ids).logits[0, -1].softmax(-1)
    pairs = torch.cat([ids.expand(31, -1), torch.arange(31)[:, None]], dim=1)
    second = first @ model(pairs).logits[:, -1].softmax(-1)
    for step, expected in enumerate([first, second]):
        frequencies = torch.bincount(output[:, 5 + step], minlength=31) / 1600
        # Five standard deviations of a frequency; one is at most 0.5 / sqrt(1600).
        assert (frequencies - expected).abs().max() < 0.0625


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("num_beams", [1, 3])
def test_left_padding_does_not_change_results(model: Any, use_cache: bool, num_beams: int) -> None:
    settings: dict[str, Any] = {"max_new_tokens": LENGTH, "num_beams": num_beams, "do_sample": False}
    lengths = [5, 3, 1]
    padded = torch.zeros(3, 5, dtype=torch.long)
    mask = torch.zeros_like(padded)
    for row, length in enumerate(lengths):
        padded[row, 5 - length :] = prompts()[row, :length]
        mask[row, 5 - length :] = 1
    together = model.generate(padded, attention_mask=mask, use_cache=use_cache, **settings)
    for row, length in enumerate(lengths):
        alone = model.generate(prompts()[row : row + 1, :length], use_cache=use_cache, **settings)
        assert torch.equal(together[row, 5:], alone[0, length:])


@pytest.mark.parametrize("static", [False, True])
def test_reading_in_pieces_equals_reading_at_once(model: Any, static: bool) -> None:
    ids = torch.randint(1, 31, (3, 11))
    mask = torch.ones_like(ids)
    mask[1, :3] = mask[2, 4:6] = 0
    at_once = model(ids, attention_mask=mask).logits
    cache: Any = StaticCache(config=model.config, max_cache_len=17) if static else DynamicCache(config=model.config)
    pieces = []
    for start, end in [(0, 5), (5, 7), (7, 8), (8, 11)]:
        output = model(ids[:, start:end], attention_mask=mask[:, :end], past_key_values=cache, use_cache=True)
        pieces.append(output.logits)
        assert output.past_key_values is cache
        assert cache.get_seq_length() == end
    real = mask.bool()
    torch.testing.assert_close(torch.cat(pieces, dim=1)[real], at_once[real], rtol=1e-4, atol=1e-4)


def test_a_cache_is_only_returned_if_requested(model: Any) -> None:
    assert model(prompts(), use_cache=False).past_key_values is None
    assert isinstance(model(prompts(), use_cache=True).past_key_values, DynamicCache)
    assert "past_key_values" in model.config.keys_to_ignore_at_inference


@pytest.mark.parametrize("logits_to_keep", [2, torch.tensor([1, 4])])
def test_only_requested_logits_are_computed(model: Any, logits_to_keep: Any) -> None:
    logits = model(prompts()).logits
    wanted = logits[:, -2:] if isinstance(logits_to_keep, int) else logits[:, logits_to_keep]
    torch.testing.assert_close(model(prompts(), logits_to_keep=logits_to_keep).logits, wanted)


def test_text_generation_pipeline(model: Any) -> None:
    words = {word: index for index, word in enumerate(["<pad>", "<unk>", *(f"w{number}" for number in range(29))])}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", padding_side="left"
    )
    generate = pipeline("text-generation", model=model, tokenizer=tokenizer, device="cpu")
    texts = ["w3 w17 w5 w8", "w2"]
    together = generate(texts, batch_size=2, max_new_tokens=LENGTH, do_sample=False, return_full_text=False)
    for text, output in zip(texts, together, strict=True):
        expected = greedy_loop(model, tokenizer(text, return_tensors="pt").input_ids)[0, -LENGTH:]
        assert output[0]["generated_text"].split() == tokenizer.decode(expected, skip_special_tokens=True).split()
