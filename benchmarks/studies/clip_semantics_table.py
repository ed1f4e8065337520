"""The table of what the frameworks' own clip functions do: each is asked in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.running.worker_client import CaseFailedError, Live, StartError
from farreach.benchmarks.studies.messages import Clips, ProbeClips
from farreach.results.report import markdown


def make_table(logs: Path) -> str:
    """Return the table as Markdown; raise `UsageError` where a framework cannot be asked, or none is installed."""
    rows = []
    for framework in registry.require_any():
        if registry.has_part(framework, "own_clips"):
            worker = Live(framework, "cpu", 1, logs / f"{framework}.log")
            try:
                rows += worker.ask(ProbeClips(framework), Clips).rows
            except (CaseFailedError, StartError) as error:
                message = f"{framework} did not answer: {error}"
                raise registry.UsageError(message) from error
            finally:
                worker.stop()
    versions = ", ".join(
        f"{name} {registry.find_framework_version(name)}" for name in dict.fromkeys(row["framework"] for row in rows)
    )
    return (
        "# What a clip at threshold 1 does in the frameworks' own functions\n\n"
        f"Made by `python -m benchmarks semantics` from live calls, float32, CPU: {versions}. "
        "*excess* is the norm after the clip of a gradient of norm 2, minus 1: an epsilon shows there.\n\n"
        + markdown.table(pd.DataFrame(rows))
    )
