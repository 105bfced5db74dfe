"""Write a view's numbers and pictures, and the page with all views."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic_files import write_text, write_whole
from ..comparison.report.drawing import drawn_twice, page_svg, style
from ..comparison.report.writing import TEMPLATES
from ..errors import UserError
from ..evaluation import formatting as show
from ..figures.palette import DARK_SERIES, SERIES
from .view import Picture, View

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PAGE = "explain.html"
_MOST_TEXTS = 6
_MOST_ROWS = 150
"""Rows of a table in the page; the parquet files have all."""


@dataclass(frozen=True)
class Explanation:
    """What `explain` found.

    Attributes:
        numbers: tables by name, those of the parquet files.
        figures: matplotlib figures by name; maps of attention are only files.
        sentences: by view.
        page: the page to open in a browser.
        entries: of a comparison, what was found about each entry, or why there is nothing; `page` is its report.
    """

    numbers: dict[str, pd.DataFrame]
    figures: dict[str, Figure]
    sentences: dict[str, list[str]]
    page: Path
    entries: Mapping[str, Explanation | UserError] = field(default_factory=dict)


def write_page(views: Sequence[View], output_dir: Path, models: Sequence[str], texts: Sequence[str]) -> Explanation:
    """Write explain.html, figures/ and a parquet file for each table."""
    import jinja2
    from markupsafe import Markup

    folder = output_dir / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {name: table for view in views for name, table in view.numbers.items()}
    for name, table in numbers.items():
        write_whole(output_dir / f"{name}.parquet", partial(table.to_parquet, index=False))
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([Path(__file__).parent / "templates", TEMPLATES]), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=show.visible,
    )  # fmt: skip
    environment.globals |= {"show": show}
    described = [
        {
            "view": view,
            "pictures": [(own.title, _drawn(own, folder)) for own in view.pictures],
            "tables": [
                (caption, {"columns": columns, "rows": rows[:_MOST_ROWS], "texts": words, "links": None}, len(rows))
                for caption, columns, rows, words in view.tables
            ],
            "attended": [(title, *_shaded(tokens, weights)) for title, tokens, weights in view.attended],
        }
        for view in views
    ]
    page = environment.get_template("explain.html.jinja").render(
        views=described, models=models, texts=texts[:_MOST_TEXTS], more_texts=len(texts[_MOST_TEXTS:]),
        series=list(zip(SERIES, DARK_SERIES, strict=True)),
        script=Markup(script), script_hash=f"sha256-{digest}",
    )  # fmt: skip
    write_text(output_dir / PAGE, page)
    with style():
        figures = {own.name: own.draw(False) for view in views for own in view.pictures if own.draw}
    for figure in figures.values():  # Jupyter itself only draws those of pyplot
        figure._repr_png_ = partial(_png, figure)  # type: ignore[attr-defined]
    return Explanation(numbers, figures, {view.name: list(view.sentences) for view in views}, output_dir / PAGE)


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def _drawn(picture: Picture, folder: Path) -> dict[str, Any]:
    from markupsafe import Markup

    if picture.draw is not None:
        return drawn_twice(picture.draw, folder, picture.name, picture.description)
    assert picture.write is not None
    for suffix in ("png", "svg"):
        picture.write(folder / f"{picture.name}.{suffix}")
    svg = (folder / f"{picture.name}.svg").read_text(encoding="utf-8")
    return {"wide": Markup(page_svg(svg, picture.name, picture.description)), "narrow": None}


def _shaded(tokens: list[str], weights: list[float]) -> tuple[list[tuple[str, float, float]], list[tuple[str, float]]]:
    """(token, weight, size as a share of the greatest) of each token, and the three with the largest weights."""
    greatest = max(map(abs, weights), default=0) or 1.0
    pairs = sorted(zip(tokens, weights, strict=True), key=lambda own: -abs(own[1]))[:3]
    return [(token, own, round(abs(own) / greatest, 3)) for token, own in zip(tokens, weights, strict=True)], pairs
