"""What a model is for and where it ends, from what its run knows and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..evaluation import formatting as show
from ..evaluation.intervals import Spread
from .card_metadata import dataset_name
from .card_sections import Evaluation, label_unit
from .card_tasks import CardTask
from .markdown import Raw, code_span, link
from .provenance import hub_dataset

Record = Mapping[str, Any]
_ENDLESS = 10**9
"""What tokenizers have for a length where there is no limit."""
_WEAK = 0.5
"""The F1 below which a class is named as told badly."""
_LANGUAGE_MODELS = ("causal-language-modeling", "masked-language-modeling")


def dataset_link(record: Record) -> Raw:
    """The data of a run, as a link where it is on the Hub."""
    if (name := hub_dataset(record)) is not None:
        return link(name, f"https://huggingface.co/datasets/{name}")
    return code_span(dataset_name(record))


def intended_use(record: Record, task: CardTask | None) -> Raw:
    """One sentence: for what kind of input the model was made."""
    data = dataset_link(record)
    if task is None or "dataset" not in record:
        return Raw("No record of a training is here, so that nothing is known of what the model is good for.")
    if task.kind in _LANGUAGE_MODELS:
        return Raw(f"To go on training with texts like those of {data}, or to see what a model of this size learns.")
    inputs = {"forecasting": "series", "captioning": "pictures", "token-classification": "sentences"}
    return Raw(f"For {inputs.get(task.kind, 'texts')} like those of {data}, on which it was trained and evaluated.")


def limits(
    record: Record,
    task: CardTask | None,
    config: Record,
    evaluation: Evaluation | None,
    max_tokens: int | None,
) -> list[str]:
    """Sentences, each about one limit.

    Args:
        max_tokens: the length at which the saved tokenizer cuts.
    """
    if task is None or "dataset" not in record:
        return []
    found = [*_data(record, task), *_selection(record)]
    if evaluation is not None:
        found += _baseline(evaluation) + _classes(evaluation)
    if max_tokens is not None and 0 < max_tokens < _ENDLESS and task.kind not in ("forecasting", "captioning"):
        found.append(f"Texts are cut to {show.count(max_tokens)} tokens, as they were in the run.")
    found += _of_task(record, task, config)
    return found


def _data(record: Record, task: CardTask) -> list[str]:
    budget, dataset = record.get("budget") or {}, record.get("dataset") or {}
    rows, origin = dataset.get("rows") or {}, dataset.get("test_from")
    found = []
    if task.kind not in _LANGUAGE_MODELS and budget.get("train_labels"):
        seen = label_unit(record).replace("labels", "labelled texts")
        epochs = (record.get("cost") or {}).get("epochs") or 1
        part = f", of which it saw {epochs:.1%}: the training ended before it had seen all" if epochs < 0.995 else ""
        found.append(f"It was trained on {show.count(budget['train_labels'])} {seen}{part}.")
    if (record.get("metrics") or {}).get("test"):
        tested = f"the {show.count(rows['test'])} test rows" if rows.get("test") else "the test rows"
        cut = f", which were held out of the split {origin}" if origin not in (None, "test") else ""
        found.append(f"It was evaluated on {tested} of the same data{cut}, and on no other data.")
    else:
        found.append("It was not evaluated on test rows.")
    found.append("Nothing was measured of bias, of robustness, or of other domains and languages.")
    return found


def _selection(record: Record) -> list[str]:
    found = []
    if (record.get("metrics") or {}).get("validation") and (record.get("cost") or {}).get("steps"):
        found.append("The validation rows chose the checkpoint, so that their figures flatter it a little.")
    if record.get("seed") is not None and (record.get("cost") or {}).get("steps"):
        found.append("The figures are those of one run with one seed; another seed would give somewhat other ones.")
    return found


def _baseline(evaluation: Evaluation) -> list[str]:
    if evaluation.beaten() is not False:
        return []
    what = show.joined([own.what for own in evaluation.baselines], "or")
    return [f"On the test rows it is not better than answering {what}, beyond what chance explains."]


def _classes(evaluation: Evaluation) -> list[str]:
    """Classes that are told badly, and those that the test rows say nothing of."""
    found = evaluation.classes
    if found is None:
        return []
    weak = [own for own in found.classes if own.support and (own.f1 is None or own.f1.mean < _WEAK)]
    weak.sort(key=lambda own: own.f1.mean if own.f1 else 0.0)
    absent = [own.name for own in found.classes if not own.support]
    sentences = []
    if weak:
        named = [f"{own.name} (F1 {_f1(own.f1)} on {show.count(own.support)} {found.what})" for own in weak[:8]]
        more = f" and {len(weak) - 8} more" if len(weak) > 8 else ""
        sentences.append(f"Told badly: {', '.join(named)}{more}.")
    if absent:
        sentences.append(f"Not evaluated, since none was in the test rows: {_some(absent)}.")
    return sentences


def _f1(value: Spread | None) -> str:
    return "0" if value is None else show.score(value.mean, "f1")


def _some(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _of_task(record: Record, task: CardTask, config: Record) -> list[str]:
    told = record.get("task") or {}
    found = []
    if task.kind == "forecasting":
        found.append(
            f"It sees {told.get('context_length')} time steps (one: {told.get('step')}) and forecasts the next "
            f"{told.get('prediction_length')}; the constants of scale are those of the training part."
        )
    if task.kind in ("translation", "captioning", "causal-language-modeling"):
        found.append("What it writes was not checked for truth or for offence.")
    if task.kind == "token-classification" and config.get("character_encoder", "none") != "none":
        found.append("It reads characters, which pipelines do not give it: use the code above.")
    if task.kind == "causal-language-modeling" and config.get("direction") == "backward":
        found.append("It reads from the end of a text, so that it cannot continue one.")
    share = ((record.get("metrics") or {}).get("test") or {}).get("unknown_share")
    if share:
        found.append(f"{show.score(share, 'accuracy')} of the test tokens were unknown to its vocabulary.")
    return found
