"""Scores of resampled corpora from means over rows, compared with sacrebleu on the corpora themselves."""

from __future__ import annotations

import numpy as np
import pytest

from tl_toolkit.evaluation.statistics.row_metrics import TEXTS
from tl_toolkit.metrics.generation import text_scores

WORDS = ["a", "red", "Fox", "jumps", "over", "the", "lazy", "dog", "today"]


def corpus(skill, rows=37, shortest=1, references=1):
    generator = np.random.default_rng(5)
    wanted = [
        [" ".join(generator.choice(WORDS, generator.integers(shortest, 9))) for _ in range(references)]
        for _ in range(rows)
    ]
    written = [
        " ".join(word if generator.random() < skill else "some" for word in generator.choice(own).split())
        for own in wanted
    ]
    return written, wanted


@pytest.mark.parametrize(("skill", "shortest", "references"), [(0.9, 4, 1), (0.5, 1, 2), (0.15, 1, 1), (0.0, 1, 1)])
def test_resampled_corpora_have_the_scores_of_sacrebleu(skill, shortest, references):
    """From nearly all right to nothing right; with few matches an n-gram order has none and is smoothed."""
    written, wanted = corpus(skill, shortest=shortest, references=references)
    quantities = {name: metric.quantities(wanted, written) for name, metric in TEXTS.items()}
    generator = np.random.default_rng(7)
    for _ in range(3):
        drawn = generator.integers(37, size=37)
        expected = text_scores([written[row] for row in drawn], [wanted[row] for row in drawn])
        for name, metric in TEXTS.items():
            assert float(metric.value(quantities[name][drawn].mean(axis=0))) == pytest.approx(expected[name], abs=1e-9)


def test_texts_too_short_for_an_n_gram_order_score_zero():
    written, wanted = ["a red", "the dog"], ["a red", "the dog"]
    found = {name: float(m.value(m.quantities(wanted, written).mean(axis=0))) for name, m in TEXTS.items()}
    assert found == pytest.approx(text_scores(written, wanted)) and found["bleu"] == 0 and found["chrf"] == 100


def test_many_corpora_are_scored_at_once():
    written, wanted = corpus(0.6)
    for metric in TEXTS.values():
        means = metric.quantities(wanted, written).reshape(37, -1)[np.random.default_rng(1).integers(37, size=(11, 37))]
        means = means.mean(axis=1)
        assert metric.value(means) == pytest.approx([float(metric.value(row)) for row in means])
