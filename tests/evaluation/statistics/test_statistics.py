from __future__ import annotations

import pytest

from tl_toolkit.evaluation.intervals import spread


def test_spread_is_the_sample_deviation():
    reached = spread([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0])
    assert reached.mean == 5.0
    assert reached.deviation == pytest.approx((32 / 7) ** 0.5)  # 32 squared units over n - 1
    assert reached.count == 8


def test_a_single_run_has_no_deviation():
    assert spread([0.3]).deviation is None
