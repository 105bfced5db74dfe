"""The arguments of `publish`, for a model folder or a comparison."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ...config.fields import flag
from ...config.help import Help
from ...config.parsing import Given
from ...errors import UserError
from ...hub.arguments import CardArguments, PublishArguments, PublishRequest, parse_publication
from ...hub.destination import HUB_ID, Destination

SPACE_SDKS = ("static", "gradio")


@dataclass
class ReportArguments:
    """Comparison"""

    texts: bool = flag(
        "Publish the texts of the dataset in the report and records. By default they are left out.",
        False,
    )
    space_sdk: str = flag(
        "What a Space shows. static shows the report; gradio classifies a text with every entry.",
        "static",
        choices=SPACE_SDKS,
    )
    model: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Gradio Space: load the model of an entry from the Hub. 'ENTRY=user/name', at its current commit, "
            "instead of the model in the comparison's folder; can be repeated.",
            "action": "extend",
            "metavar": "ENTRY=ID",
        },
    )

    def __post_init__(self) -> None:
        for value in self.model:
            entry, _, repo_id = value.rpartition("=")
            if not entry or not HUB_ID.fullmatch(repo_id):
                raise UserError(f"--model must be an entry and a Hub id, such as 'LSTM=user/name', but is {value!r}.")

    @property
    def models(self) -> dict[str, str]:
        """Hub ids by entry."""
        return {entry: repo_id for entry, _, repo_id in (value.rpartition("=") for value in self.model)}


@dataclass(frozen=True)
class ComparisonRequest(PublishRequest):
    """All arguments of `publish`."""

    report: ReportArguments = field(default_factory=ReportArguments)

    @property
    def destination(self) -> Destination:
        made = super().destination
        return replace(made, space_sdk=self.report.space_sdk) if made.repo_type == "space" else made


def parse_comparison_arguments(
    given: Given = None, help: Help = Help("publish", main_flag="folder")
) -> ComparisonRequest:
    """The arguments of `publish`, for models and comparisons; errors as of `hub.arguments.parse_publication`."""
    kinds = (PublishArguments, CardArguments, ReportArguments)
    (publish, card, report), command = parse_publication(kinds, given, help)
    return ComparisonRequest(publish, card, command, report)
