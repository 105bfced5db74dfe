"""How the real client handles each fault of the test Hub."""

from __future__ import annotations

import time
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi, constants, set_client_factory
from huggingface_hub.errors import HfHubHTTPError
from server import HubServer

WEIGHTS = bytes(range(256)) * 8000


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo("user/a")
    return api


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The client's waits between attempts in seconds; the tests do not really wait."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    return folder


def test_the_client_respects_retry_after(hub: HubServer, api: HfApi, folder: Path, waits: list[float]) -> None:
    fault = hub.fault("status", status=429, retry_after=7, path="/preupload/")
    api.upload_folder(repo_id="user/a", folder_path=folder)
    assert fault.hits == 1 and waits == [8.0]  # the client adds a second
    assert hub.files("user/a")["model.safetensors"] == WEIGHTS


@pytest.mark.parametrize("rule", [{"kind": "status", "status": 503}, {"kind": "cut", "after_bytes": 100_000}])
def test_an_upload_is_retried(
    hub: HubServer, api: HfApi, folder: Path, waits: list[float], rule: dict[str, object]
) -> None:
    fault = hub.fault(**rule, method="PUT", times=2)  # type: ignore[arg-type]
    api.upload_folder(repo_id="user/a", folder_path=folder)
    assert fault.hits == 2 and waits == [1, 2]
    assert hub.files("user/a")["model.safetensors"] == WEIGHTS
    received = [each.received for each in hub.sent("PUT")]
    assert received == ([100_000, 100_000, len(WEIGHTS)] if rule["kind"] == "cut" else [len(WEIGHTS)] * 3)


def test_a_part_of_an_upload_is_retried(hub: HubServer, api: HfApi, folder: Path, waits: list[float]) -> None:
    hub.part_size = 1_000_000
    hub.fault("cut", method="PUT", path="/2$", after_bytes=10)
    api.upload_folder(repo_id="user/a", folder_path=folder)
    assert [each.received for each in hub.sent("PUT")] == [1_000_000, 10, 1_000_000, 48_000]
    assert hub.files("user/a")["model.safetensors"] == WEIGHTS


def test_an_upload_fails_after_six_attempts(hub: HubServer, api: HfApi, folder: Path, waits: list[float]) -> None:
    fault = hub.fault("status", status=500, method="PUT", times=None)
    with pytest.raises(RuntimeError, match="model.safetensors"):
        api.upload_folder(repo_id="user/a", folder_path=folder)
    assert fault.hits == 6 and set(hub.files("user/a")) == {".gitattributes"}


def test_a_commit_that_fails_after_the_upload(hub: HubServer, api: HfApi, folder: Path) -> None:
    """The weights stay in the storage for the next commit, and are not visible before it."""
    hub.fault("status", status=500, path="/commit/main$")
    with pytest.raises(HfHubHTTPError, match="500"):
        api.upload_folder(repo_id="user/a", folder_path=folder)
    assert set(hub.files("user/a")) == {".gitattributes"}
    api.upload_folder(repo_id="user/a", folder_path=folder)
    assert hub.files("user/a")["model.safetensors"] == WEIGHTS and len(hub.sent("PUT")) == 1


def test_a_commit_with_a_lost_response(hub: HubServer, api: HfApi, folder: Path) -> None:
    hub.fault("lost_response", path="/commit/main$")
    with pytest.raises(httpx2.RemoteProtocolError):
        api.upload_folder(repo_id="user/a", folder_path=folder)
    assert hub.files("user/a")["model.safetensors"] == WEIGHTS
    made = api.upload_folder(repo_id="user/a", folder_path=folder)
    assert [made.oid] == [each.oid for each in hub.commits("user/a")][:-1]


def test_a_download_resumes_where_it_was_cut(
    hub: HubServer,
    api: HfApi,
    folder: Path,
    waits: list[float],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)  # only whole chunks are resumed
    api.upload_folder(repo_id="user/a", folder_path=folder)
    fault = hub.fault("cut", method="GET", path="^/download/", after_bytes=300_000, times=2)
    path = api.hf_hub_download("user/a", "model.safetensors")
    assert Path(path).read_bytes() == WEIGHTS and fault.hits == 2
    assert [each.status for each in hub.sent("GET", "/download/")] == [200, 206, 206]
    assert hub.token not in caplog.text


def test_an_expired_token(hub: HubServer, api: HfApi, folder: Path) -> None:
    fault = hub.fault("expired_token", path="/preupload/")
    with pytest.raises(HfHubHTTPError, match='User Access Token "test" is expired') as caught:
        api.upload_folder(repo_id="user/a", folder_path=folder)
    assert fault.hits == 1 and caught.value.response.status_code == 401
    hub.expire(hub.token)
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api.whoami()


def test_a_name_that_somebody_else_has_just_taken(hub: HubServer, api: HfApi) -> None:
    hub.fault("name_taken")
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_repo("user/b")
    assert caught.value.response.status_code == 409
    api.create_repo("user/b")


def test_a_hub_that_does_not_respond(hub: HubServer, api: HfApi, folder: Path) -> None:
    """A download falls back to the cache; uploads have no default timeout, so the client factory must set one."""
    api.upload_folder(repo_id="user/a", folder_path=folder)
    path = api.hf_hub_download("user/a", "config.json")
    fault = hub.fault("hang", method="HEAD", times=None)
    assert api.hf_hub_download("user/a", "config.json", etag_timeout=0.1) == path and fault.hits == 1

    hub.fault("hang", path="/commit/main$")
    (folder / "config.json").write_text('{"changed": true}')
    set_client_factory(lambda: httpx2.Client(timeout=0.2, follow_redirects=True))
    with pytest.raises(httpx2.ReadTimeout):
        api.upload_folder(repo_id="user/a", folder_path=folder)
    assert hub.files("user/a")["config.json"] == b"{}"


def test_an_unknown_fault_is_refused(hub: HubServer) -> None:
    with pytest.raises(ValueError, match="the faults are hang, status"):
        hub.fault("rain")
