"""Compare settings of finetune on held-out rows of training splits, as the default settings were chosen.

    python benchmarks/default_settings.py --datasets SetFit/sst2 builtin:pydocs --label_budgets 100 1000 --seeds 1 \\
        --variants lstm='{"model_type": "rnn"}' slow='{"model_type": "rnn", "learning_rate": 1e-3}'

The training split of each dataset, without repeated texts, is divided into rows to train on, to select on and to score
on; the dataset's own validation and test splits are never read. Finished runs are kept in --output (JSON lines), so the
same command resumes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import pandas as pd

from tl_toolkit import finetune
from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.data.column_roles import find_columns
from tl_toolkit.data.sources import load_source

SIZES = {"test": 1500, "validation": 1000, "train": 2500}


def divided(dataset: str, folder: Path) -> Path:
    """Write held-out splits of the training rows of a dataset, and return their folder."""
    split = load_source(DataArguments(dataset_name=dataset)).dataset["train"]
    columns = find_columns(split.features)
    rows = split.select_columns([columns.text, columns.label]).to_pandas().set_axis(["text", "label"], axis=1)
    rows = rows.dropna().drop_duplicates("text").sample(frac=1, random_state=7)
    scale = min(1.0, len(rows) / sum(SIZES.values()))
    for name, size in SIZES.items():
        part, rows = rows.iloc[: int(size * scale)], rows.iloc[int(size * scale) :]
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        part.astype({"text": str, "label": str}).to_parquet(folder / f"{name}.parquet")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", required=True)
    parser.add_argument("--variants", nargs="+", required=True, metavar="NAME=JSON")
    parser.add_argument("--label_budgets", nargs="+", type=int, default=[100, 1000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--output", type=Path, default=Path("outputs/default_settings.jsonl"))
    given = parser.parse_args()
    variants = {name: json.loads(text) for name, _, text in (variant.partition("=") for variant in given.variants)}
    given.output.parent.mkdir(parents=True, exist_ok=True)
    known = [json.loads(line) for line in given.output.read_text().splitlines()] if given.output.exists() else []
    done = {(run["variant"], run["dataset"], run["labels"], run["seed"]) for run in known}
    with tempfile.TemporaryDirectory() as temporary:
        for number, dataset in enumerate(given.datasets):
            folder = divided(dataset, Path(temporary) / f"data{number}")
            for labels in given.label_budgets:
                for seed in given.seeds:
                    for name, settings in variants.items():
                        if (name, dataset, labels, seed) in done:
                            continue
                        trained = finetune(
                            dataset_name=str(folder), label_budget=labels, validation_budget=100, seed=seed,
                            output_dir=f"{temporary}/run", overwrite_output_dir=True, disable_tqdm=True,
                            log_level="error", **settings,
                        )  # fmt: skip
                        score = trained.record["metrics"]["test"]["accuracy"]
                        run = {"variant": name, "dataset": dataset, "labels": labels, "seed": seed, "accuracy": score}
                        known.append(run)
                        with given.output.open("a") as lines:
                            lines.write(json.dumps(run) + "\n")
    table = pd.DataFrame(known).pivot_table(index="variant", columns=["dataset", "labels"], values="accuracy")
    print((100 * table).round(1).to_string())


if __name__ == "__main__":
    main()
