"""Compare models and strategies over label budgets and seeds, and write the verdict as a report.

    python recipes/compare.py --config recipes/configs/demo.yaml --output_dir outputs/demo [--flag value ...]

The YAML file is a grid: keys at its top are shared by all entries, `entries` names what is compared, `label_budgets`
and `seeds` how often; `stages` are pre-training runs that entries start from. Runs are made one after another, or
several at once with `--parallel_runs N` or on a cluster with `--executor ray`; running the command again makes only
those that are missing. `--output_dir` then holds `report.html`, `report.md`, `figures/`, `results.jsonl`, and one
folder a run and stage.

    python recipes/compare.py --from_results DIR [DIR ...] [--output_dir OUT] [--title TITLE]

makes the report again, or one of several comparisons and single runs, from their records alone.
"""

import functools
import sys

from tl_toolkit.cli import run_recipe
from tl_toolkit.errors import UserError


def main() -> None:
    from tl_toolkit.comparison.arguments import FromResults, parse_compare_arguments

    arguments = parse_compare_arguments(description=__doc__)
    if isinstance(arguments, FromResults):
        from tl_toolkit.comparison.report.merging import report_from_results

        print(f"The report: {report_from_results(*arguments).resolve()}")
        return

    from tl_toolkit.comparison.execution.lock import locked
    from tl_toolkit.comparison.execution.scheduler import check_data, count_results, execute, make_executor
    from tl_toolkit.comparison.report.writing import write_report

    grid, output_dir = arguments.grid, arguments.output_dir
    if arguments.dry_run:
        from tl_toolkit.comparison.execution.dry_run import plan

        print(plan(grid, output_dir, retry_failed=arguments.retry_failed, at_once=arguments.parallel_runs))
        return
    check_data(grid, output_dir)
    print(f"{len(grid.runs)} runs of {len(grid.entries)} entries; results go to {output_dir}", flush=True)
    with locked(output_dir) as lock:
        try:
            failed = execute(
                grid,
                output_dir,
                retry_failed=arguments.retry_failed,
                executor=make_executor(arguments.executor, arguments.parallel_runs, arguments.ray_address, lock),
                say=functools.partial(print, flush=True),
                live=sys.stdout if sys.stdout.isatty() else None,
                report=lambda: write_report(output_dir, grid.title, arguments.report_texts),
            )
        except KeyboardInterrupt:
            made = count_results(output_dir)
            raise KeyboardInterrupt(f"{made} of {len(grid.runs)} runs are made.") from None
        finally:  # also when it was interrupted: what has been compared so far is worth reading
            if (output_dir / "results.jsonl").exists():
                report = write_report(output_dir, grid.title, arguments.report_texts)
    print(f"\n{(output_dir / 'report.md').read_text(encoding='utf-8').split('##')[0].strip()}\n")
    if failed:
        print(f"{failed} runs failed; the report names them. --retry_failed repeats them.")
    print(f"The report: {report.resolve()}")
    if failed == len(grid.runs):
        raise UserError("Every run of the comparison failed; the report says why.")


if __name__ == "__main__":
    run_recipe(main, "The same command goes on with the others.")
