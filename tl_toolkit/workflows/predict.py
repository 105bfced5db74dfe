"""`predict`: predict with a trained model on any dataset, and evaluate it if there are labels."""

from __future__ import annotations

import sys
from contextlib import ExitStack, nullcontext, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

from ..atomic_files import write_json
from ..errors import UserError
from ..records.output_dir import for_output_dir, make_folder, staged
from ..tasks import TokenClassification
from ..tasks.text import TextTask
from .predict_file import OPTIONS, PREDICTIONS, RETURNED, STREAM, Written, answer_file, opened
from .predictor import PredictionArguments, Predictions, Predictor, parse_predict_arguments

__all__ = ["Predictions", "Predictor", "parse_predict_arguments", "predict", "write_predictions"]


def predict(arguments: PredictionArguments) -> Predictions:
    """As `write_predictions`; returns all predictions, and the metrics."""
    import pandas as pd

    written = write_predictions(arguments)
    if written.rows == len(written.head):
        return Predictions(written.head, written.metrics)
    return Predictions(pd.read_parquet(Path(arguments.run.output_dir) / PREDICTIONS), written.metrics)


def write_predictions(arguments: PredictionArguments) -> Written:
    """Write `predictions.parquet`, `metrics.json` if there are labels, and a file with the predictions as columns.

    With `--dataset_name -` that file goes to standard output, and the folder is optional.

    Raises:
        UserError: the model or the dataset cannot be used, or a label is unknown to the model.
    """
    if arguments.data.dataset_name != STREAM or "output_dir" in arguments.run.as_given:
        return for_output_dir(_write)(arguments)
    with TemporaryDirectory() as arguments.run.output_dir:
        return _write(arguments)


def _write(arguments: PredictionArguments) -> Written:
    output_dir, data, stdout = Path(arguments.run.output_dir), arguments.data, sys.stdout
    make_folder(output_dir)
    is_first = arguments.run.process_index == 0
    with ExitStack() as stack:
        if data.dataset_name == STREAM:
            stack.enter_context(redirect_stdout(sys.stderr))
        predictor = Predictor(arguments)
        texts = [data.text_column, predictor.trained.get("columns", {}).get("text")]
        file = stack.enter_context(opened(data.dataset_name, [name for name in texts if name]))
        staging = stack.enter_context(staged(output_dir) if is_first else nullcontext())
        if file is not None and isinstance(predictor.task, TextTask | TokenClassification):
            written = answer_file(predictor, file, staging, stdout.buffer if data.dataset_name == STREAM else None)
        else:
            if named := [name for name in OPTIONS if getattr(arguments.predict, name) not in (None, False)]:
                raise UserError(
                    f"--{named[0]} is about the file that is given back with predictions ({RETURNED}), but "
                    f"{data.dataset_name!r} is not given back: leave it out."
                )
            found = predictor()
            written = Written(found.metrics, found.predictions, len(found.predictions))
            if staging is not None:
                found.predictions.to_parquet(staging / PREDICTIONS, index=False)
    if is_first:
        (output_dir / "metrics.json").unlink(missing_ok=True)  # left by an earlier dataset
        if written.metrics:
            dataset = {"name": data.dataset_name, "rows": written.rows}
            report = {"model": arguments.model.model_name_or_path, "dataset": dataset, "metrics": written.metrics}
            write_json(output_dir / "metrics.json", report)
    predictor.trainer.accelerator.wait_for_everyone()
    return written
