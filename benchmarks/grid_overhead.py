"""Where the time of a comparison of small runs goes: training, inference cost, data, the rest, and the imports.

    python benchmarks/grid_overhead.py [--dataset_name builtin:pydocs --rounds 1 --keep FOLDER]

Twelve runs: TF-IDF, an LSTM and the features of a frozen MiniLM, with two numbers of labels and two seeds. The cache of
the toolkit is empty at first, so the features are computed. Parts are those of the records (`cost.seconds`); what they
do not cover is the time between runs: jobs, rehearsals, the imports of the worker, the report. The imports of the first
process are measured in another one, and are not part of the shares. A second call finds everything done.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

GRID: dict[str, Any] = {
    "label_budgets": [300, 1000],
    "seeds": [1, 2],
    "folds": 1,
    "entries": [
        {"name": "TF-IDF", "model_type": "bag_of_ngrams", "config_overrides": {"ngram_range": [1, 2]}},
        {"name": "LSTM", "model_type": "rnn", "config_overrides": {"hidden_size": 64}},
        {"name": "MiniLM features", "model_name_or_path": "builtin:minilm", "strategy": "probe"},
    ],
}
PARTS = {
    "training": ("train", "select"),
    "evaluation": ("evaluate",),
    "inference cost": ("inference",),
    "data": ("data",),
    "model, saving": ("model", "save"),
}
IMPORTS = "import gc, tl_toolkit.workflows.compare, datasets; gc.freeze()"


def timed(*command: str, **environment: str) -> float:
    """The wall time of a command of Python in a process of its own."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
    return time.perf_counter() - began


def measure(folder: Path, arguments: argparse.Namespace) -> None:
    minilm = {"model_name_or_path": arguments.minilm}
    entries = [own | (minilm if "model_name_or_path" in own else {}) for own in GRID["entries"]]
    grid = GRID | {"dataset_name": arguments.dataset_name, "entries": entries}
    (folder / "grid.yaml").write_text(yaml.safe_dump(grid), encoding="utf-8")
    if arguments.dataset_name.startswith("builtin:"):  # is built once on a machine
        code = f"from tl_toolkit.data.sources import _load; _load({arguments.dataset_name!r}, None, None, None)"
        timed("-c", code, TL_TOOLKIT_CACHE=str(folder / "cache"))
    places = ["--config", str(folder / "grid.yaml"), "--output_dir", str(folder / "out")]
    imports = timed("-c", IMPORTS)
    whole, again = (
        timed("-m", "tl_toolkit", "compare", *places, TL_TOOLKIT_CACHE=str(folder / "cache")) for _ in range(2)
    )
    paths = sorted(folder.glob("out/runs/*/result.json"))
    seconds = [json.loads(path.read_text())["cost"]["seconds"] for path in paths]
    found = {part: sum(own[name] for own in seconds for name in names) for part, names in PARTS.items()}
    whole -= imports
    found["between the runs"] = whole - sum(own["total"] for own in seconds)
    print(f"{len(paths)} runs: {whole:.1f} s, and {imports:.1f} s of imports")
    for part, took in found.items():
        print(f"{part:18} {took:6.1f} s {took / whole:5.0%}")
    print(f"only updates and features of training rows: {sum(own['train'] for own in seconds):.1f} s")
    print(f"the second call: {again - imports:.1f} s, and the imports\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_name", default="builtin:pydocs")
    parser.add_argument("--minilm", default="builtin:minilm", help="the checkpoint of MiniLM")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="keep the comparison in this folder, for one round")
    arguments = parser.parse_args()
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as temporary:
            measure(arguments.keep or Path(temporary), arguments)


if __name__ == "__main__":
    main()
