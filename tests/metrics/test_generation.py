from __future__ import annotations

import math
import sys

import pytest

from tl_toolkit.errors import UserError
from tl_toolkit.metrics.generation import signatures, text_scores


def test_bleu_by_hand() -> None:
    # A sentence of 7 words and a reference of 8: n-gram precisions 6/7, 4/6, 2/5, 1/4, brevity penalty exp(1 - 8/7).
    scores = text_scores(["a b c d x f g"], ["a b c d e f g h"])
    precisions = (6 / 7, 4 / 6, 2 / 5, 1 / 4)
    expected = 100 * math.exp(1 - 8 / 7) * math.prod(precisions) ** 0.25
    assert scores["bleu"] == pytest.approx(expected)
    assert scores["exact_match"] == 0


def test_only_one_score_ignores_case() -> None:
    scores = text_scores(["A man sleeps in the sun .", "two dogs run"], ["a man sleeps in the sun .", "two dogs run"])
    assert scores["bleu_lowercase"] == pytest.approx(100) and scores["bleu"] < 100 and scores["chrf"] < 100
    assert scores["exact_match"] == 0.5


def test_any_of_several_references_counts() -> None:
    predictions = ["one two three four five", "six seven eight nine"]
    several = text_scores(predictions, [["nothing of it", "one two three four five"], ["six seven eight nine"]])
    assert several["bleu"] == pytest.approx(100) and several["exact_match"] == 1
    assert text_scores(predictions, ["nothing of it", "six seven eight nine"])["exact_match"] == 0.5
    assert "nrefs:var" in signatures(predictions, [["a", "b"], ["c"]])["bleu"]


def test_signatures_describe_the_computation() -> None:
    found = signatures(["a b"], ["a b"])
    assert "case:mixed" in found["bleu"] and "case:lc" in found["bleu_lowercase"] and "tok:13a" in found["bleu"]
    assert found.keys() == text_scores(["a b"], ["a b"]).keys() - {"exact_match"}


def test_rows_must_match() -> None:
    with pytest.raises(ValueError, match="1 predictions for 2 rows"):
        text_scores(["a"], ["a", "b"])


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(UserError, match=r"tl-toolkit\[translation\]"):
        text_scores(["a"], ["a"])


def test_the_evaluate_class_has_the_same_scores() -> None:
    from tl_toolkit.metrics import TextScores

    predictions, references = ["a dog sleeps here", "two cats"], ["a dog sleeps here", "two dogs"]
    assert TextScores().compute(predictions=predictions, references=references) == text_scores(predictions, references)
    several = [["a dog sleeps here", "x"], ["two dogs", "two cats"]]
    assert TextScores().compute(predictions=predictions, references=several)["exact_match"] == 1
