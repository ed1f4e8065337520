"""The families of architectures in PyTorch: which file runs which, by `farreach.frameworks.layouts`."""

from __future__ import annotations

from typing import Any

from farreach.frameworks.base import Model
from farreach.frameworks.layouts import LAYOUTS
from farreach.frameworks.pytorch import recurrent

FAMILIES = {"recurrent": recurrent}


def find_family(model: Model) -> Any:
    """Return the module that runs a model."""
    return FAMILIES[LAYOUTS[model.cell].family]
