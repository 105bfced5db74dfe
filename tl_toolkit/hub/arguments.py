"""The arguments of `publish`, for a model folder."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config.fields import flag
from ..config.help import Help
from ..config.parsing import Given, command_line, make_parser, read_arguments
from ..errors import TOKEN, UserError
from .destination import HUB_ID, REPO_TYPES, Destination


@dataclass
class PublishArguments:
    """Folder and repository"""

    folder: str = field(metadata={"help": "A folder that finetune, pretrain, ensemble, convert or compare wrote."})
    repo_id: str | None = flag("user/name or organisation/name. A name alone belongs to the owner of the token.")
    repo_type: str = flag("The kind of repository.", "model", choices=REPO_TYPES)
    private: bool = flag("Make the repository private. An existing one must be private.", False)
    revision: str | None = flag("A branch instead of main. It is created if absent; refs/pr/N is an open pull request.")
    create_pr: bool = flag("Open a pull request instead of committing.", False)
    dry_run: bool = flag(
        "Load the model, show its card and every file with its size, and send nothing. It needs no token and no "
        "network.",
        False,
    )
    merge: bool = flag("LoRA: publish the model with the adapter merged, not the adapter alone.", False)
    include: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Also publish files that match PATTERN. Can be repeated; 'predictions_*.parquet' holds texts of "
            "the dataset.",
            "action": "extend",
            "metavar": "PATTERN",
        },
    )
    commit_message: str | None = flag("Commit message. By default 'Publish' and the name of the run.")
    timeout: float = flag("Seconds to wait for the Hub to respond, or to take a part of a file.", 60.0)

    def __post_init__(self) -> None:
        if self.repo_id is None and not self.dry_run:
            raise UserError("Give the repository by --repo_id user/name, or use --dry_run.")
        if TOKEN.search(self.commit_message or ""):
            raise UserError("--commit_message contains a token of the Hub, which everybody could read. Remove it.")
        if not 0 < self.timeout < float("inf"):
            raise UserError(f"--timeout must be a number of seconds above 0, but is {self.timeout:g}.")


@dataclass
class CardArguments:
    """Model card"""

    license: str | None = flag(
        "Licence, as the Hub writes it. apache-2.0, mit, cc-by-4.0, other, …; by default that in the card of the model "
        "that was fine-tuned."
    )
    language: str | None = flag(
        "Language codes, separated by commas: en, de, hi, …. By default those of the translation task, or those in the "
        "card of the dataset."
    )
    base_model: str | None = flag("The Hub id of the base model. By default that of the run.")
    comparison: str | None = flag(
        "The comparison that the model is from. Its folder, or the Hub id of its dataset repository; by default the "
        "folder of the comparison that trained the model."
    )

    def __post_init__(self) -> None:
        if self.license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", self.license):
            raise UserError(
                f"--license must be an identifier of the Hub in lower case (apache-2.0, mit, cc-by-4.0, openrail, "
                f"other, …), but is {self.license!r}."
            )
        for code in self.languages:
            if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]+)*|code|multilingual", code):
                raise UserError(
                    f"--language must be language codes of two or three letters, separated by commas (en,hi), but has "
                    f"{code!r}."
                )
        if self.base_model is not None and not HUB_ID.fullmatch(self.base_model):
            raise UserError(f"--base_model must be a Hub id, such as user/name, but is {self.base_model!r}.")

    @property
    def languages(self) -> list[str]:
        """The given language codes."""
        return [code.strip() for code in (self.language or "").split(",") if code.strip()]


@dataclass(frozen=True)
class PublishRequest:
    """All arguments of `publish`.

    Attributes:
        command: the command line, which error messages repeat so that it can be rerun.
    """

    publish: PublishArguments
    card: CardArguments
    command: str

    @property
    def folder(self) -> Path:
        return Path(self.publish.folder).expanduser()

    @property
    def destination(self) -> Destination:
        """Raises UserError for a name that the Hub does not allow."""
        asked = self.publish
        return Destination(
            repo_id=asked.repo_id or self.folder.resolve().name,
            repo_type=asked.repo_type,
            private=asked.private or None,
            revision=asked.revision,
            create_pr=asked.create_pr,
        )


def parse_publish_arguments(given: Given = None, help: Help = Help("publish", main_flag="folder")) -> PublishRequest:
    """The arguments of `publish` for a model folder; errors as of `parse_publication`."""
    (publish, card), command = parse_publication((PublishArguments, CardArguments), given, help)
    return PublishRequest(publish, card, command)


def parse_publication(kinds: Sequence[type], given: Given, help: Help) -> tuple[list[Any], str]:
    """An object of each of `kinds`, and the command that asks for the same.

    Raises:
        UserError: an unknown flag, a value of the wrong type, or no folder.
    """
    parser = make_parser(help, kinds)
    flags = command_line(parser, given)
    if flags and flags[0].startswith("--folder="):  # printed as it is usually typed
        flags = [flags[0].removeprefix("--folder="), *flags[1:]]
    return read_arguments(kinds, given, help), shlex.join(["tl-toolkit", "publish", *flags])
