"""Which settings a search tries next: Optuna's tree-structured Parzen estimator (Bergstra et al. 2011), told the past.

Optuna is an optional package. It proposes and nothing else: what was tried lies in the records of the trials, and a
study is built from them anew for each proposal, with a seed of its own. A search that was killed therefore goes on with
the very settings that it would have tried.
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

_REDRAWN = 20  # times that settings are drawn again which were tried already


class Tried(NamedTuple):
    """One trial: its values by name, and the metric that they reached; None for one that failed."""

    values: Mapping[str, Any]
    reached: float | None


def propose(
    space: Mapping[str, Any], tried: Sequence[Tried], *, seed: int, trials: int, greater_is_better: bool
) -> dict[str, Any] | None:
    """The values to try next, by name.

    Half of the trials, and no more than ten, are drawn at random before the estimator takes over. Settings that were
    tried are not tried again.

    Args:
        space: as in `Search.space`.
        tried: all trials before this one, in their order.
        trials: how many there are to be in all.

    Returns:
        The values; None when all there are have been tried.

    Raises:
        UserError: Optuna is not installed.
    """
    optuna = load_optuna()
    distributions = {name: _distribution(optuna, given) for name, given in space.items()}
    known = {_as_text(trial.values) for trial in tried}
    if len(known) >= size_of(space):
        return None
    for attempt in range(_REDRAWN):
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
    """Optuna, silent.

    Raises:
        UserError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError(
            "The 'search' of an entry needs Optuna, which is not installed: pip install 'tl-toolkit[tuning]'."
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
    """How many settings there are; infinite where a range has no steps."""
    return math.prod(math.inf if (values := _values(given)) is None else len(values) for given in space.values())


def _values(given: Any) -> list[Any] | None:
    """What there is to choose from; None for a range without steps."""
    if isinstance(given, list):
        return given
    if not isinstance(given["low"], int) and "step" not in given:
        return None
    step = given.get("step", 1)
    return [given["low"] + step * place for place in range(int((given["high"] - given["low"]) / step + 1e-9) + 1)]


def _first_untried(space: Mapping[str, Any], known: set[str]) -> dict[str, Any] | None:
    """Some settings of a small space that were not tried; None in one without end, where a repetition is no waste."""
    values = [_values(given) for given in space.values()]
    if None in values:
        return None
    combinations = (dict(zip(space, chosen, strict=True)) for chosen in itertools.product(*filter(None, values)))
    return next((settings for settings in combinations if _as_text(settings) not in known), None)


def _as_text(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)
