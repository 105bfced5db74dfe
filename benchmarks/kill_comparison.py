"""Whether a comparison that is killed again and again ends with what an uninterrupted one has.

    python benchmarks/kill_comparison.py [--kills 10] [--seed 1] [--parallel_runs 1]

A small grid with a stage is made once in peace. Then the same is made in another folder by a compare.py that is killed
(SIGKILL) at random moments, in turn alone and with all its processes, and started again each time at once. After each
kill every record that is there must be whole, and stay as it is until the end. In the end the records, predictions and
models must be those of the first comparison, apart from times, and no other file may be left. Takes some minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

RECIPE = Path(__file__).parents[1] / "recipes" / "compare.py"
SMALL = {"embedding_size": 7, "hidden_size": 13, "num_hidden_layers": 1}
WORDS = {"fruit": ["apple", "pear", "plum"], "metal": ["iron", "tin", "zinc"], "river": ["rhine", "elbe", "oder"]}
TIMES = frozenset(
    ["started", "finished", "train_seconds", "evaluate_seconds", "examples_per_second", "tokens_per_second"]
    + ["peak_memory_bytes", "seconds", "inference", "energy_joules", "train_runtime", "eval_runtime"]
)
"""What a record says of times and loads, which differ from run to run."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--parallel_runs", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--parallel_runs", str(arguments.parallel_runs)]
        problems = kill_again_and_again(Path(folder), arguments.kills, arguments.seed, flags, print)
    print("\n".join(problems) or "The killed comparison ended with what the uninterrupted one has.")
    sys.exit(bool(problems))


def kill_again_and_again(
    folder: Path, kills: int, seed: int, flags: list[str], say: Callable[[str], None]
) -> list[str]:
    """What differs between a comparison that was killed so often and one that was not; nothing if all is well."""
    grid = write_grid(folder, runs_of_each=max(1, kills // 3))
    peaceful, killed = folder / "peaceful", folder / "killed"
    began = time.monotonic()
    if start(grid, peaceful, flags).wait() != 0:
        return ["The uninterrupted comparison failed."]
    took = time.monotonic() - began
    say(f"uninterrupted: {len(whole_records(peaceful))} records in {took:.0f} s")
    chance, problems = random.Random(seed), list[str]()
    kept: dict[str, bytes] = {}
    for number in range(1, kills + 1):
        process = start(grid, killed, flags)
        wanted, wait = chance.choice([0, 0, 1, 1, 2]), chance.uniform(0, took / 6)
        there = len(whole_records(killed))
        if chance.random() < 0.8:  # else it is killed while it starts
            while process.poll() is None and (
                not (killed / ".lock").exists() or len(whole_records(killed)) < there + wanted
            ):
                time.sleep(0.01)
        time.sleep(wait)
        ended = process.poll() is not None
        everything = number % 2 == 0
        if everything and not ended:
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
        found = whole_records(killed)
        problems += [f"kill {number}: {problem}" for problem in torn(killed)]
        problems += [f"kill {number}: {name} has changed" for name in kept if found.get(name) != kept[name]]
        kept = found
        what = "it had ended" if ended else "all its processes" if everything else "it alone"
        say(f"kill {number:>2}: {what}; {len(found)} records, {len(at_work(killed))} begun")
    if start(grid, killed, flags).wait() != 0:
        problems.append("The comparison failed after the last kill.")
    problems += [f"at the end: {name} has changed" for name in kept if whole_records(killed).get(name) != kept[name]]
    return problems + differences(peaceful, killed)


def start(grid: Path, output_dir: Path, flags: list[str]) -> subprocess.Popen:
    """compare.py in a session of its own, so that all of its processes can be killed together."""
    command = [sys.executable, str(RECIPE), "--config", str(grid), "--output_dir", str(output_dir), *flags]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, env=environment)


def write_grid(folder: Path, runs_of_each: int) -> Path:
    """A grid of two kinds of entries, one behind a stage, with `runs_of_each` seeds."""
    chance = random.Random(7)
    for split, rows in (("train", 67), ("validation", 31), ("test", 43)):
        lines = ["text,label"]
        for row in range(rows):
            name = list(WORDS)[row % 3]
            lines.append(" ".join(chance.choice([*WORDS[name], "the", "of", "old"]) for _ in range(7)) + f",{name}")
        (folder / "data").mkdir(exist_ok=True)
        (folder / "data" / f"{split}.csv").write_text("\n".join(lines) + "\n")
    data = {"dataset_name": str(folder / "data")}
    stage = {"model_type": "awd_lstm", "window_length": 11, "per_device_train_batch_size": 3, "num_train_epochs": 3}
    content = {
        **data, "use_cpu": True, "num_train_epochs": 2, "label_budgets": [31], "title": "Killed",
        "seeds": list(range(1, runs_of_each + 1)),
        "stages": {"lm": {**data, **stage, "config_overrides": {**SMALL, "num_hidden_layers": 2}}},
        "entries": [
            {"name": "scratch", "model_type": "rnn", "config_overrides": SMALL},
            {"name": "transferred", "model_name_or_path": "stage:lm", "strategy": "full"},
        ],
    }  # fmt: skip
    grid = folder / "grid.yaml"
    grid.write_text(yaml.safe_dump(content))
    return grid


def whole_records(output_dir: Path) -> dict[str, bytes]:
    """The finished records of runs and stages, by their place, as they stand in their files."""
    found = {}
    for path in output_dir.glob("*/*/result.json"):
        content = path.read_bytes() if path.exists() else b""
        if b'"key"' in content or path.with_name("stage.json").exists():
            found[str(path.relative_to(output_dir))] = content
    return found


def at_work(output_dir: Path) -> list[Path]:
    """The folders of runs and stages that have no record yet."""
    return [path for path in output_dir.glob("*/*") if path.is_dir() and not (path / "result.json").exists()]


def torn(output_dir: Path) -> Iterator[str]:
    """The records that are no JSON."""
    for path in [*output_dir.glob("*/*/result.json"), *output_dir.glob("results.jsonl")]:
        texts = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        for text in texts:
            try:
                json.loads(text)
            except ValueError:
                yield f"{path} is torn"


def differences(first: Path, second: Path) -> list[str]:
    """What is in one folder of a comparison and not in the other, apart from times."""
    files = [{path.relative_to(folder) for path in folder.rglob("*")} for folder in (first, second)]
    problems = [f"only in {first.name}: {path}" for path in sorted(files[0] - files[1])]
    problems += [f"only in {second.name}: {path}" for path in sorted(files[1] - files[0])]
    for path in sorted(files[0] & files[1]):
        one, other = first / path, second / path
        if path.name == "result.json":
            records = [without_times(json.loads(file.read_text())) for file in (one, other)]
            keys = [key for key in records[0] | records[1] if records[0].get(key) != records[1].get(key)]
            problems += [f"{path} differs in {', '.join(keys)}"] if keys else []
            continue
        elif path.name.startswith("predictions") or path.suffix == ".safetensors":
            same = one.read_bytes() == other.read_bytes()
        else:
            continue
        problems += [] if same else [f"{path} differs"]
    lines = [
        [without_times(json.loads(line)) for line in (folder / "results.jsonl").open()] for folder in (first, second)
    ]
    return problems + ([] if lines[0] == lines[1] else ["results.jsonl differs"])


def without_times(content: Any) -> Any:
    """A record without what depends on how fast the machine was, and on the folder it was made in."""
    if isinstance(content, dict):
        kept = {name: value for name, value in content.items() if name not in TIMES and "per_second" not in name}
        return {name: without_times(value) for name, value in kept.items()}
    if isinstance(content, list):
        return [without_times(value) for value in content]
    if isinstance(content, str):
        return content.replace("/killed/", "/peaceful/")
    return content


if __name__ == "__main__":
    main()
