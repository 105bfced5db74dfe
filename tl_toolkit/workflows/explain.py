"""`explain`: views inside models, as pictures, numbers and a page."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..comparison.publishing.spaces import best_of, with_model
from ..comparison.report.entries import EXPLAINED
from ..comparison.report.merging import RESULTS_NAME, report_from_results
from ..config.arguments import DataArguments, ModelArguments
from ..config.fields import flag, require
from ..config.help import Help
from ..config.parsing import Given, read_arguments
from ..data.sources import load_source
from ..errors import UserError, listing, nearest
from ..evaluation.results import panels, read_results
from ..explaining import attention, attribution_view, by_hand, context, gates, gradients, memory
from ..explaining.page import Explanation, write_page
from ..explaining.subjects import UNTRAINED, load_subjects
from ..loading.model import load_config
from ..records.identity import identity_of_model
from ..records.output_dir import make_folder, without_empty_folder
from ..tasks import task_for_model
from .lifecycle import without_progress_bars
from .trained_columns import as_trained

VIEWS = {"gradients": gradients, "gates": gates, "attention": attention, "attributions": attribution_view}
"""The views of models; each module has `fits` and `view`."""
_OTHERS = ("context", "memory", "by_hand")
"""The views with arguments of their own, and by_hand, which has none."""
OVER_ROWS = ("gradients", "attributions")
"""Views that read all rows of a dataset; the other views of models read the first texts."""
FEW = 3


@dataclass
class ExplainArguments:
    """What to look at"""

    output_dir: str | None = flag("The folder for the page, the pictures and the numbers.")
    model_name_or_path: list[str] = field(
        default_factory=list,
        metadata={"help": "Model folders or Hub ids, shown side by side.", "action": "extend"},
    )
    from_results: str | None = flag(
        "The folder of a comparison with keep_models: explain the model of each entry, by default on test rows of the "
        "comparison. The pages go into the folders of the runs, and the report links them. With --views memory, only "
        "accuracies are read, also from the csv file of benchmarks/recall.py."
    )
    text: list[str] = field(
        default_factory=list, metadata={"help": "A text to read. Can be repeated.", "action": "extend"}
    )
    split: str | None = flag("The split of --dataset_name to read. By default the test split, or the only split.")
    rows: int = flag("At most N rows of --dataset_name, a fixed sample.", 100)
    views: list[str] = field(
        default_factory=list,
        metadata={
            "help": "The views to show: gradients, gates, attention, attributions, context, memory, by_hand. By "
            "default those that fit a model, context with --word, and by_hand without either.",
            "action": "extend",
        },
    )
    word: str | None = flag("context: the word whose vectors are compared; each --text contains it.")
    senses: list[str] = field(
        default_factory=list,
        metadata={"help": "context: the sense of the word in each --text, in the same order.", "action": "extend"},
    )
    vectors: str | None = flag("context: a file of static word vectors (GloVe, word2vec as text), also .gz.")
    untrained: bool = flag("Also show each model with new weights, as before training.", False)
    trust_remote_code: bool = flag("Run code that a checkpoint contains. Only for sources you trust.", False)

    def __post_init__(self) -> None:
        require(self, ["rows"], lambda value: value >= 1, "1 or more")
        known = [*VIEWS, *_OTHERS]
        for name in self.views:
            if name not in known:
                raise UserError(f"There is no view {name!r}; the views are {listing(known)}.{nearest(name, known)}")

    @property
    def explains_comparison(self) -> bool:
        """Whether there is a page for each entry of a comparison."""
        return self.from_results is not None and "memory" not in self.views


class ExplainRequest(NamedTuple):
    """All arguments of `explain`."""

    explain: ExplainArguments
    data: DataArguments


def parse_explain_arguments(given: Given = None, help: Help = Help("explain")) -> ExplainRequest:
    """The arguments of `explain`.

    Raises:
        UserError: an unknown flag or key, a value of the wrong type, or a view of models without a model or text.
    """
    request = ExplainRequest(*read_arguments((ExplainArguments, DataArguments), given, help))
    arguments = request.explain
    _check_context(arguments)
    if "memory" in arguments.views and not arguments.from_results:
        raise UserError(
            "The view memory needs results: set --from_results to the folder of a comparison, or a csv file."
        )
    if arguments.explains_comparison:
        if arguments.model_name_or_path or arguments.output_dir:
            raise UserError(
                "--from_results explains the models of a comparison, in the folders of their runs: leave out "
                "--model_name_or_path and --output_dir, or add --views memory to read only accuracies."
            )
        return request
    if arguments.output_dir is None:
        raise UserError(
            "Set --output_dir to a folder for the page. Only pages about the models of a comparison (--from_results) "
            "have their places."
        )
    inside = [name for name in arguments.views if name in VIEWS]
    if inside and not arguments.model_name_or_path:
        raise UserError(f"The view {inside[0]} needs a model: set --model_name_or_path to one or more folders.")
    needs_text = inside or (arguments.model_name_or_path and not arguments.views)
    if needs_text and not (any(map(str.strip, arguments.text)) or request.data.dataset_name):
        raise UserError('The views of a model need texts that it reads: set --text "…" or --dataset_name.')
    return request


def _check_context(arguments: ExplainArguments) -> None:
    texts, senses = len(arguments.text), arguments.senses
    if "context" not in arguments.views and arguments.word is None:
        if senses or arguments.vectors:
            raise UserError("--senses and --vectors belong to the view context: set --word to the word to compare.")
        return
    if not (arguments.word or "").strip() or texts < 2:
        raise UserError('The view context needs --word and two or more texts with it: set --word apple --text "…" "…".')
    if not (arguments.model_name_or_path or arguments.vectors or arguments.explains_comparison):
        raise UserError("The view context needs --model_name_or_path, a file of word --vectors, or both.")
    if senses and len(senses) != texts:
        raise UserError(f"--senses has {len(senses)} values for {texts} texts: name one for each --text, in order.")
    if senses and (len(set(senses)) < 2 or min(map(senses.count, senses)) < 2):
        raise UserError(f"--senses {' '.join(senses)} needs two or more senses, each with two or more texts.")


def explain(request: ExplainRequest) -> Explanation:
    """Compute the views, and write explain.html, figures/ and parquet files to `output_dir`.

    With `from_results`, do so for the kept model of each entry, and rewrite the report, which links the pages.

    Raises:
        UserError: a model, a text or a dataset that cannot be read, or a view that fits none of the models.
    """
    arguments = request.explain
    if arguments.explains_comparison:
        return _explain_comparison(request)
    output_dir, names = Path(str(arguments.output_dir)), arguments.model_name_or_path
    with without_empty_folder(output_dir):
        make_folder(output_dir)
        with without_progress_bars():
            texts = [*arguments.text, *(rows_of(request) if request.data.dataset_name and names else [])]
            subjects = load_subjects(names, arguments.untrained, arguments.trust_remote_code)
        few = texts[: max(len(arguments.text), FEW)]
        asked = arguments.views or [*(VIEWS if subjects else []), *(["context"] if arguments.word else [])]
        alone = {
            "by_hand": by_hand.view,
            "memory": lambda: memory.view(str(arguments.from_results)),
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
                views.append(VIEWS[name].view(fitting, texts if name in OVER_ROWS else few))
            elif arguments.views:
                raise UserError(f"The view {name} fits none of the models {listing(names)}: leave it out of --views.")
        if not views:
            raise UserError(
                f"No view fits {listing(names)}: explain shows classifiers, taggers, language models and "
                "encoder-decoders of texts."
            )
        shown = [subject.name for subject in subjects if not subject.name.endswith(UNTRAINED)]
        return write_page(views, output_dir, shown, texts)


def _explain_comparison(request: ExplainRequest) -> Explanation:
    """Explain the kept model of each entry of `from_results`, in `explain/` of its run, and rewrite the report.

    Raises:
        UserError: no entry can be explained.
    """
    arguments, data = request
    folder = Path(str(arguments.from_results))
    groups = panels([run for run in read_results(folder / RESULTS_NAME) if run.completed])
    found: dict[str, Explanation | UserError] = {}
    for dataset, runs in groups.items():
        for entry in dict.fromkeys(run.entry for run in runs):
            name = entry if len(groups) == 1 else f"{entry}, {dataset}"
            if not (kept := with_model(folder, [run for run in runs if run.entry == entry])):
                found[name] = UserError("No run has kept its model: run the comparison with keep_models.")
                continue
            run = best_of(kept)
            place, asked = folder / run.folder, run.section("arguments")
            own = {key.name: asked[key.name] for key in fields(DataArguments) if key.name in asked}
            read = data if data.dataset_name or arguments.text else DataArguments(**own)
            settings = replace(
                arguments,
                from_results=None,
                model_name_or_path=[str(place)],
                output_dir=str((place / EXPLAINED).parent),
            )
            try:
                found[name] = explain(ExplainRequest(settings, read))
            except UserError as error:
                found[name] = error
    if not any(isinstance(own, Explanation) for own in found.values()):
        why = next(iter(found.values()), "No run has finished.")
        raise UserError(f"No entry of the comparison in {str(folder)!r} can be explained. {why}")
    return Explanation({}, {}, {}, report_from_results([folder]), found)


def rows_of(request: ExplainRequest) -> list[str]:
    """Texts of the dataset, read from the columns that the first model was trained on unless flags name others.

    Raises:
        UserError: the dataset cannot be used, or the model reads pairs of texts.
    """
    arguments, data = request
    model = ModelArguments(arguments.model_name_or_path[0], trust_remote_code=arguments.trust_remote_code)
    trained = identity_of_model(arguments.model_name_or_path[0], None).get("columns", {})
    task, source = task_for_model(data, load_config(model)), load_source(data)
    task.arguments = as_trained(data, trained, source.dataset[task.prediction_split(source, arguments.split)].features)
    rows = task.prepare_for_prediction(arguments.split, source)
    if "text_pair" in rows.column_names:
        raise UserError(
            f"The rows of {data.dataset_name!r} are pairs of texts, which explain does not read: name one "
            "column with --text_column, or leave out --dataset_name."
        )
    chosen = np.sort(np.random.default_rng(0).permutation(len(rows))[: arguments.rows])
    texts = rows.select(chosen)[task.texts[0]]
    return [
        text if isinstance(text, str) else " ".join("".join(word.split()) or "_" for word in text) for text in texts
    ]
