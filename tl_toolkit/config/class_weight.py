"""`--class_weight`: "balanced", or a weight for each class, as `spam=5,ham=1` or in JSON."""

from __future__ import annotations

import json
import math

from ..errors import UserError, nearest

BALANCED = "balanced"


def parse_class_weight(text: str) -> str | dict[str, float]:
    """Return `BALANCED` or the weights by class name. JSON is for names that contain a comma.

    Raises:
        UserError: the text has another form, or a weight is not a finite number above 0.
    """
    if text == BALANCED:
        return text
    try:
        given = json.loads(text) if text.lstrip().startswith("{") else dict(map(_pair, text.split(",")))
    except ValueError as error:
        raise UserError(
            f"--class_weight must be {BALANCED}, none, or weights such as spam=5,ham=1 (in YAML a mapping, in JSON "
            f'{{"spam": 5, "ham": 1}}), but is {text!r}.{nearest(text, [BALANCED])}'
        ) from error
    return {name: _weight(name, value) for name, value in given.items()}


def _pair(part: str) -> tuple[str, str]:
    name, separator, value = part.rpartition("=")
    if not separator:
        raise ValueError(part)
    return name.strip(), value


def _weight(name: str, value: object) -> float:
    try:
        weight = float(str(value))
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise UserError(f"The weight of the class {name!r} in --class_weight must be a number above 0, but is {value}.")
    return weight
