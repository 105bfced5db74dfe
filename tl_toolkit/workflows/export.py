"""`export`: write a trained model as an ONNX graph that runs without PyTorch, checked against it."""

from __future__ import annotations

from typing import Any

from ..config.arguments import DataArguments, ModelArguments, RunArguments
from ..config.help import Help
from ..config.parsing import Given, as_flags, into_dataclasses, make_parser, settings_and_flags
from ..errors import UserError
from ..loading.model import load_config
from ..records.output_dir import for_output_dir
from .ensemble import recorded_rows
from .export_graph import Export, ExportArguments, ExportRequest
from .export_language_model import LanguageModelExport
from .export_pytorch import PytorchExport

_SETTINGS = {"max_length": None, "use_cpu": True, "eval_strategy": "no", "save_strategy": "no"}


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
    from ..deployment.writers import writes_texts

    if request.export.format == "pytorch":
        return PytorchExport(request).run()
    return (LanguageModelExport if writes_texts(load_config(request.model)) else Export)(request).run()
