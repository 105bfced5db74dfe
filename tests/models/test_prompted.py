"""Scores of a prompted language model against a plain pass over each whole text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, GPT2Config, LlamaConfig, MistralConfig, PreTrainedConfig

from tl_toolkit.models import PromptedConfig, PromptedForSequenceClassification

BEFORE, AFTER = [3, 5, 7, 11, 13], [17, 19]
WORDS = [[23], [29, 2], [29, 4, 6]]
TEXTS = [[8, 9, 10, 12], [14], [], [15, 16, 18, 20, 21, 22, 24]]
_SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 37}
CONFIGS = [
    GPT2Config(vocab_size=31, n_embd=24, n_layer=2, n_head=3, n_positions=41, initializer_range=0.6),
    LlamaConfig(vocab_size=31, num_key_value_heads=1, max_position_embeddings=41, initializer_range=0.6, **_SIZES),
    MistralConfig(vocab_size=31, num_key_value_heads=3, sliding_window=6, initializer_range=0.6, **_SIZES),
]


def _model(language_model: PreTrainedConfig) -> PromptedForSequenceClassification:
    torch.manual_seed(0)
    config = PromptedConfig(
        language_model_config=language_model, before=BEFORE, after=AFTER, verbalizer_ids=WORDS, num_labels=3
    )
    return PromptedForSequenceClassification(config).eval()


def _batch(left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, TEXTS))
    padded = [([0] * (longest - len(own)), [0] * (longest - len(own))) for own in TEXTS]
    rows = [pad + own if left else own + pad for own, (pad, _) in zip(TEXTS, padded, strict=True)]
    masks = [
        pad + [1] * len(own) if left else [1] * len(own) + pad for own, (pad, _) in zip(TEXTS, padded, strict=True)
    ]
    return torch.tensor(rows), torch.tensor(masks)


def _plainly(model: PromptedForSequenceClassification) -> torch.Tensor:
    """log p(words | prompt), from a pass over the whole sequence of each row and class, without padding and cache."""
    scores = torch.zeros(len(TEXTS), len(WORDS))
    for row, text in enumerate(TEXTS):
        for label, words in enumerate(WORDS):
            ids = torch.tensor([[*BEFORE, *text, *AFTER, *words]])
            with torch.no_grad():
                chances = model.language_model(ids, use_cache=False).logits.log_softmax(-1)[0]
            first = ids.shape[1] - len(words)
            scores[row, label] = sum(chances[first + place - 1, word] for place, word in enumerate(words))
    return scores


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_scores_equal_a_plain_pass_with_and_without_the_cached_prefix(config: PreTrainedConfig) -> None:
    model = _model(config)
    expected = _plainly(model)
    assert expected.std(dim=0).min() > 0.05  # texts differ
    with torch.no_grad():
        cached = [model.scores(*_batch(left)) for left in (False, True)]
    assert model._kept is not None and model._kept[1] is not None
    assert model._kept[1].get_seq_length() == len(BEFORE)  # batches did not grow it
    uncached = model.scores(*_batch())  # with gradients, the prefix is not kept
    for own in (*cached, uncached):
        torch.testing.assert_close(own, expected, atol=1e-4, rtol=1e-4)


def test_the_prefix_is_computed_once_and_again_for_other_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    model, lengths = _model(CONFIGS[1]), []
    whole = type(model.language_model).forward

    def counting(self: object, *args: object, **kwargs: object) -> object:
        lengths.append(kwargs["input_ids"].shape[1])
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(type(model.language_model), "forward", counting)
    with torch.no_grad():
        model.scores(*_batch())
        model.scores(*_batch())
        assert lengths.count(len(BEFORE)) == 1
        model.language_model.model.embed_tokens.weight.mul_(0.5)
        changed = model.scores(*_batch())
    assert lengths.count(len(BEFORE)) == 2
    monkeypatch.undo()
    torch.testing.assert_close(changed, _plainly(model), atol=1e-4, rtol=1e-4)


def test_logits_are_calibrated_logarithms_of_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model(CONFIGS[0])
    ids, mask = _batch()
    with torch.no_grad():
        shares = _plainly(model).softmax(-1)
        plain = model(ids, mask).logits.softmax(-1)
        torch.testing.assert_close(plain, shares, atol=1e-5, rtol=1e-4)
        prior = torch.tensor([0.5, 0.2, 0.3])
        model.calibration.bias.copy_(-prior.log())
        calibrated = model(ids, mask).logits.softmax(-1)
        monkeypatch.setattr("tl_toolkit.models.modeling_prompted._MOST_TOKENS", 30)  # two rows in a pass
        parted = model(ids, mask).logits.softmax(-1)
    expected = shares / prior
    torch.testing.assert_close(calibrated, expected / expected.sum(-1, keepdim=True), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(parted, calibrated, atol=1e-5, rtol=1e-4)
    loss = model(ids, mask, labels=torch.tensor([0, 2, 1, 1])).loss
    assert loss.item() == pytest.approx(-calibrated[range(4), [0, 2, 1, 1]].log().mean().item(), rel=1e-4)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_a_saved_model_is_the_same(config: PreTrainedConfig, tmp_path: Path) -> None:
    model = _model(config)
    with torch.no_grad():
        model.calibration.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    model.save_pretrained(tmp_path)
    again, report = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and type(again).__name__ == "PromptedForSequenceClassification"
    with torch.no_grad():
        assert torch.equal(again.eval()(*_batch()).logits, model(*_batch()).logits)
    assert (tmp_path / "modeling_prompted.py").exists()


def test_the_room_for_a_text_is_the_context_without_the_prompt() -> None:
    config = _model(CONFIGS[1]).config
    assert config.max_position_embeddings == 41 - 5 - 2 - 2  # the last token of an answer is not read
    with pytest.raises(ValueError, match="ids of 2 classes"):
        PromptedConfig(language_model_config=CONFIGS[1], verbalizer_ids=WORDS)
