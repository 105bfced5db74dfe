from __future__ import annotations

import pytest

from tl_toolkit.comparison.arguments import FromResults, parse_compare_arguments
from tl_toolkit.errors import UserError


def test_what_a_decision_is_asked_for():
    parsed = parse_compare_arguments(["--config", "demo.yaml", "--margin", "0.01", "--target", "0.9", "--settle"])
    assert (parsed.margin, parsed.target, parsed.settle) == (0.01, 0.9, True)
    parsed = parse_compare_arguments(["--config", "demo.yaml"])
    assert (parsed.margin, parsed.target, parsed.settle) == (None, None, False)


def test_a_report_from_records_takes_margin_and_target():
    parsed = parse_compare_arguments(["--from_results", "one", "--margin", "0.01", "--target", "0.9"])
    assert parsed == FromResults(["one"], margin=0.01, target=0.9)
    with pytest.raises(UserError, match="so --settle does not apply"):
        parse_compare_arguments(["--from_results", "one", "--settle"])


@pytest.mark.parametrize("margin", ["0", "-0.02", "nan", "inf"])
def test_a_margin_is_a_number_above_zero(margin):
    with pytest.raises(UserError, match="--margin must be a number above 0"):
        parse_compare_arguments(["--config", "demo.yaml", "--margin", margin])
