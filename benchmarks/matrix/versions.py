"""The versions of the tasks that every key holds, as they stand now."""

from __future__ import annotations

import contextlib

from farreach.benchmarks.matrix import registry
from farreach.results.analysis.staleness import Versions


def collect_versions() -> Versions:
    """Return the version of each task's data and that of its metrics."""
    versions = {}
    for name in registry.list_tasks():
        with contextlib.suppress(registry.UsageError):  # of a file that breaks: `list` names it, and so does its use
            kind = registry.import_task(name)
            versions[name] = kind.version, kind.metric_version
    return versions
