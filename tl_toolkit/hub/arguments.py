"""What can be asked of `publish.py`."""

from __future__ import annotations

import argparse
import dataclasses
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from ..config.fields import flag
from ..errors import TOKEN, UserError, nearest
from .destination import HUB_ID, REPO_TYPES, Destination


@dataclass
class PublishArguments:
    """What is published, and where."""

    folder: str = field(metadata={"help": "The folder of a run (finetune.py, pretrain.py, ensemble.py, convert.py) …"})
    repo_id: str | None = flag("user/name or organisation/name; a name alone is one of the user whose token is used.")
    repo_type: str = flag("What kind of repository: model, dataset or space.", "model", choices=REPO_TYPES)
    private: bool = flag("Only its owner sees the repository. One that exists has to be private.", False)
    revision: str | None = flag(
        "A branch instead of main, made where it is absent; or refs/pr/N, an open pull request."
    )
    create_pr: bool = flag("Propose the files as a pull request instead of committing them.", False)
    dry_run: bool = flag("List every file with its size and stop; needs no token and no network.", False)
    merge: bool = flag("Of a LoRA run: publish the whole model with the adapter merged, not the adapter alone.", False)
    include: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Also publish files that match this pattern, such as 'predictions_*.parquet', which holds texts of "
            "the dataset; may be said several times.",
            "metavar": "PATTERN",
        },
    )
    commit_message: str | None = flag("By default 'Publish' and the name of the run.")
    timeout: float = flag("Seconds that the Hub has to begin an answer, or to take some of a file.", 60.0)

    def __post_init__(self) -> None:
        if self.repo_id is None and not self.dry_run:
            raise UserError("Nothing says where to: name a repository by --repo_id user/name, or say --dry_run.")
        if TOKEN.search(self.commit_message or ""):
            raise UserError("--commit_message holds a token of the Hub, and everybody reads it. Leave the token out.")
        if not 0 < self.timeout < float("inf"):
            raise UserError(f"--timeout is {self.timeout:g}, where a number of seconds above 0 is expected.")


@dataclass
class CardArguments:
    """What to say in the card beside what the run itself knows."""

    license: str | None = flag(
        "The licence of what is published, as the Hub writes it (apache-2.0, mit, cc-by-4.0, other, …); by default "
        "that of the model that was fine-tuned, as far as its card tells one."
    )
    language: str | None = flag(
        "Codes of languages (en, de, hi, …), separated by commas; by default those that translation was asked for, or "
        "that the card of the dataset names."
    )
    base_model: str | None = flag(
        "The Hub id of the model that this one was made from, where the run does not know it."
    )
    comparison: str | None = flag(
        "The comparison that the model comes from: its folder, or the Hub id of the dataset repository that it was "
        "published as; by default the folder that compare.py made the run in."
    )

    def __post_init__(self) -> None:
        if self.license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", self.license):
            raise UserError(
                f"--license is {self.license!r}, where an identifier of the Hub's is expected: apache-2.0, mit, "
                "cc-by-4.0, openrail, other, …, in lower case."
            )
        for code in self.languages:
            if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]+)*|code|multilingual", code):
                raise UserError(
                    f"--language has {code!r}, where codes of languages of two or three letters are expected, "
                    "separated by commas: en,hi."
                )
        if self.base_model is not None and not HUB_ID.fullmatch(self.base_model):
            raise UserError(f"--base_model is {self.base_model!r}, where a Hub id is expected, such as user/name.")

    @property
    def languages(self) -> list[str]:
        """The codes that were given."""
        return [code.strip() for code in (self.language or "").split(",") if code.strip()]


@dataclass(frozen=True)
class PublishRequest:
    """Everything that was asked of `publish.py`.

    Attributes:
        command: the command line itself, for whoever has to go on with it.
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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[0].upper()}{message[1:]}. See --help.")


def parse_publish_arguments(argv: Sequence[str] | None = None, description: str | None = None) -> PublishRequest:
    """The request of a command line, by default that of the process; errors of `parse_flags`."""
    (publish, card), command = parse_flags((PublishArguments, CardArguments), argv, description)
    return PublishRequest(publish, card, command)


def parse_flags(
    kinds: Sequence[Any], argv: Sequence[str] | None = None, description: str | None = None
) -> tuple[list[Any], str]:
    """An instance of each of the dataclasses `kinds`, and the command line itself.

    Raises:
        UserError: an unknown flag, a value of the wrong type, or no folder.
    """
    parser = _Parser(
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s FOLDER --repo_id user/name [--flag value ...]",
    )
    for kind in kinds:
        _add(parser, kind)
    argv = list(sys.argv[1:] if argv is None else argv)
    namespace, unknown = parser.parse_known_args(argv)
    if unknown:
        flag = unknown[0].split("=")[0]
        known = [option for action in parser._actions for option in action.option_strings]
        raise UserError(f"Unknown argument {flag!r}.{nearest(flag, known)} See --help for all of them.")
    values = vars(namespace)
    made = [kind(**{own.name: values[own.name] for own in dataclasses.fields(kind)}) for kind in kinds]
    return made, shlex.join(["python", "recipes/publish.py", *argv])


def _add(parser: argparse.ArgumentParser, kind: Any) -> None:
    """A flag for every field of a dataclass; one without a default is the positional argument."""
    hints = get_type_hints(kind)
    group = parser.add_argument_group(kind.__doc__.strip().rstrip("."))
    for own in dataclasses.fields(kind):
        name, text = f"--{own.name}", own.metadata["help"].replace("%", "%%")
        if own.default is dataclasses.MISSING and own.default_factory is dataclasses.MISSING:
            parser.add_argument(own.name, metavar="FOLDER", help=text)
        elif hints[own.name] is bool:
            group.add_argument(name, action="store_true", help=text)
        elif own.default_factory is list:
            group.add_argument(name, action="append", default=[], metavar=own.metadata["metavar"], help=text)
        else:
            convert, choices = float if hints[own.name] is float else str, own.metadata.get("choices")
            text += "" if own.default is None else f" (default: {own.default})"
            group.add_argument(name, type=convert, default=own.default, choices=choices, help=text)
