"""The report of a comparison: `results.jsonl` in, one self-contained page, a Markdown summary and pictures out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from . import formatting as show
from .baseline import Baseline, baselines
from .cells import Cell, make_cells
from .contest import Contest, Goal, contests
from .evidence import gather, mistakes_heading
from .figures import learning_curves, scatter, write_text
from .palette import DARK_SERIES, key
from .predictions import PredictionReader
from .records import UNKNOWN, Result, read_results
from .rerun import rerun
from .verdict import decide

TEMPLATES = Path(__file__).parent / "templates"
READING = {
    "transfer": "transfer ahead",
    "scratch": "from scratch ahead",
    "none": "no difference that these runs can show",
}


def write_report(output_dir: Path, title: str) -> Path:
    """Writes report.html, report.md and figures/ from output_dir/results.jsonl, and returns the page's path.

    Works on whatever runs are recorded so far: while the grid runs, with failed runs, without prediction files. Every
    file is renamed into place once it is whole.

    Raises:
        UserError: results.jsonl is missing or holds something other than result records.
    """
    output_dir = Path(output_dir)
    context = build_context(read_results(output_dir / "results.jsonl"), output_dir, title)
    page, summary = _environment(html=True), _environment(html=False)
    texts = {
        "report.html": page.get_template("report.html.jinja").render(context),
        "report.md": summary.get_template("report.md.jinja").render(context),
    }
    for name, text in texts.items():
        write_text(output_dir / name, text)
    return output_dir / "report.html"


def build_context(results: Sequence[Result], output_dir: Path, title: str) -> dict[str, Any]:
    """Everything that the templates say, as text and numbers; draws the figures on the way."""
    from markupsafe import Markup

    cells, failed = make_cells(results), [result for result in results if not result.completed]
    entries = list(dict.fromkeys(result.entry for result in results))
    goal, reader, figures = _goal(results), PredictionReader(output_dir), output_dir / "figures"
    rounds, constant = contests(cells, goal, reader), baselines(cells, reader)
    wide, narrow = learning_curves(cells, entries, goal, figures, constant) if cells else ("", "")
    return {
        "title": title,
        "dark_series": DARK_SERIES,
        "verdict": decide(cells, rounds, goal, reader, failed=len(failed), constant=constant),
        "summary": _summary(results, cells, entries, failed),
        "metric": show.metric_heading(goal.metric),
        "rounds": [_round(contest) for contest in rounds],
        "curves": Markup(wide),
        "narrow_curves": Markup(narrow),
        "key": key([(entry, _telling([r for r in results if r.entry == entry]).transfer) for entry in entries]),
        "constant": constant[0].what if constant else None,
        "constant_source": _source(constant),
        "one_budget": len({cell.budget for cell in cells}) == 1,
        "metrics": [show.metric_heading(metric) for metric in _metrics(cells, goal)],
        "budgets": _budgets(cells, rounds, goal, constant),
        "has_stages": any(cell.costs["pretrain_seconds"] is not None for cell in cells),
        "entries": [
            _entry(entry, position, results, cells, rounds, reader, figures) for position, entry in enumerate(entries)
        ],
        "failed": [_failure(result) for result in failed],
        "facts": _facts(results),
        "hardware": _distinct(result.section("hardware") for result in results),
        "versions": _distinct(result.section("versions") for result in results),
    }


def _environment(html: bool) -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=html,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=None if html else markdown_text,
    )
    return environment


def markdown_text(value: Any) -> Any:
    """A value as text that Markdown leaves alone: no markup, no table cell cut in two, on one line."""
    if not isinstance(value, str):
        return value
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", re.sub(r"\s*[\r\n]+\s*", " ", value))


def _goal(results: Sequence[Result]) -> Goal:
    tasks = (result.section("task") for result in results)
    task = next((task for task in tasks if task.get("main_metric")), {"main_metric": "accuracy"})
    return Goal(str(task["main_metric"]), bool(task.get("greater_is_better", True)))


def _metrics(cells: Sequence[Cell], goal: Goal) -> list[str]:
    """The test metrics of all cells, the one that decides first; the loss is on no common scale and left out."""
    known = dict.fromkeys(metric for cell in cells for metric in cell.test if metric != "loss")
    return [metric for metric in known if metric == goal.metric] + [m for m in known if m != goal.metric]


def _summary(
    results: Sequence[Result], cells: Sequence[Cell], entries: Sequence[str], failed: Sequence[Result]
) -> list[tuple[str, str]]:
    names = list(dict.fromkeys(str(result.section("dataset").get("name", "unknown")) for result in results))
    tested = [result.section("dataset").get("rows", {}).get("test") for result in results]
    budgets = {cell.budget: show.budget(cell.budget, cell.train_labels) for cell in cells}
    seeds = sorted({cell.seeds for cell in cells}, reverse=True)
    finished = show.count(len(results) - len(failed))
    return [
        ("Dataset", show.joined(names) if names else show.MISSING),
        ("Entries", str(len(entries))),
        ("Training labels", show.joined(list(budgets.values())) if budgets else show.MISSING),
        ("Seeds", f"{seeds[-1]} to {seeds[0]}" if len(seeds) > 1 else str(seeds[0]) if seeds else show.MISSING),
        ("Test rows", _span(tested)),
        ("Runs", f"{finished} finished" + (f", {len(failed)} failed" if failed else "")),
    ]


def _round(contest: Contest) -> dict[str, str]:
    metric, alone = contest.goal.metric, contest.single and contest.outcome != "none"
    over_seeds, over_rows = (
        show.interval(bounds, metric) if bounds else show.MISSING for bounds in (contest.over_seeds, contest.over_rows)
    )
    return {
        "budget": show.budget(contest.budget, contest.transfer.train_labels),
        "scratch": contest.scratch.entry,
        "scratch_score": show.spread(contest.scratch.test[metric], metric),
        "transfer": contest.transfer.entry,
        "transfer_score": show.spread(contest.transfer.test[metric], metric),
        "difference": show.signed_gap(contest.difference, metric),
        "over_seeds": over_seeds,
        "over_rows": over_rows,
        "reading": f"{READING[contest.outcome]}{', in single runs' if alone else ''}",
        "outcome": contest.outcome,
    }


def _budgets(
    cells: Sequence[Cell], rounds: Sequence[Contest], goal: Goal, constant: Sequence[Baseline]
) -> list[dict[str, Any]]:
    """For each budget a heading and its rows, the baseline among them, best test mean first."""
    metrics = _metrics(cells, goal)
    picked = {(cell.entry, cell.budget) for contest in rounds for cell in (contest.scratch, contest.transfer)}
    tables = []
    for budget in sorted({cell.budget for cell in cells}):
        here = [cell for cell in cells if cell.budget == budget]
        rows: list[tuple[Cell | Baseline, dict[str, Any]]] = [
            (cell, _row(cell, metrics, (cell.entry, cell.budget) in picked)) for cell in here
        ]
        rows += [(least, _baseline_row(least, metrics)) for least in constant if least.budget == budget]
        rows.sort(key=lambda row: -row[0].test[goal.metric].mean * goal.sign if goal.metric in row[0].test else 0.0)
        tables.append(
            {
                "heading": show.capital(f"{show.budget(budget, here[0].train_labels)} training labels"),
                "validation": _span([cell.validation_labels for cell in here]),
                "rows": [row for _, row in rows],
            }
        )
    return tables


def _row(cell: Cell, metrics: Sequence[str], picked: bool) -> dict[str, Any]:
    return {
        "entry": cell.entry,
        "kind": _kind(cell.strategy),
        "is_baseline": False,
        "picked": picked,
        "scores": [show.spread(cell.test.get(metric), metric) for metric in metrics],
        "seeds": cell.seeds,
        "parameters": show.parameters(cell.costs["parameters"]),
        "trained": show.parameters(cell.costs["trained_parameters"]),
        "pretraining": show.plain_seconds(cell.costs["pretrain_seconds"]),
        "seconds": show.plain_seconds(cell.costs["train_seconds"]),
        "rate": show.count(cell.costs["examples_per_second"]),
        "memory": show.memory(cell.costs["peak_memory_bytes"]),
    }


def _baseline_row(baseline: Baseline, metrics: Sequence[str]) -> dict[str, Any]:
    unknown = ("seeds", "parameters", "trained", "pretraining", "seconds", "rate", "memory")
    return dict.fromkeys(unknown, show.MISSING) | {
        "entry": f"Always {baseline.what}",
        "kind": f"baseline: {show.joined(baseline.names, 'or')}",
        "is_baseline": True,
        "picked": False,
        "scores": [show.spread(baseline.test.get(metric), metric) for metric in metrics],
    }


def _source(constant: Sequence[Baseline]) -> str:
    """From which labels the answers of the baselines are known."""
    if any(baseline.from_test for baseline in constant):
        return "the test labels, since records of these runs do not tell it of their training labels"
    return "the training labels"


def _telling(runs: Sequence[Result]) -> Result:
    """The run of an entry that tells most of it: the first that completed, or else the first."""
    return next((result for result in runs if result.completed), runs[0])


def _kind(strategy: str) -> str:
    if strategy == UNKNOWN:
        return "strategy unknown"
    return "from scratch" if strategy == "scratch" else f"transfer: {strategy.replace('_', ' ')}"


def _entry(
    entry: str,
    position: int,
    results: Sequence[Result],
    cells: Sequence[Cell],
    rounds: Sequence[Contest],
    reader: PredictionReader,
    figures: Path,
) -> dict[str, Any]:
    """What is told of one entry: what it is, what it gets wrong at its largest budget, and how to run it again."""
    from markupsafe import Markup

    runs = [result for result in results if result.entry == entry]
    largest = [cell for cell in cells if cell.entry == entry][-1:]
    told = largest[0].results[0] if largest else _telling(runs)  # all that is said of a run is said of this one
    again, model = rerun(runs, told), told.section("model")
    what = [model.get("class"), model.get("model_name_or_path") or model.get("model_type"), _tokens(model)]
    shown: dict[str, Any] = {
        "name": entry,
        "kind": _kind(told.strategy),
        "what": ", ".join(str(part) for part in what if part),
        "configuration": again.configuration,
        "command": again.command,
        "file": again.file,
        "evidence": None,
        "made": _made(told),
        "open": any(entry in (contest.scratch.entry, contest.transfer.entry) for contest in rounds[-1:]),
    }
    if largest:
        cell = largest[0]
        evidence = gather(cell, reader)
        shown |= {
            "evidence": evidence,
            "budget": show.budget(cell.budget, cell.train_labels),
            "seeds": cell.seeds,
            "first_seed": told.seed,
            "mistakes_heading": mistakes_heading(told),
            "scatter": "",
        }
        if evidence.numbers:
            name = f"scatter_{position}_{re.sub(r'[^A-Za-z0-9]+', '-', entry)}"
            shown["scatter"] = Markup(scatter(*evidence.numbers, entry, position, figures, name))
    return shown


def _made(result: Result) -> str:
    """Which run is made again, and how long it trained: `500 labels, seed 1; 12 epochs (192 updates)`."""
    cost, train_labels = result.section("cost"), result.section("budget").get("train_labels")
    run = [f"{show.budget(result.budget, train_labels)} labels", f"seed {result.seed}"]
    long = f"{cost['epochs']:.3g} epochs ({show.count(cost['steps'])} updates)" if cost.get("steps") else ""
    rate = (result.section("resolved") or result.section("arguments")).get("learning_rate")
    learnt = [long, f"learning rate {rate:g}" if isinstance(rate, float) and rate else ""]
    told = "; ".join([", ".join(run), ", ".join(filter(None, learnt))])
    return told.removesuffix("; ")


def _tokens(model: Any) -> str | None:
    if not model.get("tokenizer"):
        return None
    size = f" of {show.count(model['vocab_size'])}" if model.get("vocab_size") else ""
    return f"tokenizer {model['tokenizer']}{size}"


def _failure(result: Result) -> dict[str, str]:
    known = bool(result.section("budget"))
    error = result.record.get("error") or "The run left no test metrics."
    return {
        "entry": result.entry,
        "budget": show.budget(result.budget, None) if known else show.MISSING,
        "seed": show.MISSING if result.seed is None else str(result.seed),
        "error": str(error),
    }


def _facts(results: Sequence[Result]) -> list[tuple[str, str]]:
    """The dataset in words; where runs differ (rows do, with the budget), from the least to the most."""
    datasets = [result.section("dataset") for result in results if result.section("dataset")]
    if not datasets:
        return []
    first, labels = datasets[0], next((r.label_names() for r in results if r.label_names()), None)
    facts = [("Name", _values(datasets, "name"))]
    facts += [(key.capitalize(), _values(datasets, key)) for key in ("config", "revision", "fingerprint")]
    columns = {role: column for role, column in (first.get("columns") or {}).items() if column}
    facts.append(("Columns", ", ".join(f"{role.replace('_', ' ')}: {column}" for role, column in columns.items())))
    if labels:
        facts.append((f"Labels ({len(labels)})", ", ".join(labels)))
    for split in ("train", "validation", "test"):
        rows = _span([(dataset.get("rows") or {}).get(split) for dataset in datasets])
        source = first.get(f"{split}_from")
        facts.append((f"Rows, {split}", rows + (f" (cut from {source})" if source not in (None, split) else "")))
    versions = first.get("versions") or {}
    facts.append(("Made from", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return [(name, value) for name, value in facts if value]


def _values(sections: Iterable[Any], key: str) -> str:
    return ", ".join(dict.fromkeys(str(section[key]) for section in sections if section.get(key) is not None))


def _span(numbers: Iterable[int | None]) -> str:
    known = sorted({number for number in numbers if number is not None})
    if not known:
        return show.MISSING
    ends = (show.count(known[0]), show.count(known[-1]))
    return ends[0] if len(known) == 1 else f"{ends[0]} to {ends[1]}"


def _distinct(sections: Iterable[Any]) -> list[tuple[str, str]]:
    """Each key with its value, or with all of its values where the runs differ."""
    known = [section for section in sections if section]
    keys = dict.fromkeys(key for section in known for key in section)
    pairs = [(key.replace("_", " "), _values(known, key)) for key in keys]
    return [(key, value) for key, value in pairs if value]
