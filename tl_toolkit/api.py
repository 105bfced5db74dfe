"""The verbs as functions: arguments are named as the flags are, and objects can stand wherever a flag takes a name.

    from tl_toolkit import compare, finetune

    trained = finetune(dataset_name=frame, model_type="rnn", output_dir="outputs/lstm")
    trained.predict(["a film that you will not forget"])

`dataset_name` can be a `DataFrame`, a `Dataset` or `DatasetDict`, a list of (text, label), or a mapping from the names
of splits to these; `model_name_or_path` and `tokenizer_name` can be a model and a tokenizer. Errors that the user can
correct are raised as `UserError`, whose message is one paragraph.
"""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Callable, Mapping
from functools import cached_property, wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .errors import STOPS, UserError, as_user_error
from .workflows.summary import verdict_of

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from .explaining.page import Explanation
    from .hub.transfer import Outcome
    from .workflows.generate import Result
    from .workflows.predict import Predictions, Predictor

P = ParamSpec("P")
T = TypeVar("T")


def _verb(function: Callable[P, T]) -> Callable[P, T]:
    """A verb without bars for loading and saving, which raises errors that the user can correct as `UserError`."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        from .workflows.lifecycle import without_progress_bars

        try:
            with without_progress_bars():
                return function(*args, **kwargs)
        except STOPS:
            raise
        except BaseException as error:  # also panics of compiled code
            if (explained := as_user_error(error)) is None or explained is error:
                raise
            raise explained from error

    return call


class Trained(os.PathLike[str]):
    """A model folder and the record of the run that left it.

    Attributes:
        output_dir: the folder, which `from_pretrained` loads; the object itself can stand for its path.
        record: the contents of `result.json`.
    """

    def __init__(self, output_dir: str | Path, record: Mapping[str, Any]) -> None:
        self.output_dir, self.record = Path(output_dir), record

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Numbers by split and metric: `metrics["test"]["accuracy"]`. There are none after `find_lr`."""
        return self.record.get("metrics", {})

    @property
    def model(self) -> PreTrainedModel:
        """The trained model, in float32."""
        return self._model_and_tokenizer[0]

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The tokenizer of the model's inputs; None for a model that reads no tokens."""
        return self._model_and_tokenizer[1]

    @_verb
    def predict(self, inputs: Any) -> list[Any]:
        """The prediction for each input: a class, the list of its classes, a number, tags of words, or a text.

        Args:
            inputs: texts, pairs of texts, lists of words or images, as the model was trained on; or a table with the
                columns that it was trained on. The function `predict` returns probabilities as well.

        Raises:
            UserError: inputs that the model cannot read, or a language model, which predicts no labels.
        """
        from .data.sources import Source
        from .loading.objects import dataset_from

        if self._language_model_class:
            raise UserError(f"The model in {str(self.output_dir)!r} is a language model: use generate() instead.")
        rows = self._as_rows(list(inputs)) if isinstance(inputs, (list, tuple)) else inputs
        source = Source(dataset_from({"test": rows}), {"name": "the inputs"})
        frame = self._predictor(source).predictions
        return frame["prediction_name" if "prediction_name" in frame else "prediction"].tolist()

    def _as_rows(self, inputs: list[Any]) -> Any:
        """Inputs under the names of the columns that the model was trained on."""
        if inputs and isinstance(inputs[0], Mapping):
            return inputs
        columns = self.record["dataset"]["columns"]
        names = [columns[role] for role in ("text", "text_pair", "source", "image") if columns.get(role)]
        return [dict(zip(names, row if len(names) > 1 else [row], strict=True)) for row in inputs]

    @property
    def _language_model_class(self) -> str | None:
        """The Auto class of a language model; None for other models."""
        from .tasks.language_modeling import AUTO_CLASSES, NAMES

        name = self.record["task"]["name"]
        return next((AUTO_CLASSES[kind] for kind in NAMES if NAMES[kind] == name), None)

    @cached_property
    @_verb
    def _model_and_tokenizer(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase | None]:
        from .config.arguments import ModelArguments
        from .loading.model import load_trained
        from .loading.tokenizer import load_tokenizer

        if self._language_model_class is None:
            return self._predictor.model, self._predictor.tokenizer
        folder = ModelArguments(model_name_or_path=str(self.output_dir))
        tokenizer = load_tokenizer(folder)
        return load_trained(folder, self._language_model_class, tokenizer), tokenizer

    @cached_property
    def _predictor(self) -> Predictor:
        from .workflows.predict import Predictor, parse_predict_arguments

        self._temporary = TemporaryDirectory()  # transformers' trainer makes a folder, which nothing is written to
        asked = {"model_name_or_path": str(self.output_dir), "output_dir": self._temporary.name, "disable_tqdm": True}
        return Predictor(parse_predict_arguments({**asked, "use_cpu": bool(self.record["arguments"].get("use_cpu"))}))

    def __fspath__(self) -> str:
        return str(self.output_dir)

    def __repr__(self) -> str:
        lines = [f"{self.record.get('name', 'A search for the learning rate')} in {self.output_dir}"]
        for split, metrics in self.metrics.items():
            lines.append(f"{split}: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
        return "\n".join(lines)


class Comparison:
    """A folder with recorded runs and the report on them.

    Attributes:
        output_dir: the folder of the comparison.
        report_path: the page to open in a browser.
    """

    def __init__(self, report_path: Path) -> None:
        self.report_path, self.output_dir = report_path, report_path.parent

    @cached_property
    def results(self) -> pd.DataFrame:
        """A row for each run, failed ones included; the columns of `results.csv`."""
        from .evaluation.results import table

        return table(self._runs)

    @cached_property
    def decision(self) -> dict[str, Any]:
        """What to use, as in `decision.json`; docs/decision.md describes it."""
        return decision(self.output_dir)

    @cached_property
    def model(self) -> Trained | None:
        """The model that `decide` has trained on all labels; None if there is none."""
        from .records.record import read_record

        record = read_record(self.output_dir / "model")
        return None if record is None else Trained(self.output_dir / "model", record)

    @cached_property
    def _runs(self) -> list[Any]:
        from .evaluation.results import read_results

        return read_results(self.output_dir / "results.jsonl")

    def scores(self) -> pd.DataFrame:
        """The mean of the main metric on test rows: a row for each dataset and entry, a column for each budget."""
        from .evaluation.predictions import PredictionReader
        from .evaluation.results import table
        from .evaluation.statistics.repetitions import repetitions

        metrics = [f"test.{run.section('task').get('main_metric')}" for run in self._runs]
        values = table(repetitions(self._runs, PredictionReader(self.output_dir)).runs)
        main = next((name for name in metrics if name in values), None)
        values = values.assign(score=values[main] if main else float("nan"))
        rows = ["dataset", "entry"] if values["dataset"].nunique() > 1 else ["entry"]
        frame = values.groupby([*rows, "budget"], sort=False)["score"].mean().unstack("budget")
        sizes = values.groupby("budget")[["train_labels", "train_tokens"]].max().max(axis=1)
        return frame.rename(columns=sizes.dropna().astype(int)).rename_axis(columns=main)

    def __repr__(self) -> str:
        return f"{verdict_of(self.output_dir)}\n\n{self.scores().round(4)}\n\nThe report: {self.report_path}"

    def _repr_html_(self) -> str:
        """The verdict, the scores and the learning curves, for notebooks."""
        title, *paragraphs = verdict_of(self.output_dir).split("\n\n")
        texts = [html.escape(text.replace("**", "")) for text in paragraphs if not text.startswith(("- ", "!["))]
        curves = self.output_dir / "figures" / "learning_curves.png"
        picture = ""
        if curves.exists():
            data = base64.b64encode(curves.read_bytes()).decode()
            picture = f'<img alt="Learning curves" style="max-width: 100%" src="data:image/png;base64,{data}">'
        page = html.escape(str(self.report_path))
        parts = [f"<h3>{html.escape(title.lstrip('# '))}</h3>", *(f"<p>{text}</p>" for text in texts)]
        parts += [self.scores().round(4).to_html(), picture, f'<p>The report: <a href="{page}">{page}</a></p>']
        return "".join(parts)


@_verb
def finetune(dataset_name: Any = None, **flags: Any) -> Trained:
    """Train a model on labelled data, from scratch or from a checkpoint, and evaluate it.

    >>> rows = [("a fine film", "good"), ("a dull film", "bad")] * 20
    >>> trained = finetune(rows, model_type="rnn", output_dir="outputs/lstm", num_train_epochs=1)
    >>> sorted(trained.metrics["test"])
    ['accuracy', 'loss', 'macro_f1']
    >>> len(trained.predict(["a fine day"]))
    1

    Args:
        dataset_name: a name, or an object as in `tl_toolkit.api`.
        flags: those of `tl-toolkit finetune --help_all`; `output_dir` is required.

    Raises:
        UserError: an argument or a row that cannot be used; nothing was trained.
    """
    from .config.parsing import parse_arguments
    from .workflows.finetune import finetune

    arguments = parse_arguments(_named(flags, dataset_name=dataset_name))
    return Trained(arguments.run.output_dir, finetune(arguments))


@_verb
def pretrain(dataset_name: Any = None, **flags: Any) -> Trained:
    """Train a language model on texts, from scratch or from a checkpoint, and evaluate it.

    >>> texts = ["the cat sat on the mat", "the dog sat on the log"] * 20
    >>> model = pretrain(texts, model_type="rnn", output_dir="outputs/lm", num_train_epochs=1)
    >>> model.metrics["validation"]["perplexity"] > 1
    True

    Args:
        dataset_name: a name, or an object as in `tl_toolkit.api`.
        flags: those of `tl-toolkit pretrain --help_all`; `output_dir` is required.

    Raises:
        UserError: an argument or a text that cannot be used; nothing was trained.
    """
    from .config.pretrain_arguments import parse_pretrain_arguments
    from .workflows.pretrain import pretrain

    arguments = parse_pretrain_arguments(_named(flags, dataset_name=dataset_name))
    return Trained(arguments.run.output_dir, pretrain(arguments))


@_verb
def ensemble(forward: Any = None, backward: Any = None, **flags: Any) -> Trained:
    """Join a forward and a backward classifier into one model that averages their probabilities, and evaluate it.

    >>> rows = [("a fine film", "good"), ("a dull film", "bad")] * 20
    >>> how = {"model_type": "awd_lstm", "config_overrides": {"hidden_size": 13}, "num_train_epochs": 1}
    >>> forward = finetune(rows, output_dir="outputs/forward", **how)
    >>> how["config_overrides"]["direction"] = "backward"
    >>> backward = finetune(rows, output_dir="outputs/backward", tokenizer_name=forward, **how)
    >>> ensemble(forward, backward, output_dir="outputs/both").record["status"]
    'completed'

    Args:
        forward, backward: the folders of the two members.
        flags: those of `tl-toolkit ensemble --help_all`; `output_dir` is required.

    Raises:
        UserError: members that do not fit together, or a dataset that does not fit them.
    """
    from .workflows.ensemble import ensemble, parse_ensemble_arguments

    arguments = parse_ensemble_arguments(_named(flags, forward=forward, backward=backward))
    return Trained(arguments.run.output_dir, ensemble(arguments))


@_verb
def predict(model_name_or_path: Any = None, dataset_name: Any = None, **flags: Any) -> Predictions:
    """Predict with a trained model: a table of predictions, and metrics if the dataset has labels.

    >>> rows = [("a fine film", "good"), ("a dull film", "bad")] * 20
    >>> trained = finetune(rows, model_type="rnn", output_dir="outputs/model", num_train_epochs=1)
    >>> predict(trained, rows).predictions[["text", "prediction_name", "scores"]].shape
    (40, 3)

    Args:
        model_name_or_path: a folder, a Hub id, a model with `tokenizer_name`, or what `finetune` returned.
        dataset_name: a name, or an object as in `tl_toolkit.api`.
        flags: those of `tl-toolkit predict --help_all`. Without `output_dir` nothing is written.

    Raises:
        UserError: a model or dataset that cannot be used, or a label that the model does not know.
    """
    from .workflows.predict import parse_predict_arguments, predict

    with TemporaryDirectory() as temporary:
        given = {"output_dir": temporary, **flags}
        named = _named(given, model_name_or_path=model_name_or_path, dataset_name=dataset_name)
        return predict(parse_predict_arguments(named))


@_verb
def generate(model_name_or_path: Any = None, text: str | list[str] | None = None, **flags: Any) -> list[Result]:
    """Generate text: language models continue a text, encoder-decoders translate it, captioners describe an image.

    >>> texts = ["the cat sat on the mat", "the dog sat on the log"] * 20
    >>> model = pretrain(texts, model_type="rnn", output_dir="outputs/writer", num_train_epochs=1)
    >>> generate(model, "the cat", max_new_tokens=3)[0].generated.startswith("the cat")
    True

    Args:
        model_name_or_path: a folder, a Hub id, a model with `tokenizer_name`, or what `pretrain` returned.
        text: one text, or several.
        flags: those of `tl-toolkit generate --help_all`.

    Raises:
        UserError: a model that does not generate, inputs that it cannot read, or settings without an effect.
    """
    from .config.generate_arguments import parse_generate_arguments
    from .workflows.generate import generate

    texts = [text] if isinstance(text, str) else text
    named = _named(flags, model_name_or_path=model_name_or_path, text=texts)
    return list(generate(parse_generate_arguments(named)))


@_verb
def compare(dataset_name: Any = None, **flags: Any) -> Comparison | None:
    """Compare models and strategies over label budgets and seeds, and report what they are worth.

    >>> rows = [("a fine film", "good"), ("a dull film", "bad")] * 20
    >>> entries = [{"name": "Elman", "model_type": "rnn", "config_overrides": {"cell_type": "rnn_tanh"}},
    ...            {"name": "LSTM", "model_type": "rnn"}]
    >>> how = {"entries": entries, "label_budgets": [20], "seeds": [1], "folds": 1, "num_train_epochs": 1}
    >>> compare(rows, **how, output_dir="outputs/comparison").results["entry"].tolist()
    ['Elman', 'LSTM']

    Args:
        dataset_name: a name, or an object as in `tl_toolkit.api`.
        flags: those of `tl-toolkit compare --help_all` and the keys of a grid file, such as `entries`, a list of
            mappings. Without `config` and `entries`, the shipped grid compare.yaml is used.

    Returns:
        The comparison; None after a dry run.

    Raises:
        UserError: something in the grid cannot be used, and nothing was trained; or every run has failed.
    """
    from .comparison.arguments import parse_compare_arguments
    from .workflows.compare import compare

    report = compare(parse_compare_arguments(_named(flags, dataset_name=dataset_name)))
    return Comparison(report) if report is not None else None


@_verb
def decide(dataset_name: Any = None, **flags: Any) -> Comparison | None:
    """Find the model for labelled texts within some minutes, and train it on all of them.

    >>> rows = [("a fine film", "good"), ("a dull film", "bad")] * 60
    >>> found = decide(rows, minutes=10, entries=[{"name": "Linear", "model_type": "bag_of_ngrams"}], seeds=[1, 2])
    >>> found.model.predict(["a fine day"])
    ['good']

    Args:
        dataset_name: a name, or an object as in `tl_toolkit.api`.
        flags: those of `tl-toolkit decide --help_all`, and the keys of a grid, such as a list `entries`.

    Returns:
        The folder of the comparison, with the trained `model`; None after a dry run.

    Raises:
        UserError: the data cannot be used, or every run has failed.
    """
    import time

    began = time.monotonic()
    from .comparison.arguments import parse_decide_arguments
    from .shared_work import sharing
    from .workflows.decide import decide

    with sharing():
        report = decide(parse_decide_arguments(_named(flags, dataset_name=dataset_name)), began)
    return Comparison(report) if report is not None else None


@_verb
def decision(folder: str | Path, margin: float | None = None, target: float | None = None) -> dict[str, Any]:
    """What the runs of a comparison show: the content of its decision.json, which docs/decision.md describes.

    >>> entries = [{"name": "Elman", "model_type": "rnn"}, {"name": "LSTM", "model_type": "rnn"}]
    >>> rows = [("a fine film", "good"), ("a dull film", "bad")] * 20
    >>> how = {"entries": entries, "label_budgets": [20], "seeds": [1], "folds": 1, "num_train_epochs": 1}
    >>> compared = compare(rows, **how, output_dir="outputs/decided")
    >>> decision("outputs/decided")["single_runs"]
    True

    Args:
        folder: the folder of a comparison. Only its results.jsonl and the prediction files of its runs are read.
        margin: the difference that a user would not pay for, in the unit of the main metric; by default that of the
            comparison.
        target: a score, to whose labels learning curves are extrapolated; by default that of the comparison.

    Raises:
        UserError: there are no records.
    """
    from .comparison.verdict.decision import decision_in

    return decision_in(Path(folder), margin, target)


@_verb
def convert(**flags: Any) -> list[Path]:
    """Convert other libraries' weights to a model of the toolkit, or a model of the toolkit to fastai's.

    >>> rows = [("a fine film", "good"), ("a dull film", "bad")] * 20
    >>> trained = finetune(rows, model_type="awd_lstm", output_dir="outputs/awd", num_train_epochs=1)
    >>> files = convert(target="fastai", model_name_or_path=trained, output_dir="outputs/fastai")
    >>> [file.name for file in files]
    ['weights.pth', 'vocab.pkl']

    Args:
        flags: those of `tl-toolkit convert --help_all`.

    Returns:
        The files that were written.

    Raises:
        UserError: files that cannot be read, hold more than tensors and plain values, or do not fit together.
    """
    from .workflows.convert import convert, parse_convert_arguments

    return convert(parse_convert_arguments(_named(flags)))


@_verb
def export(model_name_or_path: Any = None, **flags: Any) -> dict[str, Any]:
    """Export a trained model to ONNX, checked against PyTorch, to run without it.

    >>> rows = [("a fine film", "good"), ("a dull film", "bad")] * 20
    >>> trained = finetune(rows, model_type="rnn", output_dir="outputs/exported_from", num_train_epochs=1)
    >>> export(trained, dataset_name=rows, output_dir="outputs/onnx")["rows"]["agreement"]
    {'onnx': 1.0}

    Args:
        model_name_or_path: a folder, a Hub id, or what `finetune` returned.
        flags: those of `tl-toolkit export --help_all`; `output_dir` is required.

    Returns:
        The content of `export.json`: differences, scores, agreement and costs of each form.

    Raises:
        UserError: the model cannot be exported, or its graph is wrong; nothing was written.
    """
    from .workflows.export import export, parse_export_arguments

    return export(parse_export_arguments(_named(flags, model_name_or_path=model_name_or_path)))


@_verb
def explain(model_name_or_path: Any = None, text: str | list[str] | None = None, **flags: Any) -> Explanation:
    """Look inside models: how far gradients reach back, what gates keep, where attention looks, which words decide.

    >>> rows = [("a fine film", "good"), ("a dull film", "bad")] * 20
    >>> trained = finetune(rows, model_type="rnn", output_dir="outputs/lstm", num_train_epochs=1)
    >>> inside = explain(trained, "a fine film", output_dir="outputs/inside")
    >>> inside.page
    PosixPath('outputs/inside/explain.html')

    Args:
        model_name_or_path: a model folder, a Hub id, what `finetune` returned, or a list of these.
        text: one text, or several.
        flags: those of `tl-toolkit explain --help_all`; `output_dir` or `from_results` is required.

    Returns:
        Tables by name, figures by name, sentences by view, and the page; with `from_results` these of each `entries`.

    Raises:
        UserError: a model or text that cannot be read, or a view that fits none of the models.
    """
    from .workflows.explain import explain, parse_explain_arguments

    models = model_name_or_path if isinstance(model_name_or_path, (list, tuple)) else [model_name_or_path]
    named = [_named({}, model_name_or_path=model)["model_name_or_path"] for model in models if model is not None]
    texts = [text] if isinstance(text, str) else text or []
    return explain(parse_explain_arguments({"model_name_or_path": named, "text": texts, **_named(flags)}))


@_verb
def publish(folder: Any = None, **flags: Any) -> Outcome | None:
    """Publish a model folder, or a comparison, on the Hugging Face Hub.

    >>> rows = [("a fine film", "good"), ("a dull film", "bad")] * 20
    >>> trained = finetune(rows, model_type="rnn", output_dir="outputs/published", num_train_epochs=1)
    >>> publish(trained, repo_id="user/film-reviews", dry_run=True)  # lists the files

    Args:
        folder: what `finetune` or `compare` returned, or a path.
        flags: those of `tl-toolkit publish --help_all`; `repo_id` is required unless `dry_run`.

    Returns:
        What was published; None after a dry run.

    Raises:
        UserError: something in the folder or the arguments cannot be used; nothing was sent.
    """
    from .comparison.publishing.arguments import parse_comparison_arguments
    from .workflows.publish import publish

    path = folder.output_dir if isinstance(folder, Comparison) else folder
    return publish(parse_comparison_arguments(_named(flags, folder=path)))


def _named(flags: Mapping[str, Any], **main: Any) -> dict[str, Any]:
    """All arguments of a verb, with names in place of objects; a main argument of None was not given."""
    from .loading.objects import with_names

    return with_names({**{key: value for key, value in main.items() if value is not None}, **flags})
