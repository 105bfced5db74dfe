"""For each task, metrics computed from the rows of a run equal those in its record; baselines and pairs use them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tl_toolkit.comparison.verdict.decision import asked_in, decide_runs
from tl_toolkit.evaluation.predictions import PredictionReader
from tl_toolkit.evaluation.results import Result
from tl_toolkit.evaluation.statistics.baseline import baselines, beats
from tl_toolkit.evaluation.statistics.cells import Goal, make_cells
from tl_toolkit.evaluation.statistics.scored_rows import row_metrics, score_rows

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def check(tmp_path, record, metrics, rel=1e-9):
    """Check each of `metrics` on the rows of a run in `tmp_path/out`; returns its cell, its goal and a reader."""
    result, reader = Result("own", "out", record), PredictionReader(tmp_path)
    for name in metrics:
        scored = score_rows(result, name, reader)
        assert scored is not None, name
        found = float(scored.metric.value(scored.quantities.mean(axis=0)))
        assert found == pytest.approx(record["metrics"]["test"][name], rel=rel, abs=1e-12), name
        assert scored.scores.shape == (len(scored.quantities),)
        assert scored.scores.mean() == pytest.approx(found, abs=1e-12)
    (cell,) = make_cells([result])
    goal = Goal(record["task"]["main_metric"], record["task"]["greater_is_better"])
    return cell, goal, reader


def test_tags(tmp_path, finetune):
    generator, folder = np.random.default_rng(0), tmp_path / "tags"
    folder.mkdir()
    for split, rows in {"train": 61, "validation": 17, "test": 43}.items():
        words = [
            generator.choice(["a", "king", "rex", "leo", "dr"], generator.integers(1, 9)).tolist() for _ in range(rows)
        ]
        names = [["B-P" if before == "dr" else "O" for before in [None, *own[:-1]]] for own in words]
        pd.DataFrame({"tokens": words, "ner_tags": names}).to_parquet(folder / f"{split}.parquet")
    overrides = "embedding_size=11,hidden_size=13,bidirectional=true"
    record = finetune(
        task="token-classification", dataset_name=str(folder), model_type="rnn", config_overrides=overrides,
        learning_rate=0.1, num_train_epochs=3, max_length=5,
    )  # fmt: skip
    cell, goal, reader = check(tmp_path, record, ("accuracy", "f1", "precision", "recall"))
    (baseline,) = baselines([cell], reader)
    labels = pd.read_parquet(tmp_path / "out" / "predictions_test.parquet")["label"]
    outside = np.concatenate(labels.tolist()) == "O"
    assert (baseline.what, baseline.names, baseline.from_test) == ("the most frequent tag", ["O"], False)
    assert baseline.test["accuracy"].mean == pytest.approx(outside.mean()) and baseline.test["f1"].mean == 0
    (run,) = cell.results
    assert beats(run, baseline, goal, reader) and not beats(run, baseline, Goal("recall", False), reader)


def test_translations(tmp_path, finetune):
    generator, folder = np.random.default_rng(0), tmp_path / "numbers"
    folder.mkdir()
    for split, rows in {"train": 61, "validation": 7, "test": 23}.items():
        made = [generator.integers(0, 10, generator.integers(2, 6)) for _ in range(rows)]
        frame = {
            "source": ["".join(map(str, number)) for number in made],
            "target": [" ".join(DIGITS[digit] for digit in number) for number in made],
        }
        pd.DataFrame(frame).to_parquet(folder / f"{split}.parquet")
    record = finetune(
        task="translation", dataset_name=str(folder), model_type="rnn_encoder_decoder", tokenizer_name="char",
        config_overrides="embedding_size=11,hidden_size=13,attention=luong", learning_rate=0.01, num_train_epochs=1,
    )  # fmt: skip
    cell, _, reader = check(tmp_path, record, ("bleu", "bleu_lowercase", "chrf", "exact_match"))
    assert baselines([cell], reader) == [] and record["metrics"]["test"]["chrf"] > 0


def test_forecasts(tmp_path, finetune):
    steps, folder = np.arange(143), tmp_path / "series"
    folder.mkdir()
    values = {"x": np.sin(2 * np.pi * steps / 7) * 3 + 5, "y": np.cos(2 * np.pi * steps / 7) + steps % 5}
    frame = pd.DataFrame({"date": pd.date_range("2020-01-01", periods=143, freq="D"), **values})
    frame.loc[frame.index % 17 == 3, "y"] = np.nan
    frame.to_csv(folder / "series.csv", index=False)
    record = finetune(
        task="forecasting", dataset_name=str(folder / "series.csv"), context_length=11, prediction_length=5,
        model_type="rnn", config_overrides="hidden_size=13",
    )  # fmt: skip
    # The record's targets were converted to single precision by the model; those of the predictions were not.
    cell, goal, reader = check(tmp_path, record, ("mae", "mse", "rmse", "smape", "mase"), rel=1e-6)
    naive, seasonal = baselines([cell], reader)
    assert (naive.what, seasonal.names) == ("the last value", ["seasonal-naive forecast"])
    reached = record["metrics"]["test"]
    assert naive.test["mae"].mean == reached["naive_mae"] and seasonal.test["mae"].mean == reached["seasonal_naive_mae"]
    assert not beats(cell.results[0], seasonal, goal, reader)
    scored = score_rows(cell.results[0], "mae", reader)
    assert scored.quantities[:, 1].min() < 10  # some of five steps of two variables were not observed


def test_language_models(tmp_path, dataset_folder):
    from tl_toolkit.config.pretrain_arguments import pretrain_arguments_from
    from tl_toolkit.workflows.pretrain import pretrain

    settings = {
        "dataset_name": str(dataset_folder), "output_dir": str(tmp_path / "out"), "use_cpu": True, "disable_tqdm": True,
        "per_device_train_batch_size": 3, "window_length": 11, "num_train_epochs": 1, "model_type": "awd_lstm",
        "config_overrides": "embedding_size=11,hidden_size=13",
    }  # fmt: skip
    record = pretrain(pretrain_arguments_from(settings, "the test"))
    check(tmp_path, record, ("loss", "perplexity", "bits_per_byte"), rel=1e-6)


def test_captions_with_several_references(make_record, tmp_path, write_parquet):
    from tl_toolkit.metrics.generation import text_scores

    written = ["a red round face", "two Green cats on a mat", "", "a dog runs in the park today"]
    wanted = [
        ["a red face", "a round red face"],
        ["two green cats on a mat"],
        ["nothing"],
        ["a dog runs", "a dog sits"],
    ]
    scores = text_scores(written, wanted)
    task = {"name": "captioning", "problem_type": None, "main_metric": "chrf", "greater_is_better": True}
    record = make_record("own", 100, 1, 0.0, folder="out", task=task, metrics={"validation": {}, "test": scores})
    write_parquet(tmp_path / "out", {"row": np.arange(4), "reference": wanted, "prediction": written})
    check(tmp_path, record, ("bleu", "bleu_lowercase", "chrf", "exact_match"))


def test_corpus_scores_are_decided_on(make_record, tmp_path, write_parquet):
    from tl_toolkit.metrics.generation import text_scores

    generator = np.random.default_rng(3)
    wanted = [" ".join(generator.choice(DIGITS, generator.integers(4, 9))) for _ in range(61)]
    task = {"name": "translation", "problem_type": None, "main_metric": "bleu", "greater_is_better": True}
    results = []
    for entry, skill in (("lstm", 0.75), ("gru", 0.75), ("minilm", 0.9)):
        for seed in (1, 2, 3):
            written = [
                " ".join(word if generator.random() < skill else "some" for word in text.split()) for text in wanted
            ]
            metrics = {split: text_scores(written, wanted) for split in ("validation", "test")}
            record = make_record(entry, 100, seed, 0.0, task=task, metrics=metrics)
            write_parquet(
                tmp_path / record["folder"], {"row": np.arange(61), "reference": wanted, "prediction": written}
            )
            results.append(Result(entry, record["folder"], record))
    (panel,) = decide_runs({"numbers": (results, PredictionReader(tmp_path))}, asked_in(tmp_path))["budgets"]
    readings = {pair["b"]: pair["reading"] for pair in panel["comparisons"]}
    assert panel["best"] == "minilm" and readings == {"lstm": "behind", "gru": "behind"}
    assert panel["expected"]["value"] == pytest.approx(np.mean([r.metrics("test")["bleu"] for r in results[6:]]))


def test_unknown_metrics_and_missing_files_have_no_scores(make_record, tmp_path):
    for name in (
        "text-classification",
        "token-classification",
        "translation",
        "forecasting",
        "causal-language-modeling",
    ):
        result = Result("own", "out", make_record("own", 1, 1, 0.5, task={"name": name, "problem_type": None}))
        assert "no_such_metric" not in row_metrics(result)
        assert all(score_rows(result, metric, PredictionReader(tmp_path)) is None for metric in row_metrics(result))
