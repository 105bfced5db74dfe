"""Features from the characters of words, compared with torch's own modules."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tl_toolkit.models import RnnConfig, RnnForCausalLM, RnnForTokenClassification
from tl_toolkit.models.character_features import CharacterFeatures, character_ids_of, pad_characters

SETTINGS = {
    "vocab_size": 23,
    "embedding_size": 5,
    "hidden_size": 7,
    "bidirectional": True,
    "character_vocabulary": "abcdefgh",
    "character_embedding_size": 3,
    "character_feature_size": 6,
}


def test_ids_of_characters() -> None:
    assert character_ids_of(["ba", "", "aßc"], "abc") == [[3, 2], [], [2, 1, 4]]
    padded = pad_characters([[[3, 2], [], [2, 1, 4]], [[4]]], time=4)
    assert padded.tolist() == [
        [[3, 2, 0], [0, 0, 0], [2, 1, 4], [0, 0, 0]],
        [[4, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]],
    ]
    assert pad_characters([[[]]], time=2).shape == (1, 2, 1)


def test_rnn_reads_both_ways_as_torch_does() -> None:
    features = CharacterFeatures(RnnConfig(**SETTINGS, character_encoder="rnn"))
    reference = torch.nn.LSTM(3, 3, bidirectional=True, batch_first=True)
    for name, parameter in features.encoder.forward_cell.named_parameters():
        getattr(reference, name).data.copy_(parameter.data)
    for name, parameter in features.encoder.backward_cell.named_parameters():
        getattr(reference, f"{name}_reverse").data.copy_(parameter.data)
    word = torch.tensor([2, 5, 9, 3])
    _, (final, _) = reference(features.embedding(word)[None])
    padded = torch.tensor([[[2, 5, 9, 3, 0, 0], [0, 0, 0, 0, 0, 0]]])
    found = features(padded)
    torch.testing.assert_close(found[0, 0], final.flatten())
    assert (found[0, 1] == 0).all()


def test_cnn_returns_the_maximum_over_the_word() -> None:
    features = CharacterFeatures(RnnConfig(**SETTINGS, character_encoder="cnn", character_kernel_size=3))
    word = torch.tensor([2, 5, 9, 3])
    vectors = features.embedding(word)
    zero = torch.zeros(1, 3)
    windows = torch.cat([zero, vectors, zero]).unfold(0, 3, 1)  # (characters, size, kernel)
    values = torch.einsum("cik,oik->co", windows, features.encoder.weight) + features.encoder.bias
    found = features(torch.tensor([[[2, 5, 9, 3, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]]]))
    torch.testing.assert_close(found[0, 0], values.amax(dim=0))
    assert (found[0, 1] == 0).all()


@pytest.mark.parametrize("encoder", ["rnn", "cnn"])
def test_words_are_distinguished_by_their_characters(encoder: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = RnnForTokenClassification(RnnConfig(**SETTINGS, character_encoder=encoder, num_labels=3)).eval()
    ids, mask = torch.tensor([[4, 1, 1, 6]]), torch.ones(1, 4, dtype=torch.long)
    characters = pad_characters([[[2], [3, 4], [5, 6, 7], [2, 2]]], time=4)
    logits = model(ids, mask, character_ids=characters).logits
    swapped = model(ids, mask, character_ids=characters[:, [0, 2, 1, 3]]).logits
    assert (logits - swapped).abs().max() > 1e-4
    # Left padding and wider character tensors do not change the results.
    left = torch.nn.functional.pad(ids, (2, 0)), torch.nn.functional.pad(mask, (2, 0))
    moved = model(*left, character_ids=torch.nn.functional.pad(characters, (0, 3, 2, 0))).logits
    torch.testing.assert_close(moved[:, 2:], logits)
    # Without character ids, all words have no characters.
    torch.testing.assert_close(model(ids, mask).logits, model(ids, mask, character_ids=characters * 0).logits)
    model.save_pretrained(tmp_path)
    again = RnnForTokenClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(again(ids, mask, character_ids=characters).logits, logits)


def test_layer_groups_contain_characters_with_the_embedding() -> None:
    model = RnnForTokenClassification(RnnConfig(**SETTINGS, character_encoder="rnn", crf=True))
    groups = model.layer_groups()
    assert groups[0] == ["rnn.embedding.", "rnn.characters."] and groups[-1] == ["classifier.", "crf."]
    names = [name for name, _ in model.named_parameters()]
    assert all(sum(name.startswith(prefix) for group in groups for prefix in group) == 1 for name in names)


def test_other_heads_work_without_characters() -> None:
    model = RnnForCausalLM(RnnConfig(**{**SETTINGS, "bidirectional": False}, character_encoder="cnn")).eval()
    assert model.generate(torch.tensor([[3, 4]]), max_new_tokens=3).shape == (1, 5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"character_encoder": "cnn", "character_kernel_size": 4}, "odd"),
        ({"character_encoder": "rnn", "character_feature_size": 7}, "even"),
        ({"character_encoder": "rnn", "character_vocabulary": ""}, "character_vocabulary"),
        ({"character_encoder": "cnn", "character_vocabulary": "aba"}, "once"),
        ({"character_encoder": "cnn", "character_embedding_size": 0}, "at least 1"),
        ({"character_encoder": "cnn", "embedding_type": "one_hot"}, "one_hot"),
    ],
)
def test_invalid_settings_raise_an_error(wrong: dict, message: str) -> None:
    with pytest.raises(Exception, match=message):
        RnnConfig(**{**SETTINGS, **wrong})
