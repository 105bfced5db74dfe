"""BLEU by the length of the source sentence, from the test predictions of a comparison of translators.

    tl-toolkit compare --config multi30k_ladder.yaml --output_dir outputs/ladder
    python benchmarks/bleu_by_length.py outputs/ladder --output docs/course/results/multi30k_by_length.csv

A row for each finished run; lengths are counted in words between spaces.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from tl_toolkit.evaluation.results import read_results
from tl_toolkit.metrics.generation import text_scores

BUCKETS = {"up to 9 words": (0, 9), "10 to 13": (10, 13), "14 or more": (14, 10**6)}


def scores(rows: pd.DataFrame) -> dict[str, float]:
    """BLEU of all rows and of each bucket; the columns are `source`, `reference` and `prediction`."""
    words = rows["source"].str.split().str.len()
    parts = {"BLEU": rows, **{name: rows[words.between(*limits)] for name, limits in BUCKETS.items()}}
    return {
        name: round(text_scores(part["prediction"].tolist(), part["reference"].tolist())["bleu"], 1)
        for name, part in parts.items()
        if len(part)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the comparison")
    parser.add_argument("--output", type=Path, help="csv file for the table")
    given = parser.parse_args()
    table = pd.DataFrame(
        {"model": result.entry, **scores(pd.read_parquet(given.folder / result.folder / "predictions_test.parquet"))}
        for result in read_results(given.folder / "results.jsonl")
        if result.completed
    )
    print(table.to_string(index=False))
    if given.output:
        table.to_csv(given.output, index=False)


if __name__ == "__main__":
    main()
