"""Select the files of a run folder that are published: the model, but nothing private to the machine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ..data.files import nearest_sibling
from ..deployment.folder import FACTS, GRAPH, is_exported
from ..errors import UserError, check_regular
from ..records.artefacts import damage, keeping
from ..records.checkpoints import checkpoints, is_whole_safetensors
from ..records.identity import IDENTITY_NAME
from ..records.output_dir import TARGET_FOLDER
from ..records.record import RESULT_NAME, damage_of_record, read_record, sealed
from .cleaning import clean_record, clean_settings
from .curve import CURVE
from .destination import HubFile

LARGEST = 50 * 10**9  # bytes; the Hub accepts no larger file
CARD = "README.md"
CONFIG = "config.json"

WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
EXPORTED = (GRAPH, "encoder.onnx", FACTS, "run.py")
_SETTINGS = (
    *("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("preprocessor_config.json", "processor_config.json", "series_config.json", IDENTITY_NAME),
)
_TOKENS = (
    *("tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json", "chat_template.jinja"),
    *("*.spm", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model", "target_vocab.json"),
)
PROCESSING = (*_SETTINGS, *_TOKENS, *(f"{TARGET_FOLDER}/{name}" for name in (*_SETTINGS, *_TOKENS)))
"""Patterns of the configuration files and the processors of texts, images and series."""
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.joblib", "*.h5", "*.msgpack", "*.npz")
_REASONS = {
    "predictions*.parquet": "contains texts of the dataset",
    "attention.json": "contains texts of the dataset",
    "*.png": "may show the dataset",
    "checkpoint-*": "only needed to resume training",
    "*.log": "may describe this machine",
    "metrics.json": "belongs to predictions",
}


@dataclass(frozen=True)
class Contents:
    """The files that are published and those that are left out.

    Attributes:
        files: the files of the repository.
        left: paths in the folder that are not published, each with the reason.
        record: the result record as published; None for a folder without one.
    """

    files: list[HubFile]
    left: dict[str, str]
    record: Mapping[str, Any] | None


def model_contents(folder: Path, include: Sequence[str] = ()) -> Contents:
    """The model in `folder`: weights, configuration, tokenizer, code and run record, but no card.

    Args:
        include: patterns of additional files, such as `predictions_*.parquet`.

    Raises:
        UserError: the folder has no finished model in safetensors, or a file that the Hub does not accept.
    """
    config = check_model_folder(folder)
    weights: tuple[str, ...]
    if is_exported(folder):
        files, weights = [], EXPORTED
    else:
        _check_weights(folder)
        files, weights = _code_files(folder, config), WEIGHTS
    files += [model_file(path, folder, config) for path in matching(folder, (*weights, *PROCESSING))]
    return finished(folder, files, include)


def finished(folder: Path, files: list[HubFile], include: Sequence[str]) -> Contents:
    """The files of a model, the additional files of `include`, and the cleaned run record."""
    own = {file.path for file in files}
    for name, path in included(folder, include).items():
        if name not in (*own, RESULT_NAME):
            files.append(HubFile(name, path, "by --include"))
    record = read_record(folder)
    if record is not None:
        _check_undamaged(folder, files, record)
        record = _published_record(record, {file.path for file in files if isinstance(file.content, Path)})
        files.append(HubFile(RESULT_NAME, as_json(record, indent=1), "without paths of this machine"))
    files.sort(key=lambda file: file.path)
    for file in files:
        if file.size > LARGEST:
            raise UserError(
                f"The file {file.path!r} has {file.size / 1e9:.1f} GB, but the Hub accepts at most {LARGEST / 1e9:.0f} "
                "GB. Save the model in shards: model.save_pretrained(folder, max_shard_size='5GB')."
            )
    return Contents(files, dict(_left(folder, {file.path for file in files})), record)


def included(folder: Path, patterns: Sequence[str]) -> dict[str, Path]:
    """The files that match --include, by their paths relative to `folder`; UserError for a pickle."""
    files = {path.relative_to(folder).as_posix(): path for path in matching(folder, patterns)}
    if pickle := next((name for name, path in files.items() if is_pickle(path.name)), None):
        raise UserError(f"--include matches {pickle!r}, which is a pickle and can run any code. Exclude it.")
    return files


def _check_undamaged(folder: Path, files: Sequence[HubFile], record: Mapping[str, Any]) -> None:
    """UserError if published weights or predictions are not those that the run wrote."""
    for file in files:
        path = file.content
        if not isinstance(path, Path) or path.suffix not in (".safetensors", ".parquet"):
            continue
        name = path.relative_to(folder).as_posix()
        if (found := damage(path, record, name)) is not None:
            raise UserError(
                f"The file {name!r} in {str(folder)!r} {found}, so nothing was sent. Repeat the run, or remove its "
                "result.json to publish the file without the results of the run."
            )


def _published_record(record: Mapping[str, Any], published: set[str]) -> dict[str, Any]:
    """A result record without details of this machine and without references to unpublished files."""
    cleaned: dict[str, Any] = clean_record(keeping(record, published))
    named = record.get("predictions") or {}
    cleaned["predictions"] = {split: name for split, name in named.items() if name in published}
    if not cleaned["predictions"]:
        cleaned.pop("samples", None)  # also contains texts of the dataset
    if cleaned.get("attention") not in published:
        cleaned["attention"] = None
    cleaned.pop("folder", None)
    return sealed(cleaned)


def check_model_folder(folder: Path) -> dict[str, Any]:
    """The configuration of the model in `folder`; UserError if it is missing or the run did not finish."""
    name = str(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"The folder {name!r} {what}.{nearest_sibling(folder)} Name the folder with config.json.")
    for path in folder.iterdir():
        check_regular(path, "The file")
    if (damage := damage_of_record(folder)) is not None:
        raise UserError(
            f"The result.json in {name!r} {damage}. Repeat the run, or remove the file to publish the model without "
            "its results."
        )
    record = read_record(folder)
    if record is not None and record.get("status") != "completed":
        raise UserError(
            f"The run in {name!r} did not finish ({record.get('error') or 'no reason is recorded'}), so there is no "
            "model to publish. Run it again, with --resume_from_checkpoint if it has checkpoints."
        )
    if record is None and checkpoints(folder):
        raise UserError(
            f"The run in {name!r} is not finished: it has checkpoints but no result.json. Repeat its command with "
            "--resume_from_checkpoint, or name the folder of a checkpoint to publish that checkpoint."
        )
    try:
        config = _settings_in(folder / CONFIG)
    except OSError as error:
        report = (folder / "results.jsonl").exists()
        hint = " It is a comparison: add --repo_type dataset or --repo_type space." if report else ""
        text = f"The folder {name!r} has no readable config.json, so it is not a model folder.{hint}"
        raise UserError(text) from error
    if "model_type" not in config:
        raise UserError(f"The config.json in {name!r} has no model_type, so the model cannot be loaded.")
    return config


def _check_weights(folder: Path) -> None:
    """UserError unless the weights are complete, undamaged safetensors."""
    found = list(matching(folder, WEIGHTS[:2]))
    if not found:
        if pickled := sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern)):
            raise UserError(
                f"The weights in {str(folder)!r} are pickled ({pickled[0]}) and are not published, because loading a "
                "pickle can run any code. If you trust them, save them as safetensors: "
                "model.save_pretrained(folder), with transformers 5."
            )
        raise UserError(f"The folder {str(folder)!r} has no model.safetensors, so there are no weights to publish.")
    index = folder / WEIGHTS[2]
    if index.is_file():
        parts = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        if missing := [part for part in parts if not (folder / part).is_file()]:
            raise UserError(
                f"The weights in {str(folder)!r} are incomplete: {missing[0]}, one of {len(parts)} files, is missing."
            )
    for path in found:
        if path.stat().st_size <= LARGEST and not is_whole_safetensors(path):
            raise UserError(f"The file {str(path)!r} is damaged: its size does not match its header. Save it again.")


def _code_files(folder: Path, config: dict[str, Any]) -> list[HubFile]:
    """The Python files named in `auto_map`, with all relative imports.

    For a model family of the toolkit, `auto_map` is completed in place so that every head can be loaded, and files
    missing from the folder are taken from the toolkit.
    """
    import tl_toolkit.models as models

    family = next((one for one in models.FAMILIES if one.model_type == config["model_type"]), None)
    if family is not None:
        config["auto_map"] = dict(family.auto_classes)
    processors = ("tokenizer_config.json", "preprocessor_config.json", "processor_config.json")
    settings = [config, *(_settings_in(folder / name) for name in processors if (folder / name).is_file())]
    references = [reference for one in settings for reference in auto_map_references(one)]
    files: dict[str, HubFile] = {}
    waiting = [reference.partition(".")[0] for reference in references if "--" not in reference]
    while waiting:
        name = f"{waiting.pop()}.py"
        if name in files:
            continue
        if Path(name).name != name or "\\" in name:  # a path could point to any file of this machine
            raise UserError(
                f"The auto_map in {str(folder)!r} names {name!r}, which is not a Python file beside config.json."
            )
        path = folder / name
        if path.is_file():
            _check_within(folder, path)
        elif family is not None:
            path = Path(models.__file__).parent / name
        if not path.is_file():
            raise UserError(
                f"The config.json in {str(folder)!r} names code in {name!r}, which is missing. The published model "
                "could not be loaded without it. Copy the file into the folder."
            )
        files[name] = HubFile(name, path)
        text = path.read_text(encoding="utf-8")
        waiting += re.findall(r"^\s*from\s+\.(\w+)\s+import\b", text, flags=re.MULTILINE)
    return list(files.values())


def carries_code(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether loading the model runs code from its folder."""
    return bool(config.get("auto_map")) and any(folder.glob("modeling_*.py"))


def _settings_in(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{str(path)!r} is not valid JSON: {error}.") from error
    if not isinstance(settings, dict):
        raise UserError(f"{str(path)!r} must contain a JSON object.")
    return settings


def auto_map_references(settings: Mapping[str, Any]) -> list[str]:
    """`file.Class` of every entry of `auto_map`; tokenizers have a pair, and old ones have just the pair, no dict."""
    auto_map = settings.get("auto_map")
    entries = auto_map.values() if isinstance(auto_map, dict) else [auto_map]
    values = [one for value in entries for one in (value if isinstance(value, list | tuple) else [value])]
    return [str(value) for value in values if value]


def as_json(content: Any, indent: int = 2) -> bytes:
    """JSON in the format of the toolkit and transformers."""
    return (json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False) + "\n").encode()


def is_obsolete(path: str) -> bool:
    """Whether a file left in a repository would be mistaken for part of the new model."""
    names = (*WEIGHTS, *EXPORTED, "adapter_model.*", "adapter_config.json", "pytorch_model*", *_SETTINGS, *_TOKENS)
    name = path.removeprefix(f"{TARGET_FOLDER}/")
    return "/" not in name and any(fnmatch(name, pattern) for pattern in names)


def model_file(path: Path, folder: Path, config: dict[str, Any]) -> HubFile:
    """A file of a model as published: settings without details of this machine."""
    name = path.relative_to(folder).as_posix()
    if path.name not in _SETTINGS:
        return HubFile(name, path)
    content = path.read_bytes()
    if name == CONFIG and json.loads(content) != config:
        content = as_json(config)
    return HubFile(name, clean_settings(content))


def is_pickle(name: str) -> bool:
    """Whether a file name has the suffix of a pickle, ignoring case."""
    return any(fnmatch(name.lower(), pattern) for pattern in _PICKLES)


def matching(folder: Path, patterns: Sequence[str]) -> Iterator[Path]:
    """The files of `folder` that match a pattern, each once; UserError for a pattern that leads out of the folder."""
    seen = set()
    for pattern in patterns:
        if not pattern or Path(pattern).is_absolute() or ".." in Path(pattern).parts:
            raise UserError(
                "--include must be a pattern within the published folder, such as 'predictions_*.parquet', but is "
                f"{pattern!r}."
            )
        for path in sorted(folder.glob(pattern)):
            if path.is_file() and path not in seen:
                _check_within(folder, path)
                seen.add(path)
                yield path


def _check_within(folder: Path, path: Path) -> None:
    """UserError for a file of `folder` that is a link to a file elsewhere."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"{path.relative_to(folder).as_posix()!r} in {str(folder)!r} is a link that leads out of the folder. To "
            "publish the file, copy it into the folder."
        )


def _left(folder: Path, published: set[str]) -> Iterator[tuple[str, str]]:
    """The unpublished files and folders, each with the reason; a folder is one entry."""
    for path in sorted(folder.iterdir()):
        name = path.name
        inside = [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]
        if {one.relative_to(folder).as_posix() for one in inside} <= {*published, CARD, CURVE}:
            continue
        reason = next((why for pattern, why in _REASONS.items() if fnmatch(name, pattern)), "is not part of a model")
        yield name, "is a pickle" if is_pickle(name) else reason
