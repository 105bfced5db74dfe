"""Results that the runs of a comparison share in a process, each found by all that determines it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator
from typing import TypeVar

LIMIT_BYTES = 2**28
"""The size of the results of a kind above which those that were not used for longest are forgotten."""

R = TypeVar("R")
_results: dict[str, dict[Hashable, tuple[object, int]]] | None = None


def sharing() -> contextlib.AbstractContextManager[None]:
    """Within this context, and contexts inside, `shared` remembers results; the outermost forgets them at its end."""
    return _remembering({} if _results is None else _results)


def not_sharing() -> contextlib.AbstractContextManager[None]:
    """Within this context everything is computed, so that its time can be measured."""
    return _remembering(None)


@contextlib.contextmanager
def _remembering(results: dict[str, dict[Hashable, tuple[object, int]]] | None) -> Iterator[None]:
    global _results
    outside, _results = _results, results
    try:
        yield
    finally:
        _results = outside


def shared(
    kind: str, key: Callable[[], Hashable], compute: Callable[[], R], size: Callable[[R], int] | None = None
) -> R:
    """The result of `compute`, which within `sharing` is called once for each key. Nobody may change the result.

    Args:
        kind: what the result is.
        key: returns all that determines the result, or a hash of it; None for a result that is not shared.
        size: the bytes of a result; by default it is small, and never forgotten.
    """
    if _results is None or (own := key()) is None:
        return compute()
    known = _results.setdefault(kind, {})
    if own in known:
        known[own] = known.pop(own)  # now the last one used
        return known[own][0]  # type: ignore[return-value]  # what `compute` of the same kind has returned
    result = compute()
    spare = LIMIT_BYTES - (needed := size(result) if size else 0)
    if spare >= 0:
        while sum(taken for _, taken in known.values()) > spare:
            del known[next(iter(known))]
        known[own] = result, needed
    return result
