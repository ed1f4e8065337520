"""The versions of the tasks that every key holds, as they stand now."""

from __future__ import annotations

import importlib

from farreach.benchmarks.matrix import registry
from farreach.results.analysis.staleness import Versions


def collect_versions() -> Versions:
    """Return the version of each task's data and that of its metrics."""
    kinds = {name: importlib.import_module(f"farreach.tasks.{name}").Task for name in registry.list_tasks()}
    return {name: (kind.version, kind.metric_version) for name, kind in kinds.items()}
