"""The versions that every key holds, as they stand now."""

from __future__ import annotations

import importlib
import itertools
from typing import get_args

from benchmarks import plugins
from benchmarks.case import NUMERICS
from frameworks.base import Cell
from results.stale import Versions


def certified(framework: str) -> int:
    """Return the version of the numerical code that a certificate of a framework is about: that of its newest cell."""
    return NUMERICS + max(plugins.moved(framework, cell) for cell in get_args(Cell))


def current() -> Versions:
    """Return the version of our numerical code, and of each task and its metrics."""
    kinds = {name: importlib.import_module(f"tasks.{name}").Task for name in plugins.tasks()}
    tasks = {name: (kind.version, kind.metric_version) for name, kind in kinds.items()}
    runs = itertools.product(plugins.frameworks(), get_args(Cell), (plugins.MATCHED, plugins.NATIVE))
    moved = {run: by for run in runs if plugins.offers(run[0], run[2]) and (by := plugins.moved(*run))}
    return Versions(NUMERICS, tasks, moved)
