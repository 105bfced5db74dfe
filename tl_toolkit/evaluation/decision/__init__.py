"""What a comparison concludes: arrays of scores in, the decision as a dictionary out (docs/decision.md)."""

from .decide import decide
from .inputs import KINDS, Cell, Entry, Panel, Settings
from .pseudo_values import pseudo_values

__all__ = ["KINDS", "Cell", "Entry", "Panel", "Settings", "decide", "pseudo_values"]
