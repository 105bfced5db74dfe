"""The bag-of-n-grams family: features by hand, masks, and saved folders."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from tl_toolkit.models import BagOfNgramsConfig, BagOfNgramsForSequenceClassification

VOCABULARY = 13
# 5, 7 and 11, and all pairs of them
TABLE = [[5], [7], [11], *([a, b] for a in (5, 7, 11) for b in (5, 7, 11))]
IDF = torch.linspace(1.1, 2.3, len(TABLE))


def key(*ids: int) -> int:
    return sum((index + 1) * (VOCABULARY + 1) ** place for place, index in enumerate(reversed(ids)))


def build(table: list[list[int]] = TABLE, **fields: Any) -> BagOfNgramsForSequenceClassification:
    config = BagOfNgramsConfig(vocab_size=VOCABULARY, **{"num_labels": 3, "pad_token_id": 0, **fields})
    model = BagOfNgramsForSequenceClassification(config).eval()
    model.set_ngrams(torch.tensor(sorted(key(*ids) for ids in table)), IDF[: len(table)])
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def logits(model: Any, ids: list[list[int]], mask: list[list[int]] | None = None) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor(ids), None if mask is None else torch.tensor(mask)).logits


def dense_features(model: Any, ids: list[list[int]]) -> torch.Tensor:
    """(texts, num_ngrams)"""
    indices, weights = model.ngrams(torch.tensor(ids))
    return torch.zeros(len(ids), model.config.num_ngrams).scatter_add(1, indices, weights)


def test_features_by_hand() -> None:
    # 5 twice, 7 twice, (5, 7) twice, (7, 5) once; 2 is not in the table. Keys are ordered by length, then by ids.
    text = [[5, 7, 5, 7, 2]]
    twice = 1 + math.log(2)
    counts = {(5,): twice, (7,): twice, (5, 7): twice, (7, 5): 1.0}
    expected = torch.tensor([counts.get(tuple(ids), 0.0) for ids in TABLE]) * IDF
    model = build()
    torch.testing.assert_close(dense_features(model, text)[0], expected / expected.norm())

    model.config.sublinear_tf = False
    counts = {(5,): 2.0, (7,): 2.0, (5, 7): 2.0, (7, 5): 1.0}
    plain = torch.tensor([counts.get(tuple(ids), 0.0) for ids in TABLE])
    torch.testing.assert_close(dense_features(model, text)[0], plain * IDF / (plain * IDF).norm())

    model.config.weighting = "counts"
    torch.testing.assert_close(dense_features(model, text)[0], plain)


def test_logits_are_a_linear_map_of_the_features_and_so_are_gradients() -> None:
    model, ids = build(), [[5, 7, 5, 7, 2], [11, 11, 5, 0, 7]]
    features = dense_features(model, ids)
    expected = features @ model.classifier.weight + model.bias
    outputs = model(torch.tensor(ids), labels=torch.tensor([2, 1]))
    torch.testing.assert_close(outputs.logits, expected)
    outputs.loss.backward()
    error = (expected.softmax(-1) - torch.eye(3)[[2, 1]]) / 2
    torch.testing.assert_close(model.classifier.weight.grad, (features.T @ error).detach())
    torch.testing.assert_close(model.bias.grad, error.sum(0).detach())


def test_token_ids_describe_the_table() -> None:
    model = build([[5], [7, 5], [5, 7, 11]], ngram_range=(1, 3))
    assert model.ngrams.token_ids().tolist() == [[5, -1, -1], [7, 5, -1], [5, 7, 11]]


def test_masked_tokens_change_nothing() -> None:
    model = build()
    alone = logits(model, [[5, 7, 11]])
    batch = [[5, 7, 11, 0, 0], [0, 0, 5, 7, 11], [5, 5, 7, 0, 11], [11, 7, 5, 7, 11], [5, 7, 11, 99, -100]]
    mask = [[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1], [0, 0, 1, 1, 1], [1, 1, 1, 0, 0]]
    torch.testing.assert_close(logits(model, batch, mask), alone.expand(5, 3), rtol=0, atol=0)
    assert not logits(model, [[5, 7, 11, 11, 11]]).allclose(alone)


def test_tokens_keep_their_order_around_holes() -> None:
    model, random = build(), torch.Generator().manual_seed(3)
    ids = torch.tensor([5, 7, 11])[torch.randint(3, (1, 997), generator=random)]
    mask = torch.randint(2, (1, 997), generator=random)
    indices, weights = model.ngrams(ids, mask)
    expected = dense_features(model, [ids[0][mask[0] == 1].tolist()])[0]
    torch.testing.assert_close(torch.zeros(len(TABLE)).index_add(0, indices[0], weights[0]), expected)


def test_ngrams_that_end_after_the_text_have_the_key_0() -> None:
    ids, mask = torch.tensor([[5, 7, 11], [0, 0, 5]]), torch.tensor([[1, 1, 1], [0, 0, 1]])
    keys = build().ngrams.keys_of(ids, mask).tolist()
    assert keys == [[0, key(5), key(7), key(11), key(5, 7), key(7, 11)], [0, 0, 0, 0, 0, key(5)]]


def test_an_exported_graph_reads_texts_of_other_lengths() -> None:
    model = build()
    sizes = {0: torch.export.Dim("batch", min=2, max=64), 1: torch.export.Dim("time", min=2, max=512)}
    shown = {"input_ids": torch.tensor([[5, 7, 11], [7, 0, 5]]), "attention_mask": torch.ones(2, 3, dtype=torch.long)}
    graph = torch.export.export(model, (), shown, dynamic_shapes={"input_ids": sizes, "attention_mask": sizes}).module()
    ids, mask = [[5, 7, 5, 7, 2], [11, 5, 0, 0, 0], [0, 5, 0, 7, 5]], [[1] * 5, [1, 1, 0, 0, 0], [0, 1, 0, 1, 1]]
    found = graph(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)).logits
    torch.testing.assert_close(found, logits(model, ids, mask))


def test_order_matters_only_to_ngrams() -> None:
    pairs, words = build(), build([[5], [7], [11]], ngram_range=[1, 1])
    assert not logits(pairs, [[5, 7]]).allclose(logits(pairs, [[7, 5]]))
    torch.testing.assert_close(logits(words, [[5, 7]]), logits(words, [[7, 5]]))


def test_texts_without_known_ngrams_have_the_bias_as_logits() -> None:
    model = build(ngram_range=[2, 2])
    expected = model.bias.detach().expand(3, 3)
    short = logits(model, [[5, 0], [2, 3], [0, 0]], [[1, 0], [1, 1], [0, 0]])
    torch.testing.assert_close(short, expected, rtol=0, atol=0)
    torch.testing.assert_close(logits(model, [[5]]), expected[:1], rtol=0, atol=0)


@pytest.mark.parametrize("ids", [[[5, VOCABULARY]], [[-1, 5]]])
def test_ids_outside_the_vocabulary_are_an_error(ids: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="Token ids must be from 0 to 12"):
        logits(build(), ids)


def test_embeddings_are_an_error() -> None:
    for arguments in ({"inputs_embeds": torch.zeros(1, 2, 3)}, {}):
        with pytest.raises(ValueError, match="Pass input_ids, not inputs_embeds"):
            build()(**arguments)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ngram_range": [2, 1]}, "ngram_range must be the smallest and the largest n"),
        ({"ngram_range": [0, 1]}, "ngram_range must be the smallest and the largest n"),
        ({"ngram_range": [1]}, "ngram_range must be the smallest and the largest n"),
        ({"vocab_size": 30_000, "ngram_range": [1, 5]}, r"\(1, 5\) is too long for 30,000 token ids"),
        ({"num_ngrams": 0}, "num_ngrams must be at least 1"),
        ({"min_rows": 0}, "min_rows must be at least 1"),
        ({"weighting": "bm25"}, "weighting"),
    ],
)
def test_configurations_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        BagOfNgramsConfig(**fields)


def test_the_longest_ngrams_have_different_keys() -> None:
    size = 55_000  # (size + 1) ** 4 is just below 2 ** 63
    ids = [[size - 1] * 4, [size - 1, size - 1, size - 1, size - 2], [0, 0, 0, 0]]
    config = BagOfNgramsConfig(vocab_size=size, ngram_range=[4, 4])
    model = BagOfNgramsForSequenceClassification(config)
    keys = model.ngrams.keys_of(torch.tensor(ids)).max(dim=1).values
    assert keys.tolist() == [sum((i + 1) * (size + 1) ** p for p, i in enumerate(reversed(row))) for row in ids]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_folder_is_exact(tmp_path: Path, dtype: torch.dtype) -> None:
    model = build().to(dtype)
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert isinstance(again, BagOfNgramsForSequenceClassification) and again.dtype == dtype
    assert again.config.num_ngrams == len(TABLE)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)
    ids = [[5, 7, 5, 7, 2]]
    torch.testing.assert_close(logits(again, ids), logits(model, ids), rtol=0, atol=0)


WITHOUT_TOOLKIT = """
import sys
sys.modules["tl_toolkit"] = None
import torch, transformers
load = transformers.AutoModelForSequenceClassification.from_pretrained
model = load(sys.argv[1], trust_remote_code=True).eval()
model.save_pretrained(sys.argv[1] + "/again")
again = load(sys.argv[1] + "/again", trust_remote_code=True).eval()
torch.save([one(torch.tensor([[5, 7, 5, 7, 2]])).logits for one in (model, again)], sys.argv[1] + "/logits.pt")
assert not any(module.startswith("tl_toolkit.") for module in sys.modules)
"""


def test_a_saved_folder_works_without_the_toolkit(tmp_path: Path) -> None:
    model = build()
    model.save_pretrained(tmp_path)
    subprocess.run([sys.executable, "-c", WITHOUT_TOOLKIT, str(tmp_path)], check=True, cwd=tmp_path)
    for found in torch.load(tmp_path / "logits.pt"):
        torch.testing.assert_close(found, logits(model, [[5, 7, 5, 7, 2]]), rtol=0, atol=0)
    assert AutoConfig.from_pretrained(tmp_path / "again").num_ngrams == len(TABLE)
