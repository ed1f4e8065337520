"""The facts of this machine and of this checkout that go into every record."""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
from pathlib import Path

import numpy as np

from farreach.benchmarks.matrix.registry import ROOT

UNKNOWN, CHANGED = "unknown", "+changes"
"""The commit where there is none, and what marks one from which the checkout differs."""


def collect_facts() -> dict[str, str | int]:
    """Return processor, cores, Python, NumPy, platform and commit."""
    return {
        "processor": read_processor(),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "commit": read_commit(),
    }


def read_clock() -> str:
    """Return the time, ISO 8601, UTC, to the second."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def read_processor() -> str:
    """Return the processor's model name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text("utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def read_commit() -> str:
    """Return the checkout's commit, marked where files other than results differ from it, or ``unknown``."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results/published")
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN
    return f"{head}{CHANGED}" if changed else head


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S603, S607
    return done.stdout.strip()
