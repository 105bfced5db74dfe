"""The model card of a run: metadata for the Hub, and a description of the model, its training and its limits."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.look import brief
from ..deployment.folder import FACTS, is_exported
from ..errors import UserError
from ..records.record import read_record
from .arguments import CardArguments
from .card_comparison import find_comparison
from .card_facts import Evaluation, as_facts, form_rows, result_rows, sizes
from .card_metadata import card_data, card_task, dataset_name
from .citations import citations, papers
from .cleaning import clean_record
from .contents import CARD, carries_code
from .curve import CURVE, draw_learning_curve, learning_curve
from .destination import HubFile
from .provenance import hub_dataset, provenance
from .readme import MARKER, code_block, is_generated, render

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelCard

TEMPLATES = Path(__file__).parent / "templates"


def model_card(
    folder: Path,
    repo_id: str | None = None,
    arguments: CardArguments | None = None,
    *,
    adapter: bool = False,
    api: HfApi | None = None,
) -> ModelCard:
    """The card of the model in `folder`, from its result record and the files beside it; no file is written.

    Without a record, for example for a converted model, the card describes the configuration. It shows
    `learning_curve.png` if the record has a history to draw, see `card_files`. The text is in
    `templates/model_card.md.jinja`.

    Args:
        repo_id: the repository in the usage code of the card; by default the folder itself.
        arguments: licence, languages and other facts that records lack.
        adapter: whether only the adapter of a LoRA run is published.
        api: the Hub client that reads the cards of the base model and the dataset; None to read only the cache.

    Raises:
        UserError: `config.json` or the named comparison cannot be read.
    """
    from huggingface_hub import ModelCard

    folder, arguments = Path(folder), arguments or CardArguments()
    config, record = _config(folder), dict(read_record(folder) or {})
    task, origin = card_task(record, config), provenance(record, arguments, api)
    title = (repo_id or str(record.get("name") or folder.resolve().name)).rpartition("/")[2]
    evaluation = Evaluation(record, folder) if record.get("metrics") else None
    headings, rows = result_rows(record, evaluation) if evaluation else ([], [])
    cited = [papers()[key] for key in citations(record, config, origin.base_model)]
    exported = json.loads((folder / FACTS).read_text(encoding="utf-8")) if is_exported(folder) else None
    weights = [] if exported else folder.glob(f"{'adapter/adapter_' if adapter else ''}model*.safetensors")
    known: dict[str, Any] = {"record": record, "config": config, "task": task, "origin": origin, "adapter": adapter}
    known["remote_code"] = carries_code(folder, config)
    body = render(
        TEMPLATES / "model_card.md.jinja",
        {
            **known,
            "marker": MARKER,
            "title": title,
            "exported": exported,
            "forms": form_rows(measured) if (measured := exported or as_facts(record)) else [],
            "measured": measured,
            "dataset_name": dataset_name,
            "hub_dataset": hub_dataset,
            "evaluation": evaluation,
            "result_headings": headings,
            "result_rows": rows,
            "code": code_block(_usage(folder, repo_id or str(folder), known)) if task and not exported else "",
            "curve": CURVE if learning_curve(record) is not None else None,
            "settings": code_block(_settings(record)),
            "sizes": sizes(config),
            "weights": sum(path.stat().st_size for path in weights) if record else None,
            "comparison": find_comparison(folder, arguments.comparison, api),
            "comparison_name": arguments.comparison,
            "max_tokens": _max_tokens(folder),
            "data_look": brief((record.get("dataset") or {}).get("data_look") or {}),
            "papers": code_block("\n\n".join(cited)),
        },
    )
    data = card_data(record, config, task, origin, name=title, adapter=adapter)
    if exported:
        data.library_name, data.tags = "onnx", [*(data.tags or []), "onnx"]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}")


def card_files(
    folder: Path,
    repo_id: str | None = None,
    arguments: CardArguments | None = None,
    *,
    adapter: bool = False,
    api: HfApi | None = None,
) -> list[HubFile]:
    """The card as README.md, and its learning curve if the run has one; for the arguments see `model_card`."""
    files = [HubFile(CARD, str(model_card(folder, repo_id, arguments, adapter=adapter, api=api)).encode())]
    if (curve := learning_curve(read_record(Path(folder)) or {})) is not None:
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / CURVE
            draw_learning_curve(curve, path)
            files.append(HubFile(CURVE, path.read_bytes()))
    return files


def hints(files: Sequence[HubFile]) -> list[str]:
    """Remarks for the publisher on facts that a generated card lacks."""
    text = next((file.read().decode("utf-8", "replace") for file in files if file.path == CARD), "")
    if not is_generated(text) or re.search(r"^license: ", text.split(MARKER)[0], flags=re.MULTILINE):
        return []
    return ["The card has no licence, because none is known. Add one with --license, such as apache-2.0 or cc-by-4.0."]


def _config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"The folder {str(folder)!r} has no readable config.json, so there is no model to describe."
        ) from error
    return config


def _usage(folder: Path, name: str, known: dict[str, Any]) -> str:
    """Code that loads the model `name` and prints one prediction."""
    labels = sorted((known["config"].get("id2label") or {}).items(), key=lambda pair: int(pair[0]))
    return render(
        TEMPLATES / "usage.py.jinja",
        {
            **known,
            "name": name,
            "two_tokenizers": (folder / "target_tokenizer").is_dir(),
            "labels": [str(label) for _, label in labels],
            "base": (known["origin"].base_model or "BASE_MODEL") if known["adapter"] else None,
        },
    )


def _settings(record: dict[str, Any]) -> str:
    """All arguments that differ from their defaults, as YAML, without folders of this machine."""
    import yaml

    arguments = clean_record(dict(record.get("arguments") or {}))
    return yaml.safe_dump(arguments, sort_keys=False, allow_unicode=True).strip() if arguments else ""


def _max_tokens(folder: Path) -> int | None:
    """The length in tokens to which the saved tokenizer truncates; None without a limit."""
    try:
        length = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("model_max_length")
    except (OSError, ValueError):
        return None
    return int(length) if isinstance(length, (int, float)) and length < 10**9 else None
