"""One export of a trained model as an ONNX graph: written, compared with the model, and tried without PyTorch."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..atomic_files import write_json
from ..config.arguments import DataArguments, ModelArguments, RunArguments
from ..config.fields import flag, require
from ..deployment.folder import FACTS, check_installed, is_exported
from ..errors import UserError
from ..hub.card import card_files
from ..loading.model import shortest
from ..loading.names import location_of
from ..records.artefacts import keeping
from ..records.identity import write_identity
from ..records.output_dir import check_free, staged
from ..records.record import read_record, write_record
from ..tasks.text import TextTask
from .exported_forms import CHECK_ROWS, Forms, one_thread
from .predictor import PredictArguments, PredictionArguments, Predictor

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_KINDS = {"multi_label_classification": "labels", "single_label_classification": "label", "regression": "numbers"}


@dataclass
class ExportArguments:
    """Export"""

    format: Literal["onnx", "pytorch"] = flag("pytorch: with --quantize int8, a model folder for torchao.", "onnx")
    quantize: Literal["int8"] | None = flag("Write weights of 8 bits.")
    check_rows: int = flag("Compare the predictions on N test rows.", CHECK_ROWS)

    def __post_init__(self) -> None:
        require(self, ["check_rows"], lambda value: value >= 1, "1 or more")


class ExportRequest(NamedTuple):
    """All arguments of an export. `named` tells whether the user has named the dataset."""

    export: ExportArguments
    data: DataArguments
    model: ModelArguments
    run: RunArguments
    named: bool


class Export:
    """One export: the model, its graph, and the rows on which they are compared."""

    def __init__(self, request: ExportRequest) -> None:
        self.request, self.arguments = request, request.export
        self._check_installed()
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

    def _check_installed(self) -> None:
        """UserError without the packages of the format."""
        check_installed()

    def _load(self) -> None:
        """Load the model, its task and its tokenizer."""
        request = self.request
        self.predictor = Predictor(PredictionArguments(PredictArguments(), request.data, request.model, request.run))
        self.model, self.task = self.predictor.model.eval(), self.predictor.task
        self.processing, self.trained, self.limit = (
            self.predictor.processing,
            self.predictor.trained,
            self.predictor.limit,
        )
        self.tokenizer = self.predictor.tokenizer

    def run(self) -> dict[str, Any]:
        with staged(self.output_dir) as staging, one_thread():
            facts = self._write(staging)
            self._write_rest(staging, facts)
            self._try_run(staging)
        return facts

    def _write(self, staging: Path) -> dict[str, Any]:
        """Write the graphs, compare and measure the forms; returns the facts."""
        written, asked = self.written, self.request.run.measure
        forms = self.forms = self._forms(staging)
        difference = forms.write(int8="int8" in (written, *(asked or ())))
        rows = self._compare(forms)
        if asked and rows is None:
            raise UserError("--measure needs rows: name a --dataset_name.")
        facts: dict[str, Any] = {
            "format": self.arguments.format,
            "quantize": self.arguments.quantize,
            "inputs": forms.forms["onnx"].inputs,
            "outputs": forms.forms["onnx"].outputs,
            "largest_difference": difference,
            "rows": rows,
            "bytes": forms.bytes(),
            "cost": {} if rows is None else self._measure(asked or ["pytorch", written]),
            "run": self._facts_for_run(),
            "versions": {name: __import__(name).__version__ for name in ("torch", "transformers", "onnxruntime")},
        }
        if "int8" in forms.forms:
            for path, exact in zip(forms.files("int8"), forms.files("onnx"), strict=True):
                path.replace(exact) if written == "int8" else path.unlink()
        return facts

    @property
    def written(self) -> str:
        """The form that is written."""
        return self.arguments.quantize or "onnx"

    def _forms(self, folder: Path) -> Forms:
        return Forms(self.model, self.name, self.task, self.processing, self.limit, folder)

    @cached_property
    def rows(self) -> Dataset | None:
        """The first prepared test rows; None without a dataset, or if that of the record cannot be read."""
        if self.request.data.dataset_name is None:
            return None
        try:
            rows = self._read_rows()
        except UserError as error:
            if self.request.named:
                raise
            logger.warning("The graph is not compared on the test rows of the model's record: %s", error)
            return None
        return rows.select(range(min(self.arguments.check_rows, len(rows))))

    def _read_rows(self) -> Dataset:
        """All prepared test rows."""
        from ..data.sources import load_source

        if not self.request.named:
            return self.task.prepare(self.request.run.seed)["test"]
        source = load_source(self.predictor.data)
        name = self.task.prediction_split(source, None)
        self.predictor.read_as_trained(source.dataset[name].features)
        return self.task.prepare_for_prediction(None, source)

    def _compare(self, forms: Forms) -> dict[str, Any] | None:
        """Agreement and metrics on the test rows; None without rows."""
        if self.rows is None:
            return None
        self.encoded = self.predictor.encode(self.rows)
        return forms.compare(self.encoded, self.rows)

    def _measure(self, forms: list[str]) -> dict[str, Any]:
        folder = Path(location_of(self.name))
        return self.forms.measure(forms, self.encoded, {"pytorch": folder} if folder.is_dir() else {})

    def _facts_for_run(self) -> dict[str, Any]:
        """What run.py needs beside the graph and the tokenizer."""
        tokenizer, config = self.tokenizer, self.model.config
        assert tokenizer is not None
        ids = (tokenizer.unk_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
        if self.task.generates:
            return self._facts_for_translation()
        return {
            "kind": _KINDS[self.task.problem_type] if isinstance(self.task, TextTask) else "tags",
            "labels": self.task.labels,
            "pairs": bool(self.trained.get("columns", {}).get("text_pair")),
            "max_length": self.limit,
            "pad_token_id": tokenizer.pad_token_id,
            "filler": next((index for index in ids if index is not None), 0),
            "unknown": tokenizer.unk_token,
            "characters": getattr(config, "character_vocabulary", ""),
        }

    def _facts_for_translation(self) -> dict[str, Any]:
        config, processing = self.model.config, self.processing
        return {
            "kind": "translation",
            "prefix": self.trained.get("settings", {}).get("source_prefix") or "",
            "max_length": self.limit,
            "max_new_tokens": (shortest(self.model.generation_config.max_length, 200) or 200) - 1,  # without the start
            "start": config.decoder_start_token_id,
            "eos_token_id": processing.target_tokenizer.eos_token_id,
            "hidden_size": config.hidden_size,
            "pairs": False,
        }

    def _write_rest(self, folder: Path, facts: dict[str, Any]) -> None:
        """The configuration, tokenizer, record, identity, card and script."""
        from .. import deployment

        source = Path(location_of(self.name))
        settings = {name: value for name, value in self.model.config.to_dict().items() if name != "auto_map"}
        write_json(folder / "config.json", settings)
        self.processing.save_pretrained(folder)
        if self.model.can_generate():
            self.model.generation_config.save_pretrained(folder)
        write_identity(folder, self.trained)
        shutil.copy(Path(deployment.__file__).parent / "run.py", folder)
        write_json(folder / FACTS, facts)
        if (record := read_record(source)) is not None:
            write_record(folder, keeping(record, []))
        for file in card_files(folder, self.output_dir.name):
            (folder / file.path).write_bytes(file.read())

    def _try_run(self, folder: Path) -> None:
        """Run run.py on a text of the test rows, and compare its prediction."""
        text = "a text"
        if self.rows is not None:
            columns = [name for name in ("text", "text_pair", "words", "source") if name in self.rows.column_names]
            text = "\t".join(" ".join(own) if isinstance(own := self.rows[0][name], list) else own for name in columns)
        done = subprocess.run([sys.executable, "run.py", text], cwd=folder, capture_output=True, encoding="utf-8")
        try:
            found = json.loads(done.stdout)
        except ValueError as error:
            lines = done.stderr.strip().splitlines() or ["no output"]
            raise UserError(f"run.py of the exported model fails: {lines[-1]}. Nothing was written.") from error
        if self.rows is None or self.written != "onnx" or not self.forms.predicted:
            return
        expected = self.forms.predicted["onnx"][0]
        if isinstance(found, dict):
            found, expected = found["label"], self.task.labels[expected]  # type: ignore[index]
        if isinstance(found, str) and found != expected:
            raise UserError(
                f"run.py of the exported model predicts {found!r} for the first test row, but the model {expected!r}. "
                "Nothing was written. Report this model, and use it with PyTorch."
            )
