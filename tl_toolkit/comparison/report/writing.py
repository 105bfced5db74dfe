"""Write the report of a comparison: a self-contained page, a Markdown summary and figures from `results.jsonl`."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
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
from ..verdict.wording import decide
from . import dataset_summary
from .entries import describe_entry, representative
from .equivalence_figure import describe_equivalence
from .exports import write_exports
from .learning_curves import learning_curves
from .markdown import describe_markdown
from .pairs import describe_contests, describe_pairs, headline_round, reading
from .panel import Panel
from .pareto import describe_fronts
from .results import more_metrics, results_table
from .shown_evidence import describe_attention, describe_calibration, describe_classes, describe_disagreement
from .verification import doubts_about

TEMPLATES = Path(__file__).parent / "templates"
SECTIONS = (
    ("contest", "From scratch against transfer", "rounds"),
    ("curves", "Learning curves", "curves"),
    ("equivalence", "Equivalent labels", "equivalence"),
    ("pareto", "Score against cost", "pareto"),
    ("results", "All results", "results"),
    ("pairs", "Pairwise differences", "pairs"),
    ("disagreement", "Where entries disagree", "disagreement"),
    ("classes", "Scores by class", "classes"),
    ("calibration", "Calibration", "calibration"),
    ("attention", "Attention", "attention"),
    ("entries", "Entries in detail", "entries"),
    ("failed", "Failed runs", "failed"),
    ("made", "Data and environment", "facts"),
)
"""(id, name in the table of contents, key of the panel) of each possible section."""


def write_report(output_dir: Path, title: str, texts: bool = True, notes: Sequence[str] = ()) -> Path:
    """Write report.html, report.md, figures/ and the exports from output_dir/results.jsonl; returns the page's path.

    It works while the grid runs, with failed runs and without prediction files. All files are replaced atomically.
    Damaged records and files are named and not used. Absolute paths are shortened.

    Args:
        texts: quote texts of the dataset; without it, rows are only numbered.
        notes: notes on the origin of the records.

    Raises:
        UserError: results.jsonl is missing, or has no valid record.
    """
    output_dir = Path(output_dir)
    store = read_store(output_dir / "results.jsonl")
    write_pages(build_context(store.results, output_dir, title, texts), store, output_dir, notes)
    return output_dir / "report.html"


def write_pages(context: dict[str, Any], store: Store, output_dir: Path, notes: Sequence[str]) -> None:
    """Write the pages and the exports of `write_report`, from the variables of `build_context` for the same runs."""
    said = [*notes, *doubts_about(store, output_dir)]
    context = context | {"notes": [without_paths(note, relative=False) for note in said]}
    page, summary = _environment(html=True), _environment(html=False)
    pages = {
        "report.html": page.get_template("report.html.jinja").render(context),
        "report.md": summary.get_template("report.md.jinja").render(context),
    }
    for name, text in pages.items():
        write_text(output_dir / name, text)
    write_exports(shown_panels(store.results), output_dir)


def shown_panels(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The runs by dataset as they are shown: without absolute paths."""
    return {
        name: [replace(run, record=without_absolute_paths(run.record)) for run in runs]
        for name, runs in panels(results).items()
    }


def build_context(results: Sequence[Result], output_dir: Path, title: str, texts: bool = True) -> dict[str, Any]:
    """The variables of the templates: `title`, and `panels`, one for each dataset, in the order of the grid.

    With several panels, each has the `name` of its dataset; the name of a single panel is None, as it needs no heading.
    """
    from markupsafe import Markup

    groups = shown_panels(results) or {UNKNOWN: []}
    several = len(groups) > 1
    described = [
        {"name": name if several else None}
        | describe_panel(Panel(runs, output_dir, f"{folder_name(name)}-{number}-" if several else "", texts))
        for number, (name, runs) in enumerate(groups.items(), start=1)
    ]
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {
        "title": title,
        "panels": described,
        "texts": texts,
        "series": list(zip(SERIES, DARK_SERIES, strict=True)),
        "script": Markup(script),
        "script_hash": f"sha256-{digest}",  # the page's content security policy allows only this script
    }


def describe_panel(panel: Panel) -> dict[str, Any]:
    """The template variables of one dataset; also draws its figures."""
    results, cells, entries, constant = panel.results, panel.cells, panel.entries, panel.constant
    failed = [result for result in results if not result.completed]
    kinds = {entry: representative([r for r in results if r.entry == entry]).transfer for entry in entries}
    look = key(list(kinds.items()))
    told = {
        "prefix": panel.prefix,
        "verdict": decide(cells, panel.rounds, panel.goal, panel.reader, failed=len(failed), constant=constant),
        "summary": dataset_summary.summary(results, cells, entries, failed),
        "unit": show.unit_of(results),
        "metric": show.metric_heading(panel.goal.metric),
        "rounds": panel.rounds,
        "contests": describe_contests(panel.rounds),
        "headline_round": headline_round(panel.rounds),
        "curves": learning_curves(panel) if cells else None,
        "key": look,
        "transfer_key": [own for own, transfer in zip(look, kinds.values(), strict=True) if transfer],
        "constant": show.joined(list(dict.fromkeys(least.what for least in constant)), "or") if constant else None,
        "constant_source": _source(constant),
        "one_budget": len({cell.budget for cell in cells}) == 1,
        "results": results_table(panel) if cells else None,
        "more": more_metrics(panel),
        "has_row_intervals": bool(panel.over_rows),
        "equivalence": describe_equivalence(panel),
        "pairs": describe_pairs(panel),
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
    environment.filters["in_unit"] = show.in_unit
    environment.globals |= {"show": show, "reading": reading}
    return environment
