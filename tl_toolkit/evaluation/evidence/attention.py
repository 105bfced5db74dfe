"""Read the attention weights that runs save for a few test rows, for the report."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...records.artefacts import damage
from ..results import Result
from ..statistics.cells import Cell, at_largest_budget

MOST_ROWS = 6
MOST_TOKENS = 80


@dataclass(frozen=True)
class AttendedRow:
    """One test row: its tokens, the weight of each, and `strength`, the weight relative to the row's maximum.

    `cut` is the number of tokens left out after the kept ones.
    """

    row: int
    tokens: list[str]
    weights: list[float]
    strength: list[float]
    cut: int = 0


@dataclass(frozen=True)
class Attention:
    """The attention of one run of an entry; `what` describes the weights."""

    entry: str
    budget: float
    seed: int | None
    what: str
    rows: list[AttendedRow]


def attentions(cells: Sequence[Cell], folder: Path) -> list[Attention]:
    """The attention of the first run of each entry that saved it, at its largest budget; other entries are left out."""
    left = [
        [(cell, result, *read) for result in cell.results if (read := read_attention(result, folder)) is not None]
        for cell in at_largest_budget(cells)
    ]
    return [
        Attention(cell.entry, cell.budget, result.seed, what, rows)
        for cell, result, what, rows in (own[0] for own in left if own)
    ]


def read_attention(result: Result, folder: Path) -> tuple[str, list[AttendedRow]] | None:
    """The description of the weights, and the rows; None if the run has no such file, or an incomplete one.

    Invalid rows are left out, so that a damaged file removes a figure but never breaks the report.
    """
    name = result.record.get("attention")
    if not isinstance(name, str):
        return None
    path = Path(folder) / result.folder / name
    if damage(path, result.record, name) is not None:
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    rows = content.get("rows") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        return None
    whole = [row for row in map(_row, rows) if row is not None][:MOST_ROWS]
    return (str(content.get("what") or "attention weights"), whole) if whole else None


def _row(content: Any) -> AttendedRow | None:
    try:
        tokens = [str(token) for token in content["tokens"]]
        weights = [float(weight) for weight in content["weights"]]
        row = int(content["row"])
    except (KeyError, TypeError, ValueError):
        return None
    if not tokens or len(tokens) != len(weights) or not all(math.isfinite(own) and own >= 0 for own in weights):
        return None
    greatest = max(weights) or 1.0
    kept = slice(0, MOST_TOKENS)
    strength = [round(own / greatest, 3) for own in weights[kept]]
    return AttendedRow(row, tokens[kept], weights[kept], strength, max(0, len(tokens) - MOST_TOKENS))
