"""What a user can ask of an ensemble, and how the members' own records fill in what is left open."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..config.arguments import DataArguments, RunArguments
from ..config.parsing import as_flags, into_dataclasses, make_parser, settings_and_flags
from ..errors import UserError, listing
from ..records.record import read_record

logger = logging.getLogger(__name__)

_OF_THE_DATASET = ("dataset_config_name", "dataset_revision", "stream_rows")
# The task and the length of texts are told from the members themselves.
_TAKEN = ({f.name for f in dataclasses.fields(DataArguments)} | {"seed"}) - {"task", "max_length"}


@dataclass
class EnsembleArguments:
    """The two members: output folders of finetune.py, or Hub ids."""

    forward: str | None = field(default=None, metadata={"help": "The awd_lstm classifier with direction=forward."})
    backward: str | None = field(default=None, metadata={"help": "The awd_lstm classifier with direction=backward."})


class EnsembleRequest(NamedTuple):
    """Everything that was asked of an ensemble."""

    ensemble: EnsembleArguments
    data: DataArguments
    run: RunArguments


def parse_ensemble_arguments(argv: Sequence[str] | None = None, description: str | None = None) -> EnsembleRequest:
    """The arguments of `ensemble.py` from a command line.

    Dataset, columns, budgets and seed are those of the forward member's record as far as they are not given, so that
    the rows are those that the member was selected and reported on. A dataset that is given has the configuration and
    the revision that are given with it.

    Raises:
        UserError: an unknown flag or key, a value of the wrong type, or a member that was not named.
    """
    kinds = (EnsembleArguments, DataArguments, RunArguments)
    parser = make_parser(description, kinds)
    # Texts are cut as they were in training: the saved tokenizers know the length.
    parser.set_defaults(max_length=None, eval_strategy="no", save_strategy="no", load_best_model_at_end=False)
    flags = settings_and_flags(parser, sys.argv[1:] if argv is None else argv)
    given, _ = parser.parse_known_args(flags)
    for direction in ("forward", "backward"):
        if getattr(given, direction) is None:
            raise UserError(f"ensemble.py needs --{direction}: the output folder of finetune.py, or a Hub id.")
    recorded = [_recorded(name) for name in (given.forward, given.backward)]
    _warn_of_other_rows(*recorded)
    kept = {
        key: value
        for key, value in (recorded[0] or {}).items()
        if given.dataset_name is None or key not in _OF_THE_DATASET
    }
    return EnsembleRequest(*into_dataclasses(parser, [*as_flags(kept, parser, str(given.forward)), *flags], kinds))


def _recorded(member: str) -> dict[str, Any] | None:
    """What the record of a member says of its rows; None without one."""
    record = read_record(Path(member))
    return record and {key: value for key, value in record["arguments"].items() if key in _TAKEN}


def _warn_of_other_rows(forward: dict[str, Any] | None, backward: dict[str, Any] | None) -> None:
    if forward is None or backward is None:
        return
    differing = [key for key in {**forward, **backward} if forward.get(key) != backward.get(key)]
    if differing:
        logger.warning(
            "The members were trained with different %s: a validation row of one may be a training row of the other, "
            "so go by the test rows.",
            listing(differing),
        )
