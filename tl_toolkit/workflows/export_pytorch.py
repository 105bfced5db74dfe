"""The export of a model as a PyTorch folder whose linear layers have 8-bit weights, by torchao."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..atomic_files import write_json
from ..deployment.folder import FACTS
from ..errors import UserError
from ..hub.card import card_files
from ..loading.model import load_trained
from ..loading.names import loading, location_of
from ..records.artefacts import artefacts_in
from ..records.identity import write_identity
from ..records.output_dir import staged
from ..records.record import read_record, write_record
from .export_graph import Export
from .exported_forms import as_recorded, one_thread

FORM = "pytorch_int8"


class PytorchExport(Export):
    """Writes the folder that `from_pretrained` loads with 8-bit weights, and compares it with the model.

    Linear layers quantise their inputs at run time; all others stay in floats.
    """

    def _check_installed(self) -> None:
        try:
            import torchao  # noqa: F401
        except ImportError as error:
            raise UserError("--format pytorch needs torchao: pip install 'tl-toolkit[torchao]'.") from error
        if self.request.export.quantize != "int8":
            raise UserError("--format pytorch writes weights of 8 bits: add --quantize int8.")

    def run(self) -> dict[str, Any]:
        with staged(self.output_dir) as staging, one_thread():
            self._write_folder(staging)
            saved = replace(self.request.model, model_name_or_path=str(staging))
            forms = self.forms = self._forms(staging)
            forms.forms[FORM] = load_trained(saved, self.task.auto_class, self.tokenizer).eval()
            rows = self._compare(forms)
            sizes = {**forms.bytes(), FORM: (staging / "model.safetensors").stat().st_size}
            cost = (
                {}
                if rows is None
                else forms.measure(
                    ["pytorch", FORM], self.encoded, {"pytorch": Path(location_of(self.name)), FORM: staging}
                )
            )
            facts = {"format": "pytorch", "quantize": "int8", "rows": rows, "bytes": sizes, "cost": cost}
            write_json(staging / FACTS, facts)
            if (record := read_record(Path(location_of(self.name)))) is not None:
                own = dict(record.get("cost") or {})
                if rows is not None:
                    measured = as_recorded(self.task, rows, cost, sizes)
                    own["inference"] = {**(own.get("inference") or {}), "forms": measured}
                write_record(staging, {**record, "cost": own, "artefacts": artefacts_in(staging)})
            for file in card_files(staging, self.output_dir.name):
                (staging / file.path).write_bytes(file.read())
        return facts

    def _write_folder(self, folder: Path) -> None:
        import transformers
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig

        how = transformers.TorchAoConfig(Int8DynamicActivationInt8WeightConfig())
        model = loading(
            lambda: getattr(transformers, self.task.auto_class).from_pretrained(
                location_of(self.name),
                revision=self.request.model.model_revision,
                trust_remote_code=self.request.model.trust_remote_code,
                dtype="float32",
                quantization_config=how,
            ),
            f"the model {self.name!r} with 8-bit weights",
        )
        model.save_pretrained(folder)
        self.processing.save_pretrained(folder)
        write_identity(folder, self.trained)
