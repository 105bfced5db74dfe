"""Read static word vectors (GloVe and word2vec text files) for the words of a vocabulary."""

from __future__ import annotations

import gzip
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from ..errors import UserError
from .files import nearest_sibling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Standard deviation of unknown words around the mean, as a fraction of that of the known words.
_NOISE = 0.1


def load_vectors(path: str | Path, tokenizer: PreTrainedTokenizerBase) -> tuple[np.ndarray, np.ndarray]:
    """Read the vectors of a tokenizer's tokens from a text file with a word and its numbers on each line.

    The file may be compressed (.gz) and may start with word2vec's line of sizes. Tokens are looked up unchanged, then
    in lower case, without the byte-level or SentencePiece mark of a word start. If a word occurs twice, the first entry
    is used.

    Tokens without a vector get the mean of the found vectors plus noise of a tenth of their standard deviation. The
    mean is neutral if vectors stay frozen; the noise lets unknown words diverge if they are tuned. The padding token
    gets zeros.

    Returns:
        Vectors, float32 `[vocabulary, dimensions]`, and a mask of the found tokens, bool `[vocabulary]`.

    Raises:
        UserError: the file cannot be read, a line has a wrong number of values, or the file contains no token.
    """
    path = Path(path).expanduser()
    exact, lower = _surface_forms(tokenizer)
    size = len(tokenizer)
    with _lines(path) as lines:
        found_exact, found_lower = _read(lines, path, set(exact), set(lower))
    if not found_exact and not found_lower:
        raise UserError(
            f"None of the tokenizer's {size:,} tokens has a vector in {str(path)!r}. Use word vectors of the same "
            f"language and a tokenizer that produces words, such as --tokenizer_name word."
        )
    dimensions = len(next(iter((found_exact or found_lower).values())))
    vectors = np.zeros((size, dimensions), dtype=np.float32)
    found = np.zeros(size, dtype=bool)
    # Exact matches are written last, so that they replace lower-case matches.
    for forms, values in ((lower, found_lower), (exact, found_exact)):
        for word, vector in values.items():
            vectors[forms[word]] = vector
            found[forms[word]] = True
    known = vectors[found]
    noise = np.random.default_rng(0).standard_normal((int((~found).sum()), dimensions), dtype=np.float32)
    vectors[~found] = known.mean(axis=0) + _NOISE * known.std(axis=0) * noise
    if tokenizer.pad_token_id is not None:
        vectors[tokenizer.pad_token_id] = 0.0
    return vectors, found


def vectors_of_words(path: str | Path, words: Iterable[str]) -> dict[str, np.ndarray]:
    """The vectors (dimensions,) of the words that a file has, looked up unchanged, then in lower case.

    Raises:
        UserError: as `load_vectors`, except for words that are not in the file.
    """
    path, words = Path(path).expanduser(), list(words)
    with _lines(path) as lines:
        exact, lower = _read(lines, path, {word.encode() for word in words}, {word.lower().encode() for word in words})
    found = {word: exact.get(word.encode(), lower.get(word.lower().encode())) for word in words}
    return {word: vector for word, vector in found.items() if vector is not None}


def _surface_forms(tokenizer: PreTrainedTokenizerBase) -> tuple[dict[bytes, list[int]], dict[bytes, list[int]]]:
    """Return token ids by the bytes of the token, and by those of its lower case if that differs."""
    exact: dict[bytes, list[int]] = {}
    lower: dict[bytes, list[int]] = {}
    special = set(tokenizer.all_special_tokens)
    for token, index in tokenizer.get_vocab().items():
        word = token if token in special else token.lstrip("\u0120\u2581") or token
        exact.setdefault(word.encode(), []).append(index)
        if word.lower() != word:
            lower.setdefault(word.lower().encode(), []).append(index)
    return exact, lower


@contextmanager
def _lines(path: Path) -> Iterator[Iterable[bytes]]:
    if not path.is_file():
        raise UserError(f"The file of word vectors {str(path)!r} was not found.{nearest_sibling(path)}")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            yield lines
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"The file of word vectors {str(path)!r} cannot be read: {error}") from error


def _read(
    lines: Iterable[bytes], path: Path, exact: set[bytes], lower: set[bytes]
) -> tuple[dict[bytes, np.ndarray], dict[bytes, np.ndarray]]:
    wanted = exact | lower
    vectors: dict[bytes, np.ndarray] = {}
    dimensions = 0
    for number, line in enumerate(lines, 1):
        line = line.rstrip().replace(b"\t", b" ")
        spaces = line.count(b" ")
        if number == 1 and spaces == 1 and all(field.isdigit() for field in line.split()):
            dimensions = int(line.split()[1])  # word2vec's first line: numbers of words and dimensions
            continue
        dimensions = dimensions or spaces
        if spaces == dimensions:
            word, _, numbers = line.partition(b" ")
        elif spaces > dimensions > 0:  # in some published files, words contain spaces
            word, *fields = line.rsplit(b" ", dimensions)
            numbers = b" ".join(fields)
        else:
            _bad_line(path, number, f"has {spaces} values, but must have {dimensions}")
        if word in wanted and word not in vectors:
            vectors[word] = _numbers(numbers, dimensions, path, number)
    return (
        {word: vector for word, vector in vectors.items() if word in exact},
        {word: vector for word, vector in vectors.items() if word in lower},
    )


def _numbers(text: bytes, dimensions: int, path: Path, line: int) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # NumPy's warning about text that is not a number
        try:
            vector = np.fromstring(text, dtype=np.float32, sep=" ")
        except (DeprecationWarning, ValueError):
            _bad_line(path, line, "contains a value that is not a number")
    if len(vector) != dimensions or not np.isfinite(vector).all():
        _bad_line(path, line, f"has {len(vector)} finite values, but must have {dimensions}")
    return vector


def _bad_line(path: Path, line: int, trouble: str) -> NoReturn:
    raise UserError(
        f"Line {line} of the word vectors {str(path)!r} {trouble}. Use a text file in the format of GloVe or of "
        f"word2vec (not binary): on every line a word and its numbers, separated by spaces."
    )


def words_of(path: str | Path) -> Iterator[str]:
    """Yield the words of a vector file in file order, which in published files is that of frequency.

    Raises:
        UserError: the file cannot be read.
    """
    with _lines(Path(path).expanduser()) as lines:
        yield from (line.split(maxsplit=1)[0].decode("utf-8", "replace") for line in lines if line.strip())
