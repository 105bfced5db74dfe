"""The storage of a Hub: repositories with commits, branches, tags and pull requests, and contents by their hash."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch

LFS_SUFFIXES = """
    7z arrow bin bz2 ckpt gz h5 joblib model msgpack npy npz onnx parquet pb pickle pkl pt pth rar safetensors tar
    tflite tgz wasm xz zip zst jpeg jpg png webp gif wav mp3 mp4 flac
"""
GITATTRIBUTES = "\n".join(f"*.{suffix} filter=lfs diff=lfs merge=lfs -text" for suffix in LFS_SUFFIXES.split())


class Refused(Exception):
    """An error response of the Hub: its status, and the code and message of the error headers."""

    def __init__(
        self, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None, **body: object
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.body = status, message, code, body
        self.headers = headers or {}


def git_hash(content: bytes) -> str:
    """The git id of a blob: the SHA-1 of its header and content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    """The pointer that git stores in place of a file in LFS."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


@dataclass(frozen=True)
class Entry:
    """A file of a commit: its blob id (of the pointer, if it is in LFS), its size in bytes and its SHA-256."""

    blob_id: str
    size: int
    sha256: str | None = None

    @property
    def key(self) -> str:
        """The key of the content."""
        return self.sha256 or self.blob_id

    @property
    def etag(self) -> str:
        return self.key


@dataclass(frozen=True)
class Commit:
    """An immutable state of all files."""

    oid: str
    parent: Commit | None
    title: str
    message: str
    author: str
    date: str
    files: dict[str, Entry]

    def history(self) -> list[Commit]:
        """This commit and its ancestors, newest first."""
        commits: list[Commit] = []
        commit: Commit | None = self
        while commit is not None:
            commits.append(commit)
            commit = commit.parent
        return commits


@dataclass
class Pull:
    """A pull request or a discussion."""

    number: int
    title: str
    author: str
    description: str
    created: str
    is_pull_request: bool
    status: str = "draft"
    base: str = "main"
    merge_commit: str | None = None
    comments: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Repository:
    """A model, dataset or Space."""

    id: str
    type: str
    private: bool
    created: str
    sdk: str | None = None
    gated: bool = False  # visible to all, but only members of its namespace can read the files
    refs: dict[str, Commit] = field(default_factory=dict)  # full names: refs/heads/main, refs/tags/v1, refs/pr/1
    commits: dict[str, Commit] = field(default_factory=dict)
    pulls: dict[int, Pull] = field(default_factory=dict)
    lfs: set[str] = field(default_factory=set)  # SHA-256 of uploaded files, committed or not

    @property
    def namespace(self) -> str:
        return self.id.split("/")[0]

    def branch(self, revision: str) -> str | None:
        """The full name of the ref that a commit on `revision` moves, or None."""
        names = (f"refs/heads/{revision}", revision) if revision.startswith("refs/") else (f"refs/heads/{revision}",)
        return next((name for name in names if name in self.refs and not name.startswith("refs/tags/")), None)

    def at(self, revision: str) -> Commit:
        """The commit of a branch, tag, ref or (abbreviated) commit id."""
        for name in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if name in self.refs:
                return self.refs[name]
        if len(revision) >= 7:
            found = [commit for oid, commit in self.commits.items() if oid.startswith(revision)]
            if len(found) == 1:
                return found[0]
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")


class Store:
    """All repositories; every change is atomic under one lock."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.contents: dict[str, bytes] = {}
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.parts: dict[tuple[str, int], bytes] = {}  # of unfinished multipart uploads
        self._clock = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> str:
        """A strictly increasing time in the Hub's format."""
        with self.lock:
            self._clock += timedelta(seconds=1)
            return self._clock.strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def create(self, repo_id: str, repo_type: str, private: bool, sdk: str | None, author: str) -> Repository:
        """A new repository; its first commit defines which files are in LFS."""
        with self.lock:
            repository = Repository(repo_id, repo_type, private, self.now(), sdk)
            self.repositories[repo_type, repo_id] = repository
            first = {".gitattributes": self.add(GITATTRIBUTES.encode())}
            self.commit(repository, "refs/heads/main", first, [], "initial commit", "", author)
            return repository

    def add(self, content: bytes) -> Entry:
        """Store the content of a file that is not in LFS."""
        entry = Entry(git_hash(content), len(content))
        self.contents[entry.key] = content
        return entry

    def lfs_entry(self, repository: Repository, sha256: str) -> Entry:
        """The entry of a file in LFS; its content must have been uploaded to this repository."""
        if sha256 not in repository.lfs:
            raise Refused(400, "Your push was rejected because an LFS pointer pointed to a file that does not exist.")
        size = len(self.contents[sha256])
        return Entry(git_hash(pointer(sha256, size)), size, sha256)

    def commit(
        self,
        repository: Repository,
        ref: str,
        added: dict[str, Entry],
        deleted: list[str],
        title: str,
        message: str,
        author: str,
        parent: Commit | None = None,
    ) -> Commit:
        """Move `ref` (a full name, new or not) to a new commit on top of it, or of `parent`."""
        with self.lock:
            before = parent or repository.refs.get(ref)
            files = dict(before.files) if before else {}
            for path in deleted:
                inside = [name for name in files if name == path or (path.endswith("/") and name.startswith(path))]
                if not inside:
                    raise Refused(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
                for name in inside:
                    del files[name]
            for path, entry in added.items():
                if any(part in ("", ".", "..", ".git") for part in path.split("/")):
                    raise Refused(400, f"Invalid path: {path}")
                files[path] = entry
            date = self.now()
            tree = repr(sorted((path, entry.blob_id) for path, entry in files.items()))
            text = f"{repository.type}/{repository.id} {before.oid if before else ''} {date} {title} {message} {tree}"
            commit = Commit(hashlib.sha1(text.encode()).hexdigest(), before, title, message, author, date, files)
            repository.commits[commit.oid] = commit
            repository.refs[ref] = commit
            return commit

    def content(self, entry: Entry) -> bytes:
        return self.contents[entry.key]

    def in_lfs(self, commit: Commit, path: str, size: int, sample: bytes) -> bool:
        """Whether a file goes to LFS: by `.gitattributes`, or because it is binary or above 10 MB."""
        attributes = commit.files.get(".gitattributes")
        lines = self.content(attributes).decode().splitlines() if attributes else []
        patterns = [line.split()[0] for line in lines if "filter=lfs" in line]
        name = path.rsplit("/", 1)[-1]
        if any(fnmatch(name, pattern) or fnmatch(path, pattern) for pattern in patterns):
            return True
        return size > 10_000_000 or b"\0" in sample
