"""The search space of an entry: arguments, each with a list of values or a range, checked before any run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...config.overrides import override_texts
from ...errors import UserError, listing, nearest
from .checks import as_budget, expect, expect_known, is_budget, is_number, is_whole

OVERRIDES = "config_overrides"


@dataclass(frozen=True)
class Tuning:
    """The settings that the searches of all entries share, so that no entry is tuned more than another.

    Attributes:
        trials: number of trials per search.
        seed: seed of the search and of the run of each trial.
        at_each_budget: True for a search at each budget, False for one search at `budget` for all of them.
        budget: training labels (tokens for language models) of the trials; None for all.
    """

    trials: int
    seed: int
    at_each_budget: bool
    budget: int | None


@dataclass(frozen=True)
class Search(Tuning):
    """The search of one entry.

    Attributes:
        space: by the name of an argument or `config_overrides.FIELD`, sorted, a list of values or a range: a mapping
            with `low`, `high`, `log` (True for uniform sampling on a logarithmic scale) and optionally `step`.
    """

    space: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """All fields as plain values, which affect the result of a tuned run."""
        budget = "each" if self.at_each_budget else self.budget
        return {"space": self.space, "trials": self.trials, "seed": self.seed, "budget": budget}


def parse_tuning(content: Any, budget_key: str, where: str) -> Tuning:
    """The mapping `tuning` of a grid file.

    Args:
        budget_key: `label_budget`, or `token_budget` for language models.

    Raises:
        UserError: `content` is not a mapping, or has an unknown key or an invalid number of trials, budget or seed.
    """
    mapping = "a mapping with 'trials', the number of trials for every entry that has a 'search'"
    expect(isinstance(content, dict), "tuning", content, where, mapping)
    where = f"'tuning' of {where}"
    known = ("trials", "seed", budget_key)
    for key in content:
        expect_known(key, known, where, f" It takes {listing(known)}.")
    trials, seed, given = content.get("trials"), content.get("seed", 0), content.get(budget_key)
    expect(is_whole(trials, 1), "trials", trials, where, "a whole number of 1 or more")
    expect(is_whole(seed, 0) and seed < 2**32, "seed", seed, where, "a whole number of 0 or more")
    budget, without = as_budget(given), "a positive number, or all (leave it out to search at every budget)"
    expect(is_budget(budget), budget_key, given, where, without)
    return Tuning(trials, seed, given is None, budget)


def parse_space(
    content: Any, settings: Mapping[str, Any], known: set[str], check: Callable[[Mapping[str, Any]], Any], where: str
) -> dict[str, Any]:
    """The mapping `search` of an entry, with numbers as numbers.

    Args:
        settings: the other settings of the entry.
        known: the arguments that may be searched over.
        check: raises a `UserError` for settings that a run would refuse.

    Raises:
        UserError: an unknown argument, values that `check` refuses, fewer than two values, or a range without bounds.
    """
    example = "learning_rate: {low: 1e-4, high: 1e-2, log: true} or num_train_epochs: [2, 4, 8]"
    expect(content and isinstance(content, dict), "search", content, where, f"a mapping such as {example}")
    space: dict[str, Any] = {}
    for name in sorted(map(str, content)):
        argument, dot, of_config = name.partition(".")
        if name not in known and not (dot and argument == OVERRIDES and of_config):
            raise UserError(
                f"'search' of {where} names {name!r}, which cannot be searched over.{nearest(name, known)} Name a "
                f"field of the model's configuration as {OVERRIDES}.FIELD, such as {OVERRIDES}.hidden_size."
            )
        space[name] = values = _dimension(content[name], name, f"'search' of {where}")
        for value in values if isinstance(values, list) else (values["low"], values["high"]):
            check(with_values(settings, {name: value}))
    return space


def with_values(settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `settings`, updated by `values`, whose names are as in `Search.space`."""
    result = dict(settings)
    for name, value in values.items():
        argument, dot, of_config = name.partition(".")
        if not dot:
            result[name] = value
            continue
        before = result.get(argument) or {}
        result[argument] = {**(before if isinstance(before, dict) else override_texts(str(before))), of_config: value}
    return result


def _dimension(given: Any, name: str, where: str) -> Any:
    """A list of values, or the mapping of a range, with numeric text as numbers."""

    def check_range(valid: object, expected: str) -> None:
        expect(valid, name, given, where, expected)

    if isinstance(given, list):
        values = [_number(value) for value in given]
        scalar = all(value is None or isinstance(value, (str, int, float)) for value in values)
        check_range(
            scalar and len({repr(value) for value in values}) == len(values) > 1,
            "a list of two or more different values",
        )
        return values
    range_keys = {"low", "high", "log", "step"}
    check_range(
        isinstance(given, dict) and {"low", "high"} <= given.keys() <= range_keys,
        "a list of values, or a range with low and high, and optionally log: true or a step",
    )
    low, high, step, log = _number(given["low"]), _number(given["high"]), _number(given.get("step")), given.get("log")
    numbers = [low, high] if step is None else [low, high, step]
    check_range(all(map(is_number, numbers)) and low < high, "a range of two numbers, low < high")
    check_range(log in (None, True, False), "a range whose log is true or false")
    check_range(not log or low > 0 and step is None, "a range above 0 and without a step if log is true")
    check_range(step is None or 0 < step <= high - low, "a range whose step is positive and at most high - low")
    kind = int if all(isinstance(number, int) for number in numbers) else float
    ends = {"low": kind(low), "high": kind(high), "log": bool(log)}
    return ends if step is None else {**ends, "step": kind(step)}


def _number(value: Any) -> Any:
    """`value`, converted if it is numeric text: YAML reads `1e-3` as text."""
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"[-+]?\d+", value):
        return int(value)
    try:
        return float(value)
    except ValueError:
        return value
