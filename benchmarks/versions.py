"""The versions that every key holds, as they stand now."""

from __future__ import annotations

import importlib

from benchmarks import plugins
from benchmarks.case import NUMERICS
from results.stale import Versions


def current() -> Versions:
    """Return the version of our numerical code, and of each task and its metrics."""
    kinds = {name: importlib.import_module(f"tasks.{name}").Task for name in plugins.tasks()}
    return Versions(NUMERICS, {name: (kind.version, kind.metric_version) for name, kind in kinds.items()})
