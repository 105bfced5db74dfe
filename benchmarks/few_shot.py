"""`--strategy contrastive` against setfit, on the same few labelled rows with the same encoder.

    pip install 'tl-toolkit[demo,benchmark]'
    python benchmarks/few_shot.py --datasets SetFit/sst2 --labels 8 16 64 --seeds 1 2 3

Each class has `--labels` training rows. Both tune the encoder on pairs with their own defaults (16 pairs in a batch, a
rate of 2e-5, once through all pairs), in float32, and solve a logistic regression; both are scored on the same test
rows. `--max_steps`, `--max_length` and `--bf16` bound the work of both alike. `probe` is the head without tuning. A
dataset of tagged words becomes one of texts with the kind of their first entity. Seconds are the processor time of
training on a CPU, without loading and scoring: it hardly depends on what else the machine does. Finished runs are kept
in --output (JSON lines), so the same command resumes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import torch
from ladder import with_texts

from tl_toolkit import finetune
from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.data.column_roles import find_columns
from tl_toolkit.data.sources import load_source
from tl_toolkit.loading.names import location_of
from tl_toolkit.strategies.contrastive import pairs_of
from tl_toolkit.workflows.finetune import FineTuning


def few_rows(dataset: str, labels: int, seed: int, test_rows: int, folder: Path) -> dict[str, pd.DataFrame]:
    """Write `labels` training rows of each class, and test rows that are the same for every seed; return both."""
    source = load_source(DataArguments(dataset_name=with_texts(dataset, folder / "texts"))).dataset
    columns = find_columns(source["train"].features)

    def table(split: str, seed: int) -> pd.DataFrame:
        rows = source[split].select_columns([columns.text, columns.label]).to_pandas()
        return (
            rows.set_axis(["text", "label"], axis=1).dropna().drop_duplicates("text").sample(frac=1, random_state=seed)
        )

    train, test = table("train", seed), table("test", 0)
    splits = {"train": train.groupby("label").head(labels), "test": test.head(test_rows)}
    rest = train.drop(splits["train"].index)
    splits["validation"] = rest.groupby("label").head(2)  # neither learns from them
    (folder / "data").mkdir()
    for name, rows in splits.items():
        splits[name] = rows.astype({"text": str, "label": str}).reset_index(drop=True)
        splits[name].to_parquet(folder / "data" / f"{name}.parquet")
    return splits


def most_steps(rows: pd.DataFrame, most: int) -> int:
    """`most` if all pairs of `rows` need more updates, otherwise -1."""
    pairs, _ = pairs_of(rows["label"].to_numpy())
    return most if 0 < most < len(pairs) // 16 else -1


def run_toolkit(strategy: str, given: argparse.Namespace, steps: int, folder: Path, seed: int) -> tuple[float, float]:
    """Accuracy and seconds of training."""
    bounds = {"max_steps": steps} if strategy == "contrastive" and steps > 0 else {}
    timed: list[float] = []
    work = FineTuning.work

    def timing(run: FineTuning) -> None:
        began = time.process_time()
        work(run)
        timed.append(time.process_time() - began)

    with mock.patch.object(FineTuning, "work", timing):
        record = finetune(
            str(folder / "data"), model_name_or_path=given.model, strategy=strategy, seed=seed, use_cpu=True,
            output_dir=f"{folder}/run", overwrite_output_dir=True, disable_tqdm=True, log_level="error",
            max_length=given.max_length, bf16=given.bf16, **bounds,
        ).record  # fmt: skip
    return record["metrics"]["test"]["accuracy"], timed[0]


def run_setfit(
    given: argparse.Namespace, steps: int, splits: dict[str, pd.DataFrame], folder: Path, seed: int
) -> tuple[float, float]:
    """Accuracy and seconds of training."""
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    settings: dict[str, Any] = {"seed": seed, "output_dir": f"{folder}/setfit", "report_to": "none"}
    model = SetFitModel.from_pretrained(location_of(given.model))
    if given.max_length is not None:
        model.model_body.max_seq_length = given.max_length
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**settings, max_steps=steps, save_strategy="no", show_progress_bar=False),
        train_dataset=Dataset.from_pandas(splits["train"]),
    )
    bfloat16 = torch.autocast("cpu", torch.bfloat16, enabled=given.bf16)
    began = time.process_time()
    with bfloat16:
        trainer.train()
    seconds = time.process_time() - began
    with torch.no_grad(), bfloat16:
        predicted = trainer.model.predict(splits["test"]["text"].tolist())
    return float((pd.Series(list(predicted)) == splits["test"]["label"]).mean()), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", required=True)
    parser.add_argument("--labels", nargs="+", type=int, default=[8, 16, 64], help="labels of each class")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--methods", nargs="+", default=["probe", "contrastive", "setfit"])
    parser.add_argument("--model", default="builtin:minilm")
    parser.add_argument("--test_rows", type=int, default=1000)
    parser.add_argument("--max_steps", type=int, default=-1, help="most updates of 16 pairs; -1 for all pairs")
    parser.add_argument("--max_length", type=int, help="most tokens of a text")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--output", type=Path, default=Path("outputs/few_shot.jsonl"))
    given = parser.parse_args()
    given.output.parent.mkdir(parents=True, exist_ok=True)
    known = [json.loads(line) for line in given.output.read_text().splitlines()] if given.output.exists() else []
    common = {name: getattr(given, name) for name in ("model", "test_rows", "max_steps", "max_length", "bf16")}
    for seed, dataset, labels in product(given.seeds, given.datasets, given.labels):
        runs = [{"method": name, "dataset": dataset, "labels": labels, "seed": seed} | common for name in given.methods]
        missing = [run for run in runs if not any(run.items() <= other.items() for other in known)]
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            splits = few_rows(dataset, labels, seed, given.test_rows, folder)
            steps = most_steps(splits["train"], given.max_steps)
            for run in missing:
                if run["method"] == "setfit":
                    accuracy, seconds = run_setfit(given, steps, splits, folder, seed)
                else:
                    accuracy, seconds = run_toolkit(run["method"], given, steps, folder, seed)
                known.append({**run, "accuracy": 100 * accuracy, "seconds": seconds})
                with given.output.open("a") as lines:
                    lines.write(json.dumps(known[-1]) + "\n")
    table = pd.DataFrame(known).groupby(["dataset", "labels", "method"])[["accuracy", "seconds"]]
    print(table.agg(["mean", "std", "sem"]).round(2).to_string())


if __name__ == "__main__":
    main()
