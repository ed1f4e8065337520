"""Every command of the guide does what the guide says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from farreach.benchmarks.matrix import registry
from farreach.results.storage.result_set import Store

GUIDE = (registry.ROOT / "docs" / "lasting.md").read_text()
LINES = [line.strip() for line in GUIDE.splitlines() if line.startswith("    python -m benchmarks ")]
LINES = [line for line in LINES if "--dask" not in line]  # tests/test_cluster.py has a cluster for those


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the guide's results/runs is in this test."""
    return tmp_path_factory.mktemp("runs")


def ran(line: str, place: Path) -> str:
    """Run a command of the guide with folders of the test's own; return what it said."""
    own = line.replace("results/runs", str(place)).replace("OLD_ENV", sys.executable).replace("NEW_ENV", sys.executable)
    _, *arguments = shlex.split(own)
    done = subprocess.run(  # noqa: S603
        [sys.executable, *arguments], cwd=registry.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_guide_carries_on_runs_again_and_compares(place: Path) -> None:
    first, again, reproduced, kept_too, compared, _, followed, shown = LINES
    assert first == again
    assert "2 cases, 0 already done, 2 to run" in ran(first, place)
    kept = {path: path.stat().st_mtime_ns for path in (place / "guide" / "rows").iterdir()}
    assert "2 cases, 2 already done, 0 to run" in ran(again, place)
    assert {path: path.stat().st_mtime_ns for path in (place / "guide" / "rows").iterdir()} == kept
    assert "2 of 2 cases gave the same losses" in ran(reproduced, place)
    assert "Quality of 2 rows" in ran(compared, place)
    assert len(Store(place / "guide").rows()) == 2
    assert "2 of 2 cases gave the same losses" in ran(kept_too, place)
    assert "2 sets from" in ran(followed, place)
    assert (place / "guide-history" / "history.html").exists()
    assert "rnn" in ran(shown, place)


def test_the_guide_compares_two_environments_side_by_side(place: Path) -> None:
    (line,) = [line for line in LINES if "--live" in line]
    assert "Speed of 1 row:" in ran(line + f" --out {place / 'live'} --fail-on worse", place)


def test_the_guides_other_commands_are_the_workflows() -> None:
    others = [line.strip() for line in GUIDE.splitlines() if re.match(r"    (\.venv|python3|mkdir|cp) ?", line)]
    nightly = (registry.ROOT / ".github" / "workflows" / "nightly.yml").read_text()
    nightly = nightly.replace("${{ matrix.framework }}", "pytorch").replace("${{ matrix.shard }}", "1/3")
    assert len(others) == 8
    assert all(line in nightly for line in others)
