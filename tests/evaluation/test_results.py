from __future__ import annotations

import json
import math
import re
import shlex

import numpy as np
import pytest

from tl_toolkit.comparison.report.entries import rerun
from tl_toolkit.errors import UserError
from tl_toolkit.evaluation.evidence.worst_rows import worst_rows
from tl_toolkit.evaluation.predictions import PredictionReader, confusion_matrix, label_counts
from tl_toolkit.evaluation.results import Result, folder_name, panels, read_results, read_store, table
from tl_toolkit.evaluation.statistics.cells import make_cells
from tl_toolkit.records.record import sealed

OLD = '{"entry": "a", "folder": "b", "schema_version": 1'
"""The beginning of a record of the first version."""


def read(folder):
    return read_results(folder / "results.jsonl")


def test_runs_are_read_in_order_with_all_table_columns(tmp_path, make_record, write_lines):
    write_lines(tmp_path, [make_record("lstm", 100, 1, 0.25), make_record("minilm", None, 2, 0.5)])
    results = read(tmp_path)
    runs = table(results)
    assert [result.transfer for result in results] == [False, True]
    assert runs["budget"].tolist() == [100, math.inf]
    assert runs["train_labels"].tolist() == [100, 6920]
    assert runs["test.accuracy"].tolist() == [0.25, 0.5]
    assert runs["trained_parameters"].tolist() == [1_040_000, 22_700_000]


def test_a_repeated_run_counts_once_with_its_latest_record(tmp_path, make_record, write_lines):
    failed = make_record("lstm", 100, 1, 0.2, status="failed", metrics={}, error="Loss is not finite.")
    write_lines(tmp_path, [failed, make_record("gru", 100, 1, 0.3), make_record("lstm", 100, 1, 0.25)])
    results = read(tmp_path)
    assert [(result.entry, result.completed) for result in results] == [("lstm", True), ("gru", True)]


def test_an_incomplete_last_line_is_ignored(tmp_path, make_record, write_lines):
    write_lines(tmp_path, [make_record("lstm", 100, 1, 0.25)])
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"entry": "gru", "fol')
    assert len(read(tmp_path)) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "Line 2 .* is not JSON"),
        ("[]", "Line 2 .* is not a result record"),
        (f'{OLD}, "metrics": {{"test": [0.5]}}}}', "Line 2 .* field 'metrics.test' must be a mapping, but is "),
        (
            f'{OLD}, "metrics": {{"test": {{"accuracy": "0.5"}}}}}}',
            "Line 2 .* 'metrics.test.accuracy' must not be '0.5'",
        ),
        (f'{OLD}, "cost": {{"steps": 1.5}}}}', "Line 2 .* field 'cost.steps' must not be 1.5"),
        (f'{OLD}, "seed": true}}', "Line 2 .* field 'seed' must not be True"),
        (f'{OLD}, "status": "done"}}', "Line 2 .* field 'status' must not be 'done'"),
        (f'{OLD}, "stages": [3]}}', "Line 2 .* field 'stages' must be a mapping, but is 3"),
        (f"{OLD.replace('1', '2')}}}", "Line 2 .* was changed after it was written"),
        ('{"entry": "a", "folder": "b", "schema_version": 9}', "Line 2 .* schema_version 9"),
    ],
)
def test_an_invalid_record_costs_its_line_only(tmp_path, make_record, line, message, caplog):
    records = [json.dumps(make_record("lstm", 100, seed, 0.2)) for seed in (1, 2)]
    (tmp_path / "results.jsonl").write_text("\n".join([records[0], line, records[1], ""]))
    store = read_store(tmp_path / "results.jsonl")
    assert [own.seed for own in store.results] == [1, 2] and len(store.damaged) == 1
    assert re.search(message, store.damaged[0])
    assert len(read(tmp_path)) == 2 and re.search(message, caplog.text)
    (tmp_path / "results.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match=f"contains no valid record. {message.replace('2', '1')}"):
        read(tmp_path)


def test_a_missing_file_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"results\.jsonl"):
        read(tmp_path)


def test_runs_are_grouped_by_dataset(tmp_path, make_record, write_lines):
    imdb = make_record("lstm", 100, 1, 0.25, grid_dataset="imdb")
    sst2 = make_record("lstm", 100, 1, 0.5, grid_dataset="sst2")
    sst2["dataset"]["name"] = "../data/sst2"
    early = {"schema_version": 1, "status": "failed", "entry": "gpt", "folder": "r", "arguments": {"dataset_name": "x"}}
    early |= {"grid_dataset": "sst2"}
    lost = {"schema_version": 1, "status": "failed", "entry": "gpt", "folder": "r", "error": "Killed."}
    write_lines(tmp_path, [imdb, sst2, early, lost])
    found = panels(read(tmp_path))
    assert {name: [own.entry for own in runs] for name, runs in found.items()} == {
        "imdb": ["lstm", "gpt"], "sst2": ["lstm", "gpt"],
    }  # fmt: skip
    assert found["imdb"][1].record.get("error") == "Killed."  # a run of an unknown dataset goes to the first one


def test_a_run_that_failed_early_is_grouped_with_runs_of_the_same_dataset_argument(tmp_path, make_record, write_lines):
    run = make_record("lstm", 100, 1, 0.25)
    run["dataset"]["name"] = "stanfordnlp/imdb"
    early = {"schema_version": 1, "status": "failed", "entry": "gpt", "folder": "r"}
    early["arguments"] = {"dataset_name": "builtin:pydocs"}
    write_lines(tmp_path, [early, run])
    assert [len(runs) for runs in panels(read(tmp_path)).values()] == [2]


def test_a_single_run_has_the_name_of_its_record(tmp_path, make_record, write_lines):
    record = make_record("lstm", 100, 1, 0.25)
    del record["entry"], record["folder"]
    write_lines(tmp_path, [record])
    assert [(own.entry, own.folder) for own in read(tmp_path)] == [("lstm", ".")]


def test_a_failed_run_without_metrics_is_in_the_table_but_in_no_cell(tmp_path, make_record, write_lines):
    bare = {"schema_version": 1, "status": "failed", "error": "x", "entry": "gpt", "folder": "runs/g", "metrics": {}}
    write_lines(tmp_path, [make_record("lstm", 100, 1, 0.25), bare])
    results = read(tmp_path)
    assert np.isnan(table(results)["test.accuracy"][1])
    assert [cell.entry for cell in make_cells(results)] == ["lstm"]
    assert make_cells(results[1:]) == []


def test_cells_gather_seeds(tmp_path, make_record, write_lines):
    write_lines(tmp_path, [make_record("lstm", 100, seed, 0.2 + seed / 100) for seed in (1, 2, 3)])
    (cell,) = make_cells(read(tmp_path))
    assert cell.test["accuracy"].mean == pytest.approx(0.22)
    assert cell.test["accuracy"].deviation == pytest.approx(0.01)
    assert cell.costs["train_seconds"] == pytest.approx(3.4 * 100 / 2000 + 0.8)
    assert (cell.seeds, cell.train_labels, cell.validation_labels) == (3, 100, 100)


def test_cells_are_ordered_by_budget_with_all_labels_last(tmp_path, make_record, write_lines):
    write_lines(tmp_path, [make_record(name, budget, 1, 0.2) for budget in (None, 500, 100) for name in ("b", "a")])
    assert [(cell.budget, cell.entry) for cell in make_cells(read(tmp_path))] == [
        (100, "b"), (100, "a"), (500, "b"), (500, "a"), (math.inf, "b"), (math.inf, "a"),
    ]  # fmt: skip


def test_predictions_are_sorted_by_row_and_mistakes_by_certainty(tmp_path, make_record, write_lines, write_parquet):
    record = make_record("lstm", 100, 1, 0.25)
    write_lines(tmp_path, [record])
    scores = [[0.1, 0.9, 0.0], [0.2, 0.1, 0.7], [0.0, 0.6, 0.4], [1.0, 0.0, 0.0]]
    columns = {"row": [7, 2, 5, 3], "text": list("abcd"), "label": [0, 2, 0, 1], "prediction": [1, 2, 1, 0]}
    write_parquet(tmp_path / record["folder"], columns | {"scores": [np.float32(row) for row in scores]})
    (result,) = read(tmp_path)
    reader = PredictionReader(tmp_path)
    run = reader.labels(result)
    assert run is not None
    assert (run.row.tolist(), run.label.tolist(), run.prediction.tolist()) == ([2, 3, 5, 7], [2, 1, 0, 0], [2, 0, 1, 1])
    assert [(mistake.text, mistake.measure) for mistake in worst_rows(result, reader)] == [
        ("d", "probability 1.000"), ("a", "probability 0.900"), ("c", "probability 0.600"),
    ]  # fmt: skip
    assert confusion_matrix([run, run], 3).tolist() == [[0, 4, 0], [2, 0, 0], [0, 0, 2]]


def test_multi_label_mistakes_have_the_probability_of_their_most_certain_wrong_label(
    tmp_path, make_record, write_lines, write_parquet
):
    record = make_record("lstm", 100, 1, 0.25)
    write_lines(tmp_path, [record])
    columns = {
        "row": [0, 1, 2],
        "text": list("abc"),
        "label": [[1, 0], [0, 1], [1, 1]],
        "prediction": [[1, 1], [0, 1], [0, 1]],
        "scores": [[0.99, 0.7], [0.1, 0.9], [0.05, 0.9]],
    }
    write_parquet(tmp_path / record["folder"], columns)
    (result,) = read(tmp_path)
    reader = PredictionReader(tmp_path)
    run = reader.labels(result)
    assert run is not None and run.label.shape == (3, 2)
    assert [(own.row, own.measure) for own in worst_rows(result, reader)] == [
        (2, "probability 0.950"), (0, "probability 0.700"),
    ]  # fmt: skip
    assert label_counts([run]).tolist() == [[1, 0, 1], [2, 1, 0]]


def test_missing_or_broken_predictions_are_none(tmp_path, make_record, write_lines):
    write_lines(tmp_path, [make_record("lstm", 100, 1, 0.25), make_record("gru", 100, 1, 0.25)])
    first, second = read(tmp_path)
    (tmp_path / second.folder).mkdir(parents=True)
    (tmp_path / second.folder / "predictions_test.parquet").write_bytes(b"PAR1 cut short")
    reader = PredictionReader(tmp_path)
    assert reader.labels(first) is None and reader.labels(second) is None
    assert worst_rows(first, reader) == [] and worst_rows(second, reader) == []


def test_rerun_puts_shared_arguments_in_the_file_and_others_in_flags(tmp_path, make_record, write_lines):
    import yaml

    records = [make_record("bi + lstm", budget, 1, 0.25) for budget in (100, 500)]
    write_lines(tmp_path, records)
    results = read(tmp_path)
    again = rerun(results, results[1])
    assert yaml.safe_load(again.configuration) == {
        "dataset_name": "builtin:pydocs",
        "strategy": "scratch",
        "learning_rate": 2e-3,
        "config_overrides": {"hidden_size": 128, "bidirectional": True},
        "num_train_epochs": 10.0,
    }
    # The file has the name of the run's folder, and the lines are a single shell command.
    assert again.file == f"{folder_name('bi + lstm')}.yaml" == "bi_lstm.yaml"
    assert again.command == (
        "tl-toolkit finetune \\\n    --config bi_lstm.yaml \\\n    --seed 1 \\\n"
        "    --label_budget 500 \\\n    --output_dir outputs/bi_lstm"
    )
    words = shlex.split(again.command.replace("\\\n", " "))
    assert words[words.index("--label_budget") + 1] == "500" and "\n" not in " ".join(words)


@pytest.mark.parametrize(
    ("device", "launcher"),
    [
        ("cuda", "accelerate launch --num_processes 3 -m tl_toolkit finetune"),
        (
            "cpu",  # where --num_processes alone starts a single process
            'accelerate launch --config_file "$(tl-toolkit configs two_cpu.yaml)" --num_processes 3 '
            "-m tl_toolkit finetune",
        ),
    ],
)
def test_a_run_of_several_processes_is_rerun_on_as_many(
    device: str, launcher: str, tmp_path, make_record, write_lines
) -> None:
    record = make_record("lstm", 100, 1, 0.25, hardware={"device": device, "world_size": 3})
    write_lines(tmp_path, [record])
    results = read(tmp_path)
    assert rerun(results, results[0]).command.split(" \\\n")[0] == launcher


def test_a_language_model_is_rerun_by_pretraining(tmp_path, make_record, write_lines):
    task = {"name": "causal-language-modeling", "main_metric": "bits_per_byte", "greater_is_better": False}
    changes = {"task": task, "arguments": {"max_train_tokens": 700, "seed": 1}}
    budgets = [{"label_budget": None, "token_budget": tokens, "train_labels": 0} for tokens in (700, 11_000)]
    records = [make_record("lm", None, 1, 0.25, **changes) | {"budget": budget} for budget in budgets]
    write_lines(tmp_path, records)
    results = read(tmp_path)
    assert [result.budget for result in results] == [700, 11_000]
    command = rerun(results, results[0]).command
    assert "tl-toolkit pretrain" in command and "--max_train_tokens 700" in command


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("/home/anna/data/sst2", "sst2"),
        ("../data/reviews.csv", "reviews.csv"),
        ("~/sst2/", "sst2"),
        ("data/2024/sst2", "sst2"),
        ("SetFit/sst2", "SetFit/sst2"),
        ("builtin:pydocs", "builtin:pydocs"),
        ("https://example.org/a/b.csv", "https://example.org/a/b.csv"),
    ],
)
def test_a_local_dataset_has_the_name_of_its_last_part(name, short):
    assert Result("lstm", "runs/lstm", {"dataset": {"name": name}}).dataset == short


def test_null_is_an_unknown_value_in_every_field(tmp_path, make_record, write_lines):
    """Fields that may be null: metrics that were not finite, sections of a run that failed early."""
    record = make_record("lstm", 100, 1, 0.25)
    required = ("schema_version", "entry", "status")
    empty = {name: value if name in required else None for name, value in record.items()}
    half = record | {"seed": 2, "metrics": {"validation": None, "test": {"accuracy": 0.5, "macro_f1": None}}}
    half |= {name: dict.fromkeys(record[name]) for name in ("cost", "hardware", "budget", "dataset")}
    write_lines(tmp_path, [record, empty, half])
    store = read_store(tmp_path / "results.jsonl")
    assert store.damaged == [] and len(table(store.results)) == 3
    assert [own.completed for own in store.results] == [True, False, True]
    assert store.results[2].metrics("test") == {"accuracy": 0.5}


def test_a_changed_record_is_found_by_its_checksum(tmp_path, make_record, write_lines):
    records = [sealed(make_record("lstm", 100, seed, 0.25) | {"schema_version": 2}) for seed in (1, 2)]
    records[1]["metrics"]["test"]["accuracy"] = 0.75
    write_lines(tmp_path, records)
    store = read_store(tmp_path / "results.jsonl")
    assert [(own.seed, own.verified) for own in store.results] == [(1, True)]
    assert store.damaged == ["Line 2 of results.jsonl was changed after it was written: its checksum does not match."]


def test_entries_with_paths_of_one_last_part_stay_apart(tmp_path, make_record, write_lines):
    names = ["/data/one/net", "/data/two/net", "../three/net", "/home/anna/net", "/home/otto/net", "lstm"]
    write_lines(tmp_path, [make_record(name, 100, 1, 0.2) for name in names])
    results = read(tmp_path)
    assert [own.entry for own in results] == ["one/net", "two/net", "three/net", "net", "net (2)", "lstm"]
    assert len(make_cells(results)) == 6 and len({own.entry_id for own in results}) == 6


def test_datasets_with_paths_of_one_last_part_stay_apart(tmp_path, make_record, write_lines):
    records = [make_record("lstm", 100, 1, 0.2) for _ in range(3)]
    for record, name in zip(records, ["/one/reviews", "/two/reviews", "data/2024/sst2"], strict=True):
        record["dataset"] = record["dataset"] | {"name": name}
    write_lines(tmp_path, records)
    assert list(panels(read(tmp_path))) == ["one/reviews", "two/reviews", "sst2"]
