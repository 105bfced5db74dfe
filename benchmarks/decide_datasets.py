"""What `decide` makes of five csv files, while another process uses a core.

    python benchmarks/decide_datasets.py [--minutes 10] [--only reviews --data FOLDER --output_dir FOLDER]

Each file has odd column names and is decided by one command. The rows that are held back, at most 3,000, are then
predicted by `model/` and by the model of the first run of every entry that was compared on all labels. The table says
how long the command took against its minutes, whether the expected interval holds the held-back score of the final
model, and the regret: by how much the recommended entry lies behind the best compared one on held-back rows, in points.
Ends in about an hour. `--data` names a folder with local copies of the datasets.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

HELD = 3000
NEWS, NAMES = ["World", "Sport", "Business", "Tech"], "label"


def _named(names: dict[int, str]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda rows: rows.assign(label=rows["label"].map(names))


def _imbalanced(rows: pd.DataFrame) -> pd.DataFrame:
    """News of which 3 in 4 are about the world and one in 50 is about business."""
    rows = _named(dict(enumerate(NEWS)))(rows)
    most = int((rows["label"] == "World").sum())
    share = {"World": 1.0, "Sport": 0.2, "Tech": 0.1, "Business": 0.027}
    return pd.concat([own.head(int(most * share[str(name)])) for name, own in rows.groupby("label")])


FILES: dict[str, dict[str, Any]] = {
    "reviews": {
        "dataset": "stanfordnlp/imdb",
        "shape": _named({0: "thumbs down", 1: "thumbs up"}),
        "columns": {"text": "Was jemand schrieb", "label": "Urteil"},
        "rows": 25_000,
    },
    "news, imbalanced": {
        "dataset": "fancyzhx/ag_news",
        "shape": _imbalanced,
        "columns": {"text": "Meldung", "label": "Ressort"},
        "rows": 5_000,
    },
    "300 sentences": {
        "dataset": "SetFit/sst2",
        "shape": _named({0: "no", 1: "yes"}),
        "columns": {"text": "said", "sentence": "said", "label": "liked?"},
        "rows": 300,
    },
    "ratings": {
        "dataset": "movie_ratings",
        "columns": {"text": "col_b", "rating": "col_a"},
        "rows": 8_000,
    },
    "names": {
        "dataset": "names",
        "shape": lambda rows: rows.assign(label="group " + rows["label"].astype(str)),
        "columns": {"text": "Familienname", "label": "Herkunft"},
        "rows": 14_000,
    },
}
"""The files by name: the dataset, how its training and test rows are shaped, the columns, and the rows to decide on."""


def write_files(name: str, data: Path | None, folder: Path) -> tuple[Path, Path]:
    """The csv file to decide on, and that of the rows held back; a column of numbers and one of notes beside them."""
    from datasets import load_dataset

    file = FILES[name]
    source = str(data / local(file["dataset"])) if data else file["dataset"]
    splits = load_dataset(source)
    paths = folder / "labelled.csv", folder / "held_back.csv"
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows, path in (("train", file["rows"], paths[0]), ("test", HELD, paths[1])):
        own = splits[split].to_pandas().sample(frac=1.0, random_state=7)
        own = file.get("shape", lambda rows: rows)(own).sample(frac=1.0, random_state=8).head(rows)
        own = own.rename(columns=file["columns"])
        own = own[[name for name in own.columns if name in file["columns"].values()]]
        own.insert(0, "Nr.", np.arange(len(own)) + 4711)
        own["via"] = np.where(np.arange(len(own)) % 3, "web", "letter")
        own.to_csv(path, index=False)
    return paths


def local(dataset: str) -> str:
    """The folder of a local copy."""
    return {"stanfordnlp/imdb": "imdb", "fancyzhx/ag_news": "ag_news_subset", "SetFit/sst2": "sst2"}.get(
        dataset, dataset
    )


def use_a_core() -> None:
    while True:
        sum(range(100_000))


def score(model: Path, held: Path, label: str, metric: str) -> float:
    """The score of a model folder on the rows that were held back."""
    import tl_toolkit

    rows = pd.read_csv(held, keep_default_na=False).drop(columns=["Nr.", "via"])
    (text,) = set(rows.columns) - {label}
    columns = {"text_column": text, "label_column": label}
    how = {"use_cpu": True, "bf16_full_eval": True, "disable_tqdm": True, "output_dir": str(held.parent / "predicted")}
    return float(tl_toolkit.predict(str(model), rows, **columns, **how).metrics[metric])


def decide(name: str, minutes: float, data: Path | None, folder: Path, flags: list[str]) -> dict[str, Any]:
    """One row of the table; the files stay in `folder`."""
    labelled, held = write_files(name, data, folder)
    output = folder / "decision"
    command = [
        sys.executable,
        "-m",
        "tl_toolkit",
        "decide",
        labelled,
        "--minutes",
        str(minutes),
        "--output_dir",
        output,
        "--keep_models",
    ]
    timing = folder / "timing.json"
    if not timing.exists():
        began, plan = time.monotonic(), None
        with (folder / "printed.txt").open("w", buffering=1) as printed:
            process = subprocess.Popen(
                [str(part) for part in [*command, "--output_dir", output, *flags]],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
            assert process.stdout is not None
            for line in process.stdout:
                printed.write(line)
                plan = time.monotonic() - began if plan is None and line.startswith("In all about") else plan
        code, took = process.wait(), time.monotonic() - began
        timing.write_text(json.dumps({"code": code, "seconds": took, "late": took / (60 * minutes) - 1, "plan": plan}))
    row: dict[str, Any] = {"file": name, **json.loads(timing.read_text())}
    if row["code"]:
        return row
    records = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    decision = json.loads((output / "decision.json").read_text())
    top, label = decision["budgets"][-1], list(FILES[name]["columns"].values())[-1]
    metric, expected = decision["metric"], top["expected"]
    tried: dict[str, float] = {}
    for record in sorted(records, key=lambda one: one["seed"]):
        whole = record["budget"]["label_budget"] is None and record["status"] == "completed"
        if whole and record["entry"] not in tried and (output / record["folder"]).is_dir():
            tried[record["entry"]] = score(output / record["folder"], held, label, metric)
    row |= {"metric": metric, "status": top["status"], "recommended": top["recommended"] or top["best"]}
    row |= {"expected": expected, "runs": len(records), "held_back": tried}
    times = [[datetime.fromisoformat(record[end]) for end in ("started", "finished")] for record in records]
    row["work"] = sum((end - start).total_seconds() for start, end in times)
    if (output / "model").is_dir():
        row["final"] = score(output / "model", held, label, metric)
        sign = 1 if decision["greater_is_better"] else -1
        row["regret"] = max(sign * own for own in tried.values()) - sign * tried[row["recommended"]]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--only", nargs="+", default=list(FILES), choices=list(FILES))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/decide_datasets"))
    arguments, flags = parser.parse_known_args()
    busy = multiprocessing.Process(target=use_a_core, daemon=True)
    busy.start()
    for name in arguments.only:
        folder = arguments.output_dir / name.replace(", ", "_").replace(" ", "_")
        row = decide(name, arguments.minutes, arguments.data, folder, flags)
        with (arguments.output_dir / "table.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
    os.kill(busy.pid or 0, 9)


if __name__ == "__main__":
    main()
