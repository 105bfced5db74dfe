"""The test Hub with the real client: every feature that other tests rely on."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from server import HubServer

WEIGHTS = bytes(range(256)) * 300


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=hub.token)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files for git, a file for LFS and a file in a subfolder."""
    root = tmp_path / "folder"
    (root / "sub").mkdir(parents=True)
    (root / "README.md").write_text("---\nlicense: mit\ntags: [tiny]\n---\nA card.\n")
    (root / "config.json").write_text('{"model_type": "rnn"}')
    (root / "model.safetensors").write_bytes(WEIGHTS)
    (root / "sub" / "notes.txt").write_text("")
    return root


def test_a_token_identifies_its_user(hub: HubServer, api: HfApi) -> None:
    assert api.whoami()["name"] == "user"
    with pytest.raises(HfHubHTTPError) as caught:
        HfApi(endpoint=hub.endpoint, token="hf_" + "0" * 34).whoami()
    assert caught.value.response.status_code == 401


@pytest.mark.parametrize("repo_type", ["model", "dataset", "space"])
def test_a_folder_is_downloaded_as_it_was_uploaded(hub: HubServer, api: HfApi, folder: Path, repo_type: str) -> None:
    if repo_type == "space":
        (folder / "README.md").write_text("---\nsdk: static\n---\n")
    created = api.create_repo("user/a", repo_type=repo_type, space_sdk="static" if repo_type == "space" else None)
    assert (created.repo_id, created.repo_type) == ("user/a", repo_type)
    made = api.upload_folder(repo_id="user/a", repo_type=repo_type, folder_path=folder)
    sent = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    kept = hub.files("user/a", repo_type=repo_type)
    assert kept.pop(".gitattributes") and kept == sent
    here = Path(snapshot_download("user/a", repo_type=repo_type, endpoint=hub.endpoint, token=hub.token))
    assert {name: (here / name).read_bytes() for name in sent} == sent
    assert (
        api.repo_info("user/a", repo_type=repo_type).sha
        == made.oid
        == hub.commits("user/a", repo_type=repo_type)[0].oid
    )


def test_large_files_go_to_the_storage_without_the_token(hub: HubServer, api: HfApi, folder: Path) -> None:
    api.create_repo("user/a", private=True)
    api.upload_folder(repo_id="user/a", folder_path=folder)
    path = hf_hub_download("user/a", "model.safetensors", endpoint=hub.endpoint, token=hub.token)
    assert Path(path).read_bytes() == WEIGHTS
    storage = [each for each in hub.requests if each.host == "storage"]
    assert [each.method for each in storage] == ["PUT", "GET"]
    assert not any(each.token for each in storage)


def test_large_files_are_sent_in_parts(hub: HubServer, api: HfApi, folder: Path) -> None:
    hub.part_size = 30_000
    api.create_repo("user/a")
    api.upload_folder(repo_id="user/a", folder_path=folder)
    assert hub.files("user/a")["model.safetensors"] == WEIGHTS
    assert [each.received for each in hub.sent("PUT")] == [30_000, 30_000, 16_800]


def test_unchanged_files_are_not_sent_again(hub: HubServer, api: HfApi, folder: Path) -> None:
    api.create_repo("user/a")
    first = api.upload_folder(repo_id="user/a", folder_path=folder)
    assert api.upload_folder(repo_id="user/a", folder_path=folder).oid == first.oid
    assert len(hub.sent("PUT")) == len(hub.sent("POST", "/commit/")) == 1


def test_names_are_unique(hub: HubServer, api: HfApi) -> None:
    api.create_repo("user/a")
    assert api.create_repo("user/a", exist_ok=True).repo_id == "user/a"
    with pytest.raises(HfHubHTTPError, match="already created this model repo"):
        api.create_repo("user/a")
    api.create_repo("user/a", repo_type="dataset")  # names are unique per type
    with pytest.raises(HfHubHTTPError, match="namespace") as caught:
        api.create_repo("somebody/a")
    assert caught.value.response.status_code == 403


def test_private_repositories_do_not_exist_for_others(hub: HubServer, api: HfApi, folder: Path) -> None:
    api.create_repo("user/a", private=True)
    api.upload_folder(repo_id="user/a", folder_path=folder)
    assert api.model_info("user/a").private
    for token, status in ((False, 401), (hub.new_token("somebody"), 404)):
        with pytest.raises(RepositoryNotFoundError) as caught:
            HfApi(endpoint=hub.endpoint, token=token).model_info("user/a")
        assert caught.value.response.status_code == status
        with pytest.raises(RepositoryNotFoundError):
            HfApi(endpoint=hub.endpoint, token=token).hf_hub_download("user/a", "config.json")
    assert [each.id for each in HfApi(endpoint=hub.endpoint, token=False).list_models(author="user")] == []
    api.update_repo_settings("user/a", private=False)
    assert not HfApi(endpoint=hub.endpoint, token=False).model_info("user/a").private


def test_a_read_only_token(hub: HubServer, api: HfApi) -> None:
    api.create_repo("user/a", private=True)
    reader = HfApi(endpoint=hub.endpoint, token=hub.new_token(role="read"))
    assert reader.model_info("user/a").id == "user/a"
    with pytest.raises(HfHubHTTPError, match="403 Forbidden"):
        reader.upload_file(path_or_fileobj=b"", path_in_repo="a", repo_id="user/a")


def test_missing_files_and_repositories(hub: HubServer, api: HfApi, folder: Path) -> None:
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("user/none")
    api.create_repo("user/a")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("user/a", revision="v9")
    with pytest.raises(RevisionNotFoundError):
        api.hf_hub_download("user/a", "config.json", revision="v9")
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download("user/a", "config.json")
    assert not api.file_exists("user/a", "config.json") and api.repo_exists("user/a")
    api.delete_repo("user/a")
    assert not api.repo_exists("user/a")


def test_a_commit_is_atomic(hub: HubServer, api: HfApi) -> None:
    api.create_repo("user/a")
    api.upload_file(path_or_fileobj=b"1", path_in_repo="one.txt", repo_id="user/a")
    before = hub.commits("user/a")
    with pytest.raises(EntryNotFoundError):
        api.create_commit(
            "user/a",
            [CommitOperationAdd("two.txt", b"2"), CommitOperationDelete("none.txt")],
            commit_message="half of it",
        )
    with pytest.raises(HfHubHTTPError, match="A commit has happened since"):
        api.create_commit(
            "user/a", [CommitOperationAdd("two.txt", b"2")], commit_message="late", parent_commit=before[1].oid
        )
    assert hub.commits("user/a") == before
    api.create_commit(
        "user/a", [CommitOperationAdd("d/two.txt", b"2"), CommitOperationDelete("one.txt")], commit_message="both"
    )
    assert set(hub.files("user/a")) == {".gitattributes", "d/two.txt"}
    assert set(hub.files("user/a", revision=before[0].oid)) == {".gitattributes", "one.txt"}
    api.delete_folder("d", "user/a")
    assert set(hub.files("user/a")) == {".gitattributes"}
    assert [each.title for each in api.list_repo_commits("user/a")] == [each.title for each in hub.commits("user/a")]


def test_branches_and_tags(hub: HubServer, api: HfApi) -> None:
    api.create_repo("user/a")
    first = api.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id="user/a").oid
    api.create_tag("user/a", tag="v1")
    api.create_branch("user/a", branch="try/it")
    second = api.upload_file(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id="user/a", revision="try/it").oid
    assert {ref.name: ref.target_commit for ref in api.list_repo_refs("user/a").branches} == {
        "main": first,
        "try/it": second,
    }
    with pytest.raises(HfHubHTTPError, match="already exists"):
        api.create_branch("user/a", branch="try/it")
    with pytest.raises(HfHubHTTPError, match="branches"):
        api.upload_file(path_or_fileobj=b"3", path_in_repo="a.txt", repo_id="user/a", revision="v1")
    for revision, content in (("v1", b"1"), ("main", b"1"), ("try/it", b"2"), (second, b"2")):
        assert Path(api.hf_hub_download("user/a", "a.txt", revision=revision)).read_bytes() == content
    api.delete_branch("user/a", branch="try/it")
    api.delete_tag("user/a", tag="v1")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("user/a", revision="v1")


def test_pull_requests(hub: HubServer, api: HfApi) -> None:
    api.create_repo("user/a")
    made = api.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id="user/a", create_pr=True)
    assert (made.pr_num, made.pr_revision) == (1, "refs/pr/1")
    assert "a.txt" not in hub.files("user/a") and hub.files("user/a", revision="refs/pr/1")["a.txt"] == b"1"
    api.upload_file(path_or_fileobj=b"2", path_in_repo="b.txt", repo_id="user/a", revision="refs/pr/1")
    details = api.get_discussion_details("user/a", 1)
    assert details.is_pull_request and details.status == "draft" and details.conflicting_files == []
    stranger = HfApi(endpoint=hub.endpoint, token=hub.new_token("somebody"))
    theirs = stranger.upload_file(path_or_fileobj=b"9", path_in_repo="a.txt", repo_id="user/a", create_pr=True)
    api.merge_pull_request("user/a", 1)
    assert hub.files("user/a")["a.txt"] == b"1" and hub.files("user/a")["b.txt"] == b"2"
    assert api.get_discussion_details("user/a", theirs.pr_num or 0).conflicting_files == ["a.txt"]
    with pytest.raises(HfHubHTTPError, match="conflicts"):
        api.merge_pull_request("user/a", 2)
    api.change_discussion_status("user/a", 2, "closed")
    assert {each.num: each.status for each in api.get_repo_discussions("user/a")} == {1: "merged", 2: "closed"}


def test_a_tree_listing_in_pages(hub: HubServer, api: HfApi) -> None:
    api.create_repo("user/a")
    names = [f"d{n}/f.txt" for n in range(7)]
    api.create_commit("user/a", [CommitOperationAdd(name, name.encode()) for name in names], commit_message="many")
    hub.page_size = 3
    assert {"f.txt" in each.path for each in api.list_repo_tree("user/a")} == {False}
    assert [each for each in api.list_repo_files("user/a")] == [".gitattributes", *names]
    assert len(hub.sent("GET", "/tree/")) == 3 + 5
    found = api.get_paths_info("user/a", ["d1", "d2/f.txt", "none"], expand=True)
    assert [(each.path, each.last_commit and each.last_commit.title) for each in found] == [
        ("d1", "many"),
        ("d2/f.txt", "many"),
    ]


def test_a_card_is_checked_before_anything_is_sent(hub: HubServer, api: HfApi) -> None:
    api.create_repo("user/a")
    for text, reason in (
        ("license: my-own", "license"),
        ("base_model: /home/me/model", "base_model"),
        ("model-index:\n- name: a\n  results:\n  - task: {type: text-classification}", "dataset.type"),
        ("tags: [", "Invalid YAML"),
    ):
        with pytest.raises(ValueError, match=reason):
            api.upload_file(path_or_fileobj=f"---\n{text}\n---\n".encode(), path_in_repo="README.md", repo_id="user/a")
    assert not hub.sent("POST", "/preupload/")


def test_a_range_of_a_file(hub: HubServer, api: HfApi, folder: Path) -> None:
    from huggingface_hub import HfFileSystem

    api.create_repo("user/a")
    api.upload_folder(repo_id="user/a", folder_path=folder)
    files = HfFileSystem(endpoint=hub.endpoint, token=hub.token)
    with files.open("user/a/model.safetensors", block_size=1000) as file:
        file.seek(50_000)
        assert file.read(10) == WEIGHTS[50_000:50_010]
    assert set(files.glob("user/a/**")) >= {f"user/a/{path}" for path in ("config.json", "sub", "sub/notes.txt")}


def test_the_information_on_a_repository(hub: HubServer, api: HfApi, folder: Path) -> None:
    api.create_repo("organisation/a", repo_type="space", space_sdk="gradio")
    assert api.space_info("organisation/a").sdk == "gradio"
    assert api.get_space_runtime("organisation/a").stage == "RUNNING"
    api.create_repo("user/a")
    api.upload_folder(repo_id="user/a", folder_path=folder)
    info = api.model_info("user/a", files_metadata=True)
    assert info.card_data is not None and info.card_data.license == "mit" and info.tags == ["tiny"]
    sizes = {each.rfilename: (each.size, each.lfs is not None) for each in info.siblings or []}
    assert sizes["model.safetensors"] == (len(WEIGHTS), True) and not sizes["config.json"][1]
    some = api.model_info("user/a", expand=["sha", "private"])
    assert some.sha == info.sha and some.private is False and some.siblings is None
    api.move_repo("user/a", "organisation/a")
    assert [each.id for each in api.list_models(author="organisation")] == ["organisation/a"]
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        api.upload_file(path_or_fileobj=b"no metadata", path_in_repo="README.md", repo_id="organisation/a")
