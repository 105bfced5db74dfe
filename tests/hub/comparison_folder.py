"""A comparison folder of two small classifiers with models, created quickly because nothing is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from run_folders import make_record, make_run_folder

ENTRIES = ("LSTM <b>", "LSTM | two")
SECRET = "a text that only the dataset has"


def make_comparison(folder: Path, **changes: Any) -> Path:
    """Create `folder` as `tl-toolkit compare` leaves it; the predictions and records of all runs contain `SECRET`."""
    import pandas as pd

    lines = []
    for number, entry in enumerate(ENTRIES):
        run = make_run_folder(folder / "runs" / f"run-{number}")
        rows = {"row": range(13), "text": [SECRET] * 13, "label": [0, 1, 2] * 4 + [0], "prediction": [number] * 13}
        pd.DataFrame({**rows, "scores": [[0.5, 0.3, 0.2]] * 13}).to_parquet(run / "predictions_test.parquet")
        record = {**make_record("/home/anna"), "entry": entry, "folder": f"runs/run-{number}", "seed": 1}
        record["samples"] = [{"row": 0, "source": SECRET}]
        lines.append(json.dumps({**record, **changes}) + "\n")
    (folder / "results.jsonl").write_text("".join(lines))
    (folder / "report.html").write_text("<html><title>Which &lt;fruit&gt;?</title></html>")
    return folder
