"""The notes of a report: the labels that were used, tuning and pre-training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ...evaluation import formatting as show
from ...evaluation.formatting import TOKENS, unit_of
from ...evaluation.statistics.cells import Cell

_MOST_CLASSES = 5


def label_note(cells: Sequence[Cell]) -> str:
    """The labels of a run, for training and for checkpoint selection, and how tuning used the latter."""
    parts = []
    for _, members in groupby(cells, key=lambda cell: cell.budget):
        here = list(members)
        train, chosen = [cell.train_labels for cell in here], [cell.validation_labels for cell in here]
        parts.append(f"{show.span(train, 'unknown')} + {show.span(chosen, 'unknown')}")
    if unit_of([cell.results[0] for cell in cells]) == TOKENS:
        return f"Language models are trained on unlabelled text: budgets count training tokens.{_tuning(cells)}"
    return (
        f"Labels per run, for training + for checkpoint selection (validation): {show.joined(parts)}. "
        f"Both need annotation.{_tuning(cells)}"
    )


def _tuning(cells: Sequence[Cell]) -> str:
    """The number of tuning trials of the entries, as a sentence; empty if nothing was tuned."""
    trials: dict[str, set[int]] = {}
    for cell in cells:
        for result in cell.results:
            if (tuning := result.section("tuning")).get("trials"):
                trials.setdefault(cell.entry, set()).add(int(tuning["trials"]))
    if not trials:
        return ""
    names = list(dict.fromkeys(cell.entry for cell in cells))
    counts = {count for own in trials.values() for count in own}
    if len(trials) == len(names) and len(counts) == 1:
        who = f"Every entry was tuned on the same validation labels, in {show.count(next(iter(counts)))} trials each"
    else:
        told = [f"{name} in {show.span(own)} trials" for name, own in trials.items()]
        rest = [name for name in names if name not in trials]
        untuned = f", {show.joined(rest)} not at all" if rest else ""
        who = f"Tuned on the same validation labels: {show.joined(told)}{untuned}"
    return f" {who}."


def never_predicted_notes(cells: Sequence[Cell]) -> list[str]:
    """A note on the classes of the test rows that an entry never predicts at a budget, in any of its runs."""
    clauses = []
    for cell in cells:
        known = [set(missed) for result in cell.results if (missed := result.record.get("never_predicted")) is not None]
        never = sorted(set.intersection(*known)) if known else []
        if never:
            more = f" and {len(never) - _MOST_CLASSES} more" if len(never) > _MOST_CLASSES else ""
            names = f"{', '.join(never[:_MOST_CLASSES])}{more}"
            clauses.append(f"{cell.entry} with {cell.budget_name} {unit_of(cell.results)} ({names})")
    return [f"These never predict a class that occurs in the test rows: {'; '.join(clauses)}."] if clauses else []


def besides_labels(cells: Sequence[Cell]) -> str:
    """What each entry needs besides labels, in sentences: stages, a teacher, texts, a prompt; empty for nothing."""
    said = {cell.entry: sentence for cell in cells if (sentence := _needs(cell))}
    return " ".join(said.values())


def _needs(cell: Cell) -> str:
    """As `besides_labels`, for the entry of `cell`."""
    strategy, before = cell.results[0].section("strategy"), cell.costs.get("pretrain_seconds")
    if strategy.get("name") == "prompt":
        words = ", ".join(map(str, strategy.get("verbalizers") or ()))
        return (
            f"{cell.entry} trains nothing: with {cell.budget_name} {unit_of(cell.results)}, its prompt has "
            f"{strategy.get('examples')} examples, and the answers are {words}."
        )
    if teacher := strategy.get("teacher"):
        took = "" if before is None else f" ({show.seconds(before)} of training)"
        kinds = (("unlabelled_texts", "texts without labels"), ("generated_texts", "texts made from the labelled ones"))
        texts = "".join(f" and {show.count(strategy[key])} {what}" for key, what in kinds if strategy.get(key))
        return (
            f"With {cell.budget_name} {unit_of(cell.results)}, {cell.entry} needs the teacher "
            f"{teacher.get('name')}{took}{texts}."
        )
    if before is None:
        return ""
    return f"The pre-training of {cell.entry}, shared by all its runs, took {show.seconds(before)}."
