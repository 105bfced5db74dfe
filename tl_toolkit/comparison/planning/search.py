"""What an entry is tuned over: named arguments, each with values to choose from or a range, checked before any run."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...config.overrides import override_texts
from ...errors import UserError, listing, nearest
from .axes import as_budget, is_whole

OVERRIDES = "config_overrides"
_TUNING_KEYS = ("trials", "seed")
_RANGE_KEYS = {"low", "high", "log", "step"}


@dataclass(frozen=True)
class Tuning:
    """What the searches of all entries have in common, so that none has more than another.

    Attributes:
        trials: how many settings are tried for each.
        seed: of the search, and of the run behind each trial.
        at_each_budget: whether there is a search for each budget, or one for all of them, made at `budget`.
        budget: labels (tokens for language models) that trials learn from; None: all.
    """

    trials: int
    seed: int
    at_each_budget: bool
    budget: int | None


@dataclass(frozen=True)
class Search(Tuning):
    """The search of one entry.

    Attributes:
        space: by the name of an argument, or by `config_overrides.FIELD`, a list of values, or a range: a mapping with
            `low`, `high`, `log` (whether its logarithm is uniform), and for steps `step`. Sorted by name.
    """

    space: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """All of it as plain values: what the result of a tuned run depends on."""
        budget = "each" if self.at_each_budget else self.budget
        return {"space": self.space, "trials": self.trials, "seed": self.seed, "budget": budget}


def parse_tuning(content: Any, budget_key: str, where: str) -> Tuning:
    """The mapping `tuning` of a grid file.

    Args:
        budget_key: `label_budget`, or `token_budget` for language models.

    Raises:
        UserError: no mapping, an unknown key, or a value that is no number of trials, budget or seed.
    """
    if not isinstance(content, dict):
        raise UserError(
            f"'tuning' in {where} is {content!r}; a mapping with 'trials' is expected: how many settings are tried for "
            "every entry that has a 'search'."
        )
    known = (*_TUNING_KEYS, budget_key)
    if unknown := next((key for key in content if key not in known), None):
        raise UserError(f"Unknown key {unknown!r} in 'tuning' of {where}: it takes {listing(known)}.")
    trials: Any = content.get("trials")
    seed: Any = content.get("seed", 0)
    if not is_whole(trials) or trials < 1:
        raise UserError(f"'trials' in 'tuning' of {where} is {trials!r}; a whole number of 1 or more is expected.")
    if not is_whole(seed) or not 0 <= seed < 2**32:
        raise UserError(f"'seed' in 'tuning' of {where} is {seed!r}; a whole number of 0 or more is expected.")
    given = content.get(budget_key)
    budget = as_budget(given)
    if budget is not None and not (is_whole(budget) and budget > 0):
        raise UserError(
            f"{budget_key!r} in 'tuning' of {where} is {given!r}; a positive number is expected, or all (without it, "
            "there is a search at every budget)."
        )
    return Tuning(trials, seed, given is None, budget)


def parse_space(
    content: Any, settings: Mapping[str, Any], known: set[str], check: Callable[[Mapping[str, Any]], Any], where: str
) -> dict[str, Any]:
    """The mapping `search` of an entry, with numbers as numbers.

    Args:
        settings: what the entry is given otherwise.
        known: the arguments that may be searched over.
        check: takes settings, and raises a `UserError` for those that a run would refuse.

    Raises:
        UserError: an unknown argument, values that it would refuse, no two values to choose from, a range without ends.
    """
    if not isinstance(content, dict) or not content:
        raise UserError(
            f"'search' of {where} is {content!r}; a mapping is expected, such as "
            "learning_rate: {low: 1e-4, high: 1e-2, log: true} or num_train_epochs: [2, 4, 8]."
        )
    space: dict[str, Any] = {}
    for name in sorted(map(str, content)):
        argument, dot, of_config = name.partition(".")
        if name not in known and not (dot and argument == OVERRIDES and of_config):
            raise UserError(
                f"'search' of {where} names {name!r}, which is no argument to search over.{nearest(name, known)} Those "
                f"of the model's configuration are called {OVERRIDES}.FIELD, such as {OVERRIDES}.hidden_size."
            )
        space[name] = _dimension(content[name], f"{name!r} in 'search' of {where}")
        ends = space[name]
        for value in ends if isinstance(ends, list) else (ends["low"], ends["high"]):
            check(with_values(settings, {name: value}))
    return space


def with_values(settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` with others in the place of some, named as in `Search.space`."""
    result = dict(settings)
    for name, value in values.items():
        argument, dot, of_config = name.partition(".")
        if not dot:
            result[name] = value
            continue
        before = result.get(argument) or {}
        result[argument] = {**(before if isinstance(before, dict) else override_texts(str(before))), of_config: value}
    return result


def _dimension(given: Any, where: str) -> Any:
    if isinstance(given, list):
        values = [_number(value) for value in given]
        scalar = all(value is None or isinstance(value, (str, int, float)) for value in values)
        if not scalar or len(values) < 2 or len({repr(value) for value in values}) < len(values):
            raise UserError(f"{where} is {given!r}; a list of two or more different values is expected.")
        return values
    if not isinstance(given, dict) or not {"low", "high"} <= given.keys() or not given.keys() <= _RANGE_KEYS:
        raise UserError(
            f"{where} is {given!r}; a list of values is expected, or a range with low and high, and with log: true or "
            "a step where wanted."
        )
    low, high, step, log = _number(given["low"]), _number(given["high"]), _number(given.get("step")), given.get("log")
    numbers = [low, high] if step is None else [low, high, step]
    if not all(_is_number(number) for number in numbers) or not low < high:
        raise UserError(f"{where} is {given!r}; two numbers are expected, the first below the second.")
    if log not in (None, True, False):
        raise UserError(f"{where} has log: {log!r}, where true or false is expected.")
    if log and (low <= 0 or step is not None):
        raise UserError(f"{where} is {given!r}; a range with log: true begins above 0 and has no step.")
    if step is not None and not 0 < step <= high - low:
        raise UserError(f"{where} has step: {step!r}, where a positive number within the range is expected.")
    whole = all(isinstance(number, int) for number in numbers)
    ends = {"low": low if whole else float(low), "high": high if whole else float(high), "log": bool(log)}
    return ends if step is None else {**ends, "step": step if whole else float(step)}


def _number(value: Any) -> Any:
    """Text that is a number as that number: `1e-3`, as YAML files are read, and 0.001 are the same."""
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"[-+]?\d+", value):
        return int(value)
    try:
        return float(value)
    except ValueError:
        return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
