"""Exports of the results for other programs and for papers: results.csv, results.parquet and results.tex."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...atomic_files import write_text, write_whole
from ...evaluation import formatting as show
from ...evaluation.results import TEXT_COLUMNS, Result, table
from ...evaluation.statistics.cells import KINDS, Cell, Goal, Kind, goal_of, make_cells
from ...evaluation.statistics.pairwise import best

KIND_HEADINGS: Mapping[Kind, str] = {
    "scratch": "From scratch",
    "recurrent": "Transfer, recurrent",
    "transformer": "Transfer",
}
WHOLE_COLUMNS = (
    "train_labels",
    "train_tokens",
    "validation_labels",
    "test_rows",
    "seed",
    "parameters",
    "trained_parameters",
) + ("disk_bytes", "tuning_trials", "tuning_failed", "steps", "peak_memory_bytes", "world_size", "threads")
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


def write_exports(groups: Mapping[str, Sequence[Result]], output_dir: Path) -> None:
    """Write results.csv and results.parquet, one row per run as in `results.table`, and results.tex.

    Args:
        groups: the runs by dataset, as `results.panels` returns them.
    """
    frame = table([result for runs in groups.values() for result in runs])
    frame = frame.astype(dict.fromkeys(TEXT_COLUMNS, "string"))  # the same type even if all values are missing
    for column in WHOLE_COLUMNS:
        frame[column] = frame[column].round().astype("Int64")
    texts = frame.assign(**{name: frame[name].map(plain_cell, na_action="ignore") for name in TEXT_COLUMNS})
    write_whole(output_dir / "results.csv", lambda path: texts.to_csv(path, index=False, lineterminator="\n"))
    write_whole(output_dir / "results.parquet", lambda path: frame.to_parquet(path, index=False))
    tables = [latex_table(name, make_cells(runs), goal_of(runs)) for name, runs in groups.items()]
    head = "% Made by tl_toolkit from results.jsonl. Needs \\usepackage{booktabs}; names may hold any Unicode letter.\n"
    write_text(output_dir / "results.tex", "\n".join([head, *filter(None, tables)]))


def plain_cell(text: str) -> str:
    """A text for a cell of a CSV file: one that a spreadsheet would run as a formula begins with an apostrophe."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text


def latex_table(dataset: str, cells: Sequence[Cell], goal: Goal) -> str:
    """Mean ± standard deviation of every entry at every budget as a LaTeX table; empty if no run has finished.

    Entries are grouped by approach. The entry of each approach with the best mean on the validation rows is bold;
    selecting by test scores would favour the approach with more entries.
    """
    if not cells:
        return ""
    budgets = sorted({cell.budget for cell in cells})
    found = {(cell.entry, cell.budget): cell for cell in cells}
    kinds: dict[str, Kind] = {cell.entry: cell.kind for cell in cells}
    heads = [latex_text(next(cell.budget_name for cell in cells if cell.budget == budget)) for budget in budgets]
    metric = latex_text(show.metric_axis(goal.metric))
    lines = [
        "\\begin{table}\n\\centering",
        f"\\caption{{{latex_text(dataset)}: {metric}, on the test rows by number of training labels; mean $\\pm$ "
        "standard deviation over seeds; a number without $\\pm$ is a single run. Bold: best of its approach on the "
        "validation rows.}",
        f"\\label{{tab:{re.sub(r'[^A-Za-z0-9]+', '-', dataset).strip('-').lower()}}}",
        f"\\begin{{tabular}}{{l{'r' * len(budgets)}}}\n\\toprule",
        f" & {' & '.join(heads)} \\\\",
    ]
    for kind in (kind for kind in KINDS if kind in kinds.values()):
        lines.append(f"\\midrule\n\\multicolumn{{{1 + len(budgets)}}}{{l}}{{\\emph{{{KIND_HEADINGS[kind]}}}}} \\\\")
        for entry in (entry for entry, own in kinds.items() if own == kind):
            row = [latex_text(entry)]
            for budget in budgets:
                chosen = best([cell for cell in cells if cell.kind == kind and cell.budget == budget], goal)
                cell = found.get((entry, budget))
                text = latex_text(show.spread(None if cell is None else cell.test.get(goal.metric), goal.metric))
                row.append(f"\\textbf{{{text}}}" if cell is not None and chosen is cell else text)
            lines.append(f"{' & '.join(row)} \\\\")
    return "\n".join([*lines, "\\bottomrule\n\\end{tabular}\n\\end{table}\n"])


def latex_text(text: str) -> str:
    """`text` escaped for LaTeX, so that it contains no command, comment or cell separator."""
    return "".join(_LATEX.get(sign, sign) for sign in show.visible(re.sub(r"\s*[\r\n]+\s*", " ", text)))
