"""Upload changed files to the Hub in a single commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from .connection_and_retries import retrying
from .destination import Destination, HubFile
from .failures import LOGIN, HubError, is_transient, status_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """The result of a push.

    Attributes:
        repo_id: full name, with the user.
        url: address of the repository, or of the pull request.
        commit: its hash; None if nothing had changed and nothing was committed.
        removed: files of the previous revision that would be mistaken for part of this one.
    """

    repo_id: str
    url: str
    commit: str | None
    sent: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


def upload(
    api: HfApi,
    files: Sequence[HubFile],
    destination: Destination,
    message: str,
    *,
    obsolete: Callable[[str], bool] = lambda path: False,
    command: str = "",
) -> Outcome:
    """Commit `files` to the repository, which is created if it does not exist.

    Large files are sent first; then a single commit, on top of the revision that was compared, makes all files visible
    at once. A failure before the commit leaves the revision unchanged. Files that the Hub already has are not sent
    again, and nothing is committed if nothing has changed.

    Args:
        obsolete: whether to remove a file of the repository that is not in `files`.
        command: the command line that resumes after a failure, for error messages.

    Raises:
        HubError: see `failures.explain`; also if `private` is set and the existing repository is public.
    """
    push = _Push(api, full_name(api, destination, command), destination, command, files, obsolete, message)
    paths = {file.path for file in files}
    head = push.head()
    changed, removed = push.difference()
    if not changed and not removed:
        return Outcome(push.repo_id, push.url, None, unchanged=sorted(paths))
    if destination.create_pr and (proposed := push.proposal(same=True)) is not None:
        return Outcome(push.repo_id, str(proposed.url), None, unchanged=sorted(paths))
    commit, url = push.commit(changed, removed, head)
    sent = [file.path for file in changed]
    return Outcome(push.repo_id, url, commit, sent, sorted(paths - set(sent)), removed)


def open_repository(api: HfApi, destination: Destination) -> str:
    """Create the repository and the branch if missing, check that the token can write there; return the full name."""
    push = _Push(api, full_name(api, destination), destination)
    user = api.whoami(cache=True)
    if ((user.get("auth") or {}).get("accessToken") or {}).get("role") == "read":
        raise HubError(f"{push.what}: the token is read-only. {LOGIN}.")
    owner = push.repo_id.partition("/")[0]
    if owner not in {user["name"], *(one.get("name") for one in user.get("orgs") or ())}:
        raise HubError(
            f"{push.what}: the token belongs to {user['name']!r}, who is not a member of {owner!r}. Choose a "
            "repository that you own."
        )
    push.head()
    return push.repo_id


def full_name(api: HfApi, destination: Destination, command: str = "") -> str:
    """The `repo_id` with its user; HubError if the Hub does not accept the token."""
    # Always contact the Hub, because this request detects a bad token.
    user = retrying(lambda: api.whoami(cache=True), "The token could not be checked", command)
    return destination.repo_id if "/" in destination.repo_id else f"{user['name']}/{destination.repo_id}"


@dataclass(frozen=True)
class _Push:
    """One attempt to publish to one repository; for the fields see `upload`."""

    api: HfApi
    repo_id: str
    destination: Destination
    command: str = ""
    files: Sequence[HubFile] = ()
    obsolete: Callable[[str], bool] = lambda path: False
    message: str = ""

    @property
    def what(self) -> str:
        return f"Publishing {self.repo_id!r} on the Hub failed"

    @property
    def url(self) -> str:
        return self.destination.url(self.api.endpoint, self.repo_id)

    @property
    def kind(self) -> str:
        return self.destination.repo_type

    def head(self) -> str:
        """The parent of the new commit; the repository and the branch are created if missing."""
        found = self._info(None) or self._create()
        if self.destination.private and not found.private:
            raise HubError(
                f"{self.what}: the repository exists and is public, and --private does not change that. Make it "
                "private in its settings, or choose another --repo_id. Nothing was sent."
            )
        branch = self.destination.branch
        if branch == "main":
            return str(found.sha)
        there = self._info(branch)
        if there is None:
            if branch.startswith("refs/"):
                raise HubError(f"{self.what}: the repository has no {branch!r}. Open a pull request with --create_pr.")
            self._ask(lambda: self.api.create_branch(self.repo_id, branch=branch, repo_type=self.kind, exist_ok=True))
            there = self._info(branch)
        return str(there.sha)

    def difference(self, revision: str | None = None) -> tuple[list[HubFile], list[str]]:
        """The files that are new or different in the revision, and the paths to remove from it."""
        there = self._tree(revision or self.destination.revision)
        paths = {file.path for file in self.files}
        changed = [file for file in self.files if not _same(file, there.get(file.path))]
        return changed, sorted(path for path in there if path not in paths and self.obsolete(path))

    def proposal(self, *, same: bool) -> Any:
        """The open pull request with this message, or None; with `same` only one that proposes exactly these files."""
        requested: dict[str, Any] = {"discussion_type": "pull_request", "discussion_status": "open"}
        found = self._ask(lambda: list(self.api.get_repo_discussions(self.repo_id, repo_type=self.kind, **requested)))
        for one in found:
            if one.title == self.message and (not same or self.difference(f"refs/pr/{one.num}") == ([], [])):
                return one
        return None

    def commit(self, changed: Sequence[HubFile], removed: Sequence[str], head: str) -> tuple[str, str]:
        """Send the large files, then commit everything on top of `head`; return the hash and the address."""
        from huggingface_hub import CommitOperationDelete

        additions = [file.addition() for file in changed]
        where: dict[str, Any] = {
            "repo_type": self.kind,
            "revision": self.destination.revision,
            "create_pr": self.destination.create_pr,
        }

        def send() -> tuple[str, str]:
            try:
                made = self.api.create_commit(
                    self.repo_id,
                    [*additions, *(CommitOperationDelete(path) for path in removed)],
                    commit_message=self.message,
                    parent_commit=head,
                    **where,
                )
            except Exception as error:
                # The Hub may have committed although its response was lost: look before trying again.
                if self.destination.create_pr:
                    if is_transient(error) and (found := self.proposal(same=False)) is not None:
                        return str(self._info(f"refs/pr/{found.num}").sha), str(found.url)
                elif (is_transient(error) or status_of(error) in (409, 412)) and self.difference() == ([], []):
                    return self.head(), self.url
                raise
            return made.oid, made.pr_url or self.url

        large = partial(self.api.preupload_lfs_files, self.repo_id, additions, free_memory=False, **where)
        self._ask(large, sending=True, attempts=1)  # huggingface_hub repeats these requests by itself
        return self._ask(send, sending=True)

    def _create(self) -> Any:
        if self.destination.create_pr:
            raise HubError(
                f"{self.what}: this {self.kind} repository does not exist or is hidden from the token, so --create_pr "
                "has nothing to propose to. Leave out --create_pr to create a repository of your own."
            )
        sdk, private = self.destination.space_sdk, self.destination.private

        def create() -> None:
            try:
                self.api.create_repo(self.repo_id, repo_type=self.kind, private=private, space_sdk=sdk)
            except Exception as error:
                # 409: an earlier attempt may have succeeded although its response was lost.
                if status_of(error) != 409:
                    raise

        self._ask(create)
        found = self._info(None)
        if found is None:  # the Hub reports that it exists, but does not show it
            raise HubError(
                f"{self.what}: the name is taken by a repository that is hidden from the token. Choose another "
                "--repo_id."
            )
        return found

    def _info(self, revision: str | None) -> Any:
        """The Hub's information on the repository or a revision of it; None if it does not exist."""
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        def info() -> Any:
            try:
                return self.api.repo_info(self.repo_id, repo_type=self.kind, revision=revision)
            except (RepositoryNotFoundError, RevisionNotFoundError) as error:
                if status_of(error) == 401:  # a bad token, not a missing repository
                    raise
                return None

        return self._ask(info)

    def _tree(self, revision: str | None) -> dict[str, Any]:
        from huggingface_hub import RepoFile
        from huggingface_hub.errors import EntryNotFoundError

        def listing() -> dict[str, Any]:
            entries = self.api.list_repo_tree(self.repo_id, recursive=True, revision=revision, repo_type=self.kind)
            try:
                return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
            except EntryNotFoundError:  # an empty repository
                return {}

        return self._ask(listing)

    def _ask(self, request: Callable[[], T], **options: Any) -> T:
        return retrying(request, self.what, self.command, **options)


def _same(file: HubFile, there: Any) -> bool:
    """Whether the repository has exactly this content, by the hashes that the Hub stores."""
    from huggingface_hub.utils.sha import git_hash

    if there is None or there.size != file.size:
        return False
    if there.lfs is not None:
        return file.addition().upload_info.sha256.hex() == there.lfs.sha256
    return git_hash(file.read()) == there.blob_id
