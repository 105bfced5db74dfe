from __future__ import annotations

import json

import numpy as np
import pytest

from tl_toolkit.metrics.constant import constant_answer


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([2, 0, 2, 1, 2]), 2),
        (np.array([3, 1, 1, 3, 0]), 1),  # the lower id of two that are equally frequent
        (np.array([0.5, 2.0, 0.5]), 1.0),
        (np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]], dtype=np.int8), [1, 0, 1]),
        # Every label alone is in half of the rows or more; the two together are in none.
        (np.array([[1, 0], [0, 1], [1, 0], [0, 1], [0, 1]], dtype=np.float32), [0, 1]),
    ],
)
def test_the_answer_is_the_most_frequent_one_or_the_mean(labels, expected):
    answer = constant_answer(labels)
    assert answer == expected and type(answer) is type(expected)
    assert json.loads(json.dumps(answer)) == expected
