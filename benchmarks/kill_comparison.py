"""Check that a comparison that is killed again and again ends with the same files as an uninterrupted one.

    python benchmarks/kill_comparison.py [--kills 60] [--seed 1] [--folder FOLDER]

A small grid with a stage on a built-in dataset runs without interruption. Then the same grid runs in other folders,
with one and with two runs at once, and is ended by SIGKILL, SIGTERM, SIGINT or SIGHUP, alone or with all its
processes, and restarted each time. The moments are random within its phases: start-up, building of caches, rehearsal,
training, saving and reporting. After each kill no process may be left, the answer is one line, and every record must
be complete and must not change until the end. Finally the records, predictions and models must equal those of the first
comparison, except for times, and no other files may be left.

With --folder, kills.jsonl there has a line for each kill, and the same command resumes. 60 kills take half an hour.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

RECIPE = Path(__file__).parents[1] / "recipes" / "compare.py"
SMALL = {"embedding_size": 7, "hidden_size": 13, "num_hidden_layers": 1}
WORDS = {"fruit": ["apple", "pear", "plum"], "metal": ["iron", "tin", "zinc"], "river": ["rhine", "elbe", "oder"]}
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
PATIENCE_SECONDS = 300  # for a comparison that was asked to stop, which writes its report
PHASES = ["start-up", "rehearsal", "training", "saving", "features cache", "saving", "training"]
PHASES += ["reporting", "reporting"]
"""The phases of the kills of one folder, in an order in which each can be reached."""
BUILDING = ["dataset cache"] * 2
"""Further phases of the first folder. The others have the dataset of the uninterrupted comparison."""
TIMES = frozenset(
    ["checksum", "started", "finished", "train_seconds", "evaluate_seconds", "examples_per_second", "tokens_per_second"]
    + ["peak_memory_bytes", "seconds", "inference", "energy_joules", "train_runtime", "eval_runtime"]
)
"""Fields of a record that depend on time or load and differ between runs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        problems = kill_again_and_again(folder, arguments.kills, arguments.seed, say=print)
        phases = Counter(line["phase"] for line in lines_of(folder / "kills.jsonl") if line.get("signal"))
    print(", ".join(f"{count} kills in {phase}" for phase, count in phases.items()))
    print("\n".join(problems) or "The killed comparisons equal the uninterrupted one.")
    sys.exit(bool(problems))


def kill_again_and_again(
    folder: Path,
    kills: int,
    seed: int,
    say: Callable[[str], None],
    phases: list[str] = PHASES,
    dataset: str | None = "builtin:pydocs:unlabelled",
) -> list[str]:
    """The differences between comparisons that were killed `kills` times in all and an uninterrupted one.

    Args:
        phases: the phases of the kills of one folder.
        dataset: the dataset of the stage; None for that of the entries.
    """
    folder.mkdir(parents=True, exist_ok=True)
    grid, log = write_grid(folder, dataset), folder / "kills.jsonl"
    reference = Comparison(grid, folder, "reference", parallel_runs=1)
    timings = folder / "timings.json"
    if not timings.exists():
        timings.write_text(json.dumps(reference.measured()))
        say(f"uninterrupted: {len(whole_records(reference.output_dir))} records, {timings.read_text()}")
    seconds, number, life, problems = json.loads(timings.read_text()), 0, 0, list[str]()
    known = {line["number"]: line for line in lines_of(log)}

    def once(name: str, do: Callable[[], dict[str, Any]]) -> None:
        if name not in known:
            known[name] = {"number": name} | do()
            with log.open("a") as file:
                file.write(json.dumps(known[name]) + "\n")
            say(" ".join(f"{key}={value}" for key, value in known[name].items()))
        problems.extend(f"{name}: {problem}" for problem in known[name]["problems"])

    while number < kills:
        life += 1
        killed = Comparison(grid, folder, f"killed-{life}", parallel_runs=2 - life % 2)
        own = phases if life > 1 or dataset is None else [*BUILDING, *phases]
        if own == phases and reference.cache.exists() and not killed.cache.exists():
            shutil.copytree(reference.cache, killed.cache, ignore=lambda *_: ["features"])
        for phase in own[: kills - number]:
            number += 1
            once(f"kill {number}", functools.partial(killed.kill, phase, seconds, random.Random(seed * 1000 + number)))
        once(f"end of {life}", lambda: {"problems": killed.finished(reference.output_dir)})  # noqa: B023
    return problems


class Comparison:
    """A comparison in a folder and with a cache of its own."""

    def __init__(self, grid: Path, folder: Path, name: str, parallel_runs: int) -> None:
        self.grid, self.output_dir, self.parallel_runs = grid, folder / name, parallel_runs
        self.cache, self.log = folder / f"{name}-cache", folder / f"{name}.log"
        self.runs = len(yaml.safe_load(grid.read_text())["entries"])

    def start(self) -> subprocess.Popen:
        """Start the comparison in its own session, so that all of its processes can be killed together."""
        command = [sys.executable, str(RECIPE), "--config", str(self.grid), "--output_dir", str(self.output_dir)]
        self.began = time.time()
        with self.log.open("w") as log:
            return subprocess.Popen(
                [*command, "--parallel_runs", str(self.parallel_runs)],
                start_new_session=True, stdout=log, stderr=log,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "TL_TOOLKIT_CACHE": str(self.cache)},
                preexec_fn=as_in_a_terminal,
            )  # fmt: skip

    def measured(self) -> dict[str, float]:
        """Run to the end; returns the seconds of the phases."""
        process, seen = self.start(), dict[str, float]()
        while process.poll() is None:
            for phase in (*BUILDING, *PHASES):
                if phase not in seen and self.is_in(phase):
                    seen[phase] = time.time()
            time.sleep(0.002)
        if process.returncode:
            raise SystemExit(f"The uninterrupted comparison failed:\n{self.log.read_text()}")
        seen |= dict.fromkeys({*BUILDING, *PHASES} - seen.keys(), time.time())
        built = [path.stat().st_mtime for path in self.cache.glob("*/*/record.json")]
        return {
            "start-up": min(seen["rehearsal"], seen["dataset cache"]) - self.began,
            "dataset cache": max(built, default=0) - seen["dataset cache"],
            "rehearsal": seen["training"] - seen["rehearsal"],
            "training": (seen["reporting"] - seen["training"]) / (self.runs + 1),
            "saving": 0.1,
            "features cache": 0.2,
            "reporting": time.time() - seen["reporting"],
        }

    def is_in(self, phase: str) -> bool:
        """Whether the comparison has reached a phase since its last start."""
        patterns = {
            "start-up": [],
            "dataset cache": ["pydocs/*.tmp"],
            "features cache": ["features/*/lock", "features/*/.*"],
            "rehearsal": [".rehearsals/*"],
            "training": ["*/*/stage.json"],
            "saving": ["*/*/.staging-model", "*/*/checkpoint-*", "*/*/.*.tmp"],
            "reporting": ["results.jsonl"],
        }[phase]
        place = self.cache if phase.endswith("cache") else self.output_dir
        new = [path for pattern in patterns for path in place.glob(pattern) if changed(path) > self.began]
        if phase == "reporting":
            return bool(new) and new[0].read_bytes().count(b"\n") == self.runs
        return phase == "start-up" or bool(new)

    def kill(self, phase: str, seconds: dict[str, float], chance: random.Random) -> dict[str, Any]:
        """Start the comparison, kill it in a phase, and describe what happened."""
        before, process = whole_records(self.output_dir), self.start()
        while process.poll() is None and not self.is_in(phase):
            phase = "reporting" if self.is_in("reporting") else phase  # there is nothing else left to do
            time.sleep(0.005)
        wait = chance.uniform(0, seconds[phase])
        time.sleep(wait)
        number, to = chance.choice(SIGNALS), chance.choice(["all", "main"])
        line = {"phase": phase, "signal": number.name, "to": to, "parallel_runs": self.parallel_runs}
        if process.poll() is not None:
            line |= {"signal": None}
        else:
            (os.killpg if to == "all" else os.kill)(process.pid, number)
        problems, sent = [], time.time()
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            problems.append("it did not end")
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        took, found = time.time() - sent, whole_records(self.output_dir)
        if line["signal"] and process.returncode not in (-number, 128 + number):
            problems.append(f"the exit code is {process.returncode}")
        problems += [f"process {left} is left" for left in still_there(process.pid)]
        problems += [f"it prints {said!r}" for said in [self.log.read_text()] if "Traceback" in said or "rror" in said]
        problems += [
            *torn(self.output_dir),
            *(f"{name} has changed" for name in before if found.get(name) != before[name]),
        ]
        times = {"at_seconds": round(sent - self.began, 1), "ended_in_seconds": round(took, 1)}
        return {**line, **times, "records": len(found), "problems": problems}

    def finished(self, reference: Path) -> list[str]:
        """Run to the end; returns the differences from the uninterrupted comparison."""
        before = whole_records(self.output_dir)
        if self.start().wait():
            return [f"The comparison failed after the last kill:\n{self.log.read_text()}"]
        found = whole_records(self.output_dir)
        changes = [f"{name} has changed" for name in before if found.get(name) != before[name]]
        left = [f"{path} is left" for path in self.cache.rglob("*.tmp")]
        return changes + left + differences(reference, self.output_dir)


def as_in_a_terminal() -> None:
    """Let signals end this process, even if a shell has told it to ignore them."""
    for number in SIGNALS[1:]:
        signal.signal(number, signal.SIG_DFL)


def changed(path: Path) -> float:
    """When the path was written; 0 if it has gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def lines_of(log: Path) -> list[dict[str, Any]]:
    """The lines of a log that may not exist."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


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


def write_grid(folder: Path, dataset: str | None) -> Path:
    """Write a grid of entries from scratch and after a stage on `dataset`, by default the dataset of the entries."""
    chance = random.Random(7)
    for split, rows in (("train", 67), ("validation", 31), ("test", 43)):
        lines = ["text,label"]
        for row in range(rows):
            name = list(WORDS)[row % 3]
            lines.append(" ".join(chance.choice([*WORDS[name], "the", "of", "old"]) for _ in range(7)) + f",{name}")
        (folder / "words").mkdir(exist_ok=True)
        (folder / "words" / f"{split}.csv").write_text("\n".join(lines) + "\n")
    words = {"dataset_name": str(folder / "words")}
    epochs = {"num_train_epochs": 3}
    stage = {"model_type": "awd_lstm", "window_length": 11, "per_device_train_batch_size": 3, **epochs}
    if dataset is None:
        stage |= words
    else:
        stage |= {"dataset_name": dataset, "max_train_tokens": 2003, "max_eval_tokens": 301}
    content: dict[str, Any] = {
        **words, "use_cpu": True, "title": "Killed",
        "label_budgets": [31], "validation_budget": 29, "test_budget": 37, "seeds": [1],
        "stages": {"lm": {**stage, "config_overrides": {**SMALL, "num_hidden_layers": 2}}},
        "entries": [
            {"name": "probed", "model_name_or_path": "stage:lm", "strategy": "frozen", **epochs},
            {"name": "scratch", "model_type": "rnn", "config_overrides": SMALL, **epochs},
            {"name": "transferred", "model_name_or_path": "stage:lm", "strategy": "full", **epochs},
            {"name": "counted", "model_type": "bag_of_ngrams"},
        ],
    }  # fmt: skip
    if dataset is None:  # as little as possible
        content["entries"] = content["entries"][1:3]
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
            for entry in records[0]["history"] + records[1]["history"]:  # mean losses since a run was resumed
                for name in ("loss", "train_loss"):
                    entry.pop(name, None)
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
        return re.sub(r"/killed-\d+/", "/reference/", content)
    return content


if __name__ == "__main__":
    main()
