"""The model card of a run: metadata for the Hub, and for a reader what the model is, how it came about, its limits."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..records.record import read_record
from .card_arguments import CardArguments
from .card_comparison import find_comparison
from .card_limits import dataset_link, intended_use, limits
from .card_metadata import card_data
from .card_sections import (
    Evaluation,
    class_rows,
    cost_facts,
    labels,
    result_rows,
    settings,
    surroundings,
    training_facts,
)
from .card_tasks import CardTask, card_task
from .citations import citations, papers
from .cleaning import clean_name
from .curve import CURVE, draw_learning_curve, learning_curve
from .destination import HubFile
from .markdown import MARKER, Raw, code_block, code_span, escaped, is_generated, link, render
from .model_facts import family, sizes, strategy
from .provenance import Provenance, provenance
from .usage import Usage, carries_code, usage_code

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelCard

CARD = "README.md"


def model_card(
    folder: Path,
    repo_id: str | None = None,
    arguments: CardArguments | None = None,
    *,
    adapter: bool = False,
    api: HfApi | None = None,
) -> ModelCard:
    """The card of the model in `folder`, from its result record and the files beside it; nothing is written.

    Without a record, as of a converted model, it says what the configuration tells. It shows `learning_curve.png` where
    the record has one to draw, see `card_files`.

    Args:
        repo_id: where the model is published, and is loaded from in the code of the card; by default the folder itself.
        arguments: licence, languages and what else no record knows.
        adapter: what is published is the adapter of a LoRA run alone.
        api: where the cards of the base model and the dataset are read; None for what is in the cache.

    Raises:
        UserError: `config.json` cannot be read, or the comparison that is named.
    """
    from huggingface_hub import ModelCard

    known = _look_at(Path(folder), repo_id, arguments or CardArguments(), adapter, api)
    title = (repo_id or str(known.record.get("name") or known.folder.resolve().name)).rpartition("/")[2]
    data = card_data(known.record, known.config, known.task, known.origin, name=title, adapter=adapter)
    body = render("model_card.md.jinja", _context(known, title))
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}")


def card_files(
    folder: Path,
    repo_id: str | None = None,
    arguments: CardArguments | None = None,
    *,
    adapter: bool = False,
    api: HfApi | None = None,
) -> list[HubFile]:
    """The card as README.md, and the learning curve that it shows where the run has one; arguments of `model_card`."""
    card = model_card(folder, repo_id, arguments, adapter=adapter, api=api)
    files = [HubFile(CARD, str(card).encode())]
    curve = learning_curve(read_record(Path(folder)) or {})
    if curve is not None:
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / CURVE
            draw_learning_curve(curve, path)
            files.append(HubFile(CURVE, path.read_bytes()))
    return files


def hints(files: Sequence[HubFile]) -> list[str]:
    """What a card that was written here leaves open, for whoever publishes it."""
    text = next((file.read().decode("utf-8", "replace") for file in files if file.path == CARD), "")
    if not is_generated(text) or re.search(r"^license: ", text.split(MARKER)[0], flags=re.MULTILINE):
        return []
    return ["The card names no licence, since none is known: say one by --license, such as apache-2.0 or cc-by-4.0."]


@dataclass(frozen=True)
class _Known:
    """All that a card is made from."""

    folder: Path
    repo_id: str | None
    record: dict[str, Any]
    config: dict[str, Any]
    task: CardTask | None
    origin: Provenance
    arguments: CardArguments
    adapter: bool
    api: HfApi | None


def _look_at(folder: Path, repo_id: str | None, arguments: CardArguments, adapter: bool, api: HfApi | None) -> _Known:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"The folder {str(folder)!r} has no readable config.json, so it has no model to describe."
        ) from error
    record = dict(read_record(folder) or {})
    task, origin = card_task(record, config), provenance(record, arguments, api)
    return _Known(folder, repo_id, record, config, task, origin, arguments, adapter, api)


def _context(known: _Known, title: str) -> dict[str, Any]:
    """Everything that the template says."""
    record, config, task = known.record, known.config, known.task
    evaluation = Evaluation(record, known.folder) if record.get("metrics") else None
    headings, rows = result_rows(record, evaluation) if evaluation else ([], [])
    unit, classes, more = class_rows(evaluation) if evaluation else ("", [], 0)
    comparison = find_comparison(known.folder, known.arguments.comparison, known.api)
    keys = citations(record, config, known.origin.base_model)
    published = "adapter/adapter_model.safetensors" if known.adapter else "model*.safetensors"
    weights = sum(path.stat().st_size for path in known.folder.glob(published))
    code = usage_code(_usage(known)) if task is not None else ""
    remote = carries_code(known.folder, config)
    return {
        "marker": Raw(MARKER),
        "title": title,
        "summary": _summary(known),
        "labels": labels(record),
        "result_headings": headings,
        "result_rows": rows,
        "tested": _tested(record),
        "class_unit": unit,
        "classes": classes,
        "more_classes": more,
        "code": code_block(code),
        "packages": _packages(known),
        "remote_code": remote,
        "training": training_facts(record) if "dataset" in record else [],
        "surroundings": surroundings(record),
        "stages": [_stage(stage) for stage in known.origin.stages] or _stages_of_comparison(record),
        "curve": Raw(CURVE) if learning_curve(record) is not None else None,
        "settings": code_block(settings(record)),
        "sizes": sizes(config),
        "costs": cost_facts(record, weights or None) if record else [],
        "comparison": comparison,
        "comparison_name": known.arguments.comparison or "",
        "intended_use": intended_use(record, task),
        "limits": limits(record, task, config, evaluation, _max_tokens(known.folder)),
        "citing": "What it is built on, and not what was measured here:",
        "papers": code_block("\n\n".join(papers()[key] for key in keys)),
    }


def _summary(known: _Known) -> Raw:
    """What the model is, in one or two sentences."""
    record, total = known.record, ((known.record.get("cost") or {}).get("parameters") or {}).get("total")
    does = f" that {known.task.does}" if known.task else ""
    size = f" It has {total:,} parameters." if total else ""
    what = f"{family(known.config)}{does}"
    what = what[:1].upper() + what[1:]
    if "dataset" not in record:
        return escaped(f"{what}.{size}")
    way = strategy(record, _start(known))
    adapter = " This repository has the adapter alone." if known.adapter else ""
    return Raw(f"{escaped(what)}, {way} on {dataset_link(record)}.{size}{adapter}")


def _start(known: _Known) -> Raw | None:
    """What the model started from; None where nothing is known of it."""
    if known.origin.stages:
        return Raw(f"a model of its own ({escaped(clean_name(str(known.origin.stages[0].get('name') or 'unnamed')))})")
    if (base := known.origin.base_model) is not None:
        return link(base, f"https://huggingface.co/{base}")
    name = (known.record.get("model") or {}).get("model_name_or_path")
    return None if not name else code_span(clean_name(str(name)).rpartition("/")[2])


def _stage(stage: Any) -> Raw:
    """An earlier training in words."""
    rows, tokens = ((stage.get("dataset") or {}).get(name) or {} for name in ("rows", "tokens"))
    seen = f"{rows['train']:,} texts" if rows.get("train") else "texts"
    seen += f" ({tokens['train']:,} tokens)" if tokens.get("train") else ""
    task = str((stage.get("task") or {}).get("name") or "training").replace("-", " ")
    return Raw(
        f"{escaped(task)} on {seen} of {dataset_link(stage)}{_took((stage.get('cost') or {}).get('train_seconds'))}"
    )


def _stages_of_comparison(record: dict[str, Any]) -> list[str]:
    """The stages that a comparison made before the run, as far as its record tells where their folders are gone."""
    return [f"{stage.get('name')}{_took(stage.get('train_seconds'))}" for stage in record.get("stages") or ()]


def _took(seconds: Any) -> str:
    return f", {seconds:,.0f} s" if isinstance(seconds, (int, float)) and math.isfinite(seconds) else ""


def _tested(record: dict[str, Any]) -> Raw | None:
    """On which rows the figures were measured."""
    dataset = record.get("dataset") or {}
    rows, where = dataset.get("rows") or {}, dataset.get("revision")
    parts = [
        f"{rows[role]:,} {role} rows" + (f" (held out of {origin})" if origin not in (None, role) else "")
        for role in ("test", "validation")
        if rows.get(role) and (record.get("metrics") or {}).get(role)
        for origin in [dataset.get(f"{role}_from")]
    ]
    if not parts:
        return None
    at = f" at revision {escaped(str(where))}" if where else ""
    return Raw(f"Measured on {escaped(' and '.join(parts))} of {dataset_link(record)}{at}.")


def _usage(known: _Known) -> Usage:
    assert known.task is not None
    columns = (known.record.get("dataset") or {}).get("columns") or {}
    return Usage(
        name=known.repo_id or str(known.folder),
        task=known.task,
        config=known.config,
        record=known.record,
        remote_code=carries_code(known.folder, known.config),
        two_tokenizers=(known.folder / "target_tokenizer").is_dir(),
        variables=str(columns.get("values") or "").split(", ") if known.task.kind == "forecasting" else (),
        base=(known.origin.base_model or "BASE_MODEL") if known.adapter else None,
        base_revision=known.origin.base_revision,
    )


def _packages(known: _Known) -> str:
    """What the code needs."""
    more = [" pillow"] if known.task is not None and known.task.kind == "captioning" else []
    more += [" peft"] if known.adapter else []
    return f"transformers torch{''.join(more)}"


def _max_tokens(folder: Path) -> int | None:
    """The length at which the saved tokenizer cuts."""
    try:
        length = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("model_max_length")
    except (OSError, ValueError):
        return None
    return int(length) if isinstance(length, (int, float)) and length < 10**9 else None
