"""Datasets of the Hub, without network access."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
from datasets import Dataset, DatasetDict
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import hf_raise_for_status

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.data.hub_datasets import exact_copy, known_commit, trouble
from tl_toolkit.data.sources import load_source
from tl_toolkit.errors import UserError


def test_stream_rows_only_applies_to_the_hub(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\na,1\n")
    for name in ("builtin:pytokens", str(tmp_path), str(tmp_path / "rows.csv")):
        with pytest.raises(UserError, match="--stream_rows 5 only applies to .* is local: leave it out"):
            load_source(DataArguments(dataset_name=name, stream_rows=5))
    with pytest.raises(UserError, match="--stream_rows must be 1 or more, but is 0"):
        DataArguments(stream_rows=0)


def test_revisions_are_resolved_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    refs = tmp_path / "datasets--user--data" / "refs"
    (refs / "try").mkdir(parents=True)
    (refs / "main").write_text("a" * 40)
    (refs / "try" / "it").write_text("b" * 40)
    assert [known_commit("user/data", name) for name in (None, "try/it", "v1", "c" * 40)] == [
        "a" * 40,
        "b" * 40,
        None,
        "c" * 40,
    ]


def test_rows_without_a_commit_are_unchanged() -> None:
    rows = DatasetDict({"train": Dataset.from_dict({"text": ["a"]})})
    assert exact_copy(rows, "user/data", None, "d" * 40) is rows


@pytest.mark.parametrize(
    "status, headers, said",
    [
        (503, {}, "has a server error (status 503)"),
        (429, {}, "too many requests"),
        (401, {"X-Error-Message": "Invalid credentials in Authorization header"}, "the current token is invalid"),
        (403, {"X-Error-Code": "GatedRepo"}, "request access at https://huggingface.co/datasets/user/data"),
        (401, {"X-Error-Message": "Invalid username or password."}, None),
        (404, {"X-Error-Code": "RepoNotFound"}, None),
        (404, {"X-Error-Code": "RevisionNotFound"}, None),
    ],
)
def test_hub_errors_are_explained(status: int, headers: dict[str, str], said: str | None) -> None:
    request = httpx2.Request("GET", "https://huggingface.co/api/datasets/user/data")
    with pytest.raises(FileNotFoundError) as caught:
        try:
            hf_raise_for_status(httpx2.Response(status, headers=headers, request=request))
        except HfHubHTTPError as error:
            raise FileNotFoundError("as datasets puts it") from error
    found = trouble(caught.value, "user/data")
    assert found is None if said is None else found is not None and said in found
