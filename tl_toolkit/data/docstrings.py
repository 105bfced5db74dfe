"""Extract English prose from the docstrings of installed Python packages with `ast`, and mask library names.

The packages are not imported. This file uses only the standard library, because `collect` runs it as a script in
worker processes: these start in milliseconds and neither fork the caller (which may run threads of torch) nor import
its main module again.
"""

from __future__ import annotations

import ast
import functools
import gc
import inspect
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MASK = "library"
"""Replacement for the name of a library in a text."""

FEWEST_WORDS = 5
"""Shorter paragraphs are headings, names and types rather than prose."""

_SKIPPED_FOLDERS = {
    *("test", "tests", "testing", "test_support", "benchmarks", "conftest", "__pycache__"),
    *("site-packages", "dist-packages", "idlelib", "lib2to3", "ensurepip", "turtledemo", "third_party"),
}
_VENDORED = re.compile(r"vendor|^_?extern")
_GENERATED = b"automatically generated from"  # at the start of a file that is a copy of another one
_TEST_FILE = re.compile(r"^(test_.*|.*_test|tests?|conftest)\.py$")

# Names that reveal a library even inside longer words (TorchScript, libtorch, sklearn_tags), and short aliases that
# only count as whole words. "transformer" and "hub" are common nouns; "transformers" is a name.
_INSIDE = (
    r"torch|numpy|pandas|scipy|scikits?[- _]?learn|sklearn|matplotlib|pyplot|pylab|mpl_|sympy|networkx|"
    r"hugging[- _]?face|hf_|cpython|python"
)
_ALONE = r"transformers|np|pd|plt|mpl|nx|hf|hfh|scikits?|(?-i:H[fF][A-Z]\w*)"
_NAME = re.compile(rf"\w*(?:{_INSIDE})\w*|(?<![A-Za-z0-9])(?:{_ALONE})(?![A-Za-z0-9])", re.IGNORECASE)
# Every lower-cased text that matches `_NAME` contains one of these: a fast check that skips most texts.
_HINTS = (
    *("torch", "numpy", "pandas", "scipy", "scikit", "sklearn", "matplotlib", "pyplot", "pylab", "python", "mpl"),
    *("sympy", "networkx", "hugging", "hf", "transformers"),
)
_SHORT_HINT = re.compile(r"(?<![a-z0-9])(?:np|pd|plt|nx)(?![a-z0-9])")
_SPACED = re.compile(r"(hugging|scikits?)[- ](face|learn)", re.IGNORECASE)
_REPEATED = re.compile(rf"\b{MASK}(?:[\s-]+{MASK}\b)+")
_NAMED_PATH = re.compile(rf"(?:[\w~]+[./])*(?:{_NAME.pattern})(?:[./]\w+)*", re.IGNORECASE)


def python_files(folder: Path) -> list[Path]:
    """Return the sorted `.py` files under `folder`, without tests, vendored code and links to folders."""
    found = []
    for path, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS and not _VENDORED.search(name)]
        found += [Path(path, name) for name in files if name.endswith(".py") and not _TEST_FILE.match(name)]
    return sorted(found, key=lambda file: file.relative_to(folder).parts)


def parsed(source: str | bytes) -> ast.Module | None:
    """Return the syntax tree of a module, or None if it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def docstrings(source: bytes) -> Iterator[str]:
    """Yield the docstrings of a module, its classes and functions in source order; none if it does not parse."""
    tree = parsed(source)
    if tree is None:
        return
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        body: list[ast.stmt] = getattr(node, "body", [])
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text:
                yield inspect.cleandoc(text)
        # Only statements contain definitions, so expressions (most of the tree) are skipped.
        blocks = [body, getattr(node, "orelse", []), getattr(node, "finalbody", []), getattr(node, "handlers", [])]
        pending += reversed([child for block in blocks for child in block if isinstance(child, ast.AST)])


# --- paragraphs -----------------------------------------------------------------------------------------------------

_RULE = re.compile(r"^\s*([=\-~^*#\"`+_.:])\1{2,}[\s=\-~+]*$")
_SECTION = re.compile(
    r"^\s*(?:\*\*)?(args?|arguments?|(?:other |keyword )?param(?:eter)?s?|keyword arg(?:ument)?s?|kwargs|returns?|"
    r"yields?|raises?|throws|warns|warnings?|examples?(?: usage)?|usage|notes?|references?|see also|attributes?|"
    r"methods|inputs?|outputs?|shape|side effects?|todo|tips?|explanation|history|authors?|synopsis)"
    r"(?:\*\*)?\s*:{0,2}\s*$",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^\s*(?:[-*+•]|\(?\d{1,2}[.)]|\(?[a-z]\)|#\.)\s+")
_FIELD = re.compile(r"^\s*(?::[a-z]\w*(?:\s[^:`]*)?:(?!`)|@\w+\b)\s*", re.IGNORECASE)
_ITEM = re.compile(r"^\s*\*{0,2}[`\w.\[\]]+`?(?: \([^)]*\))?\s?:\s")
_DIRECTIVE = re.compile(r"^\s*\.\.(?:\s+(?P<name>[\w:-]+?)::|\s|$)")
_PROSE_DIRECTIVES = {"note", "warning", "seealso", "tip", "important", "caution", "hint", "attention"}
_TERM = re.compile(r":$|\s:\s|^\s*\*{0,2}[\w.]+(?:, ?\*{0,2}[\w.]+)*$|\)$")
_CODE = re.compile(r"^\s*(?:>>>|\.\.\. |In \[\d|\$ |import \w|from \S+ import |def |class \w+[(:]|#!|#\s)")
_FENCE = re.compile(r"^\s*(?:```|~~~)")


def blocks(docstring: str) -> Iterator[str]:
    """Yield the paragraphs of a cleaned docstring as raw text, one line each, without code, headings and sections."""
    lines: list[str] = []
    start = last = 0  # indentation of the paragraph's first and latest line
    hidden: int | None = None  # code is skipped while lines are indented deeper than this
    fenced = in_code = False

    def finished() -> Iterator[str]:
        nonlocal lines
        if lines:
            yield " ".join(line.strip() for line in lines)
            lines = []

    for line in docstring.splitlines():
        if _FENCE.match(line):
            # A fence that opens and closes on the same line is inline code.
            fenced = not fenced if line.strip().count("```") != 2 else fenced
            yield from finished()
            continue
        if fenced:
            continue
        if not line.strip():
            if lines and lines[-1].rstrip().endswith("::"):
                hidden = start
            in_code = False
            yield from finished()
            continue
        indentation = len(line) - len(line.lstrip())
        if hidden is not None and indentation > hidden:
            continue
        hidden = None
        if _CODE.match(line):
            in_code = True
            yield from finished()
            continue
        if in_code:
            continue
        directive = _DIRECTIVE.match(line)
        if directive:
            yield from finished()
            name = directive["name"]
            if name not in _PROSE_DIRECTIVES:
                hidden = indentation
            elif line[directive.end() :].strip():
                lines, start, last = [line[directive.end() :]], indentation, indentation
            continue
        if _RULE.match(line) or _SECTION.match(line):
            yield from finished()
            continue
        marker = _BULLET.match(line) or _FIELD.match(line)
        if lines:
            term = bool(_TERM.search(lines[-1].rstrip())) and indentation > start
            back = indentation < start or (indentation == start and last > start)
            if marker or term or back or _ITEM.match(line):
                if lines[-1].rstrip().endswith("::") and indentation > start:
                    yield from finished()
                    hidden = start
                    continue
                yield from finished()
        if not lines:
            start = indentation
        last = indentation
        lines.append(line[marker.end() :] if marker else line)
    yield from finished()


# --- markup and names -----------------------------------------------------------------------------------------------

_MARKUP: tuple[tuple[str, re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    ("`", re.compile(r"`([^`<>]+?)\s*<[^`<>]+>`__?"), r"\1"),  # `words <target>`_
    ("`", re.compile(r":[\w:+-]+:`([^`<>]+?)\s*<[^`<>]+>`"), r"\1"),  # :role:`words <target>`
    ("`", re.compile(r":[\w:+-]+:`[!~.]?([^`]*)`"), r"\1"),  # :role:`words`
    ("](", re.compile(r"!?\[([^\]]*)\]\((?:[^()\s]|\([^()]*\))*\)"), r"\1"),  # [words](target)
    ("[`", re.compile(r"\[`+[~!]?([^`\]]+)`+\]"), r"\1"),  # [`name`]
    ("]_", re.compile(r"\s?\[(?:#?\w{0,12}|\d+)\]_"), ""),  # footnote [1]_
    ("[", re.compile(r"\s?\[\d+(?:,\s?\d+)*\]"), ""),  # citation [1, 2]
    ("://", re.compile(r"<?\b(?:https?|ftp|file)://[^\s>)\]]*[^\s>)\].,;:]>?"), ""),
    ("www.", re.compile(r"\bwww\.\S*\w"), ""),
    ("@", re.compile(r"\b[\w.+-]+@[\w-]+\.\w[\w.]*\w"), ""),
    (".org", re.compile(r"\b[\w-]+\.org\b(?:/\S*\w)?"), ""),
    (".co", re.compile(r"\b[\w-]+\.com?\b(?:/\S*\w)?"), ""),
    ("<", re.compile(r"</?[A-Za-z][\w-]*(?:\s[^<>]*)?/?>"), ""),  # tags
    ("|", re.compile(r"\|([^\s|](?:[^|]*[^\s|])?)\|_{0,2}"), r"\1"),  # |substitution|
    ("`", re.compile(r"``([^`]*)``"), r"\1"),
    ("`", re.compile(r"`[~!]?\.?([^`]+)`_{0,2}"), r"\1"),
    ("*", re.compile(r"(?<![\w*])\*\*(?=\S)([^*]+?)(?<=\S)\*\*(?!\w)"), r"\1"),
    ("*", re.compile(r"(?<![\w*])\*(?=\S)([^*]+?)(?<=\S)\*(?!\w)"), r"\1"),
    ("_", re.compile(r"(?<!\w)_(?=[A-Za-z])([^_]+?)_(?!\w)"), r"\1"),
    ("_", re.compile(r"(?<!\w)([A-Za-z](?:\w*[A-Za-z0-9])?)__?(?=[\s.,;:)]|$)"), r"\1"),  # bare reference_
    ("#", re.compile(r"(?<!\S)#+(?!\S)|^[#>]+\s+"), ""),
    ("::", re.compile(r"::(?=\s|$)"), ":"),
    ("\\", re.compile(r"\\([*_`|\\])"), r"\1"),
)
_EMPTY = re.compile(r"\(\s*\)(?<!\w\(\))|\[\s*\]|(?<!\S)[`'\"]{2,}(?!\S)")
_SPACE = re.compile(r"\s+")
_BEFORE_STOP = re.compile(r"\s+([.,;:!?)](?:\s|$))")
_WORD = re.compile(r"^[(\[\"']*[A-Za-z]+(?:['’/-][A-Za-z]+)*[)\]\"',.;:!?]*$")
_UNWANTED = re.compile(
    r">>>|%\(|\{[\w{}.]*\}|\\[a-zA-Z]|`|\s->\s|\s[=+|<>]{1,3}\s|[─-╿]|---|===|\*\*|"
    r"\bcopyright\b|\blicen[cs]ed?\b|\(c\)|\ball rights\b|\bauthors?\b:|^(?:ref|see|references?|paper|source)\s*:?$",
    re.IGNORECASE,
)
_SHARE_OF_WORDS = 0.7


def mask_names(text: str) -> str:
    """Replace the names of libraries by "library"; of a path that starts with one, keep only the last part.

    Names of all libraries are masked in every text, so that masks reveal nothing about the class: `np.ndarray` and
    `torch/nn/modules` become `ndarray` and `modules`, PyTorch becomes `library`.
    """

    def replaced(match: re.Match[str]) -> str:
        parts = re.split(r"[./]", match[0])
        return MASK if _NAME.search(parts[-1]) else parts[-1]

    lower = text.lower()
    if not any(hint in lower for hint in _HINTS) and not _SHORT_HINT.search(lower):
        return text
    # The search for paths is slow, so only words with a hint are searched.
    tokens = _SPACED.sub(r"\1\2", text).split(" ")
    for place, token in enumerate(tokens):
        lower = token.lower()
        if any(hint in lower for hint in _HINTS) or _SHORT_HINT.search(lower):
            tokens[place] = _NAMED_PATH.sub(replaced, token)
    return _REPEATED.sub(MASK, " ".join(tokens))


@functools.cache  # a third of all paragraphs are copies of another
def plain(paragraph: str) -> str | None:
    """Return a raw paragraph as plain English with masked names, or None if it is not prose of at least five words."""
    text = paragraph
    if len(text.split()) < FEWEST_WORDS:  # the steps below never add words
        return None
    for mark, pattern, replacement in _MARKUP:
        if mark in text:
            text = pattern.sub(replacement, text)
    text = mask_names(text)
    text = _BEFORE_STOP.sub(r"\1", _SPACE.sub(" ", _EMPTY.sub(" ", text))).strip(" -*:;,|#\"'")
    words = text.split()
    if len(words) < FEWEST_WORDS or _UNWANTED.search(text) or not text.isprintable():
        return None
    return text if sum(map(bool, map(_WORD.match, words))) >= _SHARE_OF_WORDS * len(words) else None


def paragraphs(docstring: str) -> list[str | None]:
    """Return the cleaned paragraphs of a docstring; the first is None if the docstring does not start with prose."""
    first, *rest = [plain(block) for block in blocks(docstring)] or [None]
    return [first, *(text for text in rest if text is not None)]


def read(file: str | Path) -> list[list[str | None]]:
    """Return the `paragraphs` of every docstring with prose in a file; an empty list if it cannot be read."""
    try:
        source = Path(file).read_bytes()
    except OSError:
        return []
    if _GENERATED in source[:2000]:
        return []
    found = [paragraphs(text) for text in docstrings(source)]
    return [texts for texts in found if any(texts)]


# --- many files -----------------------------------------------------------------------------------------------------


def collect(
    files: Sequence[Path], processes: int = 1, progress: Callable[[int], object] = lambda files: None
) -> list[list[list[str | None]]]:
    """Return the results of `read` for `files`, in their order for any number of processes.

    `progress` is called from several threads with the number of files that were just read.
    """
    if processes <= 1 or not sys.executable:
        results = []
        for file in files:
            results.append(read(file))
            progress(1)
        return results

    command = [sys.executable, "-I", "-S", "-X", "utf8", __file__]

    def run(chunk: Sequence[Path]) -> list[list[list[str | None]]]:
        names = json.dumps([os.fspath(file) for file in chunk])
        output = subprocess.run(command, input=names, stdout=subprocess.PIPE, encoding="utf-8", check=True).stdout
        progress(len(chunk))
        return json.loads(output)

    with ThreadPoolExecutor(processes) as threads:
        return [result for results in threads.map(run, _chunks(files)) for result in results]


def _chunks(files: Iterable[Path], size: int = 2_000_000) -> Iterator[list[Path]]:
    """Yield neighbouring files in lists of about `size` bytes (a second of work), so that no process waits long."""
    chunk: list[Path] = []
    held = 0
    for file in files:
        chunk.append(file)
        held += file.stat().st_size if file.exists() else 0
        if held >= size:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


if __name__ == "__main__":
    gc.disable()  # syntax trees have no cycles, and searching for cycles takes a third of the time
    json.dump([read(name) for name in json.load(sys.stdin)], sys.stdout)
