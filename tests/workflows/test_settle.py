"""`compare --settle` trains more seeds of the open cells, and they stay."""

from __future__ import annotations

import json

from tl_toolkit import compare
from tl_toolkit.workflows import compare as workflow


def test_added_seeds_are_trained_and_stay(tmp_path, monkeypatch, tiny_rnn, capsys):
    rows = [("a fine film", "good"), ("a dull film", "bad")] * 20
    entries = [{"name": "first", **tiny_rnn}, {"name": "second", **tiny_rnn}]
    how = {
        "entries": entries,
        "label_budgets": [16],
        "num_train_epochs": 1,
        "folds": 1,
        "output_dir": str(tmp_path / "out"),
    }
    compare(rows, **how, seeds=[1])
    monkeypatch.setattr(workflow, "settling_seeds", lambda grid, folder, asked: {grid.runs[0].folder: [2, 3]})
    settled = compare(rows, **how, seeds=[1], settle=True)
    assert "--settle adds 2 runs." in capsys.readouterr().out
    assert settled.results.groupby("entry")["seed"].apply(list).to_dict() == {"first": [1, 2, 3], "second": [1]}
    written = json.loads((tmp_path / "out" / "decision.json").read_text())
    assert list(written["asked"]["settle"].values()) == [[2, 3]]
    monkeypatch.undo()
    again = compare(rows, **how, seeds=[1])
    assert len(again.results) == 4 and again.decision["budgets"][0]["entries"][0]["runs"] == 3
