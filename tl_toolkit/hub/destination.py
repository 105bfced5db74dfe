"""Where on the Hub something is published, and what stands there afterwards."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

REPO_TYPES = ("model", "dataset", "space")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
"""The form of a repository's name on the Hub: `user/name`, or `name` alone for some of the oldest."""


@dataclass(frozen=True)
class HubFile:
    """A file as it will stand in a repository.

    Args:
        path: its place there, with forward slashes.
        content: a file of this machine, sent as it is, or the bytes themselves.
        note: what a listing says about it beside its size.
    """

    path: str
    content: Path | bytes
    note: str = ""

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def read(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()

    def addition(self) -> CommitOperationAdd:
        from huggingface_hub import CommitOperationAdd

        return CommitOperationAdd(self.path, self.content)


@dataclass(frozen=True)
class Destination:
    """A repository, and how it is written to.

    Args:
        repo_id: "user/name"; without a user, the one whose token is used.
        private: None leaves a repository as it is, and makes a new one as its owner's settings say.
        revision: a branch, made from `main` where it is absent; or `refs/pr/N`.
        create_pr: propose the files as a pull request instead of committing them.
        space_sdk: "static" or "gradio", for a new Space.

    Raises:
        UserError: a name that the Hub does not allow, or two ways of writing at once.
    """

    repo_id: str
    repo_type: str = "model"
    private: bool | None = None
    revision: str | None = None
    create_pr: bool = False
    space_sdk: str | None = None

    def __post_init__(self) -> None:
        from huggingface_hub.utils import HFValidationError, validate_repo_id

        if self.repo_type not in REPO_TYPES:
            raise UserError(f"--repo_type is {self.repo_type!r}, where one of {', '.join(REPO_TYPES)} is expected.")
        try:
            validate_repo_id(self.repo_id)
        except HFValidationError as error:
            raise UserError(
                f"--repo_id {self.repo_id!r} is no name of a repository on the Hub: 'user/name' or "
                "'organisation/name' is expected, each part of letters, digits, '-', '_' and '.', neither at its start "
                "or end nor two in a row, 96 characters at most."
            ) from error
        if self.create_pr and self.revision not in (None, "main"):
            raise UserError(
                f"--create_pr proposes a change to 'main', and --revision names {self.revision!r}: give one of the "
                "two. To add to an open pull request, name it: --revision refs/pr/N, without --create_pr."
            )

    @property
    def branch(self) -> str:
        """The revision that is compared with, and committed to or proposed for."""
        return self.revision or "main"

    def url(self, endpoint: str, repo_id: str) -> str:
        prefix = "" if self.repo_type == "model" else f"{self.repo_type}s/"
        return f"{endpoint}/{prefix}{repo_id}"
