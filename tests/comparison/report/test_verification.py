"""What a report says about damaged and unverified records, and what it does not say about this machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tl_toolkit.comparison.publishing import reports
from tl_toolkit.comparison.publishing.reports import public_report
from tl_toolkit.comparison.report.merging import report_from_results
from tl_toolkit.comparison.report.writing import write_report
from tl_toolkit.errors import UserError
from tl_toolkit.evaluation.results import read_results
from tl_toolkit.records.artefacts import Artefact
from tl_toolkit.records.record import sealed

BUDGETS: dict[str, Any] = {"budgets": (100,), "seeds": (2,), "rows": 53}


def seal(folder: Path, records: list[dict[str, Any]]) -> None:
    """Write records of the second version, with the artefacts that their runs have left in `folder`."""
    lines = []
    for record in records:
        name = "predictions_test.parquet"
        own = {name: asdict(Artefact.of(folder / record["folder"] / name))}
        lines.append(json.dumps(sealed(record | {"schema_version": 2, "artefacts": own})) + "\n")
    (folder / "results.jsonl").write_text("".join(lines))


def test_records_of_the_first_version_are_read_and_marked(tmp_path, comparison):
    records = comparison(skills={"lstm": (0.3,), "minilm": (0.5,)}, **BUDGETS)
    page = write_report(tmp_path, "Old").read_text()
    assert "4 records are unverified" in page.replace("\u00a0", " ")
    seal(tmp_path, records)
    assert "unverified" not in write_report(tmp_path, "New").read_text()


def test_damaged_predictions_are_named_and_not_used(tmp_path, comparison):
    records = comparison(skills={name: (0.3,) for name in "abcdefg"}, budgets=(100,), seeds=(1,), rows=53)
    seal(tmp_path, records)
    for record in records:
        path = tmp_path / record["folder"] / "predictions_test.parquet"
        path.write_bytes(path.read_bytes()[:-3] + b"123")
    page = write_report(tmp_path, "Damaged").read_text()
    assert page.count("another content than the run wrote") == 5 and "Files of 2 other runs" in page
    assert "Confusion matrix" not in page


def test_a_report_has_no_absolute_path(tmp_path, comparison, write_lines):
    records = comparison(skills={"lstm": (0.3,), "net": (0.4,), "minilm": (0.5,)}, **BUDGETS)
    for record in records:
        record["entry"] = record["entry"].replace("net", "/srv/secret/net")
        record["dataset"] |= {"name": "/srv/secret/reviews"}
        record["model"] |= {"model_name_or_path": "/srv/secret/lm", "tokenizer": "/srv/secret/words"}
        record["arguments"] |= {"dataset_name": "/srv/secret/reviews.csv", "vectors": "../near/glove.txt"}
    failed = {"schema_version": 1, "status": "failed", "entry": "gpt", "folder": "r", "seed": 1}
    failed |= {"error": "No such file: '/srv/secret/x.csv' and C:\\Users\\anna\\x"}
    write_lines(tmp_path, [*records, failed | {"grid_dataset": "/srv/secret/reviews"}])
    write_report(tmp_path, "Paths", notes=["Merged from /srv/secret/one."])
    for name in ("report.html", "report.md", "results.csv", "results.tex"):
        text = (tmp_path / name).read_text()
        assert "secret" not in text and "anna" not in text, name
    page = (tmp_path / "report.html").read_text()
    assert "../near/glove.txt" in page  # a relative path tells nothing about the machine, and repeats the run
    assert "dataset_name: reviews.csv" in page and "Merged from one." in page


@pytest.fixture
def nets(tmp_path, comparison, write_lines):
    """A folder with two entries whose names are paths that end in `net`, and one more."""
    records = comparison(skills={"one": (0.3,), "two": (0.4,), "minilm": (0.5,)}, **BUDGETS)
    for record in records:
        record["entry"] = {"one": "../one/net", "two": "../two/net"}.get(record["entry"], record["entry"])
    write_lines(tmp_path, records)
    return tmp_path


def test_two_entries_called_net_stay_two_after_publishing(nets):
    local = read_results(nets / "results.jsonl")
    report = public_report(nets)
    (nets / "public").mkdir()
    (nets / "public" / "results.jsonl").write_bytes(report.files["results.jsonl"])
    public = read_results(nets / "public" / "results.jsonl")
    assert [own.entry for own in public] == [own.entry for own in local]
    assert set(own.entry for own in public) == {"one/net", "two/net", "minilm"} and len(public) == 6
    assert [own.run_id for own in public] == [own.run_id for own in local]
    assert b"one/net" in report.files["report.html"] and b"two/net" in report.files["report.html"]
    assert b"../one" not in report.files["results.jsonl"]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"entry_id": "same"}, "entries"),
        ({"metrics": {"test": {"accuracy": 0.9}}}, "runs"),
        ({"cost": {}}, "verdicts"),
    ],
)
def test_nothing_is_sent_if_the_public_report_differs(nets, monkeypatch, change, kind):
    real = reports._public_record
    monkeypatch.setattr(reports, "_public_record", lambda *given: real(*given) | change)
    with pytest.raises(UserError, match=f"Nothing was sent, because the published report .* {kind}"):
        public_report(nets)


def test_single_runs_from_models_called_net_stay_apart(tmp_path, make_record):
    """Two runs of `finetune` without a name are called by the folder of their model."""
    for place in ("one", "two"):
        record = make_record(f"/data/{place}/net", 100, 1, 0.25)
        for name in ("entry", "folder"):
            del record[name]
        (tmp_path / place).mkdir()
        (tmp_path / place / "result.json").write_text(json.dumps(record))
    (tmp_path / "three").mkdir()
    (tmp_path / "three" / "result.json").write_text("{")
    report_from_results([tmp_path], tmp_path / "out", "Nets")
    assert [own.entry for own in read_results(tmp_path / "out" / "results.jsonl")] == ["one/net", "two/net"]
    assert "The record of the run in three is not JSON" in (tmp_path / "out" / "report.html").read_text()


def test_damaged_predictions_are_not_published(tmp_path, comparison):
    records = comparison(skills={"lstm": (0.3,), "minilm": (0.5,)}, **BUDGETS)
    seal(tmp_path, records)
    name = f"{records[0]['folder']}/predictions_test.parquet"
    published = public_report(tmp_path, published={name})
    assert list(published.records[0]["artefacts"]) == ["predictions_test.parquet"]
    assert published.records[1]["artefacts"] == {}
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{name}' has .* so nothing was sent"):
        public_report(tmp_path, published={name})
    assert "missing or damaged" in public_report(tmp_path).files["report.html"].decode()  # named, as in the local one
