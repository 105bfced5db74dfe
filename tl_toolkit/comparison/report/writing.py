"""The report of a comparison: `results.jsonl` in, one self-contained page, a Markdown summary and pictures out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...atomic_files import write_text
from ...evaluation.formatting import MOST_TEXT, markdown_text, shortened, visible
from ...evaluation.results import UNKNOWN, Result, folder_name, panels, read_results
from ...figures.palette import DARK_SERIES, SERIES
from ..verdict.wording import in_unit
from .exports import write_exports
from .pairs import effect_value
from .panel import describe_panel

TEMPLATES = Path(__file__).parent / "templates"


def write_report(output_dir: Path, title: str, texts: bool = True, notes: Sequence[str] = ()) -> Path:
    """Writes report.html, report.md, figures/ and the exports from output_dir/results.jsonl; returns the page's path.

    Without `texts`, no text of the dataset is in them: rows are numbered only. `notes` is what there is to be said of
    where the records come from.

    Works on whatever runs are recorded so far: while the grid runs, with failed runs, without prediction files. Every
    file is renamed into place once it is whole.

    Raises:
        UserError: results.jsonl is missing or holds something other than result records.
    """
    output_dir = Path(output_dir)
    results = read_results(output_dir / "results.jsonl")
    context = build_context(results, output_dir, title, texts) | {"notes": list(notes)}
    page, summary = _environment(html=True), _environment(html=False)
    pages = {
        "report.html": page.get_template("report.html.jinja").render(context),
        "report.md": summary.get_template("report.md.jinja").render(context),
    }
    for name, text in pages.items():
        write_text(output_dir / name, text)
    write_exports(panels(results), output_dir)
    return output_dir / "report.html"


def build_context(results: Sequence[Result], output_dir: Path, title: str, texts: bool = True) -> dict[str, Any]:
    """Everything that the templates say: `title`, and `panels`, one for each dataset, in the order of the grid.

    What a panel holds is in `report_panel.describe_panel`; with several panels each has the `name` of its dataset,
    with a single one it is None and no heading is needed.
    """
    from markupsafe import Markup

    groups = panels(results) or {UNKNOWN: []}
    several = len(groups) > 1
    described = [
        {"name": name if several else None}
        | describe_panel(runs, output_dir, f"{folder_name(name)}-{number}-" if several else "", texts)
        for number, (name, runs) in enumerate(groups.items(), start=1)
    ]
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    return {
        "title": title,
        "panels": described,
        "texts": texts,
        "series": list(zip(SERIES, DARK_SERIES, strict=True)),
        "script": Markup(script),
        "script_hash": _content_hash(script),
    }


def _content_hash(script: str) -> str:
    """The source expression that lets a page with a content security policy run this script and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _environment(html: bool) -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=html,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible if html else markdown_text,
    )
    environment.filters["in_unit"] = in_unit
    environment.filters["shortened"] = lambda text: shortened(text, MOST_TEXT)
    environment.filters["effect"] = effect_value
    return environment
