"""The families of architectures in PyTorch: which file runs which, by `farreach.frameworks.layouts`."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from farreach.frameworks.base import Model
from farreach.frameworks.layouts import LAYOUTS
from farreach.frameworks.pytorch import attention, independent, linear, recurrent, transformer

FAMILIES: dict[str, ModuleType] = {
    "recurrent": recurrent,
    "linear": linear,
    "independent": independent,
    "attention": attention,
    "transformer": transformer,
}


def find_family(model: Model) -> Any:
    """Return the module that runs a model."""
    return FAMILIES[LAYOUTS[model.cell].family]
