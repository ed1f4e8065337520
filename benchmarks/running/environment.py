"""The facts of this machine and of this checkout that go into every record."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import subprocess
from pathlib import Path

import numpy as np

import farreach
from farreach import granted
from farreach.benchmarks.matrix.registry import ROOT

RELEASE, CHANGED = f"v{farreach.__version__}", "+changes"
"""The version, which stands for the commit where there is none; what marks a commit that the checkout differs from."""

ROOMS = ("tasks", "frameworks", "benchmarks", "results", "farreach")
"""The folders from which a run imports."""

ARM = ("implementer", "part", "variant", "revision")
"""What tells one ARM core from another, by /proc/cpuinfo."""


def collect_facts() -> dict[str, str | int]:
    """Return processor, cores, those that this process may use, Python, NumPy, platform and commit."""
    return {
        "processor": read_processor(),
        "cores": os.cpu_count() or 1,
        "cores_granted": granted.count_cores(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "commit": read_commit(),
    }


def read_clock() -> str:
    """Return the time, ISO 8601, UTC, to the second."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def read_processor() -> str:
    """Return the processor's model name; of one that has none, as most of ARM's, the numbers of its parts."""
    info = Path("/proc/cpuinfo")
    named = name_processor(info.read_text("utf-8", errors="replace")) if info.exists() else ""
    return named or platform.processor() or platform.machine()


def name_processor(text: str) -> str:
    """Return the processor that /proc/cpuinfo describes: its model, or each kind of ARM core that it has."""
    cores = [dict(re.findall(r"^([^:\n]+?)\s*:[ \t]*(.*)$", core, re.MULTILINE)) for core in text.split("\n\n")]
    model = next((core["model name"] for core in cores if core.get("model name")), "")
    kinds = {tuple(core.get(f"CPU {name}", "") for name in ARM) for core in cores if "CPU part" in core}
    parts = [" ".join(f"{name} {value}" for name, value in zip(ARM, kind, strict=True)) for kind in sorted(kinds)]
    return " ".join(part for part in (model, f"ARM {', '.join(parts)}" if parts else "") if part)


def read_commit() -> str:
    """Return the checkout's commit, marked where files other than results differ from it, or `RELEASE`.

    A file that git does not know marks it where it could be imported. A folder of ours that lies in somebody else's
    repository, unpacked or installed there, has no commit.
    """
    try:
        if Path(call_git("rev-parse", "--show-toplevel")).resolve() != ROOT:
            return RELEASE
        head = call_git("rev-parse", "--short=12", "HEAD")
        changed = call_git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results/published")
        new = call_git(
            "ls-files", "--others", "--exclude-per-directory=.gitignore", "--", *ROOMS, ":!results/published"
        )
    except (OSError, subprocess.CalledProcessError):
        return RELEASE
    return f"{head}{CHANGED}" if changed or new else head


def call_git(*arguments: str, folder: Path | None = None) -> str:
    """Return what git says of a folder, by default ours, whatever repository the environment names."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(  # noqa: S603
        ["git", *arguments],  # noqa: S607
        cwd=folder or ROOT,
        env=environ,
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    return done.stdout.strip()
