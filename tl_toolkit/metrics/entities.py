"""Entities in tagged sentences, found and counted as conlleval counts them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

OUTSIDE = "O"


class Entity(NamedTuple):
    """A span of words of one sentence, from `start` up to but not including `end`."""

    type: str
    start: int
    end: int


class EntityScores(NamedTuple):
    """Micro averages over all entities; 0 where there is nothing to divide by."""

    precision: float
    recall: float
    f1: float


def tag_scheme(labels: Iterable[str], sentences: Iterable[Sequence[str]] = ()) -> str | None:
    """What kind of tags these are: "IOB1", "IOB2", "IOBES", or None for tags that mark no entities.

    Tags mark entities if every one of `labels` is `O`, or `B-`, `I-`, `E-` or `S-` with the entity's type behind it,
    and `B-` or `I-` is there. With `E-` or `S-` they are IOBES. Otherwise `sentences` decide (Ramshaw and Marcus 1995,
    Tjong Kim Sang and Veenstra 1999): in IOB2 every entity begins with `B-`; if in any sentence one begins with `I-`,
    it is IOB1, where `B-` stands only between two entities of one type that touch.
    """
    prefixes = set()
    for label in labels:
        prefix, _ = _parts(label)
        if prefix == OUTSIDE != label:
            return None
        prefixes.add(prefix)
    if not prefixes & {"B", "I"}:
        return None
    if prefixes & {"E", "S"}:
        return "IOBES"
    for tags in sentences:
        for (last_prefix, last_kind), (prefix, kind) in pairwise(map(_parts, (OUTSIDE, *tags))):
            if prefix == "I" and (last_prefix == OUTSIDE or last_kind != kind):
                return "IOB1"
    return "IOB2"


def entities(tags: Sequence[str | None]) -> list[Entity]:
    """The entities of one sentence, in order.

    The rules are those of conlleval (Tjong Kim Sang and Buchholz 2000), which `seqeval` follows where it is not told
    to be strict. They read IOB1, IOB2 and IOBES alike and make sense of tags that no scheme allows: an entity begins at
    `B-` and `S-`, at any tag behind `O`, `E-` or `S-`, and where the type changes: `O I-PER` is an entity. None,
    and whatever is no tag of an entity, counts as `O`.
    """
    found: list[Entity] = []
    start = 0
    padded = [OUTSIDE, *(tag if tag is not None else OUTSIDE for tag in tags), OUTSIDE]
    for place, ((last_prefix, last_kind), (prefix, kind)) in enumerate(pairwise(map(_parts, padded))):
        last_inside, inside = last_prefix != OUTSIDE, prefix != OUTSIDE
        breaks = last_kind != kind or last_prefix in "ES" or prefix in "BS"
        if last_inside and (breaks or not inside):
            found.append(Entity(last_kind, start, place))
        if inside and (breaks or not last_inside):
            start = place
    return found


def _parts(tag: str) -> tuple[str, str]:
    """The prefix and the type: "B", "PER". What is no tag of an entity is "O" and no type."""
    prefix, _, kind = tag.partition("-")
    return (prefix, kind) if prefix in ("B", "I", "E", "S") and kind else (OUTSIDE, "")


def entity_scores(predictions: Iterable[Sequence[str | None]], references: Iterable[Sequence[str]]) -> EntityScores:
    """Precision, recall and F1 over the entities of all sentences; one is right if its type and both ends are.

    Raises:
        ValueError: a sentence and its prediction differ in length.
    """
    right = predicted = actual = 0
    for given, expected in zip(predictions, references, strict=True):
        if len(given) != len(expected):
            raise ValueError(f"a sentence has {len(expected)} tags, but its prediction has {len(given)}")
        own, true = set(entities(given)), set(entities(expected))
        right, predicted, actual = right + len(own & true), predicted + len(own), actual + len(true)
    return EntityScores(_part(right, predicted), _part(right, actual), _part(2 * right, predicted + actual))


def _part(count: int, whole: int) -> float:
    return count / whole if whole else 0.0
