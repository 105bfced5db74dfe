"""The next settings of a search, proposed by Optuna's tree-structured Parzen estimator (Bergstra et al. 2011).

Optuna is an optional package and only proposes settings. The records of the trials hold the history; each proposal
builds a new study from them, with its own seed. A killed search therefore continues with exactly the settings that it
would have tried.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_MAX_REDRAWS = 20  # number of attempts to draw settings that were not tried yet


class Tried(NamedTuple):
    """One trial: its values by name, and the metric that they reached (None if the trial failed)."""

    values: Mapping[str, Any]
    reached: float | None


def propose(
    space: Mapping[str, Any], tried: Sequence[Tried], *, seed: int, trials: int, greater_is_better: bool
) -> dict[str, Any] | None:
    """The values to try next, by name.

    The first half of the trials, but at most ten, is drawn at random; then the estimator takes over. No settings are
    tried twice.

    Args:
        space: as in `Search.space`.
        tried: all earlier trials, in order.
        trials: total number of trials.

    Returns:
        The values; None if all settings of the space have been tried.

    Raises:
        UserError: Optuna is not installed.
    """
    optuna = load_optuna()
    distributions = {name: _distribution(optuna, given) for name, given in space.items()}
    known = {_as_text(trial.values) for trial in tried}
    if len(known) >= size_of(space):
        return None
    for attempt in range(_MAX_REDRAWS):
        sequence = np.random.SeedSequence([seed, len(tried), attempt])
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=min(10, (trials + 1) // 2), seed=int(sequence.generate_state(1)[0])
        )
        study = optuna.create_study(direction="maximize" if greater_is_better else "minimize", sampler=sampler)
        for trial in tried:
            state = optuna.trial.TrialState.FAIL if trial.reached is None else optuna.trial.TrialState.COMPLETE
            study.add_trial(
                optuna.trial.create_trial(
                    state=state, value=trial.reached, params=dict(trial.values), distributions=distributions
                )
            )
        values = study.ask(distributions).params
        if _as_text(values) not in known:
            return values
    return _first_untried(space, known) or values


def load_optuna() -> Any:
    """The module `optuna`, with its log silenced.

    Raises:
        UserError: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError(
            "Install Optuna with pip install 'tl-toolkit[tuning]': the 'search' of an entry needs it."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _distribution(optuna: Any, given: Any) -> BaseDistribution:
    if isinstance(given, list):
        return optuna.distributions.CategoricalDistribution(given)
    whole = isinstance(given["low"], int)
    kind = optuna.distributions.IntDistribution if whole else optuna.distributions.FloatDistribution
    step = {"step": given["step"]} if "step" in given else {}
    return kind(given["low"], given["high"], log=given["log"], **step)


def size_of(space: Mapping[str, Any]) -> float:
    """The number of settings in a space; infinite if a range has no steps."""
    return math.prod(math.inf if (values := _values(given)) is None else len(values) for given in space.values())


def _values(given: Any) -> list[Any] | None:
    """All values of a dimension; None for a range without steps."""
    if isinstance(given, list):
        return given
    if not isinstance(given["low"], int) and "step" not in given:
        return None
    step = given.get("step", 1)
    return [given["low"] + step * place for place in range(int((given["high"] - given["low"]) / step + 1e-9) + 1)]


def _first_untried(space: Mapping[str, Any], known: set[str]) -> dict[str, Any] | None:
    """The first untried settings of a finite space; None for an infinite space, where a repetition does no harm."""
    values = [_values(given) for given in space.values()]
    if None in values:
        return None
    combinations = (dict(zip(space, chosen, strict=True)) for chosen in itertools.product(*filter(None, values)))
    return next((settings for settings in combinations if _as_text(settings) not in known), None)


def _as_text(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)
