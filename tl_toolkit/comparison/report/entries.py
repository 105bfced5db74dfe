"""Entry by entry: what it is, what it gets wrong at its largest budget, and how to run it again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...evaluation import formatting as show
from ...evaluation.evidence.mistakes import gather, mistakes_heading
from ...evaluation.predictions import PredictionReader
from ...evaluation.results import UNKNOWN, Result
from ...evaluation.statistics.cells import Cell
from ...evaluation.statistics.contest import Contest
from .figures import scatter
from .rerun import rerun
from .shown_evidence import ANSWERS_ARE_TEXTS, class_table


def describe_entry(
    entry: str,
    position: int,
    results: Sequence[Result],
    cells: Sequence[Cell],
    rounds: Sequence[Contest],
    reader: PredictionReader,
    figures: Path,
    prefix: str,
) -> dict[str, Any]:
    """What is told of one entry: what it is, what it gets wrong at its largest budget, and how to run it again."""
    from markupsafe import Markup

    runs = [result for result in results if result.entry == entry]
    largest = [cell for cell in cells if cell.entry == entry][-1:]
    told = largest[0].results[0] if largest else telling(runs)  # all that is said of a run is said of this one
    again, model = rerun(runs, told), told.section("model")
    what = [model.get("class"), model.get("model_name_or_path") or model.get("model_type"), _tokens(model)]
    shown: dict[str, Any] = {
        "name": entry,
        "kind": kind(told.strategy),
        "what": ", ".join(str(part) for part in what if part),
        "configuration": again.configuration,
        "command": again.command,
        "file": again.file,
        "evidence": None,
        "tuning": _tuning(told),
        "made": _made(told),
        "open": any(entry in (own.first.entry, own.second.entry) for own in rounds if own.budget == rounds[-1].budget),
    }
    if largest:
        cell = largest[0]
        evidence = gather(cell, reader)
        shown |= {
            "evidence": evidence,
            "classes": class_table(cell, reader),
            "budget": show.budget(cell.budget, cell.train_labels),
            "seeds": cell.seeds,
            "first_seed": told.seed,
            "mistakes_heading": mistakes_heading(told),
            "answers_are_texts": told.section("task").get("name") in ANSWERS_ARE_TEXTS,
            "scatter": "",
        }
        if evidence.numbers:
            name = f"{prefix}scatter_{position}_{re.sub(r'[^A-Za-z0-9]+', '-', entry)}"
            shown["scatter"] = Markup(scatter(*evidence.numbers, entry, position, figures, name))
    return shown


def telling(runs: Sequence[Result]) -> Result:
    """The run of an entry that tells most of it: the first that completed, or else the first."""
    return next((result for result in runs if result.completed), runs[0])


def kind(strategy: str) -> str:
    if strategy == UNKNOWN:
        return "strategy unknown"
    return "from scratch" if strategy == "scratch" else f"transfer: {strategy.replace('_', ' ')}"


def _made(result: Result) -> str:
    """Which run is made again, and how long it trained: `500 labels, seed 1; 12 epochs (192 updates)`."""
    cost, train_labels = result.section("cost"), result.section("budget").get("train_labels")
    run = [f"{show.budget(result.budget, train_labels)} labels", f"seed {result.seed}"]
    long = f"{cost['epochs']:.3g} epochs ({show.count(cost['steps'])} updates)" if cost.get("steps") else ""
    rate = (result.section("resolved") or result.section("arguments")).get("learning_rate")
    learnt = [long, f"learning rate {rate:g}" if isinstance(rate, float) and rate else ""]
    told = "; ".join([", ".join(run), ", ".join(filter(None, learnt))])
    return told.removesuffix("; ")


def _tuning(result: Result) -> str:
    """How much the entry was tuned, in words; empty when it was not."""
    tuning = result.section("tuning")
    if not tuning:
        return ""
    trials = f"{show.count(tuning.get('trials'))} trials"
    trials += f" ({tuning['failed']} failed)" if tuning.get("failed") else ""
    took = f", {show.seconds(tuning['seconds'])} in all" if tuning.get("seconds") is not None else ""
    chosen = ", ".join(f"{name} = {value}" for name, value in (tuning.get("chosen") or {}).items())
    text = f"Tuned on the validation rows in {trials}{took}"
    return f"{text}; chosen: {chosen}." if chosen else f"{text}."


def _tokens(model: Any) -> str | None:
    if not model.get("tokenizer"):
        return None
    size = f" of {show.count(model['vocab_size'])}" if model.get("vocab_size") else ""
    return f"tokenizer {model['tokenizer']}{size}"
