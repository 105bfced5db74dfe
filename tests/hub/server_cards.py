"""The Hub's checks of the metadata in a README.md before it accepts a commit."""

from __future__ import annotations

import re
from typing import Any

import yaml

# From https://huggingface.co/docs/hub/repositories-licenses, only those that tests need.
LICENCES = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause
    bsd-3-clause cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0
    cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0
    cc-by-nc-sa-4.0 ecl-2.0 epl-1.0 epl-2.0 eupl-1.1 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc
    mpl-2.0 ms-pl odc-by odbl pddl postgresql unlicense wtfpl zlib psfl-2.0 llama2 llama3 gemma other unknown
"""
COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
REPO_ID = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")


def front(content: str) -> str | None:
    """The YAML front matter between two lines of three dashes, or None."""
    match = re.match(r"\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|$)", content, re.DOTALL)
    return match.group(1) if match else None


def metadata(content: str) -> dict[str, Any] | None:
    """The metadata of a card, or None."""
    text = front(content)
    found = yaml.safe_load(text) if text is not None else None
    return found if isinstance(found, dict) else None


def check_card(content: str, repo_type: str) -> tuple[list[str], list[str]]:
    """Errors, for which a commit is refused, and warnings."""
    text = front(content)
    if text is None:
        return [], ["empty or missing yaml metadata in repo card"]
    try:
        card = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return [f"Invalid YAML: {error}"], []
    if not isinstance(card, dict):
        return ['"metadata" must be an object'], []
    errors: list[str] = []
    for licence in listed(card.get("license")):
        if licence not in LICENCES.split():
            errors.append(f'"license" must be one of the Hub\'s identifiers, not {licence!r}')
    for language in listed(card.get("language")):
        if not re.fullmatch(r"[a-z]{2,3}(-\w+)*|multilingual|code", str(language)):
            errors.append(f'"language" must only contain ISO 639 codes or "multilingual", not {language!r}')
    if not all(isinstance(tag, str) for tag in listed(card.get("tags"))):
        errors.append('"tags" must be an array of strings')
    for key in ("base_model", "datasets"):
        for value in listed(card.get(key)):
            if not REPO_ID.fullmatch(str(value)):
                errors.append(f'"{key}" with value {value!r} is not valid. Use a repository id of the Hub.')
    errors += check_index(card.get("model-index"))
    if repo_type == "space":
        errors += check_space(card)
    return errors, []


def listed(value: object) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def check_index(index: object) -> list[str]:
    """Errors in results in the format of https://github.com/huggingface/hub-docs/blob/main/modelcard.md."""
    errors = []
    for i, model in enumerate(listed(index)):
        if not isinstance(model, dict) or not model.get("name"):
            errors.append(f'"model-index[{i}].name" is required')
            continue
        for j, result in enumerate(listed(model.get("results"))):
            place = f"model-index[{i}].results[{j}]"
            for part, keys in (("task", ("type",)), ("dataset", ("type", "name"))):
                facts = result.get(part) or {}
                errors += [f'"{place}.{part}.{key}" is required' for key in keys if not facts.get(key)]
            metrics = listed(result.get("metrics"))
            if not metrics:
                errors.append(f'"{place}.metrics" is required')
            for k, metric in enumerate(metrics):
                errors += [
                    f'"{place}.metrics[{k}].{key}" is required' for key in ("type", "value") if metric.get(key) is None
                ]
    return errors


def check_space(card: dict[str, Any]) -> list[str]:
    errors = []
    if card.get("sdk") not in ("gradio", "streamlit", "docker", "static"):
        errors.append('"sdk" must be one of [gradio, docker, static, streamlit]')
    for key in ("colorFrom", "colorTo"):
        if key in card and card[key] not in COLOURS:
            errors.append(f'"{key}" must be one of [{", ".join(COLOURS)}]')
    if len(str(card.get("short_description") or "")) > 60:
        errors.append('"short_description" length must be less than or equal to 60 characters long')
    return errors
