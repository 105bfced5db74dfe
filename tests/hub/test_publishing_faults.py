"""Failures of the Hub and the connection: nothing is half published or lost, and the error says how to resume."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from tl_toolkit.errors import UserError
from tl_toolkit.hub.arguments import parse_publish_arguments
from tl_toolkit.hub.connection_and_retries import set_timeout
from tl_toolkit.hub.publishing import publish

REPO = "user/sst2"
COMMIT = r"/commit/main$"
BEFORE = {".gitattributes"}  # the files of a new repository


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The requested seconds between attempts; tests do not wait that long."""
    asked: list[float] = []
    really = time.sleep

    def sleep(seconds: float) -> None:
        asked.append(seconds)
        really(min(seconds, 0.01))

    monkeypatch.setattr(time, "sleep", sleep)
    return asked


@pytest.fixture
def impatient() -> Iterator[None]:
    """Set a timeout of half a second for every response."""
    from huggingface_hub.utils import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    set_timeout(0.5)
    yield
    set_client_factory(default_client_factory)


@pytest.fixture
def folder(run_folder: Path) -> Path:
    (run_folder / "README.md").write_text("# Mine\n")  # saves drawing the plot of a generated card
    return run_folder


@pytest.fixture
def push(hub: Any, folder: Path, waits: list[float]) -> Callable[..., Any]:
    def call(*flags: str, token: str | None = None, repo_id: str = REPO) -> Any:
        request = parse_publish_arguments([str(folder), "--repo_id", repo_id, *flags])
        return publish(request, HfApi(endpoint=hub.endpoint, token=token or hub.token), lambda line: None)

    return call


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("hang", {"method": "PUT"}),
        ("hang", {"path": COMMIT}),
        ("cut", {"method": "PUT", "after_bytes": 1000}),
        ("cut", {"path": COMMIT, "after_bytes": 1000}),
        ("status", {"path": "/whoami-v2$", "status": 503}),
        ("status", {"path": "/repos/create$", "status": 500}),
        ("status", {"path": "/tree/", "status": 502}),
        ("status", {"path": "/validate-yaml$", "status": 500}),
        ("status", {"path": "/preupload/", "status": 504}),
        ("status", {"path": "/objects/batch$", "status": 500}),
        ("status", {"method": "PUT", "status": 503, "times": 3}),
        ("status", {"path": COMMIT, "status": 500, "times": 3}),
        ("lost_response", {"path": "/repos/create$"}),
        ("lost_response", {"path": COMMIT}),
    ],
)
def test_transient_failures_are_retried_and_nothing_is_done_twice(
    hub: Any, folder: Path, push: Callable[..., Any], impatient: None, kind: str, rule: dict[str, Any]
) -> None:
    fault = hub.fault(kind, seconds=2.0, **rule)
    outcome = push()
    assert fault.hits == rule.get("times", 1)
    assert [commit.title for commit in hub.commits(REPO)] == [f"Publish {outcome_name(folder)}", "initial commit"]
    assert outcome.commit == hub.commits(REPO)[0].oid
    assert hub.files(REPO)["model.safetensors"] == (folder / "model.safetensors").read_bytes()


def test_a_retry_after_of_the_hub_is_respected(hub: Any, push: Callable[..., Any], waits: list[float]) -> None:
    hub.fault("status", path=COMMIT, status=429, retry_after=37)
    push()
    assert 37 in waits


def test_a_pull_request_with_a_lost_response_is_not_opened_again(hub: Any, push: Callable[..., Any]) -> None:
    HfApi(endpoint=hub.endpoint, token=hub.token).create_repo(REPO)
    hub.fault("lost_response", path=COMMIT)
    outcome = push("--create_pr")
    assert outcome.url.endswith("/discussions/1") and "model.safetensors" in hub.files(REPO, revision="refs/pr/1")
    assert len(list(HfApi(endpoint=hub.endpoint).get_repo_discussions(REPO))) == 1


@pytest.mark.parametrize(
    ("kind", "rule", "message"),
    [
        ("status", {"method": "PUT", "status": 503}, "server error .status 503"),
        ("cut", {"method": "PUT", "after_bytes": 1000}, "connection was lost"),
        ("status", {"path": COMMIT, "status": 500}, "server error .status 500"),
        ("status", {"path": COMMIT, "status": 429}, "limits the request rate"),
        ("hang", {"path": COMMIT, "seconds": 1.0}, "did not respond in time"),
    ],
)
def test_permanent_failures_change_nothing_and_the_same_command_resumes(
    hub: Any,
    folder: Path,
    push: Callable[..., Any],
    impatient: None,
    kind: str,
    rule: dict[str, Any],
    message: str,
) -> None:
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo(REPO)
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id=REPO)
    before = hub.files(REPO)
    hub.fault(kind, times=None, **rule)
    with pytest.raises(UserError, match=message) as failure:
        push("--commit_message", "Two words")
    assert failure.value.command == (f"tl-toolkit publish {folder} --repo_id {REPO} --commit_message 'Two words'")
    assert "no revision was changed" in str(failure.value) and hub.files(REPO) == before
    hub.faults.clear()
    sent = len(hub.requests)
    push("--commit_message", "Two words")
    assert hub.commits(REPO)[0].title == "Two words" and len(hub.commits(REPO)) == 3
    if rule.get("path") == COMMIT:  # the weights were uploaded before the failure
        assert "PUT" not in {request.method for request in hub.requests[sent:]}


def test_a_commit_of_somebody_else_during_the_upload_is_not_overwritten(
    hub: Any, folder: Path, push: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    push()
    (folder / "generation_config.json").write_text("{}")
    really = HfApi.preupload_lfs_files

    def and_somebody_else(self: HfApi, *args: Any, **kwargs: Any) -> None:
        really(self, *args, **kwargs)
        monkeypatch.setattr(HfApi, "preupload_lfs_files", really)
        self.upload_file(path_or_fileobj=b"theirs", path_in_repo="notes.md", repo_id=REPO)

    monkeypatch.setattr(HfApi, "preupload_lfs_files", and_somebody_else)
    with pytest.raises(UserError, match="somebody else committed during the upload"):
        push()
    assert hub.files(REPO)["notes.md"] == b"theirs" and "generation_config.json" not in hub.files(REPO)


def test_bad_tokens_are_refused(
    hub: Any, folder: Path, push: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="none is saved or in HF_TOKEN.*hf auth login"):
        publish(parse_publish_arguments([str(folder), "--repo_id", REPO]))
    unknown, old, reader = "hf_" + "0" * 34, hub.new_token(), hub.new_token(role="read")
    hub.expire(old)
    for token, message in ((unknown, "does not accept the token"), (old, "expired"), (reader, "no write access")):
        with pytest.raises(UserError, match=message) as failure:
            push(token=token)
        assert token not in str(failure.value)
    assert not hub.sent("PUT") and not hub.sent("POST", "/commit/")


def test_taken_names_are_refused(hub: Any, push: Callable[..., Any]) -> None:
    theirs = HfApi(endpoint=hub.endpoint, token=hub.new_token("somebody"))
    theirs.create_repo("somebody/public")
    theirs.create_repo("somebody/secret", private=True)
    for repo_id in ("somebody/public", "somebody/secret", "somebody/new"):
        with pytest.raises(UserError, match=f"{repo_id}.* (no write access there|name is taken)"):
            push(repo_id=repo_id)
    hub.fault("name_taken", times=None)
    with pytest.raises(UserError, match="the name is taken"):
        push(repo_id="user/new")


def test_a_missing_network_and_offline_mode_are_reported(
    hub: Any, folder: Path, push: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    request = parse_publish_arguments([str(folder), "--repo_id", REPO])
    with pytest.raises(UserError, match="the Hub cannot be reached"):
        publish(request, HfApi(endpoint="http://127.0.0.1:9", token=hub.token))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        push()


def test_warnings_contain_no_signed_address(
    hub: Any, push: Callable[..., Any], impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    hub.fault("status", method="PUT", status=503)
    with caplog.at_level(logging.WARNING, logger="huggingface_hub"):
        logging.getLogger("huggingface_hub").propagate = True
        push()
    assert "503" in caplog.text and "?" not in caplog.text


def outcome_name(folder: Path) -> str:
    from tl_toolkit.hub.cleaning import clean_name
    from tl_toolkit.records.record import read_record

    return clean_name((read_record(folder) or {})["name"])
