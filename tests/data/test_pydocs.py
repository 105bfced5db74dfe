from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from tl_toolkit.data import docstrings, pydocs
from tl_toolkit.data.built_in import cache_folder
from tl_toolkit.errors import UserError


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


# --- collection -----------------------------------------------------------------------------------------------------


def test_reads_only_the_files_of_the_package(tmp_path):
    own = ["__init__.py", "b.py", "sub/a.py"]
    others = ["tests/test_b.py", "test_b.py", "_vendor/c.py", "externals/d.py", "site-packages/e.py", "f.txt"]
    write(tmp_path, dict.fromkeys([*own, *others], ""))
    assert [file.relative_to(tmp_path).as_posix() for file in docstrings.python_files(tmp_path)] == own


def test_finds_nested_docstrings_in_source_order():
    source = '''"""Module."""
if True:
    class A:
        """Class."""
        def method(self):
            """
            Method.

            More.
            """
            async def inner(): "Inner."
        """Not a docstring."""
    try:
        pass
    except ValueError:
        def handler(): "Handler."
    else:
        def other(): "Else."
'''
    assert list(docstrings.docstrings(source.encode())) == [
        *("Module.", "Class.", "Method.\n\nMore.", "Inner.", "Else.", "Handler.")
    ]


@pytest.mark.parametrize("source", [b"def broken(:", b"print 'two'", b"\x00", b"\xff\xfe"])
def test_a_file_that_does_not_parse_has_no_docstrings(source):
    assert list(docstrings.docstrings(source)) == []


def test_generated_and_missing_files_have_no_docstrings(tmp_path):
    text = '"""Compute the smallest of all given values."""\n'
    write(tmp_path, {"a.py": text, "b.py": "# This file was automatically generated from a.py\n" + text})
    assert docstrings.read(tmp_path / "a.py") == [["Compute the smallest of all given values."]]
    assert docstrings.read(tmp_path / "b.py") == docstrings.read(tmp_path / "c.py") == []


# --- cleaning -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        (":class:`~a.b.Array` of the *same* **kind** as ``x``.", "a.b.Array of the same kind as x."),
        ("Follow the `user guide <https://x.org/a>`_ or [the notes](http://y.org) first [1]_.",
         "Follow the user guide or the notes first."),
        ("Return the [`~Config`] of this model (https://x.org/a?b=c ).", "Return the Config of this model."),
        ("Draw `.Artist` objects onto\n    the given canvas, see :ref:`here <target>`.",
         "Draw Artist objects onto the given canvas, see here."),
        ("Call ``__init__`` of the parent class <b>again</b>::", "Call __init__ of the parent class again"),
    ],
)  # fmt: skip
def test_markup_is_stripped(markup, expected):
    assert docstrings.paragraphs(markup)[0] == expected


@pytest.mark.parametrize(
    "text",
    [
        "Parameters\n----------\nx : int\ny : float\nz : int",
        ">>> from a import b\n>>> b.c(1, 2, 3, 4)\n[1, 2, 3]",
        "foo(a, b, c=None, d=3) -> list of int or float",
        "Copyright 2024 the authors of this file, all rights reserved.",
        "x = a + b * c - d / e",
        ".. math:: a + b + c + d + e + f",
        "Too few words here",
        "| a | b | c | d | e | f |",
    ],
)
def test_only_prose_becomes_a_row(text):
    assert docstrings.paragraphs(text)[0] is None


def test_code_and_sections_end_a_paragraph_and_prose_around_them_is_kept():
    text = """Compute the norm of the given array::

    norm(x, axis=3)

Args:
    x (int): The array whose norm is computed here.
    axis: Along which of its axes to compute.
Returns:
    The norm as an array of its own.

>>> the_output_of_code_is_no_prose(1)
and neither is the output that follows it

Last words about the norm as such.

```
def fenced_code(): is no prose at all either
```
"""
    assert docstrings.paragraphs(text) == [
        "Compute the norm of the given array",
        "x (int): The array whose norm is computed here.",
        "axis: Along which of its axes to compute.",
        "The norm as an array of its own.",
        "Last words about the norm as such.",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a torch.nn.Module or np.ndarray", "a Module or ndarray"),
        ("PyTorch, scikit-learn and SciPy's", "library, library and library's"),
        ("Hugging Face Transformers in TorchScript", "library in library"),
        ("plt.show of matplotlib.pyplot, pd.DataFrame.mean", "show of library, mean"),
        ("see torch/nn/modules and NUMPY_VERSION", "see modules and library"),
        ("an HfApi and nx.Graph", "an library and Graph"),
        ("a transformer with inputs, half updated", "a transformer with inputs, half updated"),
    ],
)
def test_names_of_libraries_are_masked(text, expected):
    assert docstrings.mask_names(text) == expected
    assert docstrings._NAME.findall(expected) == []


# --- rows -----------------------------------------------------------------------------------------------------------


def sentence(number):
    """A unique text without digits, because outlines ignore digits."""
    letters = "".join("abcdefghij"[int(digit)] for digit in str(number))
    return f"Return the value of kind {letters} from here."


def test_rows_drop_near_duplicates_long_texts_and_texts_of_several_libraries():
    both = "Return a copy of the object."
    documents = {
        "a": [["Sum the first 3 values of x_1 here."], ["Sum the first 5 values of y_2 here."], [both]],
        "b": [
            [both.upper()],
            [None, "A paragraph that is not the first."],
            ["word " * 61],
            ["Sort the given list in place."],
        ],
    }
    splits = pydocs.classification_rows(documents)
    rows = sorted(row for split in splits.values() for row in split)
    assert rows == [("Sort the given list in place.", 1), ("Sum the first 3 values of x_1 here.", 0)]


def test_splits_have_their_shares_and_depend_on_the_outline():
    splits = [pydocs.split_of(sentence(number), "classification") for number in range(4999)]
    assert splits.count("train") == pytest.approx(0.8 * 4999, rel=0.03)
    assert splits.count("validation") == pytest.approx(0.1 * 4999, rel=0.15)
    for number in range(53):
        near = "Return the 'first' value of kind {} from arrays_{} here"
        one, two = (pydocs.split_of(near.format("ab", number + shift), "classification") for shift in (0, 101))
        assert one == two


def test_unlabelled_contains_no_held_out_text_even_inside_another():
    held_out = "Compute the norm of the array."
    kept = [[sentence(number), "And a second paragraph on " + sentence(number)] for number in range(59)]
    out = [
        [held_out, "What follows a held-out text stays out too."],
        [None, "First some words; then compute the NORM of\tthe array, and go on."],
        ["What is here goes on: compute the norm", "of the array."],
    ]
    near = [["Compute the norm of 3 the array."]]
    splits = pydocs.unlabelled_texts([*kept, *out, *near], [held_out])
    texts = [text for split in splits.values() for text in split]
    assert sorted(texts) == sorted("\n\n".join(document) for document in kept)
    assert all(splits.values())


def test_a_repeated_paragraph_is_kept_only_in_the_first_document():
    boilerplate = "This model inherits from the base class of them all."
    documents = [[sentence(number), boilerplate] for number in range(3)]
    splits = pydocs.unlabelled_texts(documents, [])
    texts = [text for split in splits.values() for text in split]
    assert sum(boilerplate in text for text in texts) == 1 and len(texts) == 3


# --- determinism, cache ---------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Two small libraries instead of the real ones, and a separate cache folder."""
    monkeypatch.setenv("TL_TOOLKIT_CACHE", str(tmp_path / "cache"))
    for shift, library in enumerate(("one", "two")):
        functions = [
            f'def f{n}():\n    """{sentence(1000 * shift + n)}\n\n    {sentence(1000 * shift + 500 + n)}"""\n'
            for n in range(199)
        ]
        halves = {f"tl_{library}/__init__.py": "", f"tl_{library}/a.py": "\n".join(functions[:101])}
        write(tmp_path, {f"tl_{library}-1.0.dist-info/METADATA": f"Name: tl-{library}\nVersion: 1.0\n"})
        write(tmp_path, halves | {f"tl_{library}/b.py": "\n".join(functions[101:])})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(pydocs, "LIBRARIES", {"tl-one": ("tl_one",), "tl-two": ("tl_two",)})
    monkeypatch.setattr(pydocs, "UNLABELLED_LIBRARIES", {})
    return tmp_path


def test_loads_both_configurations_from_a_small_tree_and_builds_once(tree, monkeypatch, capsys):
    labelled, unlabelled = pydocs.load_pydocs(), pydocs.load_pydocs("unlabelled")
    assert set(labelled) == set(unlabelled) == {"train", "validation", "test"}
    assert labelled["train"].features["label"].names == ["tl-one", "tl-two"]
    assert sum(split.num_rows for split in labelled.values()) == 398
    assert set(labelled["train"]["label"]) == {0, 1}
    assert unlabelled["train"].column_names == ["text"]
    record = pydocs.pydocs_record()
    assert record["versions"] == {"tl-one": "1.0", "tl-two": "1.0"} and len(record["fingerprint"]) == 16
    assert capsys.readouterr().out == ""  # progress goes to standard error
    monkeypatch.setattr(pydocs, "_collect", lambda: pytest.fail("built again"))
    assert pydocs.load_pydocs()["test"].to_dict() == labelled["test"].to_dict()
    (tree / "tl_two-1.0.dist-info" / "METADATA").write_text("Name: tl-two\nVersion: 2.0\n")
    with pytest.raises(pytest.fail.Exception, match="built again"):
        pydocs.load_pydocs()


def test_any_number_of_processes_reads_the_same_rows(tree):
    files = docstrings.python_files(tree / "tl_one")
    progress = []
    assert docstrings.collect(files, 2, progress.append) == docstrings.collect(files, 1)
    assert sum(progress) == len(files)


SCRIPT = """
import json
from tl_toolkit.data import pydocs
pydocs.LIBRARIES, pydocs.UNLABELLED_LIBRARIES = {"tl-one": ("tl_one",), "tl-two": ("tl_two",)}, {}
print(json.dumps(pydocs.pydocs_record()))
"""


def start(tree, cache, seed):
    environment = os.environ | {"PYTHONHASHSEED": str(seed), "TL_TOOLKIT_CACHE": str(tree / cache)}
    environment["PYTHONPATH"] = os.pathsep.join([str(tree), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen([sys.executable, "-c", SCRIPT], env=environment, stdout=subprocess.PIPE, text=True)


def test_rows_do_not_depend_on_the_hash_seed_and_concurrent_builds_succeed(tree):
    (tree / "shared" / "pydocs" / "left-by-a-killed-builder.tmp").mkdir(parents=True)
    started = [start(tree, "shared", 1), start(tree, "shared", 2), start(tree, "alone", 3)]
    answers = [json.loads(process.communicate(timeout=120)[0]) for process in started]
    assert answers[0] == answers[1] == answers[2]
    shared, alone = (
        {path.relative_to(cache): path.read_bytes() for path in cache.rglob("*.*") if path.is_file()}
        for cache in (tree / "shared", tree / "alone")
    )
    assert shared == alone and len(shared) == 7
    assert not list(tree.rglob("*.tmp"))


def test_a_failed_build_leaves_no_files(tree, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pydocs.os, "replace", full)
    with pytest.raises(UserError, match="No space left on device.*TL_TOOLKIT_CACHE"):
        pydocs.load_pydocs()
    assert [path.name for path in (tree / "cache" / "pydocs").iterdir() if path.name != "lock"] == []


def test_errors_name_the_problem(tree, monkeypatch):
    with pytest.raises(UserError, match="Did you mean 'unlabelled'"):
        pydocs.load_pydocs("unlabeled")
    monkeypatch.setattr(pydocs, "LIBRARIES", {"tl-one": ("tl_one",), "tl-three": ("tl_three",)})
    with pytest.raises(UserError, match="'tl-three'"):
        pydocs.load_pydocs()


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TL_TOOLKIT_CACHE", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.delenv("TL_TOOLKIT_CACHE")
    assert cache_folder() == tmp_path / "b" / "tl_toolkit"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "tl_toolkit"


# --- the real installation ------------------------------------------------------------------------------------------


def test_the_installed_libraries_make_a_dataset():
    started = time.perf_counter()
    labelled = pydocs.load_pydocs("classification")
    print(f"builtin:pydocs ready after {time.perf_counter() - started:.1f} s")
    unlabelled = pydocs.load_pydocs("unlabelled")
    texts = {split: rows["text"][:] for split, rows in labelled.items()}
    everything = [text for split in texts.values() for text in split]
    assert len(everything) > 25_000
    assert len(set(map(pydocs.outline, everything))) == len(everything)
    assert all(5 <= len(text.split()) <= 60 for text in everything)
    assert [text for text in everything if docstrings._NAME.findall(text)] == []
    assert [text for text in everything if ">>>" in text or "`" in text or "\n" in text] == []
    assert set(labelled["test"]["label"]) == set(range(11))

    # No held-out text occurs in the texts for language models. Unlike the collector, this check searches one string of
    # all words.
    seen = "\n".join(f" {' '.join(pydocs.words(text))} " for split in unlabelled.values() for text in split["text"])
    assert len(seen.split()) > 1_000_000
    sample = [*texts["validation"][::11], *texts["test"][::11]]
    assert [text for text in sample if f" {' '.join(pydocs.words(text))} " in seen] == []
    own = {split: set(rows["text"]) for split, rows in unlabelled.items()}
    assert not own["train"] & own["validation"] and not own["train"] & own["test"]
