"""Rows of tagged Python from small sources and from the standard library."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tl_toolkit.data import pytokens
from tl_toolkit.errors import UserError


def tagged(source: str) -> list[tuple[str, str]]:
    ((words, tags),) = pytokens.tagged_lines(source)
    return list(zip(words, tags, strict=True))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "total = add(x, scale=math.pi)",
            "total:assigned =:operator add:call (:operator x:name ,:operator scale:argument =:operator math:name "
            ".:operator pi:attribute ):operator",
        ),
        (
            "self.rows.append('a' 'b', 1)  # said",
            "self:name .:operator rows:attribute .:operator append:method (:operator '':string '':string ,:operator "
            "1:number ):operator",
        ),
        (
            "def run(self, *names: str, key=None):\n    pass",
            "def:keyword run:function (:operator self:parameter ,:operator *:operator names:parameter ::operator "
            "str:name ,:operator key:parameter =:operator None:constant ):operator ::operator",
        ),
        ("class A(Base):\n    pass", "class:keyword A:class (:operator Base:name ):operator ::operator"),
        (
            "from os.path import join as j",
            "from:keyword os:module .:operator path:module import:keyword join:imported as:keyword j:imported",
        ),
        ("for place in range(3):\n    pass", None),
        ("x = f(rb'''long\ntext''')", "x:assigned =:operator f:call (:operator rb'':string ):operator"),
        ("f(g)(h.i)()", "f:call (:operator g:name ):operator (:operator h:name .:operator i:attribute ):operator "
         "(:operator ):operator"),
    ],
)  # fmt: skip
def test_roles(source: str, expected: str | None) -> None:
    if expected is None:
        expected = "for:keyword place:assigned in:keyword range:call (:operator 3:number ):operator ::operator"
    assert [f"{word}:{tag}" for word, tag in tagged(source)] == expected.split()


@pytest.mark.parametrize(
    "source",
    [
        "x = 1",  # too short
        "a = b; c = d",  # two statements
        "if a: return_value = b",  # a body in the same line
        "name = 'é' + other",  # columns of bytes and of characters differ
        "'a docstring'",
        "a = (",
        "x = [" + "1, " * 40 + "]",
    ],
)
def test_skipped_lines(source: str) -> None:
    assert list(pytokens.tagged_lines(source)) == []


def test_compound_statements_have_a_row_per_line() -> None:
    source = "try:\n    a = f(b)\nexcept E as e:\n    if a.b:\n        c = g(d)\nelse:\n    h(i, j)\n"
    rows = {" ".join(words) for words, _ in pytokens.tagged_lines(source)}
    assert rows == {"a = f ( b )", "if a . b :", "c = g ( d )", "h ( i , j )"}


def test_a_file_is_in_one_split_and_a_line_in_one_row() -> None:
    sources = [(f"package/file{index}.py", f"same = f(1)\nown{index} = f({index})\n") for index in range(97)]
    splits = pytokens.build_rows(sources)
    lines = [" ".join(words) for rows in splits.values() for words, _ in rows]
    assert len(lines) == len(set(lines)) == 98
    assert [len(splits[split]) > 0 for split in pytokens.SHARES] == [True, True, True]
    for split, rows in splits.items():
        for words, _ in rows:
            if words[0] != "same":
                assert pytokens.split_of(f"package/file{words[0].removeprefix('own')}.py") == split
    assert pytokens.build_rows(sources) == splits


@pytest.fixture
def small_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A standard library of thirty files."""
    folder = tmp_path / "library"
    folder.mkdir()
    for index in range(30):
        (folder / f"module{index}.py").write_text(f"value{index} = compute(one, two)\n", encoding="utf-8")
    monkeypatch.setattr(pytokens.sysconfig, "get_path", lambda name: str(folder))
    monkeypatch.setenv("TL_TOOLKIT_CACHE", str(tmp_path / "cache"))
    return folder


def test_loads_and_builds_once(small_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tl_toolkit.config.arguments import DataArguments
    from tl_toolkit.data.sources import load_source

    source = load_source(DataArguments(dataset_name="builtin:pytokens"))
    assert sum(len(split) for split in source.dataset.values()) == 30
    row = source.dataset["train"][0]
    names = source.dataset["train"].features["tags"].feature.names
    assert [names[tag] for tag in row["tags"]][:3] == ["assigned", "operator", "call"]
    assert row["tokens"][1:] == ["=", "compute", "(", "one", ",", "two", ")"]
    assert list(source.record["versions"]) == ["python"]
    monkeypatch.setattr(pytokens, "_sources", lambda: pytest.fail("built again"))
    assert pytokens.load_pytokens()["train"][0] == row
    assert pytokens.pytokens_record()["fingerprint"] == source.record["fingerprint"]
    json.dumps(source.record)


def test_errors_name_the_problem(small_library: Path) -> None:
    with pytest.raises(UserError, match="no configurations: leave 'small' out"):
        pytokens.load_pytokens("small")
    for file in small_library.glob("*.py"):
        file.unlink()
    with pytest.raises(UserError, match="no .py files"):
        pytokens.load_pytokens()


def test_the_standard_library_itself() -> None:
    """In some of its modules, nearly every line is tagged, and names have many roles."""
    found = [source for name, source in pytokens._sources() if name in ("argparse.py", "json/decoder.py", "ast.py")]
    rows = [row for source in found for row in pytokens.tagged_lines(source)]
    assert len(found) == 3 and len(rows) > 1000
    tags = {tag for _, own in rows for tag in own}
    assert tags == set(pytokens.TAGS)
    roles: dict[str, set[str]] = {}
    for words, own in rows:
        for word, tag in zip(words, own, strict=True):
            roles.setdefault(word, set()).add(tag)
    assert {"assigned", "name", "parameter", "argument"} <= roles["value"] | roles["help"] | roles["name"]
