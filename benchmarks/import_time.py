"""Seconds that importing the toolkit adds to importing its dependencies.

    python benchmarks/import_time.py

Each statement and its baseline run alternately in fresh interpreters; the added time is the difference of the medians.
Takes two to three minutes; each dot is a round.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

RECIPE = Path(__file__).parents[1] / "recipes" / "finetune.py"
PAIRS = {
    "import tl_toolkit": (
        ["-c", "import torch; from transformers import AutoModel"],
        ["-c", "import torch; from transformers import AutoModel; import tl_toolkit"],
    ),
    "finetune.py --help": (["-c", "from transformers import TrainingArguments"], [str(RECIPE), "--help"]),
}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main(rounds: int = 5) -> None:
    for name, (baseline, ours) in PAIRS.items():
        seconds(ours)  # fills the page cache and __pycache__
        runs = []
        for _ in range(rounds):
            runs.append((seconds(baseline), seconds(ours)))
            print(".", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        base, own = (statistics.median(times) for times in zip(*runs, strict=True))
        print(f"{name:<20} {own:6.2f} s, baseline {base:6.2f} s, added {own - base:+6.2f} s")


if __name__ == "__main__":
    main()
