"""`explain`: views inside models, as pictures, numbers and a page."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..config.fields import flag
from ..config.help import Help
from ..config.parsing import Given, read_arguments
from ..errors import UserError, listing, nearest
from ..explaining import attention, by_hand, context, gates, gradients, memory
from ..explaining.page import Explanation, write_page
from ..explaining.subjects import UNTRAINED, load_subjects
from ..records.output_dir import make_folder, without_empty_folder
from .lifecycle import without_progress_bars

VIEWS = {"gradients": gradients, "gates": gates, "attention": attention}
"""The views of models; each module has `fits` and `view`."""
_OTHERS = ("context", "memory", "by_hand")
"""The views with arguments of their own, and by_hand, which has none."""


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
            "help": "The views to show: gradients, gates, attention, context, memory, by_hand. By default those that "
            "fit a model, context with --word, memory with --results, and by_hand without any.",
            "action": "extend",
        },
    )
    word: str | None = flag("context: the word whose vectors are compared; each --text contains it.")
    senses: list[str] = field(
        default_factory=list,
        metadata={"help": "context: the sense of the word in each --text, in the same order.", "action": "extend"},
    )
    vectors: str | None = flag("context: a file of static word vectors (GloVe, word2vec as text), also .gz.")
    results: str | None = flag(
        "memory: a comparison's folder with datasets such as builtin:recall:50, or the file of benchmarks/recall.py."
    )
    untrained: bool = flag("Also show each model with new weights, as before training.", False)
    trust_remote_code: bool = flag("Run code that a checkpoint contains. Only for sources you trust.", False)

    def __post_init__(self) -> None:
        known = [*VIEWS, *_OTHERS]
        for name in self.views:
            if name not in known:
                raise UserError(f"There is no view {name!r}; the views are {listing(known)}.{nearest(name, known)}")


def parse_explain_arguments(given: Given = None, help: Help = Help("explain")) -> ExplainArguments:
    """The arguments of `explain`.

    Raises:
        UserError: an unknown flag or key, a value of the wrong type, or a view of models without a model or text.
    """
    (arguments,) = read_arguments((ExplainArguments,), given, help)
    _check_context(arguments)
    if "memory" in arguments.views and not arguments.results:
        raise UserError("The view memory needs results: set --results to the folder of a comparison, or a csv file.")
    inside = [name for name in arguments.views if name in VIEWS]
    if inside and not arguments.model_name_or_path:
        raise UserError(f"The view {inside[0]} needs a model: set --model_name_or_path to one or more folders.")
    if (inside or (arguments.model_name_or_path and not arguments.views)) and not any(map(str.strip, arguments.text)):
        raise UserError('The views of a model need a text that it reads: set --text "…".')
    return arguments


def _check_context(arguments: ExplainArguments) -> None:
    texts, senses = len(arguments.text), arguments.senses
    if "context" not in arguments.views and arguments.word is None:
        if senses or arguments.vectors:
            raise UserError("--senses and --vectors belong to the view context: set --word to the word to compare.")
        return
    if not (arguments.word or "").strip() or texts < 2:
        raise UserError('The view context needs --word and two or more texts with it: set --word apple --text "…" "…".')
    if not arguments.model_name_or_path and not arguments.vectors:
        raise UserError("The view context needs --model_name_or_path, a file of word --vectors, or both.")
    if senses and len(senses) != texts:
        raise UserError(f"--senses has {len(senses)} values for {texts} texts: name one for each --text, in order.")
    if senses and (len(set(senses)) < 2 or min(map(senses.count, senses)) < 2):
        raise UserError(f"--senses {' '.join(senses)} needs two or more senses, each with two or more texts.")


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
        asked = arguments.views or [
            *(VIEWS if subjects else []),
            *(["context"] if arguments.word else []),
            *(["memory"] if arguments.results else []),
        ]
        alone = {
            "by_hand": by_hand.view,
            "memory": lambda: memory.view(str(arguments.results)),
            "context": lambda: context.view(
                [subject for subject in subjects if context.fits(subject)],
                *(arguments.text, str(arguments.word).strip(), arguments.senses, arguments.vectors),
            ),
        }
        views = []
        for name in dict.fromkeys(asked or ["by_hand"]):
            if name in alone:
                views.append(alone[name]())
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
