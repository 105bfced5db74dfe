"""What the commands print: a line about the data before training, and a summary at the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.look import DUPLICATES, lines
from .predict_file import PREDICTIONS, STREAM

if TYPE_CHECKING:
    from ..config.arguments import RunArguments
    from .predict_file import Written
    from .predictor import PredictionArguments

_SHOWN_CLASSES = 10
_SHOWN_ROWS = 5
_SHOWN_CHARACTERS = 80


def print_data(record: dict[str, Any], args: RunArguments) -> None:
    """Print in the first process a line with columns, classes, and rows of each role, and the findings on the data.

    Prints nothing if `log_level` shows errors only, as in comparisons.
    """
    parts: list[str] = []
    for role, column in record["dataset"]["columns"].items():
        named = ", ".join(column) if isinstance(column, (list, tuple)) else column
        if role == "text_pair" and named:
            parts[-1] += f" + {named}"
        elif named:
            parts.append(f"{role}: {named}{_kind(record) if role == 'label' else ''}")
    rows = ", ".join(f"{rows:,} {_role(role, record)}" for role, rows in record["dataset"]["rows"].items())
    say(f"{' · '.join(parts)} · {rows} rows", args)
    print_findings(record["dataset"].get("data_look", {}), args)


def print_findings(found: Mapping[str, Any], args: RunArguments) -> None:
    """Print one line for each finding of a look at the data, in the first process."""
    for heading, text in lines(found):
        advice = ". --drop_duplicates leaves them out" if heading == DUPLICATES and "dropped" not in found else ""
        say(f"{heading}: {text}{advice}", args)


def _kind(record: dict[str, Any]) -> str:
    """The classes or the type of the labels, in brackets."""
    labels = record["task"]["labels"]
    if labels is None:
        return " (a number)"
    more = f" and {len(labels) - _SHOWN_CLASSES} more" if len(labels) > _SHOWN_CLASSES else ""
    return f" ({', '.join(labels[:_SHOWN_CLASSES])}{more})"


def print_texts(record: dict[str, Any], args: RunArguments) -> None:
    """Print one line about the texts of a language model: column, documents and tokens of each role."""
    tokens = record["dataset"]["tokens"]
    parts = [
        f"{rows:,} {_role(role, record)} texts ({tokens[role]:,} tokens)"
        for role, rows in record["dataset"]["rows"].items()
    ]
    say(f"text: {record['dataset']['columns']['text']} · {', '.join(parts)}", args)


def _role(role: str, record: dict[str, Any]) -> str:
    origin = record["dataset"].get(f"{role}_from", role)
    name = "training" if role == "train" else role
    return name if origin == role else f"{name} (from {origin})"


def say(line: str, args: RunArguments) -> None:
    """Print a line in the first process, unless `log_level` shows errors only."""
    if args.process_index == 0 and args.log_level not in ("error", "critical"):
        encoding = sys.stdout.encoding or "utf-8"  # class names can be in any script
        print(line.replace("\n", r"\n").encode(encoding, "replace").decode(encoding), flush=True)


def print_summary(record: dict[str, Any], output_dir: str) -> None:
    """Print the metrics by split, the number of labels used, and the cost of the run."""
    _print_table(record["metrics"])
    cost, budget = record["cost"], record["budget"]
    if missed := record.get("never_predicted"):
        more = f" and {len(missed) - _SHOWN_CLASSES} more" if len(missed) > _SHOWN_CLASSES else ""
        print(f"\nNever predicted on the test rows, where they occur: {', '.join(missed[:_SHOWN_CLASSES])}{more}.")
    print(
        f"\nTrained on {budget['train_labels']:,} labels, selected on {budget['validation_labels']:,}; "
        f"{cost['parameters']['trained']:,} of {cost['parameters']['total']:,} parameters trained in "
        f"{cost['train_seconds']:.1f} s ({cost['examples_per_second']:,.0f} rows/s) on {_processes(record)}."
    )
    print(f"The model and result.json are in {output_dir}")


def print_language_model_summary(record: dict[str, Any], output_dir: str) -> None:
    """Print the metrics by split, and the cost of the run."""
    _print_table(record["metrics"])
    cost = record["cost"]
    if cost["steps"]:
        tokens = record["dataset"]["tokens"]["train"]
        print(
            f"\nTrained on {tokens:,} tokens in {cost['epochs']:g} epochs; {cost['parameters']['trained']:,} of "
            f"{cost['parameters']['total']:,} parameters trained in {cost['train_seconds']:.1f} s "
            f"({cost['tokens_per_second']:,.0f} tokens/s) on {_processes(record)}."
        )
    print(f"{'The model and result.json are' if cost['steps'] else 'result.json is'} in {output_dir}")


def print_ensemble_summary(record: dict[str, Any], output_dir: str) -> None:
    """Print the metrics of both members and the ensemble by split, and the cost of the evaluation."""
    for split, metrics in record["metrics"].items():
        print(f"\n{split}", end="")
        members = {member["direction"]: member["metrics"][split] for member in record["members"]}
        _print_table({**members, "ensemble": metrics})
    cost = record["cost"]
    print(
        f"\n{cost['parameters']['total']:,} parameters, evaluated in {cost['evaluate_seconds']:.1f} s "
        f"({cost['examples_per_second']:,.0f} rows/s)."
    )
    print(f"The model and result.json are in {output_dir}")


def print_predictions(written: Written, arguments: PredictionArguments) -> None:
    """The first predictions, the metrics, and where the rest is; to standard error if the rows went to the output."""
    is_stream = arguments.data.dataset_name == STREAM
    to = sys.stderr if is_stream else sys.stdout
    predictions = written.head
    column = "prediction_name" if "prediction_name" in predictions else "prediction"
    for row in [] if is_stream else predictions.head(_SHOWN_ROWS).to_dict("records"):
        text = " ".join(str(row.get("text", row.get("source", f"row {row['row']}"))).split())
        print(f"{row[column]!s:<16} {text[:_SHOWN_CHARACTERS]}")
    for name, value in written.metrics.items():
        print(f"{name:<12} {value:.4f}", file=to)
    if (least := arguments.predict.min_confidence) is not None:
        share = written.abstained / written.rows
        print(
            f"{written.abstained:,} of {written.rows:,} rows ({share:.1%}) have an empty prediction: their confidence "
            f"is below {least:g}.", file=to,
        )  # fmt: skip
    if not is_stream:
        name = written.returned or PREDICTIONS
        print(f"{written.rows:,} predictions are in {Path(arguments.run.output_dir) / name}")


def verdict_of(output_dir: Path) -> str:
    """The decision cards of a comparison as text, after the title of its report."""
    from ..comparison.report.merging import title_of
    from ..comparison.verdict.decision import NAME
    from ..comparison.verdict.wording import card_text

    decision = json.loads((output_dir / NAME).read_text(encoding="utf-8"))
    return card_text(title_of(output_dir) or "Comparison", decision)


def _processes(record: dict[str, Any]) -> str:
    """How many processes trained on what: `2 processes (cpu)`."""
    size = record["hardware"]["world_size"]
    return f"{size} process{'es' if size > 1 else ''} ({record['hardware']['device']})"


def _print_table(results: dict[str, dict[str, float]]) -> None:
    names = list(next(iter(results.values())))
    width = max(map(len, names))
    print()
    print(" " * width, *(f"{split:>12}" for split in results))
    for name in names:
        values = [metrics.get(name) for metrics in results.values()]
        print(f"{name:<{width}}", *(f"{value:>12.4f}" if value is not None else f"{'-':>12}" for value in values))


def print_export(facts: Mapping[str, Any], output_dir: str) -> None:
    """Print the score, agreement and costs of each form of an exported model."""
    rows = facts["rows"] or {}
    for form, size in facts["bytes"].items():
        score = rows.get("metrics", {}).get(form, {}).get(rows.get("main_metric"))
        parts = [f"{rows['main_metric']} {score:.4f}"] if score is not None else []
        if (same := rows.get("agreement", {}).get(form)) is not None:
            parts.append(f"{100 * same:.1f} % the predictions of PyTorch")
        if cost := facts["cost"].get(form):
            parts += [f"{1000 * cost['latency_seconds']:.2f} ms a row", f"{cost['rows_per_second']:,.0f} rows/s"]
        print(f"{form}: {', '.join([*parts, f'{size / 1e6:.1f} MB'])}")
    if facts["format"] == "pytorch":
        print(f"The model folder is {output_dir}")
        return
    print(f"At other sizes, ONNX differs from PyTorch by at most {facts['largest_difference']:.1g}.")
    print(f"model.onnx, run.py and README.md are in {output_dir}")
