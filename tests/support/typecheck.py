"""Checks the types of all that is installed as ``farreach.*``: mypy, strictly, over a folder of links.

In a checkout `farreach.results` is the folder ``results``, by the package's ``__path__``, which mypy does not follow.
The links make the layout that pip installs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("tasks", "frameworks", "benchmarks", "results")


def check_types() -> int:
    """Run mypy over the links; return its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "farreach"
        package.mkdir()
        for path in [*(ROOT / "farreach").iterdir(), *(ROOT / room for room in ROOMS)]:
            (package / path.name).symlink_to(path)
        command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", "-p", "farreach"]
        command += ["--cache-dir", ROOT / ".mypy_cache"]
        return subprocess.run(command, cwd=folder, env=os.environ | {"MYPYPATH": folder}, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(check_types())
