"""Publish a comparison on the Hub as a dataset, a static page, or a demo, depending on the repository type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ...hub.contents import Contents
from ...hub.publishing import Publication, publish_as
from ...hub.transfer import Outcome
from .arguments import ComparisonRequest
from .reports import check_report_folder, dataset_contents
from .spaces import gradio_contents, static_contents

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_MADE = ("app.py", "models.json", "requirements.txt", "index.html", "report.html")


def publish_comparison(
    request: ComparisonRequest, api: HfApi | None = None, say: Callable[[str], None] = print
) -> Outcome | None:
    """Publish the requested comparison; arguments and errors as in `hub.publishing.publish`."""
    return publish_as(Publication(check_report_folder, _contents, _is_obsolete), request, api, say)


def _contents(request: ComparisonRequest, repo_id: str, api: HfApi | None) -> Contents:
    """The files to publish; UserError if the folder is not a comparison that this repository type can show."""
    folder, asked = request.folder, request.report
    if request.publish.repo_type == "dataset":
        return dataset_contents(folder, repo_id, request.card, texts=asked.texts, include=request.publish.include)
    if asked.space_sdk == "gradio":
        return gradio_contents(folder, repo_id, request.card, asked, api)
    return static_contents(folder, repo_id, request.card, texts=asked.texts)


def _is_obsolete(path: str) -> bool:
    return path.startswith(("figures/", "models/")) or path in _MADE or Path(path).stem == "results"
