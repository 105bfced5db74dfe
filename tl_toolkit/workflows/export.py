"""`export`: write a trained model as an ONNX graph that runs without PyTorch, checked against it."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ..atomic_files import write_json
from ..config.arguments import DataArguments, ModelArguments, RunArguments
from ..config.fields import flag, require
from ..config.help import Help
from ..config.parsing import Given, as_flags, into_dataclasses, make_parser, settings_and_flags
from ..deployment.folder import FACTS, GRAPH, check_installed, is_exported
from ..errors import UserError
from ..hub.card import card_files
from ..loading.model import load_config, load_trained, longest_input, shortest
from ..loading.names import location_of
from ..loading.tokenizer import load_tokenizer
from ..records.artefacts import keeping
from ..records.identity import identity_of_model, write_identity
from ..records.output_dir import check_free, for_output_dir, staged
from ..records.record import read_record, write_record
from ..tasks import TokenClassification
from ..tasks.pair_processing import load_pair_processing
from ..tasks.text import TextTask
from .ensemble import recorded_rows
from .inference_cost import measure_inference
from .predictions import predict_in_order
from .predictor import PredictArguments, PredictionArguments, Predictor

if TYPE_CHECKING:
    from datasets import Dataset

FORMS = ("pytorch", "onnx", "int8")
_KINDS = {"multi_label_classification": "labels", "single_label_classification": "label", "regression": "numbers"}
_SETTINGS = {"max_length": None, "use_cpu": True, "eval_strategy": "no", "save_strategy": "no"}


@dataclass
class ExportArguments:
    """Export"""

    format: Literal["onnx"] = flag("The format of the graph.", "onnx")
    quantize: Literal["int8"] | None = flag("Write a graph with weights of 8 bits: smaller and faster, less exact.")
    measure: list[str] = field(
        default_factory=list,
        metadata={
            "help": "The forms whose latency and throughput are measured: pytorch, onnx, int8. By default pytorch and "
            "what is written."
        },
    )
    check_rows: int = flag("Compare the predictions on N test rows.", 1000)

    def __post_init__(self) -> None:
        require(self, ["check_rows"], lambda value: value >= 1, "1 or more")
        if unknown := [form for form in self.measure if form not in FORMS]:
            raise ValueError(f"--measure takes {', '.join(FORMS)}, but not {unknown[0]!r}.")


class ExportRequest(NamedTuple):
    """All arguments of an export. `named` tells whether the user has named the dataset."""

    export: ExportArguments
    data: DataArguments
    model: ModelArguments
    run: RunArguments
    named: bool


def parse_export_arguments(given: Given = None, help: Help = Help("export")) -> ExportRequest:
    """The arguments of `export`; the dataset defaults to that in the model's record.

    Raises:
        UserError: an unknown flag or key, a value of the wrong type, or no model.
    """
    kinds = (ExportArguments, DataArguments, ModelArguments, RunArguments)
    parser = make_parser(help, kinds)
    parser.set_defaults(**_SETTINGS, load_best_model_at_end=False)
    flags = settings_and_flags(parser, given)
    parsed, _ = parser.parse_known_args(flags)
    name = parsed.model_name_or_path
    if name is None:
        raise UserError("tl-toolkit export needs a model: the output folder of finetune, or a Hub id.")
    recorded = {} if parsed.dataset_name is not None else recorded_rows(name) or {}
    arguments = into_dataclasses(parser, [*as_flags(recorded, parser, str(name)), *flags], kinds)
    return ExportRequest(*arguments, parsed.dataset_name is not None)  # type: ignore[call-arg]


@for_output_dir
def export(request: ExportRequest) -> dict[str, Any]:
    """Write the model as `model.onnx`, with all that runs it, to `output_dir`; nothing if a check fails.

    The graph must give the model's results at other batch sizes and lengths, and on the test rows.

    Returns:
        The content of `export.json`.

    Raises:
        UserError: the model cannot be exported, or its graph is wrong.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    architecture = next(iter(load_config(request.model).architectures or ()), "")
    if architecture == "RnnEncoderDecoderForConditionalGeneration":
        return EncoderDecoderExport(request).run()
    writes = architecture.endswith("ForCausalLM") or architecture in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    return (LanguageModelExport if writes else Export)(request).run()


class Export:
    """One export: the model, its graph, and the rows on which they are compared."""

    def __init__(self, request: ExportRequest) -> None:
        check_installed()
        self.request, self.arguments = request, request.export
        self.name, self.output_dir = str(request.model.model_name_or_path), Path(request.run.output_dir)
        check_free(self.output_dir, overwrite=False, sources=[self.name])
        if (self.output_dir / "config.json").exists() and not is_exported(self.output_dir):
            raise UserError(
                f"The folder {str(self.output_dir)!r} (--output_dir) contains another model. Choose another folder."
            )
        if is_exported(Path(location_of(self.name))):
            raise UserError(f"{self.name!r} is an exported model. Export the model that it was made from.")
        self._load()
        if self.tokenizer is None or not self.tokenizer.is_fast:
            raise UserError(f"The tokenizer of {self.name!r} has no fast form (tokenizer.json), which run.py needs.")

    def _load(self) -> None:
        """Load the model, its task and its tokenizer."""
        request = self.request
        self.predictor = Predictor(PredictionArguments(PredictArguments(), request.data, request.model, request.run))
        self.model, self.task = self.predictor.model.eval(), self.predictor.task
        self.tokenizer, self.trained, self.limit = (
            self.predictor.tokenizer,
            self.predictor.trained,
            self.predictor.limit,
        )
        if not isinstance(self.task, TextTask | TokenClassification):
            raise UserError(
                f"The model {self.name!r} is for --task {self.task.name}. Models that classify or tag texts, predict a "
                "number for them, or continue them can be exported."
            )

    def run(self) -> dict[str, Any]:
        from ..deployment.session import OnnxModel

        written = self.arguments.quantize or "onnx"
        made = ["onnx", *(["int8"] if "int8" in (written, *self.arguments.measure) else [])]
        with staged(self.output_dir) as staging:
            differences = [self._write_graph(part, staging / name, made) for name, part in self.parts.items()]
            models = {form: OnnxModel(self._path(form, staging / GRAPH), self.model.config) for form in made}
            forms: dict[str, Any] = {"pytorch": self.model, **models}
            paths = {form: [self._path(form, staging / name) for name in self.parts] for form in made}
            facts: dict[str, Any] = {
                "format": self.arguments.format,
                "quantize": self.arguments.quantize,
                "inputs": models["onnx"].inputs,
                "outputs": models["onnx"].outputs,
                "largest_difference": max(differences),
                "rows": self._compare(forms),
                "bytes": {
                    "pytorch": sum(weight.nbytes for weight in self.model.parameters()),
                    **{form: sum(path.stat().st_size for path in own) for form, own in paths.items()},
                },
                "cost": self._measure(forms, self.arguments.measure or ["pytorch", written]),
                "run": self._facts_for_run(),
                "versions": {name: __import__(name).__version__ for name in ("torch", "transformers", "onnxruntime")},
            }
            for name in self.parts if "int8" in made else ():
                path = self._path("int8", staging / name)
                path.replace(staging / name) if written == "int8" else path.unlink()
            self._write_rest(staging, facts)
            self._try_run(staging, written)
        return facts

    @property
    def parts(self) -> dict[str, Any]:
        """The modules that become graphs, by file name."""
        return {GRAPH: self.model}

    @staticmethod
    def _path(form: str, path: Path) -> Path:
        return path.with_name(f"int8-{path.name}") if form == "int8" else path

    @property
    def inputs(self) -> list[str]:
        assert self.tokenizer is not None
        read = inspect.signature(self.model.forward).parameters
        names = [name for name in ("input_ids", "attention_mask", *self.tokenizer.model_input_names) if name in read]
        spelt = getattr(self.model.config, "character_encoder", "none") != "none"
        return [*dict.fromkeys(names), *(["character_ids"] if spelt else [])]

    @property
    def outputs(self) -> list[str]:
        return ["logits", "predicted_tags"] if getattr(self.model.config, "crf", False) else ["logits"]

    def _write_graph(self, part: Any, path: Path, forms: list[str]) -> float:
        """Write a graph, and one in int8 if asked for; returns the largest difference of the first from the model."""
        from ..deployment.check import EXAMPLE, OTHER, check_sizes, inputs_for
        from ..deployment.graph import write_graph
        from ..deployment.quantise import quantise
        from ..deployment.session import OnnxModel

        try:
            example, other = (inputs_for(part, self.inputs, *sizes) for sizes in (EXAMPLE, OTHER))
            write_graph(part, example, other, part.outputs if hasattr(part, "outputs") else self.outputs, path)
        except Exception as error:  # of torch's exporter, of any kind
            raise UserError(
                f"The model {self.name!r} ({type(self.model).__name__}) cannot be exported to ONNX: "
                f"{' '.join(str(error.__cause__ or error).split())[:300]}"
            ) from error
        difference = check_sizes(part, OnnxModel(path, self.model.config), self.limit)
        if "int8" in forms:
            quantise(path, self._path("int8", path))
            quantised = OnnxModel(self._path("int8", path), self.model.config)
            check_sizes(part, quantised, self.limit, tolerance=None)
        return difference

    @cached_property
    def rows(self) -> Dataset | None:
        """The first prepared test rows; None without a dataset."""
        from ..data.sources import load_source

        data = self.predictor.data
        if data.dataset_name is None:
            return None
        if self.request.named:
            source = load_source(data)
            name = self.task.prediction_split(source, None)
            self.predictor.read_as_trained(source.dataset[name].features)
            rows = self.task.prepare_for_prediction(None, source)
        else:
            rows = self.task.prepare(self.request.run.seed)["test"]
        return rows.select(range(min(self.arguments.check_rows, len(rows))))

    def _trainer(self, model: Any) -> Any:
        from ..training.trainer import ToolkitTrainer

        collator = self.task.collator(self.tokenizer, model)
        return ToolkitTrainer(
            model, self.request.run, task=self.task, data_collator=collator, processing_class=self.tokenizer
        )

    def _compare(self, forms: dict[str, Any]) -> dict[str, Any] | None:
        """Agreement and metrics on the test rows; UserError if the graph in floats has other predictions."""
        if self.rows is None:
            return None
        self.encoded = self.predictor.encode(self.rows)
        answers, metrics = {}, {}
        for form, model in forms.items():
            answers[form], metrics[form] = predict_in_order(self._trainer(model), self.encoded)
        own, exported = (self._as_predicted(answers[form]) for form in ("pytorch", "onnx"))
        wrong = ~np.isclose(own, exported, atol=1e-3, rtol=1e-3).reshape(len(own), -1).all(axis=1)
        if wrong.any():
            raise UserError(
                f"The exported graph has other predictions than the model on {wrong.sum()} of {len(own)} test rows, "
                f"first on row {int(np.flatnonzero(wrong)[0])}. Nothing was written. Report this model, and use it "
                "with PyTorch."
            )
        self.predicted = {
            form: self.task.predictions(own, self.rows)["prediction"].tolist() for form, own in answers.items()
        }
        exact = self.predicted["pytorch"]
        agreement = {form: float(np.mean([_same(*pair) for pair in zip(own, exact, strict=True)]))
                     for form, own in self.predicted.items() if form != "pytorch"}  # fmt: skip
        return {
            "count": len(self.rows),
            "main_metric": self.task.main_metric,
            "metrics": metrics,
            "agreement": agreement,
        }

    def _as_predicted(self, answers: Any) -> np.ndarray:
        """Logits, or the tags of tokens, of each row."""
        return np.asarray(answers[0] if isinstance(answers, tuple) else answers)

    def _measure(self, forms: dict[str, Any], measured: list[str]) -> dict[str, Any]:
        if self.rows is None:
            if self.arguments.measure:
                raise UserError("--measure needs rows: name a --dataset_name.")
            return {}
        trainers = {form: self._trainer(forms[form]) for form in measured}
        # In turns, because other load on the machine comes and goes.
        rounds = [{form: measure_inference(own, self.encoded) for form, own in trainers.items()} for _ in range(3)]
        best = {
            form: min((one[form] or {} for one in rounds), key=lambda own: own["latency_seconds"]) for form in measured
        }
        return {
            form: {**own, "rows_per_second": max(one[form]["rows_per_second"] for one in rounds)}  # type: ignore[index]
            for form, own in best.items()
        }

    def _facts_for_run(self) -> dict[str, Any]:
        """What run.py needs beside the graph and the tokenizer."""
        tokenizer, config = self.tokenizer, self.model.config
        assert tokenizer is not None
        ids = (tokenizer.unk_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
        kinds = {
            "multi_label_classification": "labels",
            "single_label_classification": "label",
            "regression": "numbers",
        }
        return {
            "kind": kinds[self.task.problem_type] if isinstance(self.task, TextTask) else "tags",
            "labels": self.task.labels,
            "pairs": bool(self.trained.get("columns", {}).get("text_pair")),
            "max_length": self.limit,
            "pad_token_id": tokenizer.pad_token_id,
            "filler": next((index for index in ids if index is not None), 0),
            "unknown": tokenizer.unk_token,
            "characters": getattr(config, "character_vocabulary", ""),
        }

    def _write_rest(self, folder: Path, facts: dict[str, Any]) -> None:
        """The configuration, tokenizer, record, identity, card and script."""
        from .. import deployment

        assert self.tokenizer is not None
        source = Path(location_of(self.name))
        settings = {name: value for name, value in self.model.config.to_dict().items() if name != "auto_map"}
        write_json(folder / "config.json", settings)
        self.tokenizer.save_pretrained(folder)
        write_identity(folder, self.trained)
        shutil.copy(Path(deployment.__file__).parent / "run.py", folder)
        write_json(folder / FACTS, facts)
        if (record := read_record(source)) is not None:
            write_record(folder, keeping(record, []))
        for file in card_files(folder, self.output_dir.name):
            (folder / file.path).write_bytes(file.read())

    def _try_run(self, folder: Path, written: str) -> None:
        """Run run.py on a text of the test rows, and compare its prediction."""
        texts, pairs = ["a text"], self.task.texts if self.rows is not None else ()
        if self.rows is not None:
            first = [self.rows[0][name] for name in pairs if name in self.rows.column_names]
            texts = [" ".join(own) if isinstance(own, list) else own for own in first]
        command = [sys.executable, "run.py", "\t".join(texts)]
        done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8")
        try:
            found = json.loads(done.stdout)
        except ValueError as error:
            lines = done.stderr.strip().splitlines() or ["no output"]
            raise UserError(f"run.py of the exported model fails: {lines[-1]}. Nothing was written.") from error
        if self.rows is not None and isinstance(found, dict) and written == "onnx":
            expected = self.task.labels[self.predicted[written][0]]  # type: ignore[index]
            if found["label"] != expected:
                raise UserError(
                    f"run.py of the exported model predicts {found['label']!r} for the first test row, but the model "
                    f"{expected!r}. Nothing was written. Report this model, and use it with PyTorch."
                )


class LanguageModelExport(Export):
    """The export of a recurrent language model, whose state is an input and an output of the graph."""

    rows = None

    def _load(self) -> None:
        from ..deployment.language_model import StatefulModel

        model = self._load_model("AutoModelForCausalLM")
        if model.config.model_type not in ("rnn", "awd_lstm"):
            raise UserError(
                f"The model {self.name!r} is a {model.config.model_type!r} language model, but only those "
                "of rnn and awd_lstm can be exported."
            )
        if model.config.direction != "forward":
            raise UserError(f"The model {self.name!r} reads texts from their end. Only forward ones can be exported.")
        self.model = StatefulModel(model)

    def _load_model(self, auto_class: str) -> Any:
        if self.request.named or self.arguments.measure:
            raise UserError("Models that write texts need no rows: leave out --dataset_name and --measure.")
        self.tokenizer, self.trained = load_tokenizer(self.request.model), identity_of_model(self.name, None)
        model = load_trained(self.request.model, auto_class, self.tokenizer).eval()
        self.limit = longest_input(model)
        return model

    @property
    def outputs(self) -> list[str]:
        return self.model.outputs

    def _facts_for_run(self) -> dict[str, Any]:
        assert self.tokenizer is not None
        ends = {"eos_token_id": self.tokenizer.eos_token_id, "max_length": self.limit, "pairs": False}
        return {"kind": "text", "states": self.model.shapes, **ends}


class EncoderDecoderExport(LanguageModelExport):
    """The export of a recurrent encoder-decoder as two graphs: `encoder.onnx`, and `model.onnx`, a step."""

    def _load(self) -> None:
        self.processing = load_pair_processing(self.request.model)
        self.model = self._load_model("AutoModelForSeq2SeqLM")
        self.tokenizer = self.processing.tokenizer

    @cached_property
    def parts(self) -> dict[str, Any]:
        from ..deployment.encoder_decoder import parts_of

        return parts_of(self.model)

    def _facts_for_run(self) -> dict[str, Any]:
        target, config = self.processing.target_tokenizer, self.model.config
        self.processing.save_pretrained(self.output_dir / ".staging-model")
        return {
            "kind": "translation",
            "prefix": self.trained.get("settings", {}).get("source_prefix") or "",
            "max_length": shortest(self.trained.get("max_length"), self.processing.tokenizer.model_max_length),
            "max_new_tokens": (shortest(self.model.generation_config.max_length, 200) or 200) - 1,  # without the start
            "start": config.decoder_start_token_id,
            "eos_token_id": target.eos_token_id,
            "hidden_size": config.hidden_size,
            "pairs": False,
        }


def _same(first: Any, second: Any) -> bool:
    return bool(np.allclose(first, second, atol=1e-3)) if isinstance(first, float) else bool(np.all(first == second))
