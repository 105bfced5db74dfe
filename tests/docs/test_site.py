"""The pages of the site: all are reachable, links lead somewhere on GitHub as well, and flags are all described."""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
sys.path.append(str(DOCS))

PAGES = [page for page in DOCS.rglob("*.md") if "reports" not in page.parts]


def without_code(text: str) -> str:
    return re.sub(r"^(```+).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text()), re.MULTILINE)
    shown = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in shown}


def test_every_page_is_in_a_table_of_contents() -> None:
    reached, open_pages = set(), [DOCS / "index.md"]
    while open_pages:
        page = open_pages.pop()
        reached.add(page)
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                name = re.sub(r".*<(.+)>$", r"\1", line.strip())
                if name and not name.startswith(":"):
                    found = set(page.parent.glob(f"{name}.md"))
                    assert found or "*" in name, f"{page.name} lists {name}, which does not exist"
                    open_pages += found - reached
    assert reached == set(PAGES)


def test_links_between_files_lead_somewhere() -> None:
    broken = []
    for page in [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for link in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", without_code(page.read_text())):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            known = anchors(target) if target.suffix == ".md" and target.exists() else set()
            if not target.exists() or (anchor and "reference" not in target.parts and anchor not in known):
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert not broken


def test_pages_describe_every_flag_and_every_field() -> None:
    from _site.listings import fields_table, flag_sections, inherited_flags, options, parsers

    described = flag_sections() + options(inherited_flags().values())
    flags = {action.dest for parser in parsers().values() for action in parser._actions if action.dest != "help"}
    assert len(flags) > 200
    assert {flag for flag in flags if f"{{option}} --{flag} " not in described} == set()
    table = fields_table("RnnConfig")
    assert "| `hidden_size` <br> 128 | size of the state of one direction" in table
    assert "| `vocab_size` <br> 30000 |" in table  # of the base class
    from tl_toolkit.models import RnnConfig

    own = set(RnnConfig.__annotations__) - {"auto_classes"}
    assert {field for field in own if f"| `{field}` <br> " not in table} == set()
