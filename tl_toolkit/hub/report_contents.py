"""What of a comparison is published: a dataset, a page, or a demonstration, as the kind of repository says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import PublishRequest
from .contents import Contents
from .reports import check_report_folder, dataset_contents
from .spaces import gradio_contents, static_contents

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["check_report_folder", "is_obsolete_report", "report_contents"]

_MADE = ("app.py", "models.json", "requirements.txt", "index.html", "report.html")


def report_contents(request: PublishRequest, repo_id: str, api: HfApi | None) -> Contents:
    """The files that were asked for.

    Raises:
        UserError: the folder is no comparison, or none that this kind of repository can show.
    """
    folder, asked = request.folder, request.report
    if request.publish.repo_type == "dataset":
        return dataset_contents(folder, repo_id, request.card, texts=asked.texts, include=request.publish.include)
    if asked.space_sdk == "gradio":
        return gradio_contents(folder, repo_id, request.card, asked, api)
    return static_contents(folder, repo_id, request.card, texts=asked.texts)


def is_obsolete_report(path: str) -> bool:
    """Whether a file in a repository belongs to the publication before, and not to this one."""
    return path.startswith(("figures/", "models/")) or path in _MADE or Path(path).stem == "results"
