"""What benchmarks of the suite itself print and keep."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from farreach.benchmarks.running import environment
from farreach.benchmarks.studies import measurement


def test_a_measured_table_is_printed_and_kept_with_its_command_and_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.DataFrame([["a | case", "1.50", "kept"]], columns=["what", "seconds", "verdict"])
    page = tmp_path / "cost.md"
    measurement.tell(frame, title="what it costs", command="python -m benchmarks.cost", said="One was kept.", out=page)
    printed, kept = capsys.readouterr().out, page.read_text()
    for text in ("1.50", "kept", "One was kept."):
        assert text in printed
        assert text in kept
    assert kept.startswith("# What it costs\n\nMade by `python -m benchmarks.cost` on ")
    assert str(environment.facts()["processor"]) in kept
    assert "a \\| case" in kept
