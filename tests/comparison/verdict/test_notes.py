"""The notes on what entries need besides labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tl_toolkit.comparison.verdict.notes import besides_labels
from tl_toolkit.evaluation.results import Result
from tl_toolkit.evaluation.statistics.cells import make_cells


def _said(make_record: Callable[..., dict[str, Any]], **changes: Any) -> str:
    results = [Result("entry", "runs/entry", make_record("entry", budget, 1, 0.7, **changes)) for budget in (100, 2000)]
    return besides_labels(make_cells(results)).replace("\u00a0", " ")


def test_what_entries_need_besides_labels(make_record: Callable[..., dict[str, Any]]) -> None:
    assert _said(make_record) == ""
    taught = {"name": "distilled", "teacher": {"name": "minilm, fine-tuned", "train_seconds": 63.0}}
    said = _said(make_record, strategy={**taught, "unlabelled_texts": 6620, "generated_texts": 0})
    assert said.startswith("With 2,000 labels, entry needs the teacher minilm, fine-tuned (63")
    assert said.endswith("of training) and 6,620 texts without labels.")
    assert "texts made from the labelled ones" in _said(make_record, strategy={**taught, "generated_texts": 30})
    prompt = {"name": "prompt", "examples": 7, "verbalizers": ["bad", "good"]}
    said = _said(make_record, strategy=prompt)
    assert said == "entry trains nothing: with 2,000 labels, its prompt has 7 examples, and the answers are bad, good."
    said = _said(make_record, stages=[{"name": "wiki", "train_seconds": 60.0}])
    assert said.startswith("The pre-training of entry, shared by all its runs, took")
