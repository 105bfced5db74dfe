"""Relative links to files outside docs/ lead to GitHub, in the site; such a file that does not exist is an error."""

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

REPOSITORY = "https://github.com/tl-toolkit/tl_toolkit/blob/main"
_LINK = re.compile(r"\]\(((?:\.\./|\./)*(?:\.\./)[^)#\s]+)((?:#[^)\s]*)?)\)")
_ROOT = Path(__file__).parents[2]


def _to_github(app: Sphinx, page: str, source: list[str]) -> None:
    folder = Path(app.env.doc2path(page)).parent

    def replace(link: re.Match[str]) -> str:
        target = (folder / link[1]).resolve()
        if target.is_relative_to(_ROOT / "docs"):
            return link[0]
        if not target.exists():
            logging.getLogger(__name__).warning("There is no file %s", link[1], location=page)
        return f"]({REPOSITORY}/{target.relative_to(_ROOT)}{link[2]})"

    source[0] = _LINK.sub(replace, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", _to_github)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
