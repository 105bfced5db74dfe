"""Find and score entities in tagged sentences by the rules of conlleval."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

OUTSIDE = "O"


class Entity(NamedTuple):
    """A span of words in a sentence; `start` is inclusive, `end` exclusive."""

    type: str
    start: int
    end: int


class EntityScores(NamedTuple):
    """Micro averages over all entities; 0 if the denominator is 0."""

    precision: float
    recall: float
    f1: float


def tag_scheme(labels: Iterable[str], sentences: Iterable[Sequence[str]] = ()) -> str | None:
    """Return the tag scheme: "IOB1", "IOB2", "IOBES", or None if the tags do not mark entities.

    Tags mark entities if each of `labels` is `O`, or `B-`, `I-`, `E-` or `S-` followed by a type, and `B-` or `I-`
    occurs. If `E-` or `S-` occurs, the scheme is IOBES. Otherwise it depends on `sentences` (Ramshaw and Marcus 1995,
    Tjong Kim Sang and Veenstra 1999): in IOB2, every entity starts with `B-`; if any entity starts with `I-`, the
    scheme is IOB1, which uses `B-` only between two adjacent entities of the same type.
    """
    prefixes = set()
    for label in labels:
        prefix, _ = _split_tag(label)
        if prefix == OUTSIDE != label:
            return None
        prefixes.add(prefix)
    if not prefixes & {"B", "I"}:
        return None
    if prefixes & {"E", "S"}:
        return "IOBES"
    for tags in sentences:
        for (last_prefix, last_kind), (prefix, kind) in pairwise(map(_split_tag, (OUTSIDE, *tags))):
            if prefix == "I" and (last_prefix == OUTSIDE or last_kind != kind):
                return "IOB1"
    return "IOB2"


def entities(tags: Sequence[str | None]) -> list[Entity]:
    """Return the entities of a sentence, in order.

    The rules are those of conlleval (Tjong Kim Sang and Buchholz 2000), which `seqeval` also uses in its default mode.
    They read IOB1, IOB2 and IOBES and accept tag sequences that violate the scheme: an entity starts at `B-` and `S-`,
    at any tag after `O`, `E-` or `S-`, and where the type changes; for example, `O I-PER` has an entity. None and all
    tags that do not mark entities count as `O`.
    """
    found: list[Entity] = []
    start = 0
    padded = [OUTSIDE, *(tag if tag is not None else OUTSIDE for tag in tags), OUTSIDE]
    for place, ((last_prefix, last_kind), (prefix, kind)) in enumerate(pairwise(map(_split_tag, padded))):
        last_inside, inside = last_prefix != OUTSIDE, prefix != OUTSIDE
        breaks = last_kind != kind or last_prefix in "ES" or prefix in "BS"
        if last_inside and (breaks or not inside):
            found.append(Entity(last_kind, start, place))
        if inside and (breaks or not last_inside):
            start = place
    return found


def entity_types(tags: Iterable[str]) -> list[str]:
    """Return the types of the entities that tags mark, in the order of the tags."""
    return list(dict.fromkeys(kind for _, kind in map(_split_tag, tags) if kind))


def _split_tag(tag: str) -> tuple[str, str]:
    """Return the prefix and the type, such as "B", "PER"; a tag that does not mark an entity is "O" without type."""
    prefix, _, kind = tag.partition("-")
    return (prefix, kind) if prefix in ("B", "I", "E", "S") and kind else (OUTSIDE, "")


def entity_scores(
    predictions: Iterable[Sequence[str | None]], references: Iterable[Sequence[str]], kind: str | None = None
) -> EntityScores:
    """Return precision, recall and F1 over all entities, or those of a type.

    The type and both ends of an entity must be correct.

    Raises:
        ValueError: a sentence and its prediction differ in length.
    """
    right = predicted = actual = 0
    for given, expected in zip(predictions, references, strict=True):
        if len(given) != len(expected):
            raise ValueError(f"a sentence has {len(expected)} tags, but its prediction has {len(given)}")
        own, true = ({entity for entity in entities(tags) if kind in (None, entity.type)} for tags in (given, expected))
        right, predicted, actual = right + len(own & true), predicted + len(own), actual + len(true)
    return EntityScores(_ratio(right, predicted), _ratio(right, actual), _ratio(2 * right, predicted + actual))


def _ratio(count: int, total: int) -> float:
    return count / total if total else 0.0
