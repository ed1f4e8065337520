"""The versions that every key holds, as they stand now."""

from __future__ import annotations

import importlib
import itertools
from typing import get_args

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import NUMERICS
from farreach.frameworks.base import Cell
from farreach.results.analysis.staleness import Versions


def find_certified_version(framework: str) -> int:
    """Return the version of the numerical code that a certificate of a framework is about: that of its newest cell."""
    return NUMERICS + max(registry.count_moves(framework, cell) for cell in get_args(Cell))


def collect_versions() -> Versions:
    """Return the version of our numerical code, and of each task and its metrics."""
    kinds = {name: importlib.import_module(f"farreach.tasks.{name}").Task for name in registry.list_tasks()}
    tasks = {name: (kind.version, kind.metric_version) for name, kind in kinds.items()}
    runs = itertools.product(registry.list_frameworks(), get_args(Cell), (registry.MATCHED, registry.NATIVE))
    moved = {run: by for run in runs if registry.has_mode(run[0], run[2]) and (by := registry.count_moves(*run))}
    return Versions(NUMERICS, tasks, moved)
