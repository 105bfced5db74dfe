"""The view context: vectors of a word against the model's own, and the separation of senses by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from tl_toolkit import UserError, explain
from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.explaining.context import cosines, separation, vectors_in_context, view
from tl_toolkit.explaining.subjects import Subject
from tl_toolkit.models import RnnConfig, RnnForCausalLM, RnnForSequenceClassification

TEXTS = ["a ripe Apple fell", "the apple is sweet and red", "apple makes phones", "shares of apple rose again"]
SENSES = ["fruit", "fruit", "company", "company"]
TOKENIZER = build_tokenizer("word", TEXTS, min_frequency=1)
PIECES = build_tokenizer("char", TEXTS, min_frequency=1)


def subject(kind: str, tokenizer: Any = TOKENIZER) -> Subject:
    torch.manual_seed(7)
    shared = {"vocab_size": len(tokenizer), "pad_token_id": 0, "num_hidden_layers": 2}
    if kind == "bert":
        heads = {"hidden_size": 6, "num_attention_heads": 2, "intermediate_size": 11}
        model: Any = BertForSequenceClassification(BertConfig(**shared, **heads))
    else:
        sizes = {**shared, "embedding_size": 5, "hidden_size": 7}
        bidirectional = kind == "lstm"
        head = RnnForSequenceClassification if bidirectional else RnnForCausalLM
        model = head(RnnConfig(**sizes, bidirectional=bidirectional))
    return Subject(kind, "", model.eval(), tokenizer, "ForSequenceClassification")


@pytest.mark.parametrize("kind", ["bert", "lstm", "language model"])
def test_vectors_are_those_of_a_padded_batch(kind: str) -> None:
    own = subject(kind)
    batch = TOKENIZER(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = own.model(**batch, output_hidden_states=True).hidden_states
        table = own.model.get_input_embeddings()(batch["input_ids"])
    for row, (text, place) in enumerate(zip(TEXTS, [2, 1, 0, 2], strict=True)):
        found = vectors_in_context(own, text, "apple")
        for layer, expected in zip(found, [table, *states[1:]], strict=True):
            np.testing.assert_allclose(layer, expected[row, place], atol=1e-6)


def test_a_word_in_pieces_is_their_mean() -> None:
    own, text = subject("language model", PIECES), "pineapple or apple pie"
    start = text.index(" apple") + 1
    with torch.no_grad():
        states = own.model(**own.encode(text), output_hidden_states=True).hidden_states
    found = vectors_in_context(own, text, "Apple")
    np.testing.assert_allclose(found[2], states[2][0, start : start + 5].mean(0), atol=1e-6)


def test_separation_by_hand() -> None:
    """Unit vectors at 0, 60, 90 and 150 degrees; 1 - cos is 1/2 at 60, 1 at 90 and 1.866 at 150 degrees."""
    angles = np.radians([0, 60, 90, 150])
    similarity = cosines(np.stack([np.cos(angles), np.sin(angles)], axis=1) * [[2], [3], [5], [7]])
    found = separation(similarity, ["x", "x", "y", "y"])
    near, far, wide = 1 - np.sqrt(3) / 2, 1.0, 1 + np.sqrt(3) / 2
    outer, inner = (far + wide) / 2, (near + far) / 2  # distances to the other sense: of texts 0 and 3, of 1 and 2
    assert found["silhouette"] == pytest.approx(((outer - 0.5) / outer + (inner - 0.5) / max(inner, 0.5)) / 2)
    assert found["nearest"] == 0.5  # texts 1 and 2 are nearest to each other
    assert found["within"] == pytest.approx(0.5) and found["between"] == pytest.approx(1 - (near + 2 * far + wide) / 4)
    same = separation(cosines(np.tile(np.array([[0.3, 0.7]], np.float32), (4, 1))), ["x", "x", "y", "y"])
    assert same["silhouette"] == 0 and same["nearest"] == pytest.approx(1 / 3)  # one of three equally near texts


def test_the_page_of_static_and_contextual_vectors(tmp_path: Path) -> None:
    own = subject("bert")
    own.model.save_pretrained(tmp_path / "bert")
    TOKENIZER.save_pretrained(tmp_path / "bert")
    (tmp_path / "glove.txt").write_text("apple 0.1 0.2 0.3\nred 1 2 3\n")
    given = {"word": "apple", "vectors": str(tmp_path / "glove.txt"), "views": ["context"]}
    found = explain(tmp_path / "bert", TEXTS, senses=SENSES, output_dir=tmp_path / "out", **given)
    scores = found.numbers["context_layers"]
    assert scores[["model", "layer"]].to_numpy().tolist() == [["glove", 0], ["bert", 0], ["bert", 1], ["bert", 2]]
    assert (scores["silhouette"][:2] == 0).all() and (scores["similarity"][:2] == 1).all()
    assert len(found.numbers["context"]) == 4 * 6 and set(found.figures) == {"context", "context-senses"}
    assert "spellings" not in found.sentences["context"][1]


def test_what_is_said_with_two_spellings_and_without_senses(tmp_path: Path) -> None:
    (tmp_path / "glove.txt").write_text("apple 1 2 3\nApple 3 -2 1\n")
    cased = [text.replace("apple", "Apple") for text in TEXTS[:2]] + TEXTS[2:]
    shown = view([], cased, "apple", SENSES, str(tmp_path / "glove.txt"))
    assert "spellings alone, without context, have a silhouette of 1.00 in glove" in shown.sentences[1]
    plain = view([], TEXTS, "apple", vectors=str(tmp_path / "glove.txt"))
    assert len(plain.pictures) == 1 and "No senses were given" in plain.sentences[1]


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    def refused(match: str, texts: list[str] = TEXTS, **given: Any) -> None:
        with pytest.raises(UserError, match=match):
            explain(None, texts, output_dir=tmp_path / "out", **given)

    (tmp_path / "glove.txt").write_text("red 1 2 3\n")
    vectors = str(tmp_path / "glove.txt")
    refused("needs --word", views=["context"])
    refused("two or more texts", TEXTS[:1], word="apple", vectors=vectors)
    refused("needs --model_name_or_path", word="apple")
    refused("3 values for 4 texts", word="apple", vectors=vectors, senses=SENSES[:3])
    refused("each with two or more", word="apple", vectors=vectors, senses=["a", "a", "a", "b"])
    refused("belong to the view context", senses=SENSES)
    refused("'pear' is not in", word="pear", vectors=vectors)
    refused("has no vector of 'apple'|has no vector of 'Apple'", word="apple", vectors=vectors)
