"""The repository on the Hub to publish to, and the files in it."""

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
"""The form of a repository name on the Hub: `user/name`, or only `name` for some of the oldest."""


@dataclass(frozen=True)
class HubFile:
    """A file in a repository.

    Args:
        path: its path there, with forward slashes.
        content: a local file, sent unchanged, or the bytes themselves.
        note: a remark for listings.
    """

    path: str
    content: Path | bytes
    note: str = ""

    @property
    def size(self) -> int:
        """Size in bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def read(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()

    def addition(self) -> CommitOperationAdd:
        from huggingface_hub import CommitOperationAdd

        return CommitOperationAdd(self.path, self.content)


@dataclass(frozen=True)
class Destination:
    """A repository, and how to write to it.

    Args:
        repo_id: "user/name"; without a user, the owner of the token.
        private: None leaves an existing repository unchanged and follows the owner's settings for a new one.
        revision: a branch, created from `main` if missing; or `refs/pr/N`.
        create_pr: propose the files as a pull request instead of committing them.
        space_sdk: "static" or "gradio", for a new Space.

    Raises:
        UserError: the Hub does not allow the name, or `create_pr` and a `revision` are both set.
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
            raise UserError(f"--repo_type must be one of {', '.join(REPO_TYPES)}, but is {self.repo_type!r}.")
        try:
            validate_repo_id(self.repo_id)
        except HFValidationError as error:
            raise UserError(
                f"--repo_id {self.repo_id!r} is not a repository name on the Hub. It must be 'user/name' or "
                "'organisation/name', at most 96 characters of letters, digits, '-', '_' and '.'. '-' and '.' may not "
                "be at the start or end of a part or twice in a row."
            ) from error
        if self.create_pr and self.revision not in (None, "main"):
            raise UserError(
                f"--create_pr proposes a change to 'main', but --revision is {self.revision!r}. Use only one of the "
                "two. To add to an open pull request, use --revision refs/pr/N without --create_pr."
            )

    @property
    def branch(self) -> str:
        """The revision to compare with, and to commit to or propose for."""
        return self.revision or "main"

    def url(self, endpoint: str, repo_id: str) -> str:
        prefix = "" if self.repo_type == "model" else f"{self.repo_type}s/"
        return f"{endpoint}/{prefix}{repo_id}"
