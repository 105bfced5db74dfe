"""Check that a comparison that is killed repeatedly ends with the same files as an uninterrupted one.

    python benchmarks/kill_comparison.py [--kills 10] [--seed 1] [--parallel_runs 1]

A small grid with a stage first runs without interruption. Then the same grid runs in another folder and is ended by
SIGKILL, SIGTERM, SIGINT or SIGHUP at random moments, alternately alone and with all its processes, and restarted each
time. After each kill no process may be left, and every record must be complete and must not change until the end.
Finally the records, predictions and models must equal
those of the first comparison, except for times, and no other files may be left. Takes a few minutes.
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
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
PATIENCE_SECONDS = 120  # for a comparison that was asked to stop, which writes its report
TIMES = frozenset(
    ["checksum", "started", "finished", "train_seconds", "evaluate_seconds", "examples_per_second", "tokens_per_second"]
    + ["peak_memory_bytes", "seconds", "inference", "energy_joules", "train_runtime", "eval_runtime"]
)
"""Fields of a record that depend on time or load and differ between runs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--parallel_runs", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--parallel_runs", str(arguments.parallel_runs)]
        problems = kill_again_and_again(Path(folder), arguments.kills, arguments.seed, flags, print)
    print("\n".join(problems) or "The killed comparison equals the uninterrupted one.")
    sys.exit(bool(problems))


def kill_again_and_again(
    folder: Path, kills: int, seed: int, flags: list[str], say: Callable[[str], None]
) -> list[str]:
    """The differences between a comparison that was killed `kills` times and an uninterrupted one; empty if none."""
    grid = write_grid(folder, runs_of_each=max(1, kills // 3))
    reference, killed = folder / "reference", folder / "killed"
    began = time.monotonic()
    if start(grid, reference, flags).wait() != 0:
        return ["The uninterrupted comparison failed."]
    took = time.monotonic() - began
    say(f"uninterrupted: {len(whole_records(reference))} records in {took:.0f} s")
    chance, problems = random.Random(seed), list[str]()
    kept: dict[str, bytes] = {}
    for number in range(1, kills + 1):
        process = start(grid, killed, flags)
        wanted, wait = chance.choice([0, 0, 1, 1, 2]), chance.uniform(0, took / 6)
        there = len(whole_records(killed))
        if chance.random() < 0.8:  # otherwise kill it during start-up
            while process.poll() is None and (
                not (killed / ".lock").exists() or len(whole_records(killed)) < there + wanted
            ):
                time.sleep(0.01)
        time.sleep(wait)
        ended = process.poll() is not None
        everything = number % 2 == 0
        number_of_signal = signal.SIGKILL if number % 3 == 0 else chance.choice(SIGNALS)
        if not ended:
            (os.killpg if everything else os.kill)(process.pid, number_of_signal)
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            problems.append(f"kill {number}: {number_of_signal.name} did not end the comparison")
            process.kill()
            process.wait()
        problems += [f"kill {number}: process {left} is left" for left in still_there(process.pid)]
        found = whole_records(killed)
        problems += [f"kill {number}: {problem}" for problem in torn(killed)]
        problems += [f"kill {number}: {name} has changed" for name in kept if found.get(name) != kept[name]]
        kept = found
        what = "it had ended" if ended else f"{number_of_signal.name} to {'all' if everything else 'the main process'}"
        say(f"kill {number:>2}: {what}; {len(found)} records, {len(in_progress(killed))} in progress")
    if start(grid, killed, flags).wait() != 0:
        problems.append("The comparison failed after the last kill.")
    problems += [f"at the end: {name} has changed" for name in kept if whole_records(killed).get(name) != kept[name]]
    return problems + differences(reference, killed)


def start(grid: Path, output_dir: Path, flags: list[str]) -> subprocess.Popen:
    """Start the comparison in its own session, so that all of its processes can be killed together."""
    command = [sys.executable, str(RECIPE), "--config", str(grid), "--output_dir", str(output_dir), *flags]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
        preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in SIGNALS[1:]],  # a shell may ignore them
    )  # fmt: skip


def still_there(session: int) -> list[str]:
    """The commands of the processes of a session that have not ended after a few seconds; empty without /proc."""
    deadline = time.monotonic() + 5
    while True:
        left = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, *fields = path.read_text().rpartition(")")[2].split()
                if int(fields[2]) == session and state != "Z":
                    left.append((path.parent / "cmdline").read_text().replace("\0", " "))
            except (OSError, ValueError):
                continue
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def write_grid(folder: Path, runs_of_each: int) -> Path:
    """Write a grid of two entries, one of them after a stage, with `runs_of_each` seeds."""
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
    """The content of the finished records of runs and stages by relative path."""
    found = {}
    for path in output_dir.glob("*/*/result.json"):
        content = path.read_bytes() if path.exists() else b""
        if b'"key"' in content or path.with_name("stage.json").exists():
            found[str(path.relative_to(output_dir))] = content
    return found


def in_progress(output_dir: Path) -> list[Path]:
    """The folders of runs and stages without a record."""
    return [path for path in output_dir.glob("*/*") if path.is_dir() and not (path / "result.json").exists()]


def torn(output_dir: Path) -> Iterator[str]:
    """The records that are not valid JSON."""
    for path in [*output_dir.glob("*/*/result.json"), *output_dir.glob("results.jsonl")]:
        texts = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        for text in texts:
            try:
                json.loads(text)
            except ValueError:
                yield f"{path} is torn"


def differences(first: Path, second: Path) -> list[str]:
    """The differences between two comparison folders, except for times."""
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
    """A record without times and without the name of its folder."""
    if isinstance(content, dict):
        kept = {name: value for name, value in content.items() if name not in TIMES and "per_second" not in name}
        return {name: without_times(value) for name, value in kept.items()}
    if isinstance(content, list):
        return [without_times(value) for value in content]
    if isinstance(content, str):
        return content.replace("/killed/", "/reference/")
    return content


if __name__ == "__main__":
    main()
