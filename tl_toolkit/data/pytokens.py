"""`builtin:pytokens`: a tagging dataset built from the lines of Python's standard library, without downloads.

A row is a logical line, and its words are the tokens of Python. The tag of a name is its role in the syntax tree: read,
assigned, called, method, attribute, parameter, and so on; the spelling of a token says little about its role. The rows
depend only on the version of Python.
"""

from __future__ import annotations

import ast
import keyword
import platform
import sysconfig
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from . import docstrings
from .built_in import (
    built_folder,
    chosen_config,
    digest,
    read_record,
    read_split,
    split_by_hash,
    write_record,
    write_split,
)
from .docstrings import parsed, python_files

if TYPE_CHECKING:
    from datasets import DatasetDict

TAGS = (
    "keyword", "constant", "number", "string", "operator",
    "name", "assigned", "call", "attribute", "method", "parameter", "argument", "function", "class", "module",
    "imported",
)  # fmt: skip
"""The tags: types of tokens and, from `name` on, roles of names."""

LENGTHS = range(4, 41)
"""Numbers of tokens that a row may have."""

LINES_PER_FILE = 60
"""Most rows from one file, so that long modules do not dominate the dataset."""

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}

Row = tuple[list[str], list[str]]
Place = tuple[int, int]
_CONSTANTS = ("True", "False", "None")
_LAYOUT = (tokenize.ENCODING, tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT)


def load_pytokens(config_name: str | None = None) -> DatasetDict:
    """Return the splits train, validation and test with the columns `tokens` and `tags`; built once and cached.

    All rows of a file are in one split, and no two rows have the same tokens. Strings are reduced to their quotes.

    Raises:
        UserError: a configuration is specified (there are none), or the source of the standard library is missing.
    """
    chosen_config("pytokens", config_name, ())
    from datasets import ClassLabel, DatasetDict, List, Value

    folder = _built_folder()
    features = {"tokens": List(Value("string")), "tags": List(ClassLabel(names=list(TAGS)))}
    return DatasetDict(
        {split: read_split(folder / f"{split}.parquet", "pytokens", split, features) for split in SHARES}
    )


def pytokens_record() -> dict[str, Any]:
    """Return the `fingerprint` (a hash of all rows) and `versions` (that of Python)."""
    return read_record(_built_folder())


# --- rows -----------------------------------------------------------------------------------------------------------


def tagged_lines(source: str) -> Iterator[Row]:
    """Yield the rows of a module in the order of a hash; none if it does not parse."""
    if (tree := parsed(source)) is None:
        return
    lines = source.splitlines(keepends=True)
    for statement in sorted(_statements(tree), key=lambda own: (digest(lines[own.lineno - 1]), own.lineno)):
        before = lines[statement.lineno - 1][: statement.col_offset]
        row = _tagged(statement, lines) if not before.strip() else None
        if row is not None and len(row[0]) in LENGTHS:
            yield row


def _statements(tree: ast.AST) -> Iterator[ast.stmt]:
    """Yield all statements in source order, except docstrings and other lone constants."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.stmt) and not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):
            yield child
        if isinstance(child, (ast.stmt, ast.excepthandler)) or type(child).__name__ == "match_case":
            yield from _statements(child)


def _tagged(statement: ast.stmt, lines: list[str]) -> Row | None:
    """Tag the logical line on which a statement starts; None if the role of a token is uncertain."""
    tokens = _line_tokens(lines, statement.lineno - 1)
    last = tokens[-1].end[0] + statement.lineno - 1 if tokens else 0
    body = getattr(statement, "body", None)
    several = any(token.string == ";" for token in tokens) or (body and body[0].lineno <= last)
    if not tokens or several or not all(line.isascii() for line in lines[statement.lineno - 1 : last]):
        return None
    roles = _roles(statement)
    words: list[str] = []
    tags: list[str] = []
    defines = isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    importing = "module" if isinstance(statement, (ast.Import, ast.ImportFrom)) else None
    for token in tokens:
        text, place = token.string, (token.start[0] + statement.lineno - 1, token.start[1])
        tag: str | None
        if token.type == tokenize.STRING:
            text, tag = _quotes(text), "string"
        elif token.type == tokenize.NUMBER:
            tag = "number"
        elif token.type == tokenize.OP:
            tag = "operator"
        elif text in _CONSTANTS:
            tag = "constant"
        elif keyword.iskeyword(text):
            tag = "keyword"
            if importing and text == "import" and isinstance(statement, ast.ImportFrom):
                importing = "imported"
        elif importing:
            tag = importing
        elif defines and words[-1] in ("def", "class"):
            tag = "class" if words[-1] == "class" else "function"
        else:
            tag = roles.get(place)
        if tag is None:
            return None
        words.append(text)
        tags.append(tag)
    return words, tags


def _line_tokens(lines: list[str], start: int) -> list[tokenize.TokenInfo]:
    """Return the tokens of the logical line at index `start`, without comments; an empty list on errors."""
    tokens: list[tokenize.TokenInfo] = []
    names = {getattr(tokenize, "FSTRING_START", None), getattr(tokenize, "TSTRING_START", None)} - {None}
    try:
        for token in tokenize.generate_tokens(iter(lines[start:]).__next__):
            if token.type == tokenize.NEWLINE:
                return tokens
            if token.type in names:  # since Python 3.12 f-strings are split into tokens, in earlier versions not
                return []
            if token.type not in _LAYOUT:
                tokens.append(token)
    except (tokenize.TokenError, SyntaxError, StopIteration):
        pass
    return []


def _roles(statement: ast.stmt) -> dict[Place, str]:
    """Return the roles of the names in a statement without its body, by line and column."""
    roles: dict[Place, str] = {}
    blocks = ("body", "orelse", "finalbody", "handlers", "cases", "decorator_list")
    pending = [
        child
        for field, value in ast.iter_fields(statement)
        if field not in blocks
        for child in (value if isinstance(value, list) else [value])
        if isinstance(child, ast.AST)
    ]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Call):  # handled before its function, so that this role takes precedence
            function = node.func
            if isinstance(function, (ast.Name, ast.Attribute)):
                roles[_place(function)] = "call" if isinstance(function, ast.Name) else "method"
        if isinstance(node, ast.Name):
            roles.setdefault(_place(node), "name" if isinstance(node.ctx, ast.Load) else "assigned")
        elif isinstance(node, ast.Attribute):
            roles.setdefault(_place(node), "attribute")
        elif isinstance(node, ast.arg):
            roles[node.lineno, node.col_offset] = "parameter"
        elif isinstance(node, ast.keyword) and node.arg is not None:
            roles[node.lineno, node.col_offset] = "argument"
        if not isinstance(node, ast.JoinedStr):  # a single token; the positions inside it are wrong
            pending += ast.iter_child_nodes(node)
    return roles


def _place(node: ast.Name | ast.Attribute) -> Place:
    if isinstance(node, ast.Name):
        return node.lineno, node.col_offset
    assert node.end_lineno is not None and node.end_col_offset is not None
    return node.end_lineno, node.end_col_offset - len(node.attr)


def _quotes(string: str) -> str:
    """Return the prefix and the quotes of a string literal, without its content, which may be long."""
    start = min(string.find(quote) for quote in "'\"" if quote in string)
    return string[:start] + string[start] * 2


def split_of(name: str) -> str:
    """Choose the split of a file by a hash of its path within the library."""
    return split_by_hash(name, SHARES)


def build_rows(sources: Iterable[tuple[str, str]]) -> dict[str, list[Row]]:
    """Build the shuffled rows of every split from names and sources of files; equal lines are kept once."""
    splits: dict[str, list[Row]] = {split: [] for split in SHARES}
    seen: set[tuple[str, ...]] = set()
    for name, source in sources:
        fresh: list[Row] = []
        for row in tagged_lines(source):
            if (key := tuple(row[0])) not in seen:
                seen.add(key)
                fresh.append(row)
            if len(fresh) == LINES_PER_FILE:
                break
        splits[split_of(name)] += fresh
    return {split: sorted(rows, key=lambda row: digest(" ".join(row[0]))) for split, rows in splits.items()}


# --- collection and cache -------------------------------------------------------------------------------------------


def _sources() -> Iterator[tuple[str, str]]:
    folder = Path(sysconfig.get_path("stdlib"))
    files = python_files(folder)
    if not files:
        raise UserError(
            f"The dataset 'builtin:pytokens' is built from the source of Python's standard library, but {folder} "
            "contains no .py files. Use a Python installation that includes them."
        )
    for file in files:
        try:
            with tokenize.open(file) as stream:
                yield file.relative_to(folder).as_posix(), stream.read()
        except (SyntaxError, UnicodeDecodeError, OSError):
            continue


def _built_folder() -> Path:
    return built_folder("pytokens", platform.python_version(), (docstrings.__file__, __file__), _write)


def _write(folder: Path) -> None:
    splits = build_rows(_sources())
    ids = {tag: index for index, tag in enumerate(TAGS)}
    for split, rows in splits.items():
        tags = [[ids[tag] for tag in own] for _, own in rows]
        write_split({"tokens": [words for words, _ in rows], "tags": tags}, folder / f"{split}.parquet")
    write_record(splits, {"python": platform.python_version()}, folder)
