"""Pairs of labelled rows, by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from tl_toolkit.errors import UserError
from tl_toolkit.strategies.contrastive import pairs_of


def test_all_pairs_are_drawn_and_the_rarer_kind_is_repeated() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2, 2])
    pairs, cosines = pairs_of(labels)
    found = [tuple(sorted(pair)) for pair in pairs.tolist()]
    assert set(found) == set(combinations(range(7), 2))
    assert (labels[pairs[:, 0]] == labels[pairs[:, 1]]).astype(np.float32).tolist() == cosines.tolist()
    assert (cosines == 1).sum() == (cosines == 0).sum() == 16  # 3·2 + 3·2 + 2·2 of different classes, once each
    same = [found.count(pair) for pair in ((0, 1), (0, 2), (1, 2), (3, 4), (5, 6))]
    assert sorted(same) == [3, 3, 3, 3, 4]


def test_of_many_rows_a_part_of_the_pairs_is_drawn() -> None:
    labels = np.arange(2003) % 3
    pairs, cosines = pairs_of(labels, most=500)
    assert pairs.shape == (500, 2) and cosines.sum() == 250
    assert (pairs[:, 0] != pairs[:, 1]).all() and len(np.unique(pairs)) > 700
    assert ((labels[pairs[:, 0]] == labels[pairs[:, 1]]) == (cosines == 1)).all()


def test_one_row_of_each_class_has_no_pair_of_the_same() -> None:
    pairs, cosines = pairs_of(np.array([1, 0, 2]))
    assert len(pairs) == 3 and not cosines.any()


def test_a_single_row_is_refused() -> None:
    with pytest.raises(UserError, match="only one"):
        pairs_of(np.array([1]))
