"""Recurrent, attention and transformer models side by side, from scratch and transferred."""

from __future__ import annotations

from . import models as models  # registers the families with the Auto classes

__version__ = "0.1.0"
