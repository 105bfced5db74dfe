"""`explain`: views inside models, as pictures, numbers and a page."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..config.fields import flag
from ..config.help import Help
from ..config.parsing import Given, read_arguments
from ..errors import UserError, listing, nearest
from ..explaining import attention, by_hand, gates, gradients
from ..explaining.page import Explanation, write_page
from ..explaining.subjects import UNTRAINED, load_subjects
from ..records.output_dir import make_folder, without_empty_folder
from .lifecycle import without_progress_bars

VIEWS = {"gradients": gradients, "gates": gates, "attention": attention}
"""The views of models; each module has `fits` and `view`. The view by_hand needs no model."""


@dataclass
class ExplainArguments:
    """What to look at"""

    output_dir: str = field(metadata={"help": "The folder for the page, the pictures and the numbers."})
    model_name_or_path: list[str] = field(
        default_factory=list,
        metadata={"help": "Model folders or Hub ids, shown side by side.", "action": "extend"},
    )
    text: list[str] = field(
        default_factory=list, metadata={"help": "A text to read. Can be repeated.", "action": "extend"}
    )
    views: list[str] = field(
        default_factory=list,
        metadata={
            "help": "The views to show: gradients, gates, attention, by_hand. By default those that "
            "fit a model, and by_hand without one.",
            "action": "extend",
        },
    )
    untrained: bool = flag("Also show each model with new weights, as before training.", False)
    trust_remote_code: bool = flag("Run code that a checkpoint contains. Only for sources you trust.", False)

    def __post_init__(self) -> None:
        known = [*VIEWS, "by_hand"]
        for name in self.views:
            if name not in known:
                raise UserError(f"There is no view {name!r}; the views are {listing(known)}.{nearest(name, known)}")


def parse_explain_arguments(given: Given = None, help: Help = Help("explain")) -> ExplainArguments:
    """The arguments of `explain`.

    Raises:
        UserError: an unknown flag or key, a value of the wrong type, or a view of models without a model or text.
    """
    (arguments,) = read_arguments((ExplainArguments,), given, help)
    inside = [name for name in arguments.views if name != "by_hand"]
    if inside and not arguments.model_name_or_path:
        raise UserError(f"The view {inside[0]} needs a model: set --model_name_or_path to one or more folders.")
    if (inside or (arguments.model_name_or_path and not arguments.views)) and not any(map(str.strip, arguments.text)):
        raise UserError('The views of a model need a text that it reads: set --text "…".')
    return arguments


def explain(arguments: ExplainArguments) -> Explanation:
    """Compute the views, and write explain.html, figures/ and parquet files to `output_dir`.

    Raises:
        UserError: a model or text that cannot be read, or a view that fits none of the models.
    """
    output_dir = Path(arguments.output_dir)
    with without_empty_folder(output_dir):
        make_folder(output_dir)
        with without_progress_bars():
            names = arguments.model_name_or_path
            subjects = load_subjects(names, arguments.untrained, arguments.trust_remote_code)
        asked = arguments.views or (list(VIEWS) if subjects else ["by_hand"])
        views = []
        for name in dict.fromkeys(asked):
            if name == "by_hand":
                views.append(by_hand.view())
                continue
            fitting = [subject for subject in subjects if VIEWS[name].fits(subject)]
            if fitting:
                views.append(VIEWS[name].view(fitting, arguments.text))
            elif arguments.views:
                raise UserError(f"The view {name} fits none of the models {listing(names)}: leave it out of --views.")
        if not views:
            raise UserError(f"No view fits {listing(names)}: of an encoder-decoder, only its attention is shown.")
        shown = [subject.name for subject in subjects if not subject.name.endswith(UNTRAINED)]
        return write_page(views, output_dir, shown, arguments.text)
