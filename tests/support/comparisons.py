"""Made-up result sets for comparisons: seeds around a skill, sets whose step times spread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from farreach.results.record import Record
from tests.support import synthetic


def make_seeds(count: int, *, skill: float = 0.9, spread: float = 0.01, draw: int = 0, **changes: Any) -> list[Record]:
    """Return seeds of two cells whose skills are drawn around a middle; `draw` tells one run's draws from another's."""
    made = []
    for cell in ("rnn", "lstm"):
        noise = synthetic.stream(draw, cell, "noise").normal(0, spread, count)
        for seed in range(count):
            loss = max(0.0, 1 - skill - float(noise[seed])) / 6
            digest = f"{draw:032x}{seed:032x}"
            one = {"cell": cell, "seed": seed, "loss": loss, "weights_sha256": digest}
            made.append(synthetic.record(**(one | changes)))
    return made


def write_sets(folder: Path, runs: int, middle: float, draw: int) -> None:
    """Write so many result sets whose step times spread by 2 % from run to run around a middle."""
    for run in range(runs):
        noise = synthetic.stream(draw, run, "launch").normal(0, 0.02)
        synthetic.write(folder / f"run{run}", make_seeds(2, step_seconds=middle * float(np.exp(noise))))
