"""How long the report of 500 runs takes, and how large its page is.

    python benchmarks/report_500.py [--entries 20 --budgets 5 --seeds 5 --rows 2000]

The runs are synthetic, with predictions for every test row as a real run leaves them; making them is not timed.
Importing the libraries is part of what a user waits for, and is told by itself.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests" / "comparison"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=20)
    parser.add_argument("--budgets", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--keep", type=Path, help="a folder to leave the report in")
    arguments = parser.parse_args()

    from synthetic import write_many

    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        runs = write_many(folder, arguments.entries, arguments.budgets, arguments.seeds, arguments.rows)
        began, spent = time.perf_counter(), time.process_time()
        from tl_toolkit.comparison.report.writing import write_report

        imported = time.perf_counter()
        page = write_report(folder, "Five hundred runs")
        ended = time.perf_counter()
        print(f"{runs} runs of {arguments.entries} entries, {arguments.rows} test rows")
        print(f"{ended - began:.1f} s in all, {time.process_time() - spent:.1f} s of them of the processor")
        print(f"{imported - began:.1f} s of it to import")
        print(f"{page.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
