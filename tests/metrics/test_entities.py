"""Entities compared with worked examples and, if installed, with seqeval."""

from __future__ import annotations

import numpy as np
import pytest

from tl_toolkit.metrics.entities import entities, entity_scores, tag_scheme


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        # IOB1: an entity starts with I-, an adjacent one with B-.
        ("I-PER I-PER B-PER O", [("PER", 0, 2), ("PER", 2, 3)]),
        ("I-PER I-LOC I-LOC", [("PER", 0, 1), ("LOC", 1, 3)]),
        ("O I-PER O", [("PER", 1, 2)]),
        ("B-PER B-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("B-PER I-LOC", [("PER", 0, 1), ("LOC", 1, 2)]),
        # IOBES, and violations of its scheme.
        ("S-PER B-LOC I-LOC E-LOC O", [("PER", 0, 1), ("LOC", 1, 4)]),
        ("E-PER E-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("S-PER I-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("B-PER S-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("O O", []),
        ("B-date-of-birth I-date-of-birth", [("date-of-birth", 0, 2)]),
    ],
)
def test_entities(tags: str, expected: list[tuple]) -> None:
    assert entities(tags.split()) == expected


def test_none_is_outside() -> None:
    assert entities(["B-PER", None, "I-PER", "NOUN"]) == [("PER", 0, 1), ("PER", 2, 3)]


def test_scores_of_a_worked_example() -> None:
    references = [["B-PER", "I-PER", "O", "B-LOC"], ["B-ORG", "O", "O"], ["O", "O"]]
    predictions = [["B-PER", "I-PER", "O", "B-ORG"], ["B-ORG", "I-ORG", "O"], ["O", "B-LOC"]]
    # 3 entities, 4 predicted, 1 correct
    assert entity_scores(predictions, references) == pytest.approx((1 / 4, 1 / 3, 2 / 7))
    assert entity_scores(references, references) == (1.0, 1.0, 1.0)
    assert entity_scores([["O"]], [["O"]]) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="2 tags, but its prediction has 1"):
        entity_scores([["O"]], [["O", "O"]])


@pytest.mark.parametrize(
    ("sentences", "scheme"),
    [
        (["B-PER I-PER O B-PER"], "IOB2"),
        (["I-PER I-PER O", "I-LOC B-LOC"], "IOB1"),
        (["O B-PER I-LOC"], "IOB1"),
        (["B-PER E-PER S-PER O"], "IOBES"),
        (["B-PER O"], "IOB2"),
        (["O O"], None),
        (["NOUN VERB"], None),
        (["B I O"], None),
        (["B-PER X-PER"], None),
        (["E-PER S-PER"], None),
    ],
)
def test_scheme(sentences: list[str], scheme: str | None) -> None:
    split = [sentence.split() for sentence in sentences]
    assert tag_scheme({tag for tags in split for tag in tags}, split) == scheme


@pytest.mark.parametrize("prefixes", ["BI", "BIES"])
def test_scores_equal_seqeval(prefixes: str) -> None:
    metrics = pytest.importorskip("seqeval.metrics", reason="seqeval is not installed")
    rng = np.random.default_rng(len(prefixes))
    names = ["O", *(f"{prefix}-{kind}" for prefix in prefixes for kind in ("PER", "LOC"))]
    lengths = rng.integers(1, 13, size=101)
    references = [rng.choice(names, size=length).tolist() for length in lengths]
    noise = [rng.choice(names, size=length).tolist() for length in lengths]
    predictions = [
        [wrong if rng.random() < 0.3 else right for right, wrong in zip(tags, others, strict=True)]
        for tags, others in zip(references, noise, strict=True)
    ]
    found = entity_scores(predictions, references)
    assert 0.1 < found.f1 < 0.9
    assert found.precision == pytest.approx(metrics.precision_score(references, predictions))
    assert found.recall == pytest.approx(metrics.recall_score(references, predictions))
    assert found.f1 == pytest.approx(metrics.f1_score(references, predictions))


def test_metric_class() -> None:
    from tl_toolkit.metrics import EntityF1

    result = EntityF1().compute(predictions=[["B-PER", "O"]], references=[["B-PER", "B-LOC"]])
    assert result == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)}
