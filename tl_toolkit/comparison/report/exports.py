"""Exports of the results for other programs and for papers: results.csv, results.parquet and results.tex."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ...atomic_files import write_text, write_whole
from ...evaluation import formatting as show
from ...evaluation.results import TEXT_COLUMNS, table
from ...evaluation.statistics.cells import Cell, Goal
from ...records.kind import KINDS
from ..verdict.words import KINDS as CALLED
from .panel import Panel

WHOLE_COLUMNS = (
    *("train_labels", "train_tokens", "validation_labels", "test_rows", "seed", "fold", "parameters"),
    *(
        "trained_parameters",
        "disk_bytes",
        "tuning_trials",
        "tuning_failed",
        "steps",
        "peak_memory_bytes",
        "world_size",
        "threads",
    ),
)
"""Columns of whole numbers."""
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    **{sign: f"\\{sign}" for sign in "&%$#_"},
    show.MINUS: "$-$",
    "±": r"$\pm$",
    show.SPACE: "~",
}


def write_exports(groups: Mapping[str, Panel], output_dir: Path) -> None:
    """Write results.csv and results.parquet, one row per run as in `results.table`, and results.tex.

    Args:
        groups: the panels by dataset.
    """
    frame = table([result for panel in groups.values() for result in panel.results])
    frame = frame.astype(dict.fromkeys(TEXT_COLUMNS, "string"))  # the same type even if all values are missing
    for column in WHOLE_COLUMNS:
        frame[column] = frame[column].round().astype("Int64")
    texts = frame.assign(**{name: frame[name].map(plain_cell, na_action="ignore") for name in TEXT_COLUMNS})
    write_whole(output_dir / "results.csv", lambda path: texts.to_csv(path, index=False, lineterminator="\n"))
    write_whole(output_dir / "results.parquet", lambda path: frame.to_parquet(path, index=False))
    tables = [latex_table(name, own.cells, own.goal, own.recommended) for name, own in groups.items()]
    head = "% Made by tl_toolkit from results.jsonl. Needs \\usepackage{booktabs}; names may hold any Unicode letter.\n"
    write_text(output_dir / "results.tex", "\n".join([head, *filter(None, tables)]))


def plain_cell(text: str) -> str:
    """A text for a cell of a CSV file: one that a spreadsheet would run as a formula begins with an apostrophe."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text


def latex_table(
    dataset: str, cells: Sequence[Cell], goal: Goal, recommended: Collection[tuple[str, float]] = ()
) -> str:
    """Mean ± standard deviation of every entry at every budget as a LaTeX table; empty if no run has finished.

    Entries are grouped by kind. The recommended entry of each budget is bold.
    """
    if not cells:
        return ""
    budgets = sorted({cell.budget for cell in cells})
    found = {(cell.entry, cell.budget): cell for cell in cells}
    kinds = {cell.entry: cell.kind for cell in cells}
    heads = [latex_text(next(cell.budget_name for cell in cells if cell.budget == budget)) for budget in budgets]
    metric = latex_text(show.metric_axis(goal.metric))
    lines = [
        "\\begin{table}\n\\centering",
        f"\\caption{{{latex_text(dataset)}: {metric}, on the test rows by number of training labels; mean $\\pm$ "
        "standard deviation over seeds; a number without $\\pm$ is a single run. Bold: recommended.}",
        f"\\label{{tab:{re.sub(r'[^A-Za-z0-9]+', '-', dataset).strip('-').lower()}}}",
        f"\\begin{{tabular}}{{l{'r' * len(budgets)}}}\n\\toprule",
        f" & {' & '.join(heads)} \\\\",
    ]
    for kind in (kind for kind in KINDS if kind in kinds.values()):
        heading = show.capital(CALLED.get(kind, kind))
        lines.append(f"\\midrule\n\\multicolumn{{{1 + len(budgets)}}}{{l}}{{\\emph{{{heading}}}}} \\\\")
        for entry in (entry for entry, own in kinds.items() if own == kind):
            row = [latex_text(entry)]
            for budget in budgets:
                cell = found.get((entry, budget))
                text = latex_text(show.spread(None if cell is None else cell.test.get(goal.metric), goal.metric))
                row.append(f"\\textbf{{{text}}}" if (entry, budget) in recommended else text)
            lines.append(f"{' & '.join(row)} \\\\")
    return "\n".join([*lines, "\\bottomrule\n\\end{tabular}\n\\end{table}\n"])


def latex_text(text: str) -> str:
    """`text` escaped for LaTeX, so that it contains no command, comment or cell separator."""
    return "".join(_LATEX.get(sign, sign) for sign in show.visible(re.sub(r"\s*[\r\n]+\s*", " ", text)))
