"""Peak memory over imports, and seconds, of `finetune` and `predict` on a large csv file.

    python benchmarks/large_data.py [--rows 1000000] [--predicted 200000] [--folder FOLDER]

Trains a small LSTM on 1,000 of the rows, and predicts some of them; the predicted file is shown at a tenth of its size,
too, because memory should not grow with it. Each runs in a process of its own. Imports are not counted.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path


def write_rows(path: Path, rows: int) -> None:
    """Short reviews of 8 to 58 words, with one word that tells the label."""
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(8000)]
    with path.open("w", encoding="utf-8") as file:
        file.write("id,text,label\n")
        for row in range(rows):
            word, label = chance.choice([("good", "positive"), ("bad", "negative")])
            text = " ".join(chance.choices(words, k=chance.randint(8, 58)))
            file.write(f"{row},{text} {word},{label}\n")


def peak() -> float:
    """The peak of the resident memory in MiB; a run record resets it, so it has to be watched."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def watched(work: Callable[[], object]) -> dict[str, float]:
    """Peak MiB over what was used before, and wall and processor seconds."""
    peaks, base = [peak()], peak()

    def watch() -> None:
        while True:
            peaks.append(peak())
            time.sleep(0.03)

    threading.Thread(target=watch, daemon=True).start()
    wall, processor = time.perf_counter(), time.process_time()
    work()
    seconds = {"seconds": time.perf_counter() - wall, "processor": time.process_time() - processor}
    return {"mib": max(*peaks, peak()) - base, **seconds}


def run(verb: str, path: str, folder: str) -> None:
    import datasets  # noqa: F401
    import pandas as pd  # noqa: F401
    import pyarrow.parquet as pq  # noqa: F401
    import sklearn.metrics as metrics  # noqa: F401

    import tl_toolkit
    import tl_toolkit.training.rehearsal
    import tl_toolkit.training.trainer
    import tl_toolkit.workflows.finetune
    import tl_toolkit.workflows.predict  # noqa: F401

    common = {"dataset_name": path, "use_cpu": True, "disable_tqdm": True}
    budgets = {"label_budget": 1000, "validation_budget": 500, "test_budget": 500}
    work: dict[str, Callable[[], object]] = {
        "finetune": lambda: tl_toolkit.finetune(model_type="rnn", output_dir=f"{folder}/model", **budgets, **common),
        "predict": lambda: tl_toolkit.predict(
            model_name_or_path=f"{folder}/model", output_dir=f"{folder}/predicted", **common
        ),
    }
    print(json.dumps(watched(work[verb])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--predicted", type=int, default=200_000)
    parser.add_argument("--folder", help="for the files; by default a temporary one")
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        return run(*options.run)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for verb, rows in (
            ("finetune", options.rows), ("predict", options.predicted // 10), ("predict", options.predicted),
        ):  # fmt: skip
            path = Path(folder) / f"{rows}.csv"
            write_rows(path, rows)
            command = [sys.executable, __file__, "--run", verb, str(path), folder]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(done.stderr)
            found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{verb:8} {rows:9,} rows of {path.stat().st_size / 2**20:4.0f} MiB: {found['mib']:5.0f} MiB over "
                f"imports, {found['processor']:6.1f} s of processor, {found['seconds']:6.1f} s",
                flush=True,
            )
    return None


if __name__ == "__main__":
    main()
