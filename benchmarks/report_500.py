"""Time to write the report of 500 runs, and the size of its page.

    python benchmarks/report_500.py [--entries 20 --budgets 5 --seeds 5 --rows 2000]

The runs are synthetic, with predictions for every test row like real runs; creating them is not timed. The time for
imports is part of the total, because a user waits for it too, and is also printed separately.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=20)
    parser.add_argument("--budgets", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--keep", type=Path, help="keep the report in this folder")
    arguments = parser.parse_args()

    from synthetic_records import write_many

    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        runs = write_many(folder, arguments.entries, arguments.budgets, arguments.seeds, arguments.rows)
        began, spent = time.perf_counter(), time.process_time()
        from tl_toolkit.comparison.report.writing import write_report

        imported = time.perf_counter()
        page = write_report(folder, "Five hundred runs")
        ended = time.perf_counter()
        print(f"{runs} runs of {arguments.entries} entries, {arguments.rows} test rows")
        print(f"{ended - began:.1f} s in total, {time.process_time() - spent:.1f} s processor time")
        print(f"{imported - began:.1f} s of the total for imports")
        print(f"{page.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
