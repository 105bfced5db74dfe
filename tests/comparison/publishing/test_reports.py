"""A comparison as a dataset on the Hub: its contents, what is left out, and that others can read it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.append(str(Path(__file__).parents[2] / "hub"))

from comparison_folder import ENTRIES, SECRET, make_comparison  # noqa: E402
from huggingface_hub import DatasetCard, HfApi  # noqa: E402
from server import HubServer  # noqa: E402

from tl_toolkit.comparison.publishing.arguments import parse_comparison_arguments  # noqa: E402
from tl_toolkit.comparison.publishing.publish import publish_comparison  # noqa: E402
from tl_toolkit.errors import UserError  # noqa: E402


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_comparison(tmp_path_factory.mktemp("comparison"))


def push(hub: HubServer, folder: Path, *flags: str) -> list[str]:
    said: list[str] = []
    request = parse_comparison_arguments([str(folder), "--repo_id", "user/fruit", *flags])
    publish_comparison(request, HfApi(endpoint=hub.endpoint, token=hub.token), said.append)
    return said


def test_a_comparison_is_published_as_a_readable_dataset(hub: HubServer, comparison: Path) -> None:
    push(hub, comparison, "--repo_type", "dataset", "--license", "cc-by-4.0")
    files = hub.files("user/fruit", repo_type="dataset")
    named = {"README.md", "report.html", "results.jsonl", "results.parquet", "results.csv", "results.tex"}
    named |= {"decision.json"}
    assert named <= set(files) and any(name.startswith("figures/") for name in files)
    assert not [name for name in files if name.endswith((".safetensors", ".py")) or name.startswith("runs")]
    for name, content in files.items():
        for private in (SECRET, "/home/", "anna", str(comparison)):
            assert private.encode() not in content, (name, private)
    records = [json.loads(line) for line in files["results.jsonl"].splitlines()]
    assert [record["entry"] for record in records] == list(ENTRIES)
    assert all(record["predictions"] == {} and "samples" not in record for record in records)
    card = DatasetCard(files["README.md"].decode())
    card.validate()
    assert card.data.to_dict() == {
        "license": "cc-by-4.0",
        "pretty_name": "Which <fruit>?",
        "size_categories": "n<1K",
        "tags": ["tl-toolkit", "model-comparison"],
        "task_categories": ["text-classification"],
        "configs": [{"config_name": "runs", "data_files": "results.parquet", "default": True}],
    }
    assert r"# Which \<fruit\>?" in card.content and r"LSTM \<b\>" in card.content
    for name in [line.split("](")[1].rstrip(")") for line in card.content.splitlines() if line.startswith("![")]:
        assert name in files  # every picture that the card shows
    code = card.content.split("```python\n")[1].split("```")[0]
    told = subprocess.run(
        [sys.executable, "-c", code], env=hub.environment(), capture_output=True, text=True, timeout=300
    )
    assert told.returncode == 0, told.stderr[-2000:]
    assert ENTRIES[0] in told.stdout and ENTRIES[1] in told.stdout
    assert "Nothing has changed" in push(hub, comparison, "--repo_type", "dataset", "--license", "cc-by-4.0")[-2]


def test_predictions_and_texts_are_published_on_request(hub: HubServer, comparison: Path) -> None:
    push(hub, comparison, "--repo_type", "dataset", "--texts", "--include", "runs/*/predictions_test.parquet")
    files = hub.files("user/fruit", repo_type="dataset")
    assert SECRET.encode() in files["report.html"]
    records = [json.loads(line) for line in files["results.jsonl"].splitlines()]
    for record in records:
        name = f"{record['folder']}/{record['predictions']['test']}"
        assert files[name] == (comparison / name).read_bytes()
    push(hub, comparison, "--repo_type", "dataset")  # again without
    assert SECRET.encode() not in hub.files("user/fruit", repo_type="dataset")["report.html"]


def test_a_comparison_is_published_as_a_page(hub: HubServer, comparison: Path) -> None:
    push(hub, comparison, "--repo_type", "space")
    files = hub.files("user/fruit", repo_type="space")
    assert set(files) - {".gitattributes"} == {"README.md", "index.html"}
    page = files["index.html"].decode()
    assert "LSTM &lt;b&gt;" in page and SECRET not in page and "/home/" not in page
    readme = files["README.md"].decode()
    assert "sdk: static\n" in readme and "app_file: index.html\n" in readme


def test_an_existing_card_of_the_user_is_kept(hub: HubServer, tmp_path: Path) -> None:
    folder = make_comparison(tmp_path / "comparison")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    push(hub, folder, "--repo_type", "dataset")
    assert hub.files("user/fruit", repo_type="dataset")["README.md"].decode().endswith("# Mine\n")


def test_the_existing_report_is_not_changed(comparison: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in comparison.rglob("*")}
    request = parse_comparison_arguments([str(comparison), "--repo_type", "dataset", "--dry_run"])
    said: list[str] = []
    publish_comparison(request, say=said.append)
    assert {path: path.stat().st_mtime_ns for path in comparison.rglob("*")} == before
    assert any(line.startswith("results.parquet") for line in said) and any("runs" in line for line in said)


@pytest.mark.parametrize("kind", ["dataset", "space"])
def test_a_model_is_not_a_comparison(tmp_path: Path, kind: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"no results\.jsonl.*It is a model"):
        publish_comparison(parse_comparison_arguments([str(tmp_path), "--repo_type", kind, "--dry_run"]))


def test_pickles_are_not_published_with_a_comparison(comparison: Path, tmp_path: Path) -> None:
    folder = make_comparison(tmp_path / "comparison")
    (folder / "runs" / "run-0" / "training_args.bin").write_bytes(b"")
    flags = ["--repo_type", "dataset", "--dry_run", "--include", "runs/*/*.bin"]
    with pytest.raises(UserError, match="is a pickle"):
        publish_comparison(parse_comparison_arguments([str(folder), *flags]))


def test_results_parquet_is_the_table_of_the_runs(comparison: Path, tmp_path: Path) -> None:
    from tl_toolkit.comparison.publishing.reports import public_report

    (tmp_path / "table.parquet").write_bytes(public_report(comparison).files["results.parquet"])
    frame = pd.read_parquet(tmp_path / "table.parquet")
    assert frame["entry"].tolist() == list(ENTRIES) and frame["dataset"].tolist() == ["sst2", "sst2"]
