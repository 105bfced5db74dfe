"""One panel of a report: all that is said of the runs on one dataset. Panels know nothing of each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...evaluation import formatting as show
from ...evaluation.predictions import PredictionReader
from ...evaluation.results import Result
from ...evaluation.statistics.baseline import Baseline, baselines
from ...evaluation.statistics.cells import goal_of, make_cells
from ...evaluation.statistics.contest import contests
from ...evaluation.statistics.uncertainty import row_intervals
from ...figures.palette import key
from ..verdict.decision import decide
from ..verdict.wording import unit_of
from . import dataset_summary as report_facts
from .entries import describe_entry, telling
from .equivalence_figure import against_scratch, describe_equivalence
from .learning_curves import learning_curves
from .markdown import describe_markdown
from .pairs import describe_contests, describe_pairs, describe_round, headline_round
from .pareto import describe_fronts
from .results import more_metrics, results_table
from .shown_evidence import describe_attention, describe_calibration, describe_classes, describe_disagreement

SECTIONS = (
    ("contest", "From scratch against transfer", "rounds"),
    ("curves", "Learning curves", "curves"),
    ("equivalence", "Worth in labels", "equivalence"),
    ("pareto", "Score against cost", "pareto"),
    ("results", "All results", "results"),
    ("pairs", "Every pair", "pairs"),
    ("disagreement", "Where entries disagree", "disagreement"),
    ("classes", "Class by class", "classes"),
    ("calibration", "Calibration", "calibration"),
    ("attention", "Where models look", "attention"),
    ("entries", "Entry by entry", "entries"),
    ("failed", "Failed runs", "failed"),
    ("made", "Data and surroundings", "facts"),
)
"""(id, name among the contents, key of the panel) of each section that may be there."""


def describe_panel(results: Sequence[Result], output_dir: Path, prefix: str = "", texts: bool = True) -> dict[str, Any]:
    """Everything that the templates say of one dataset, as text and numbers; draws the figures on the way.

    `prefix` stands before the ids of the page and the names of the pictures, to tell the panels apart. Without
    `texts`, nothing that holds words of the dataset is told.
    """
    from markupsafe import Markup

    cells, failed = make_cells(results), [result for result in results if not result.completed]
    entries = list(dict.fromkeys(result.entry for result in results))
    goal, reader, figures = goal_of(results), PredictionReader(output_dir), output_dir / "figures"
    rounds, constant = contests(cells, goal, reader), baselines(cells, reader)
    over_rows, first = row_intervals(cells, goal.metric, reader), headline_round(rounds)
    picked = {(cell.entry, cell.budget) for contest in rounds for cell in (contest.first, contest.second)}
    wide, narrow = learning_curves(cells, entries, goal, figures, constant, prefix, over_rows) if cells else ("", "")
    kinds = {entry: telling([r for r in results if r.entry == entry]).transfer for entry in entries}
    look, moved = key(list(kinds.items())), {entry for entry in entries if kinds[entry]}
    panel = {
        "prefix": prefix,
        "verdict": decide(cells, rounds, goal, reader, failed=len(failed), constant=constant),
        "summary": report_facts.summary(results, cells, entries, failed),
        "unit": unit_of(results),
        "metric": show.metric_heading(goal.metric),
        "rounds": [describe_round(contest) for contest in rounds],
        "contests": describe_contests(rounds),
        "headline_round": describe_round(first) if first else None,
        "curves": Markup(wide),
        "narrow_curves": Markup(narrow),
        "key": look,
        "transfer_key": [told for told, entry in zip(look, entries, strict=True) if entry in moved],
        "constant": show.joined(list(dict.fromkeys(least.what for least in constant)), "or") if constant else None,
        "constant_source": _source(constant),
        "one_budget": len({cell.budget for cell in cells}) == 1,
        "results": results_table(cells, rounds, goal, constant, over_rows) if cells else None,
        "more": more_metrics(cells, goal, constant),
        "has_row_intervals": bool(over_rows),
        "equivalence": describe_equivalence(against_scratch(cells, goal, reader), entries, figures, prefix),
        "pairs": describe_pairs(cells, goal, reader),
        "pareto": describe_fronts(cells, entries, goal, figures, prefix),
        "disagreement": describe_disagreement(cells, reader, picked, texts),
        "classes": describe_classes(cells, reader),
        "calibration": describe_calibration(cells, entries, reader, figures, prefix),
        "attention": describe_attention(cells, output_dir) if texts else None,
        "has_stages": any(cell.costs["pretrain_seconds"] is not None for cell in cells),
        "entries": [
            describe_entry(entry, position, results, cells, rounds, reader, figures, prefix)
            for position, entry in enumerate(entries)
        ],
        "markdown": describe_markdown(results, cells, rounds, goal, constant, reader),
        "failed": report_facts.failures(failed),
        "facts": report_facts.facts(results),
        "hardware": report_facts.distinct(result.section("hardware") for result in results),
        "versions": report_facts.distinct(result.section("versions") for result in results),
    }
    return panel | {"sections": [(name, heading) for name, heading, part in SECTIONS if panel[part]]}


def _source(constant: Sequence[Baseline]) -> str:
    """From which labels the answers of the baselines are known."""
    if any(baseline.from_test for baseline in constant):
        return "the test labels, since records of these runs do not tell it of their training labels"
    if any(baseline.rows is None for baseline in constant):  # forecasts
        return "what was observed before each window"
    return "the training labels"
