"""Details of each entry: description, errors at its largest budget, and a command to repeat a run."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...evaluation import formatting as show
from ...evaluation.evidence.mistakes import gather, mistakes_heading
from ...evaluation.results import UNKNOWN, Result, folder_name
from .figures import scatter
from .panel import Panel
from .shown_evidence import TASKS_WITH_TEXTS, class_table

EXPLAINED = "explain/explain.html"
"""In the folder of a run: the page of `explain` about its model."""
VARYING = ("label_budget", "max_train_tokens", "seed", "fold")


@dataclass(frozen=True)
class Rerun:
    """`configuration` is the text of the YAML file `file`; `command` repeats one of the entry's runs with it."""

    file: str
    configuration: str
    command: str


def describe_entry(panel: Panel, position: int) -> dict[str, Any]:
    """The template variables of one entry: description, errors at its largest budget, and how to repeat a run."""
    from markupsafe import Markup

    entry = panel.entries[position]
    runs = [result for result in panel.results if result.entry == entry]
    largest = [cell for cell in panel.cells if cell.entry == entry][-1:]
    told = largest[0].results[0] if largest else representative(runs)  # the run that represents the entry
    model = told.section("model")
    what = [model.get("class"), model.get("model_name_or_path") or model.get("model_type"), _tokens(model)]
    shown: dict[str, Any] = {
        "name": entry,
        "kind": kind(told.strategy),
        "what": ", ".join(str(part) for part in what if part),
        **asdict(rerun(runs, told)),
        "evidence": None,
        "tuning": _tuning(told),
        "made": _made(told),
        "open": entry in panel.rivals,
        "explained": explained(panel, runs),
    }
    if largest:
        cell = largest[0]
        evidence = gather(cell, panel.reader)
        shown |= {
            "evidence": evidence,
            "classes": class_table(panel, entry),
            "budget": cell.budget_name,
            "seeds": cell.seeds,
            "first_seed": told.seed,
            "mistakes_heading": mistakes_heading(told),
            "answers_are_texts": told.section("task").get("name") in TASKS_WITH_TEXTS,
            "scatter": "",
        }
        if evidence.numbers:
            name = f"{panel.prefix}scatter_{position}_{re.sub(r'[^A-Za-z0-9]+', '-', entry)}"
            shown["scatter"] = Markup(scatter(*evidence.numbers, entry, position, panel.folder / "figures", name))
    return shown


def explained(panel: Panel, runs: Sequence[Result]) -> str | None:
    """The page about the model of one of these runs, relative to the report; it quotes texts."""
    pages = [f"{run.folder}/{EXPLAINED}" for run in runs] if panel.texts else []
    return next((page for page in pages if (panel.folder / page).is_file()), None)


def representative(runs: Sequence[Result]) -> Result:
    """The run that represents an entry: the first completed one, else the first."""
    return next((result for result in runs if result.completed), runs[0])


def kind(strategy: str) -> str:
    if strategy == UNKNOWN:
        return "strategy unknown"
    return "from scratch" if strategy == "scratch" else f"transfer: {strategy.replace('_', ' ')}"


def _made(result: Result) -> str:
    """The shown run and its training length: `500 labels, seed 1; 12 epochs (192 updates)`."""
    cost, train_labels = result.section("cost"), result.section("budget").get("train_labels")
    run = [f"{show.budget(result.budget, train_labels)} {show.unit_of([result])}", f"seed {result.seed}"]
    long = f"{cost['epochs']:.3g} epochs ({show.count(cost['steps'])} updates)" if cost.get("steps") else ""
    rate = (result.section("resolved") or result.section("arguments")).get("learning_rate")
    learnt = [long, f"learning rate {rate:g}" if isinstance(rate, float) and rate else ""]
    return "; ".join(filter(None, [", ".join(run), ", ".join(filter(None, learnt))]))


def _tuning(result: Result) -> str:
    """A sentence about the tuning of the entry; empty if it was not tuned."""
    tuning = result.section("tuning")
    if not tuning:
        return ""
    trials = f"{show.count(tuning.get('trials'))} trials"
    trials += f" ({tuning['failed']} failed)" if tuning.get("failed") else ""
    took = f", {show.seconds(tuning['seconds'])} in total" if tuning.get("seconds") is not None else ""
    chosen = ", ".join(f"{name} = {value}" for name, value in (tuning.get("chosen") or {}).items())
    return f"Tuned on the validation rows in {trials}{took}{'; chosen: ' if chosen else ''}{chosen}."


def _tokens(model: Any) -> str | None:
    if not model.get("tokenizer"):
        return None
    size = f" of {show.count(model['vocab_size'])}" if model.get("vocab_size") else ""
    return f"tokenizer {model['tokenizer']}{size}"


def rerun(results: Sequence[Result], shown: Result) -> Rerun:
    """A configuration file and a command that repeat the run `shown`; empty texts if its arguments are unknown.

    The file holds the arguments that all runs of the entry, `results`, share; the others are flags, and so are always
    the budget, the seed and the output folder, which users change. A shell reads the lines of the command as one.
    """
    import yaml

    asked = dict(shown.section("arguments"))
    if not asked:
        return Rerun(file="", configuration="", command="")
    given = [result.section("arguments") for result in results if result.section("arguments")]
    shared = {
        name: value
        for name, value in asked.items()
        if name not in VARYING and all(name in other and other[name] == value for other in given)
    }
    flags = {name: value for name, value in asked.items() if name not in shared and value is not None}
    configuration = yaml.safe_dump(shared, sort_keys=False, allow_unicode=True, width=100) if shared else ""
    name = folder_name(shown.entry)
    recipe = "pretrain" if str(shown.section("task").get("name")).endswith("language-modeling") else "finetune"
    lines = [["--config", f"{name}.yaml"], *_flags(flags), ["--output_dir", f"outputs/{name}"]]
    command = [f"{_launcher(shown)} {recipe}", *map(shlex.join, lines)]
    return Rerun(f"{name}.yaml", configuration, " \\\n    ".join(command))


def _launcher(shown: Result) -> str:
    """The command in front of the verb. Several processes on a CPU need a launch file: accelerate starts one else."""
    hardware = shown.section("hardware")
    processes = hardware.get("world_size") or 1
    if processes == 1:
        return "tl-toolkit"
    file = '--config_file "$(tl-toolkit configs two_cpu.yaml)" ' if hardware.get("device") == "cpu" else ""
    return f"accelerate launch {file}--num_processes {processes} -m tl_toolkit"


def _flags(arguments: Mapping[str, Any]) -> list[list[str]]:
    flags = []
    for name, value in arguments.items():
        written = json.dumps(value) if isinstance(value, dict) else value
        flags.append([f"--{name}", *map(str, value if isinstance(value, (list, tuple)) else [written])])
    return flags
