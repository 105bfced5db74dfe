"""What can be asked of the publication of a comparison, beside what is asked of every publication."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ...config.fields import flag
from ...errors import UserError
from ...hub.arguments import CardArguments, PublishArguments, PublishRequest, parse_flags
from ...hub.destination import HUB_ID, Destination

SPACE_SDKS = ("static", "gradio")


@dataclass
class ReportArguments:
    """What of a comparison is published."""

    texts: bool = flag(
        "Leave the texts of the dataset in the report and the records; by default they are left out.",
        False,
    )
    space_sdk: str = flag(
        "What a Space does: static shows the report, gradio classifies a text with every entry.",
        "static",
        choices=SPACE_SDKS,
    )
    model: list[str] = field(
        default_factory=list,
        metadata={
            "help": "'ENTRY=user/name': in a Gradio Space, take the model of this entry from the Hub, at the commit "
            "that it has now, and not the one in the comparison's folder; may be said several times.",
            "metavar": "ENTRY=ID",
        },
    )

    def __post_init__(self) -> None:
        for value in self.model:
            entry, _, repo_id = value.rpartition("=")
            if not entry or not HUB_ID.fullmatch(repo_id):
                raise UserError(f"--model is {value!r}, where an entry and a Hub id are expected: 'LSTM=user/name'.")

    @property
    def models(self) -> dict[str, str]:
        """Hub ids by entry."""
        return {entry: repo_id for entry, _, repo_id in (value.rpartition("=") for value in self.model)}


@dataclass(frozen=True)
class ComparisonRequest(PublishRequest):
    """Everything that was asked of `publish.py`."""

    report: ReportArguments = field(default_factory=ReportArguments)

    @property
    def destination(self) -> Destination:
        made = super().destination
        return replace(made, space_sdk=self.report.space_sdk) if made.repo_type == "space" else made


def parse_comparison_arguments(argv: Sequence[str] | None = None, description: str | None = None) -> ComparisonRequest:
    """The request of a command line, by default that of the process; errors of `hub.arguments.parse_flags`."""
    kinds = (PublishArguments, CardArguments, ReportArguments)
    (publish, card, report), command = parse_flags(kinds, argv, description)
    return ComparisonRequest(publish, card, command, report)
