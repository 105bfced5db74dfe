from __future__ import annotations

import json
import shutil

import pytest

from tl_toolkit.comparison.arguments import FromResults, parse_compare_arguments
from tl_toolkit.comparison.report import merging
from tl_toolkit.comparison.report.merging import find_runs, merge, report_from_results
from tl_toolkit.errors import UserError
from tl_toolkit.evaluation.predictions import PredictionReader
from tl_toolkit.evaluation.results import panels, read_results


@pytest.fixture
def run(make_record):
    """A function that returns the record of a grid's run; keywords update its sections."""

    def make(entry="lstm", budget=100, seed=1, reached=0.25, **changes):
        record = make_record(entry, budget, seed, reached, key=f"{entry}-{budget}-{seed}")
        for name, value in changes.items():
            record[name] = {**record[name], **value} if isinstance(record.get(name), dict) else value
        return record

    return make


@pytest.fixture
def merged(tmp_path, write_lines, write_parquet):
    """A function that writes folders of records, merges them, and returns the runs and the notes."""

    def make(**folders):
        for name, records in folders.items():
            write_lines(tmp_path / name, records)
            for record in records:
                columns = {"row": [0, 1], "text": ["a", "b"], "label": [0, 1], "prediction": [0, len(name) % 2]}
                write_parquet(tmp_path / name / record["folder"], columns)
        found = [own for name in folders for own in find_runs((tmp_path / name).resolve()).runs]
        merge(found, tmp_path / "out", "All")
        return read_results(tmp_path / "out" / "results.jsonl"), merging.notes_of(tmp_path / "out")

    return make


def names(results):
    return sorted((own.entry, own.budget, own.seed, own.metrics("test").get("accuracy")) for own in results)


def test_a_duplicate_run_counts_once_and_the_newest_is_used(merged, run):
    older = run(reached=0.2, finished="2026-11-23T10:00:00+00:00")
    newer = run(reached=0.3, finished="2026-11-24T10:00:00+00:00")
    results, notes = merged(one=[newer, run(seed=2)], two=[older, run("minilm")])
    assert names(results) == [("lstm", 100, 1, 0.3), ("lstm", 100, 2, 0.25), ("minilm", 100, 1, 0.25)] and notes == []


def test_a_completed_run_takes_precedence_over_a_failed_one(merged, run):
    failed = run() | {"status": "failed", "metrics": {}, "finished": "2027-01-01T00:00:00+00:00", "key": "another"}
    results, notes = merged(one=[run()], two=[failed])
    assert names(results) == [("lstm", 100, 1, 0.25)] and notes == []


def test_an_entry_that_differs_between_folders_is_renamed(merged, run):
    one = [run(seed=1), run(seed=2), run("minilm")]
    two = [run(seed=1, key="other", reached=0.5), run(seed=3), run("minilm")]
    results, notes = merged(one=one, two=two)
    assert names(results) == [
        ("lstm (one)", 100, 1, 0.25), ("lstm (one)", 100, 2, 0.25), ("lstm (two)", 100, 1, 0.5),
        ("lstm (two)", 100, 3, 0.25), ("minilm", 100, 1, 0.25),
    ]  # fmt: skip
    assert len(notes) == 1 and "lstm differs between one and two" in notes[0]


def test_an_entry_whose_seeds_had_other_arguments_is_renamed(merged, run):
    results, _ = merged(one=[run(seed=1)], two=[run(seed=2, arguments={"learning_rate": 0.5})], three=[run(seed=3)])
    assert {own.entry for own in results} == {"lstm (one)", "lstm (two)", "lstm (three)"}


def test_seeds_and_budgets_from_several_folders_are_one_entry(merged, run):
    results, notes = merged(one=[run(seed=1), run(budget=500)], two=[run(seed=2), run(budget=None)])
    assert {own.entry for own in results} == {"lstm"} and len(results) == 4 and notes == []


def test_values_of_a_search_do_not_distinguish_entries(merged, run):
    tuned = {"trials": 3, "search": {"learning_rate": "log 1e-4 1e-2"}}
    one = run(budget=100, tuning=tuned, arguments={"learning_rate": 0.1})
    two = run(budget=500, tuning=tuned, arguments={"learning_rate": 0.2})
    assert {own.entry for own in merged(one=[one], two=[two])[0]} == {"lstm"}


def test_stages_of_two_folders_do_not_distinguish_entries(merged, run):
    one, two = (run(seed=n, arguments={"model_name_or_path": f"out/{n}/stages/imdb_lm"}) for n in (1, 2))
    three = run(seed=3, arguments={"model_name_or_path": "out/3/stages/wiki_lm"})
    assert {own.entry for own in merged(one=[one], two=[two])[0]} == {"lstm"}
    assert len({own.entry for own in merged(one=[one], three=[three])[0]}) == 2


def test_the_teachers_of_each_seed_do_not_distinguish_entries(merged, run):
    def taught(seed, teacher):
        return run(seed=seed, arguments={"teacher": f"out/{seed}"}, strategy={"teacher": {"name": teacher}})

    assert {own.entry for own in merged(one=[taught(1, "bert")], two=[taught(2, "bert")])[0]} == {"lstm"}
    assert len({own.entry for own in merged(one=[taught(1, "bert")], three=[taught(3, "gpt")])[0]}) == 2


def test_other_test_rows_are_other_panels(merged, run):
    one, two = run(), run("minilm", dataset={"fingerprint": "fedcba9876543210"})
    results, notes = merged(one=[one], two=[two])
    assert list(panels(results)) == ["builtin:pydocs (data 0123456789abcdef)", "builtin:pydocs (data fedcba9876543210)"]
    assert "different rows" in notes[0] and "in one" in notes[0] and "in two" in notes[0]
    fewer = run("minilm", dataset={"rows": {"train": 100, "validation": 100, "test": 53}})
    results, _ = merged(one=[one], two=[fewer])
    assert list(panels(results)) == ["builtin:pydocs (2000 test rows)", "builtin:pydocs (53 test rows)"]


def test_the_same_rows_under_another_name_are_one_panel(merged, run):
    results, notes = merged(one=[run()], two=[run("minilm", dataset={"name": "/home/me/pydocs"})])
    assert list(panels(results)) == ["builtin:pydocs"] and notes == []
    results, _ = merged(one=[run(), run("gru", grid_dataset="again")], two=[run("minilm", dataset={"name": "/me"})])
    assert len(panels(results)) == 3  # two names in the same folder are kept


def test_the_merged_folder_is_independent(tmp_path, merged, run):
    results, _ = merged(one=[run()], two=[run(), run("minilm", attention="attention.json")])
    shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "one")
    shutil.rmtree(tmp_path / "two")
    reader = PredictionReader(tmp_path / "elsewhere")
    assert all(reader.labels(own) is not None for own in results)
    assert reader.labels(results[0]).prediction.tolist() == [0, 1]  # of the record that was used
    files = [path.relative_to(tmp_path / "elsewhere") for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()]
    assert sorted(map(str, files)) == [
        "merged.json", "results.jsonl", "runs/lstm-100-seed1/predictions_test.parquet",
        "runs/minilm-100-seed1/predictions_test.parquet",
    ]  # fmt: skip


def test_merging_again_removes_earlier_runs(tmp_path, merged, run):
    merged(one=[run(), run("gru")])
    results, _ = merged(two=[run("gru")])
    assert [own.entry for own in results] == ["gru"]
    assert [path.name for path in (tmp_path / "out" / "runs").iterdir()] == ["gru-100-seed1"]


def test_single_runs_are_identified_by_their_names(tmp_path, run):
    for place, seed in (("a", 1), ("b", 2)):
        record = run(seed=seed)
        for name in ("entry", "folder", "key"):
            del record[name]
        (tmp_path / "runs" / place).mkdir(parents=True)
        (tmp_path / "runs" / place / "result.json").write_text(json.dumps(record))
    one, two = find_runs(tmp_path / "runs").runs, find_runs(tmp_path / "runs" / "b").runs
    assert [(own.result.entry, own.result.seed, own.result.folder) for own in one] == [
        ("lstm", 1, "."),
        ("lstm", 2, "."),
    ]
    merge([*one, *two], tmp_path / "out", "Both")
    assert names(read_results(tmp_path / "out" / "results.jsonl")) == [("lstm", 100, 1, 0.25), ("lstm", 100, 2, 0.25)]


def test_the_report_of_one_comparison_is_rebuilt(tmp_path, comparison, monkeypatch):
    comparison(budgets=(100,), seeds=(2,), rows=53, predictions=False)
    before = (tmp_path / "results.jsonl").read_bytes()
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"half a li')
    page = report_from_results([tmp_path], title="Tea & <i>biscuits</i>")
    assert page == tmp_path.resolve() / "report.html" and page.exists()
    report_from_results([tmp_path / "results.jsonl", tmp_path])
    assert "<title>Tea &amp; &lt;i&gt;biscuits&lt;/i&gt;</title>" in page.read_text()
    assert (tmp_path / "results.jsonl").read_bytes().startswith(before) and not (tmp_path / "merged.json").exists()


def test_a_merged_report_keeps_its_warnings_when_it_is_rebuilt(tmp_path, run, write_lines):
    write_lines(tmp_path / "one", [run()])
    write_lines(tmp_path / "two", [run(key="other")])
    page = report_from_results([tmp_path / "one", tmp_path / "two"], tmp_path / "out", "Both")
    assert "lstm differs between one and two" in page.read_text()
    again = report_from_results([tmp_path / "out"])
    assert again == page and "lstm differs between one and two" in page.read_text()
    assert "<title>Both</title>" in page.read_text()
    assert "lstm differs between one and two" in (tmp_path / "out" / "report.md").read_text()


def test_records_of_a_comparison_are_not_overwritten(tmp_path, run, write_lines):
    for name in ("one", "two", "three"):
        write_lines(tmp_path / name, [run(name)])
    folders = [tmp_path / "one", tmp_path / "two"]
    with pytest.raises(UserError, match="--output_dir is required"):
        report_from_results(folders)
    with pytest.raises(UserError, match="among the folders"):
        report_from_results(folders, tmp_path / "two")
    with pytest.raises(UserError, match="contains the records of a comparison"):
        report_from_results(folders, tmp_path / "three")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file' cannot be created"):
        report_from_results(folders, tmp_path / "file")


def test_unreadable_records_are_named(tmp_path, run, write_lines):
    with pytest.raises(UserError, match="contains no records"):
        find_runs(tmp_path)
    with pytest.raises(UserError, match="nowhere' contains no records"):
        report_from_results([tmp_path / "nowhere"])
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(UserError, match=r"result\.json' is not JSON"):
        find_runs(tmp_path)
    (tmp_path / "result.json").write_text(json.dumps(run() | {"schema_version": 9}))
    with pytest.raises(UserError, match=r"result\.json' has schema_version 9"):
        find_runs(tmp_path)
    write_lines(tmp_path / "grid", [run(), run() | {"schema_version": 9}])
    page = report_from_results([tmp_path / "grid"])
    assert "Line 2 of results.jsonl has schema_version 9" in page.read_text()
    (tmp_path / "grid" / "results.jsonl").write_text('{"half')
    page.write_text("an older report")
    with pytest.raises(UserError, match=r"grid/results\.jsonl' contains no record"):
        report_from_results([tmp_path / "grid"])
    assert (tmp_path / "grid" / "report.html").read_text() == "an older report"


def test_the_flags():
    asked = parse_compare_arguments(["--from_results", "a", "b", "--output_dir", "c", "--title", "T"])
    assert asked == FromResults(["a", "b"], "c", "T")
    assert parse_compare_arguments(["--no_report_texts", "--from_results", "a"]) == FromResults(
        ["a"], None, None, False
    )
    with pytest.raises(UserError, match="so --seeds does not apply"):
        parse_compare_arguments(["--from_results", "a", "--seeds", "1"])
