"""What a card says that no result record knows."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..errors import UserError


@dataclass
class CardArguments:
    """What to say in the card beside what the run itself knows."""

    license: str | None = field(
        default=None,
        metadata={
            "help": "The licence of what is published, as the Hub writes it (apache-2.0, mit, cc-by-4.0, other, …); by "
            "default that of the model that was fine-tuned, as far as its card tells one."
        },
    )
    language: str | None = field(
        default=None,
        metadata={
            "help": "Codes of languages (en, de, hi, …), separated by commas; by default those that translation was "
            "asked for, or that the card of the dataset names."
        },
    )
    base_model: str | None = field(
        default=None,
        metadata={"help": "The Hub id of the model that this one was made from, where the run does not know it."},
    )
    comparison: str | None = field(
        default=None,
        metadata={
            "help": "The comparison that the model comes from: its folder, or the Hub id of the dataset repository "
            "that it was published as; by default the folder that compare.py made the run in."
        },
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


HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
"""The form of a repository's name on the Hub: `user/name`, or `name` alone for some of the oldest."""
