"""Speed against peers on the same work, and the costs of whole commands: the table in `docs/results.md`.

    make benchmarks                                        # everything; about half an hour of one core
    python benchmarks/speed.py --rows classifier predict   # some rows; the others stay as they were
    make benchmarks-check                                  # exit code 1 if a row is below its floor

Each contestant is a process with one thread on one core (`contestants/`), a peer's in an environment of its own. They
take turns: in every round each reads the same batches, and its processor seconds count. The first round warms up. The
ratio of a round is the speed of ours over the peer's. Floors and goals: `floors.yaml`. Results: `speed.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import yaml

HERE = Path(__file__).parent
RESULTS, FLOORS, PAGE = HERE / "speed.json", HERE / "floors.yaml", HERE.parent / "docs" / "results.md"
CORE = 0


@dataclass
class Row:
    """One kind of work. `peers` by name: the script and more settings for it. `files` makes its files in a folder."""

    work: str
    unit: str
    task: str
    settings: dict[str, Any]
    peers: dict[str, tuple[str, dict[str, Any]]]
    files: Callable[[Path], dict[str, Any]] = lambda folder: {}


@dataclass
class Command:
    """A command whose output has a number."""

    work: str
    unit: str
    arguments: list[str]
    pattern: str
    runs: int = 1
    environment: dict[str, str] = field(default_factory=dict)


def _trained(folder: Path) -> dict[str, Any]:
    """A small LSTM, 10,000 texts of one to sixteen docstrings as a csv file, and the ids of the first texts."""
    from predict_throughput import write_rows
    from transformers import AutoTokenizer

    from tl_toolkit import finetune

    finetune(
        "builtin:pydocs", model_type="rnn", label_budget=2000, num_train_epochs=1, use_cpu=True, skip_test=True,
        disable_tqdm=True, log_level="error", output_dir=str(folder / "model"),
    )  # fmt: skip
    file = folder / "rows.csv"
    write_rows(file, 10_000)
    import pandas as pd

    ids = AutoTokenizer.from_pretrained(str(folder / "model"))(pd.read_csv(file)["text"][:200].tolist())["input_ids"]
    Path(f"{file}.ids.json").write_text(json.dumps(ids))
    return {"model": str(folder / "model"), "file": str(file)}


def _decoder(task: str, kind: str, attention: dict[str, Any], hidden: int = 256, batch: int = 64) -> Row:
    work = "training" if task == "translation" else "beam of 5"
    return Row(
        f"seq2seq, {kind}: {work}, {hidden} units, batches of {batch}",
        "target tokens/s" if task == "translation" else "sentences/s",
        task, {"attention": attention, "hidden": hidden, "batch": batch}, {"JoeyNMT 2.3": ("with_joeynmt", {})},
    )  # fmt: skip


BAHDANAU, LUONG = {"attention": "bahdanau"}, {"attention": "luong"}
FEEDING = {**LUONG, "input_feeding": True}
PADDED, PACKED = {"packs": False}, {"packs": True}
ROWS: dict[str, Row | Command] = {
    "classifier": Row(
        "BiLSTM classifier, 128 units, batches of 32, through the trainer", "rows/s", "classifier",
        {"rows": 1920, "batch": 32, "hidden": 128, "bidirectional": True},
        {
            "plain loop, padded": ("plain", PADDED),
            "plain loop, packed": ("plain", PACKED),
            "fastai's Learner, padded": ("with_fastai", PADDED),
            "fastai's Learner, packed": ("with_fastai", PACKED),
            "Keras 3 on jax": ("with_keras", {}),
        },
    ),
    "lstm": Row(
        "LSTM classifier, 256 units, batches of 64, through the trainer", "rows/s", "classifier",
        {"rows": 1920, "batch": 64, "hidden": 256, "bidirectional": False},
        {"plain loop, padded": ("plain", PADDED), "plain loop, packed": ("plain", PACKED)},
    ),
    "awd_classifier": Row(
        "AWD-LSTM classifier, 100-200-200-100, batches of 32, through the trainer", "rows/s", "awd_classifier",
        {"rows": 960, "batch": 32, "sizes": [100, 200, 3]}, {"fastai's Learner": ("with_fastai", {})},
    ),
    "language_model": Row(
        "AWD-LSTM language model, 200-400-400-200, windows of 32 × 70, through the trainer", "tokens/s",
        "language_model", {"windows": 3, "batch": 32, "window": 70, "sizes": [200, 400, 3]},
        {"fastai's Learner": ("with_fastai", {})},
    ),
    "training_bahdanau": _decoder("translation", "Bahdanau", BAHDANAU),
    "training_luong": _decoder("translation", "Luong", LUONG),
    "training_feeding": _decoder("translation", "Luong with input feeding", FEEDING),
    "beam_bahdanau": _decoder("beam", "Bahdanau", BAHDANAU),
    "beam_luong": _decoder("beam", "Luong", LUONG),
    "beam_feeding": _decoder("beam", "Luong with input feeding", FEEDING),
    "beam_small": _decoder("beam", "Luong", LUONG, hidden=32, batch=8),
    "predict": Row(
        "`predict` on a csv file, small LSTM", "rows/s", "predict", {"rows": 10_000},
        {"plain loop, padded": ("plain", {})}, _trained,
    ),
    "latency": Row(
        "one row at a time, same LSTM", "rows/s", "latency", {"rows": 200}, {"bare `nn.LSTM`": ("plain", {})}, _trained,
    ),
    "grid": Command(
        "share of training in a comparison of 12 small runs", "%", ["benchmarks/grid_overhead.py"],
        r"training +[\d.]+ s +(\d+)%",
    ),
    "large_data": Command(
        "memory over imports, 1,000 of 1,000,000 rows of a csv file", "MiB", ["benchmarks/large_data.py"],
        r"finetune +1,000,000 rows .*: +([\d,]+) MiB",
    ),
    "report": Command(
        "report of 500 records with 2,000 rows each, with imports", "s", ["benchmarks/report_500.py"],
        r"([\d.]+) s processor time", runs=3,
    ),
    "import": Command(
        "`import tl_toolkit`, after torch and `AutoModel`", "s", ["benchmarks/import_time.py"],
        r"import tl_toolkit .*added +([-+\d.]+) s",
    ),
}  # fmt: skip


class Contestant:
    """A process that runs a round for each line that it gets."""

    def __init__(self, python: Path | str, script: str, task: str, settings: dict[str, Any]) -> None:
        command = [str(python), str(HERE / "contestants" / f"{script}.py"), task, json.dumps(settings)]
        threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **threads, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}, errors="replace",
        )  # fmt: skip

    def round(self) -> float:
        """Work per second."""
        assert self.process.stdin and self.process.stdout and self.process.stderr
        print(file=self.process.stdin, flush=True)
        if not (line := self.process.stdout.readline()):
            raise RuntimeError(self.process.stderr.read()[-2000:])
        answer = json.loads(line)
        return answer["work"] / answer["seconds"]


def measure(row: Row, options: argparse.Namespace) -> dict[str, Any]:
    """Speeds of ours and of the peers, one per round."""
    with tempfile.TemporaryDirectory() as folder:
        settings = (
            row.settings
            | options.settings
            | row.files(Path(folder))
            | ({"device": "cuda"} if options.device == "cuda" else {})
        )
        contestants = {"ours": Contestant(sys.executable, "toolkit", row.task, settings)}
        for name, (script, own) in row.peers.items():
            peer = options.peers / script.removeprefix("with_") / "bin" / "python"
            python = peer if peer.exists() else sys.executable
            contestants[name] = Contestant(python, script, row.task, settings | own)
        try:
            speeds: dict[str, list[float]] = {name: [] for name in contestants}
            names = list(contestants)
            for number in range(options.rounds + 1):
                first = number % len(names)
                for name in names[first:] + names[:first]:  # each goes first in turn
                    speed = contestants[name].round()
                    speeds[name] += [speed] if number else []
        finally:
            for contestant in contestants.values():
                contestant.process.kill()
    return {"work": row.work, "unit": row.unit, "speeds": speeds}


def run(command: Command) -> dict[str, Any]:
    """The numbers that a command prints, one per run."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)} | command.environment
    values = []
    for _ in range(command.runs):
        done = subprocess.run(
            [sys.executable, *command.arguments], cwd=HERE.parent, env=environment, capture_output=True, text=True
        )
        found = re.search(command.pattern, done.stdout)
        if done.returncode or not found:
            raise RuntimeError(f"{command.arguments}: {done.stdout[-1000:]} {done.stderr[-2000:]}")
        values.append(float(found[1].replace(",", "")))
    shown = " ".join(["python", *command.arguments])
    return {"work": command.work, "unit": command.unit, "values": values, "command": shown}


def ratios(found: dict[str, Any]) -> dict[str, list[float]]:
    """The ratio of each round by peer; of a command, its numbers."""
    if "values" in found:
        return {"": found["values"]}
    ours = found["speeds"]["ours"]
    return {
        peer: [own / other for own, other in zip(ours, speeds, strict=True)]
        for peer, speeds in found["speeds"].items()
        if peer != "ours"
    }


def table(results: dict[str, Any]) -> str:
    """The Markdown table."""
    limits = yaml.safe_load(FLOORS.read_text())
    lines = ["| work | ours | against | ratio (range) | goal |", "|---|---:|---|---:|---:|"]
    for name in (name for name in ROWS if name in results["rows"]):
        found = results["rows"][name]
        for peer, values in ratios(found).items():
            limit = limits[name][peer] if peer else limits[name]
            middle, spread = median(values), f"{min(values):.2f} to {max(values):.2f}" if len(values) > 1 else "once"
            if peer:
                own, other = (median(found["speeds"][one]) for one in ("ours", peer))
                cells = [f"{own:,.0f} {found['unit']}", f"{peer}: {other:,.0f}", f"{middle:.2f} ({spread})"]
                cells.append(f"≥ {limit['goal']}" if "goal" in limit else "")
            else:
                cells = [f"{middle:,.2f} {found['unit']} ({spread})", f"`{found['command']}`", ""]
                sign = "≤" if "most" in limit else "≥"
                cells.append(f"{sign} {limit['goal']:,} {found['unit']}" if "goal" in limit else "")
            lines.append("| " + " | ".join([found["work"], *cells]) + " |")
    return "\n".join(lines)


def below(results: dict[str, Any]) -> list[str]:
    """What misses its floor, or was not measured."""
    missed = []
    for name, limits in yaml.safe_load(FLOORS.read_text()).items():
        found = ratios(results["rows"][name]) if name in results["rows"] else {}
        for peer, limit in ({"": limits} if isinstance(ROWS[name], Command) else limits).items():
            if peer not in found:
                missed.append(f"{name} {peer}: not measured")
            elif "floor" in limit and (value := median(found[peer])) < limit["floor"]:
                missed.append(f"{name} {peer}: {value:.2f} is below {limit['floor']}")
            elif "most" in limit and (value := median(found[peer])) > limit["most"]:
                missed.append(f"{name}: {value:.2f} is above {limit['most']}")
    return missed


def write_page(results: dict[str, Any]) -> None:
    """Replace the table between the markers of the page."""
    before, rest = PAGE.read_text().split("<!-- benchmarks -->\n")
    _, after = rest.split("<!-- end of benchmarks -->")
    where = f"{results['where']}\n\n{table(results)}"
    PAGE.write_text(f"{before}<!-- benchmarks -->\n{where}\n<!-- end of benchmarks -->{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON: other sizes for these rows")
    parser.add_argument("--peers", type=Path, default=HERE.parent / "build" / "peers", help="their environments")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--check", action="store_true", help="measure nothing; compare the results with the floors")
    options = parser.parse_args()
    results = json.loads(options.output.read_text()) if options.output.exists() else {"rows": {}}
    if options.check:
        missed = below(results)
        print("\n".join(missed) or "Every row is at its floor or above.")
        sys.exit(bool(missed))
    if hasattr(os, "sched_setaffinity") and options.device == "cpu":
        os.sched_setaffinity(0, {CORE})
    failed = False
    for name in options.rows:
        row = ROWS[name]
        try:
            results["rows"][name] = found = run(row) if isinstance(row, Command) else measure(row, options)
        except (RuntimeError, OSError) as error:  # the others are still of use
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
            continue
        print(name, *(f"{peer} {median(values):.2f}" for peer, values in ratios(found).items()), sep="   ", flush=True)
        results["where"] = f"One thread of {_processor()}, Python {platform.python_version()}."
        options.output.write_text(json.dumps(results, indent=1) + "\n")
    if options.output == RESULTS:
        write_page(results)
    sys.exit(failed)


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", described.read_text()) if described.exists() else None
    return found[1] if found else platform.processor()


if __name__ == "__main__":
    main()
