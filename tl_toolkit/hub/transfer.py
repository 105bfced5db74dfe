"""Files onto the Hub: what has changed, in one commit, or nothing at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .connection import retrying, user_name
from .destination import Destination, HubFile
from .failures import LOGIN, HubError, explain, is_from_hub, is_transient, status_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """What became of a push.

    Attributes:
        repo_id: with the user's name.
        url: of the repository, or of the pull request.
        commit: its hash; None where nothing had changed, so that nothing was committed.
        sent: the files that are new or have changed.
        unchanged: those that stood there already.
        removed: those of the revision before that would have been taken for a part of this one.
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
    """Commit `files` to the repository, which is made where it does not exist.

    Large files are sent first; then a single commit, on the revision that was compared with, makes all of them visible
    at once. Whatever fails before leaves the revision as it was. What the Hub has already is not sent again, and
    nothing is committed where nothing has changed.

    Args:
        obsolete: whether a file of the repository that is not among `files` has to go.
        command: what to say goes on after a failure.

    Raises:
        HubError: see `failures.explain`; also where a repository that exists is not as private as was asked for.
    """
    repo_id = full_name(api, destination, command)
    push = _Push(api, repo_id, destination, command)
    head = push.head()
    changed, removed = push.difference(files, obsolete)
    names = [file.path for file in changed]
    outcome: dict[str, Any] = {"unchanged": sorted({file.path for file in files} - set(names))}
    if not changed and not removed:
        return Outcome(repo_id, push.url, None, **outcome)
    if destination.create_pr and (proposed := push.proposal(files, obsolete, message)) is not None:
        return Outcome(repo_id, proposed, None, unchanged=sorted(file.path for file in files))
    commit, url = push.commit(changed, removed, message, head, lambda: push.difference(files, obsolete) == ([], []))
    return Outcome(repo_id, url, commit, sent=names, removed=removed, **outcome)


def open_repository(api: HfApi, destination: Destination) -> str:
    """Make the repository and the branch where they are absent, and see that they may be written to; the full name.

    Raises:
        HubError: the Hub refuses it, or would refuse what is sent there.
    """
    repo_id = full_name(api, destination)
    user = retrying(lambda: api.whoami(cache=True), "The token could not be checked")
    push = _Push(api, repo_id, destination, "")
    role = ((user.get("auth") or {}).get("accessToken") or {}).get("role")
    if role == "read":
        raise HubError(f"{push.what}: the token may only read. {LOGIN}.")
    owner = repo_id.partition("/")[0]
    if owner not in {user["name"], *(one.get("name") for one in user.get("orgs") or ())}:
        raise HubError(
            f"{push.what}: the token is of {user['name']!r}, who is no member of {owner!r}. Name a repository of your "
            "own."
        )
    push.head()
    return repo_id


def full_name(api: HfApi, destination: Destination, command: str = "") -> str:
    """`repo_id` with its user.

    Raises:
        HubError: the token is not accepted, or the Hub cannot be reached.
    """
    user = user_name(api, command)  # asked in any case: it is here that a bad token shows
    return destination.repo_id if "/" in destination.repo_id else f"{user}/{destination.repo_id}"


@dataclass(frozen=True)
class _Push:
    """One attempt to publish in one repository."""

    api: HfApi
    repo_id: str
    destination: Destination
    command: str

    @property
    def what(self) -> str:
        return f"Publishing {self.repo_id!r} on the Hub failed"

    @property
    def url(self) -> str:
        return self.destination.url(self.api.endpoint, self.repo_id)

    def head(self) -> str:
        """The commit that the new one follows; the repository and the branch are made where they are not there."""
        found = self._info(None)
        if found is None:
            found = self._create()
        if self.destination.private and not found.private:
            raise HubError(
                f"{self.what}: it exists and is public, and --private does not change that. Make it private in its "
                "settings, or choose another --repo_id. Nothing was sent."
            )
        branch = self.destination.branch
        if branch == "main":
            return str(found.sha)
        there = self._info(branch)
        if there is None:
            if branch.startswith("refs/"):
                raise HubError(f"{self.what}: it has no {branch!r}. Pull requests are opened by --create_pr.")
            self._ask(
                lambda: self.api.create_branch(
                    self.repo_id, branch=branch, repo_type=self.destination.repo_type, exist_ok=True
                )
            )
            there = self._info(branch)
        return str(there.sha)

    def difference(
        self, files: Sequence[HubFile], obsolete: Callable[[str], bool], revision: str | None = None
    ) -> tuple[list[HubFile], list[str]]:
        """The files that the revision does not have in this form, and the paths that have to go from it."""
        there = self._tree(revision or self.destination.revision)
        paths = {file.path for file in files}
        changed = [file for file in files if not _same(file, there.get(file.path))]
        return changed, sorted(path for path in there if path not in paths and obsolete(path))

    def proposal(self, files: Sequence[HubFile], obsolete: Callable[[str], bool], message: str) -> str | None:
        """The address of an open pull request that proposes just this."""
        for one in self._ask(self._open_pull_requests):
            if one.title == message and self.difference(files, obsolete, f"refs/pr/{one.num}") == ([], []):
                return str(one.url)
        return None

    def commit(
        self,
        changed: Sequence[HubFile],
        removed: Sequence[str],
        message: str,
        head: str,
        is_done: Callable[[], bool],
    ) -> tuple[str, str]:
        """Send what is large, then commit all of it on `head`: the hash, and the address to look at."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        additions = [CommitOperationAdd(file.path, _content(file)) for file in changed]
        where: dict[str, Any] = {
            "repo_type": self.destination.repo_type,
            "revision": self.destination.revision,
            "create_pr": self.destination.create_pr,
        }
        try:  # huggingface_hub repeats these requests by itself
            self.api.preupload_lfs_files(self.repo_id, additions, free_memory=False, **where)
        except Exception as error:
            if not is_from_hub(error):
                raise
            raise explain(error, self.what, self.command, sending=True) from error

        def send() -> tuple[str, str]:
            try:
                made = self.api.create_commit(
                    self.repo_id,
                    [*additions, *(CommitOperationDelete(path) for path in removed)],
                    commit_message=message,
                    parent_commit=head,
                    **where,
                )
            except Exception as error:
                # What the Hub did although its answer was lost is found by looking, and is not done twice.
                if self.destination.create_pr:
                    found = next((one for one in self._open_pull_requests() if one.title == message), None)
                    if found is not None and is_transient(error):
                        return str(self._info(f"refs/pr/{found.num}").sha), str(found.url)
                elif (is_transient(error) or status_of(error) in (409, 412)) and is_done():
                    return self.head(), self.url
                raise
            return made.oid, made.pr_url or self.url

        return retrying(send, self.what, self.command, sending=True)

    def _create(self) -> Any:
        kind = self.destination.repo_type
        if self.destination.create_pr:
            raise HubError(
                f"{self.what}: there is no such {kind} repository, or the token may not see it, so that nothing can be "
                "proposed by --create_pr. Without it, a repository of your own is made."
            )
        options: dict[str, Any] = {"space_sdk": self.destination.space_sdk} if kind == "space" else {}

        def create() -> None:
            try:
                self.api.create_repo(self.repo_id, repo_type=kind, private=self.destination.private, **options)
            except Exception as error:
                # Of two attempts the first may have been carried out although its answer was lost.
                if status_of(error) != 409:
                    raise

        self._ask(create)
        found = self._info(None)
        if found is None:  # "it exists", says the Hub of what it does not show
            raise HubError(
                f"{self.what}: the name is taken, by a repository that the token may not see. Choose another --repo_id."
            )
        return found

    def _info(self, revision: str | None) -> Any:
        """What the Hub tells of the repository, or of a revision of it; None where there is no such thing."""
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        def info() -> Any:
            try:
                return self.api.repo_info(self.repo_id, repo_type=self.destination.repo_type, revision=revision)
            except (RepositoryNotFoundError, RevisionNotFoundError) as error:
                if status_of(error) == 401:  # the token, not the repository, is what is wrong
                    raise
                return None

        return self._ask(info)

    def _tree(self, revision: str | None) -> dict[str, Any]:
        from huggingface_hub import RepoFile
        from huggingface_hub.errors import EntryNotFoundError

        def listing() -> dict[str, Any]:
            kind = self.destination.repo_type
            try:
                entries = list(self.api.list_repo_tree(self.repo_id, recursive=True, revision=revision, repo_type=kind))
            except EntryNotFoundError:  # an empty repository
                return {}
            return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}

        return self._ask(listing)

    def _open_pull_requests(self) -> list[Any]:
        return list(
            self.api.get_repo_discussions(
                self.repo_id,
                repo_type=self.destination.repo_type,
                discussion_type="pull_request",
                discussion_status="open",
            )
        )

    def _ask(self, request: Callable[[], T]) -> T:
        return retrying(request, self.what, self.command)


def _same(file: HubFile, there: Any) -> bool:
    """Whether the repository has this very content, told by the hashes that the Hub keeps of it."""
    if there is None or there.size != file.size:
        return False
    if there.lfs is not None:
        if isinstance(file.content, Path):
            with file.content.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest() == there.lfs.sha256
        return hashlib.sha256(file.content).hexdigest() == there.lfs.sha256
    return hashlib.sha1(b"blob %d\0" % file.size + file.read()).hexdigest() == there.blob_id


def _content(file: HubFile) -> str | bytes:
    return str(file.content) if isinstance(file.content, Path) else file.content
