"""The origin of a model: its initial model, the data of all its training stages, licence and languages."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..loading.builtin_models import BUILTIN_MODELS, builtin_model_path
from ..records.record import read_record
from .arguments import CardArguments
from .destination import HUB_ID

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

Record = Mapping[str, Any]

BUILT_IN_LANGUAGES = {"dates": ["en", "hi"], "digits": ["en"], "pydocs": ["en"], "pytokens": ["code"], "recall": ["en"]}
"""The languages of the built-in text datasets."""
_MOST_STAGES = 8


@dataclass(frozen=True)
class Provenance:
    """The known origin of a model; unknown fields are empty.

    Attributes:
        base_model: the Hub id of the checkpoint that the first training stage started from.
        base_revision: its commit.
        base_is_local: whether training started from a model that is not known to be on the Hub.
        stages: records of earlier training stages, latest first.
        datasets: Hub ids of all training datasets.
        languages: language codes.
        license: the specified licence, or that of the base model.
    """

    base_model: str | None
    base_revision: str | None
    base_is_local: bool
    stages: Sequence[Record]
    datasets: Sequence[str]
    languages: Sequence[str]
    license: str | None


def provenance(record: Record, arguments: CardArguments, api: HfApi | None = None) -> Provenance:
    """Trace a run back to its initial checkpoint.

    Folders of earlier training stages are followed as long as they exist. A name counts as a Hub id only if the record
    has its commit or the Hub cache has its files, because a local folder may look like a Hub id.

    Args:
        api: the Hub client that reads the cards of base models and datasets; None to read only the cache.
    """
    stages: list[Record] = []
    name, revision = _start(record)
    while name is not None and (own := _own_record(name)) is not None and len(stages) < _MOST_STAGES:
        stages.append(own)
        name, revision = _start(own)
    base, card = _base(name, revision, api)
    if arguments.base_model is not None:
        base, card = arguments.base_model, _hub_card(arguments.base_model, "model", None, api)
        revision = None
    every = [record, *stages]
    licence = card["license"] if isinstance(card.get("license"), str) and card["license"] else None
    return Provenance(
        base_model=base,
        base_revision=revision if base is not None else None,
        base_is_local=base is None and (name is not None or bool(stages)),
        stages=stages,
        datasets=list(dict.fromkeys(data for one in every if (data := hub_dataset(one)) is not None)),
        languages=arguments.languages or _languages(record, api),
        license=arguments.license or licence,
    )


def hub_dataset(record: Record) -> str | None:
    """The Hub id of a run's dataset; None if it is not from the Hub or the record lacks its commit."""
    dataset = record.get("dataset") or {}
    name = str(dataset.get("name") or "")
    return name if dataset.get("revision") and HUB_ID.fullmatch(name) else None


def _start(record: Record) -> tuple[str | None, str | None]:
    """The name of the model that the run started from, and its commit."""
    members = record.get("members")
    if members:  # an ensemble of two classifiers with the same training
        record = _own_record(str(members[0].get("model_name_or_path"))) or {}
    model = record.get("model") or {}
    return model.get("model_name_or_path"), model.get("revision")


def _own_record(name: str) -> Record | None:
    folder = Path(name).expanduser()
    return read_record(folder) if folder.is_dir() else None


def _base(name: str | None, revision: str | None, api: HfApi | None) -> tuple[str | None, Record]:
    """The Hub id of a checkpoint and the metadata of its card, if known."""
    from huggingface_hub import try_to_load_from_cache

    if name is None:
        return None, {}
    if name in BUILTIN_MODELS:
        try:
            return BUILTIN_MODELS[name].source, _folder_card(builtin_model_path(name))
        except UserError:  # the package was uninstalled
            return BUILTIN_MODELS[name].source, {}
    folder = Path(name).expanduser()
    if folder.is_dir():
        return None, _folder_card(folder)
    if HUB_ID.fullmatch(name) and (revision or isinstance(try_to_load_from_cache(name, "config.json"), str)):
        return name, _hub_card(name, "model", revision, api)
    return None, {}


def _languages(record: Record, api: HfApi | None) -> list[str]:
    """The languages in the arguments, or those in the card of the dataset."""
    arguments, dataset = record.get("arguments") or {}, record.get("dataset") or {}
    langs = [arguments.get("source_lang"), arguments.get("target_lang")]
    if codes := [code for lang in langs if lang and len(code := str(lang).replace("-", "_").split("_")[0]) in (2, 3)]:
        return list(dict.fromkeys(codes))
    name = str(dataset.get("name") or "")
    if name.startswith("builtin:"):
        return BUILT_IN_LANGUAGES.get(name.split(":")[1], [])
    if hub_dataset(record):
        card = _hub_card(name, "dataset", dataset.get("revision"), api)
    else:
        card = _folder_card(Path(name).expanduser()) if name else {}
    found = card.get("language") or []
    return [str(code) for code in ([found] if isinstance(found, str) else found) if code]


def _folder_card(folder: Path) -> Record:
    """The metadata of a README.md; empty if it cannot be read."""
    from huggingface_hub import metadata_load

    try:
        return metadata_load(folder / "README.md") or {}
    except Exception:  # noqa: BLE001  no file, no YAML, or somebody else's invalid card
        return {}


def _hub_card(name: str, repo_type: str, revision: str | None, api: HfApi | None) -> Record:
    """The metadata of a card on the Hub; empty if it cannot be read, because it is optional."""
    from huggingface_hub import HfApi

    try:
        path = (api or HfApi()).hf_hub_download(
            name, "README.md", repo_type=repo_type, revision=revision, local_files_only=api is None
        )
    except Exception as error:  # noqa: BLE001  gated, deleted, offline, without a card, …
        logger.debug("The card of %s was not read: %s", name, type(error).__name__)
        return {}
    return _folder_card(Path(path).parent)
