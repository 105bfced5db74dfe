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

from tl_toolkit.cli import run_recipe


def main() -> None:
    from tl_toolkit.comparison.arguments import parse_compare_arguments

    arguments = parse_compare_arguments(description=__doc__)

    from tl_toolkit.workflows.compare import compare

    compare(arguments)


if __name__ == "__main__":
    run_recipe(main, "The same command goes on with the others.")
