"""Write the report of a comparison: a self-contained page, a Markdown summary and figures from `results.jsonl`."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...atomic_files import write_text
from ...evaluation import formatting as show
from ...evaluation.names import without_paths
from ...evaluation.results import UNKNOWN, Result, Store, folder_name, panels, read_store
from ...evaluation.statistics.baseline import Baseline
from ...figures.palette import DARK_SERIES, SERIES, key
from ...hub.cleaning import without_absolute_paths
from ..verdict.decision import asked_in, decide_runs, of_dataset, write_decision
from ..verdict.notes import besides_labels, label_note, never_predicted_notes
from ..verdict.wording import budget_row, cross_validation
from . import dataset_summary
from .decision_tables import describe_decision
from .entries import describe_entry, representative
from .exports import write_exports
from .learning_curves import learning_curves
from .markdown import describe_markdown
from .panel import Panel
from .pareto import describe_fronts
from .results import more_metrics, results_table
from .shown_evidence import describe_attention, describe_calibration, describe_classes, describe_disagreement
from .verification import doubts_about

TEMPLATES = Path(__file__).parent / "templates"
SECTIONS = (
    ("curves", "Learning curves", "curves"),
    ("pareto", "Score against cost", "pareto"),
    ("results", "All results", "results"),
    ("disagreement", "Where entries disagree", "disagreement"),
    ("classes", "Scores by class", "classes"),
    ("calibration", "Calibration", "calibration"),
    ("attention", "Attention", "attention"),
    ("entries", "Entries in detail", "entries"),
    ("failed", "Failed runs", "failed"),
    ("method", "Method and all comparisons", "notes"),
    ("made", "Data and environment", "facts"),
)
"""(id, name in the table of contents, key of the panel) of each possible section."""


def write_report(
    output_dir: Path,
    title: str,
    texts: bool = True,
    notes: Sequence[str] = (),
    asked: Mapping[str, Any] | None = None,
    links: Sequence[tuple[str, str]] = (),
) -> Path:
    """Write report.html, report.md, decision.json, figures/ and the exports; returns the page's path.

    All is made from output_dir/results.jsonl and the files of the runs. It works while the grid runs, with failed runs
    and without prediction files. All files are replaced atomically. Damaged records and files are named and not used.
    Absolute paths are shortened.

    Args:
        texts: quote texts of the dataset; without it, rows are only numbered.
        notes: notes on the origin of the records.
        asked: the margin and the target; by default those of the folder's decision.json.
        links: sentences below the card with the file that each is about.

    Raises:
        UserError: results.jsonl is missing, or has no valid record; or the margin is not above 0.
    """
    output_dir = Path(output_dir)
    store = read_store(output_dir / "results.jsonl")
    asked = asked or asked_in(output_dir)
    context = build_context(store.results, output_dir, title, texts, asked) | {"links": links}
    write_pages(context, store, output_dir, notes)
    return output_dir / "report.html"


def write_pages(context: dict[str, Any], store: Store, output_dir: Path, notes: Sequence[str]) -> None:
    """Write the files of `write_report`, from the variables of `build_context` for the same runs."""
    said = [*notes, *doubts_about(store, output_dir)]
    context = context | {"notes": [without_paths(note, relative=False) for note in said]}
    page, summary = _environment(html=True), _environment(html=False)
    pages = {
        "report.html": page.get_template("report.html.jinja").render(context),
        "report.md": summary.get_template("report.md.jinja").render(context),
    }
    for name, text in pages.items():
        write_text(output_dir / name, text)
    write_decision(output_dir, context["decision"])
    write_exports(context["shown"], output_dir)


def build_context(
    results: Sequence[Result], output_dir: Path, title: str, texts: bool = True, asked: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The variables of the templates: `title`, `decision`, and `panels`, one for each dataset, in the grid's order.

    With several panels, each has the `name` of its dataset; the name of a single panel is None, as it needs no heading.
    Runs are shown without absolute paths.

    Args:
        asked: see `write_report`.
    """
    from markupsafe import Markup

    groups = panels(results) or {UNKNOWN: []}
    several = len(groups) > 1
    shown = {}
    for number, (name, runs) in enumerate(groups.items(), start=1):
        cleaned = [replace(run, record=without_absolute_paths(run.record)) for run in runs]
        shown[name] = Panel(cleaned, output_dir, f"{folder_name(name)}-{number}-" if several else "", texts)
    decision = decide_runs(
        {name: (own.results, own.reader) for name, own in shown.items()}, asked or asked_in(output_dir)
    )
    for name, own in shown.items():
        own.decision.update(of_dataset(decision, name))
    described = [{"name": name if several else None} | describe_panel(own) for name, own in shown.items()]
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {
        "title": title,
        "decision": decision,
        "shown": shown,
        "panels": described,
        "overview": _overview(shown) if several else None,
        "ranks": _ranks(decision),
        "texts": texts,
        "series": list(zip(SERIES, DARK_SERIES, strict=True)),
        "links": [],
        "script": Markup(script),
        "script_hash": f"sha256-{digest}",  # the page's content security policy allows only this script
    }


def _overview(shown: Mapping[str, Panel]) -> dict[str, Any]:
    """The table of several datasets: the decision at the largest budget of each."""
    columns = ["Dataset", "Labels", "Recommended", "Expected (95 %)", "Runner-up", "Difference (95 %)", "Status"]
    rows = []
    for name, own in shown.items():
        budgets, facts = own.decision["budgets"], own.decision["facts"]
        told = list(budget_row(budgets[-1], facts).values()) if budgets else [show.MISSING] * (len(columns) - 1)
        rows.append([f"{name}, {show.metric_axis(own.goal.metric)}", *told])
    links = [f"#{own.prefix}panel" for own in shown.values()]
    return {"columns": columns, "rows": rows, "texts": 1, "links": links}


def _ranks(decision: Mapping[str, Any]) -> str:
    """A sentence on the average ranks over five or more datasets; empty for fewer."""
    ranks = (decision.get("datasets") or {}).get("ranks")
    if not ranks:
        return ""
    told = [f"{name} {rank:.1f}" for name, rank in sorted(ranks["average"].items(), key=lambda own: own[1])]
    critical = f"{ranks['critical_difference']:.1f}"
    return f"Average ranks over the datasets: {show.joined(told)}. Ranks that differ by less than {critical} are alike."


def describe_panel(panel: Panel) -> dict[str, Any]:
    """The template variables of one dataset; also draws its figures."""
    results, cells, entries, constant = panel.results, panel.cells, panel.entries, panel.constant
    failed = [result for result in results if not result.completed]
    kinds = {entry: representative([r for r in results if r.entry == entry]).transfer for entry in entries}
    look = key(list(kinds.items()))
    told = {
        "prefix": panel.prefix,
        "decided": describe_decision(panel.decision),
        "notes": _notes(panel, len(failed)),
        "summary": dataset_summary.summary(results, cells, entries, failed),
        "unit": show.unit_of(results),
        "metric": show.metric_heading(panel.goal.metric),
        "curves": learning_curves(panel) if cells else None,
        "key": look,
        "constant": show.joined(list(dict.fromkeys(least.what for least in constant)), "or") if constant else None,
        "constant_source": _source(constant),
        "folds": panel.decision["facts"]["folds"],
        "one_budget": len({cell.budget for cell in cells}) == 1,
        "results": results_table(panel) if cells else None,
        "more": more_metrics(panel),
        "has_intervals": bool(panel.intervals),
        "pareto": describe_fronts(panel),
        "disagreement": describe_disagreement(panel),
        "classes": describe_classes(panel),
        "calibration": describe_calibration(panel),
        "attention": describe_attention(panel) if panel.texts else None,
        "has_stages": any(cell.costs["pretrain_seconds"] is not None for cell in cells),
        "entries": [describe_entry(panel, position) for position in range(len(entries))],
        "markdown": describe_markdown(panel),
        "failed": dataset_summary.failures(failed),
        "facts": dataset_summary.facts(results),
        "hardware": dataset_summary.distinct(result.section("hardware") for result in results),
        "versions": dataset_summary.distinct(result.section("versions") for result in results),
    }
    return told | {"sections": [(name, heading) for name, heading, part in SECTIONS if told[part]]}


def _notes(panel: Panel, failed: int) -> list[str]:
    """The notes on one dataset: labels, pre-training, classes that are never predicted, and failed runs."""
    if not panel.cells:
        return []
    failures = ""
    if failed:
        what = "predicted the same for every row" if panel.constant else "had the worst score at its budget"
        each = "each repetition with a failed fold" if any(run.folds for run in panel.results) else "each"
        failures = f"{failed} {'run' if failed == 1 else 'runs'} failed. The decision counts {each} as if it {what}."
    facts = panel.decision["facts"]
    rows = f"{show.count(facts['test_rows'])} rows"
    tested = cross_validation(rows, facts["folds"], facts["repeats"]) if facts["folds"] else ""
    said = [tested, label_note(panel.cells), besides_labels(panel.cells), *never_predicted_notes(panel.cells), failures]
    return [note for note in said if note]


def _source(constant: Sequence[Baseline]) -> str:
    """The source of the baselines' predictions."""
    if any(baseline.from_test for baseline in constant):
        return "the test labels, because the records of these runs lack the training labels"
    if any(baseline.rows is None for baseline in constant):  # forecasts
        return "the observations before each window"
    return "the training labels"


def _environment(html: bool) -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=html,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=show.visible if html else show.markdown_text,
    )
    environment.globals |= {"show": show}
    return environment
