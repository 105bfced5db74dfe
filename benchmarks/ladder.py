"""Is the entry that validation picks from a ladder as good as the baselines that anybody can write in ten lines?

    python benchmarks/ladder.py --datasets SetFit/sst2 stanfordnlp/imdb builtin:pydocs --label_budgets 100 500 1000

For each dataset it runs `compare --entries ladder`, picks at each budget the entry with the best mean score on the
validation rows, and sets its test score beside scikit-learn's on the same rows: TF-IDF of words and pairs of words (of
one to four characters where texts are one word) with logistic regression, and mean-pooled MiniLM with logistic
regression (ridge regression for numbers), regularised by cross-validation. A dataset of tagged words becomes one of
texts with the kind of their first entity. Finished runs are kept under --output, so the same command resumes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tl_toolkit import compare
from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.data.sources import load_source
from tl_toolkit.data.tokenizers import kind_for
from tl_toolkit.loading.builtin_models import builtin_model_path
from tl_toolkit.tasks import make_task

ROWS = {"validation_budget": 300, "test_budget": 1500}


def with_texts(dataset: str, folder: Path) -> str:
    """`dataset`, or where its rows are tagged words, a folder with texts and the kind of their first entity."""
    splits = load_source(DataArguments(dataset_name=dataset)).dataset
    features = next(iter(splits.values())).features
    tags = next((name for name in features if name in ("ner_tags", "tags")), None)
    if tags is None:
        return dataset
    folder.mkdir(parents=True, exist_ok=True)
    names = features[tags].feature.names
    for name, split in splits.items():
        first = [next((names[tag][2:] for tag in row if names[tag] != "O"), "none") for row in split[tags]]
        pd.DataFrame({"text": map(" ".join, split["tokens"]), "label": first}).to_parquet(folder / f"{name}.parquet")
    return str(folder)


def baselines(task: Any, splits: Any, features: Any) -> dict[str, np.ndarray]:
    """Predictions of scikit-learn's pipelines for the test rows."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegressionCV, RidgeCV

    texts, target = splits["train"]["text"], np.array(splits["train"]["label"])
    characters = {"analyzer": "char", "ngram_range": (1, 4)}
    words = {"ngram_range": (1, 2)}
    vectorizer = TfidfVectorizer(sublinear_tf=True, **(characters if kind_for(texts) == "char" else words))
    matrices = {
        "TF-IDF + LR": (vectorizer.fit_transform(texts), vectorizer.transform(splits["test"]["text"])),
        "mean-pooled + LR": (features(texts), features(splits["test"]["text"])),
    }
    folds = max(2, min(5, np.bincount(target).min())) if target.dtype.kind in "iu" else None
    found = {}
    for name, (train, test) in matrices.items():
        if folds is None:
            model = RidgeCV(np.logspace(-3, 3, 13))
        else:
            model = LogisticRegressionCV(Cs=np.logspace(-1, 3, 9), cv=folds, max_iter=2000, l1_ratios=(0,),
                                         use_legacy_attributes=False, scoring="neg_log_loss")  # fmt: skip
        found[name] = model.fit(train, target).predict(test)
    return found


def mean_pooled(max_length: int) -> Any:
    """A function from texts to the mean of MiniLM's last hidden states, computed once per text."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    path = builtin_model_path("builtin:minilm")
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path, dtype=torch.float32).eval()
    known: dict[str, np.ndarray] = {}

    def features(texts: Any) -> np.ndarray:
        new = sorted(set(texts) - known.keys(), key=len)
        for start in range(0, len(new), 32):
            batch = tokenizer(new[start : start + 32], padding=True, truncation=True, max_length=max_length,
                              return_tensors="pt")  # fmt: skip
            with torch.inference_mode():
                states = model(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1)
            means = (states * mask).sum(1) / mask.sum(1)
            known.update(zip(new[start : start + 32], means.numpy(), strict=True))
        return np.stack([known[text] for text in texts])

    return features


def row_scores(task: str, prediction: Any, label: Any) -> np.ndarray:
    """Scores of rows whose mean is the accuracy, or nearly the correlation: products of standardised values."""
    if task == "text-classification":
        return (np.asarray(prediction) == np.asarray(label)).astype(float)
    standard = [(values - np.mean(values)) / np.std(values) for values in (np.array(prediction), np.array(label))]
    return standard[0] * standard[1]


def compared(dataset: str, given: argparse.Namespace, features: Any) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """One row for each budget of a dataset, and the scores of all runs."""
    folder = given.output / Path(dataset).name.replace(":", "_")
    data = with_texts(dataset, folder / "data")
    labels = load_source(DataArguments(dataset_name=data)).dataset["train"].features
    task = "regression" if any(column.dtype.startswith("float") for column in labels.values()) else None
    flags: dict[str, Any] = {"task": task} if task else {}
    compare(
        data, entries="ladder", label_budgets=given.label_budgets, seeds=given.seeds, output_dir=str(folder / "runs"),
        max_length=given.max_length, train_sampling_strategy="group_by_length", keep_models=False, bf16=given.bf16,
        use_cpu=given.bf16, **ROWS, **flags,
    )  # fmt: skip
    records = [json.loads(line) for line in (folder / "runs/results.jsonl").read_text().splitlines()]
    records = [record for record in records if record.get("metrics")]
    metric = records[0]["task"]["main_metric"]
    runs = pd.DataFrame(
        {
            "entry": record["entry"], "labels": record["budget"]["label_budget"], "seed": record["seed"],
            "validation": record["metrics"]["validation"][metric], "test": record["metrics"]["test"][metric],
            "folder": folder / "runs" / record["folder"],
        }
        for record in records
    )  # fmt: skip
    rows = []
    for budget, cell in runs.groupby("labels"):
        picked = cell.groupby("entry").validation.mean().idxmax()
        row = {"dataset": Path(dataset).name, "labels": budget, "entry": picked}
        scores: dict[str, list[np.ndarray]] = {}
        for _, run in cell[cell.entry == picked].iterrows():
            limits: dict[str, Any] = {"label_budget": budget, "max_length": given.max_length, **ROWS}
            own = make_task(DataArguments(dataset_name=data, **limits, **flags))
            splits = own.prepare(int(run.seed))
            predicted = pd.read_parquet(run.folder / "predictions_test.parquet").sort_values("row")
            order = np.argsort(splits["test"]["row"])
            truth = np.array(splits["test"]["label"])[order]
            assert (predicted.row.to_numpy() == np.array(splits["test"]["row"])[order]).all()
            name = task or "text-classification"
            scores.setdefault("picked", []).append(row_scores(name, predicted.prediction, predicted.label))
            for baseline, answer in baselines(own, splits, features).items():
                scores.setdefault(baseline, []).append(row_scores(name, answer[order], truth))
        means = {name: np.mean([own.mean() for own in runs]) for name, runs in scores.items()}
        best = max(list(means)[1:], key=means.__getitem__)
        leads = np.array(scores["picked"]) - np.array(scores[best])
        error = np.sqrt(leads.mean(0).var(ddof=1) / leads.shape[1] + leads.mean(1).var(ddof=1) / len(leads))
        row |= {name: 100 * value for name, value in means.items()} | {"score": metric}
        row |= {"lead": 100 * leads.mean(), "standard error": 100 * error}
        rows.append(row)
    return rows, runs.assign(dataset=Path(dataset).name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", required=True)
    parser.add_argument("--label_budgets", nargs="+", type=int, default=[100, 500, 1000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--max_length", type=int, default=128)
    parser.add_argument("--bf16", action="store_true", help="train in bfloat16, on a processor that computes in it")
    parser.add_argument("--output", type=Path, default=Path("outputs/ladder"))
    given = parser.parse_args()
    features = mean_pooled(given.max_length)
    found = [compared(dataset, given, features) for dataset in given.datasets]
    runs = pd.concat([runs for _, runs in found])
    means = runs.pivot_table(index=["dataset", "labels"], columns="entry", values="test", sort=False)
    print((100 * means).round(1).to_markdown(), "\n")
    table = pd.DataFrame([row for rows, _ in found for row in rows])
    print(table.round(1).to_markdown(index=False))
    behind = table[(table.lead < -2) & (table.lead < -2 * table["standard error"])]
    print(f"\nAverage lead over the better baseline: {table.lead.mean():.1f} points; cells behind by more than 2 "
          f"points and 2 standard errors: {len(behind)} of {len(table)}.")  # fmt: skip


if __name__ == "__main__":
    main()
