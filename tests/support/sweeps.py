"""What tests of sweeps listen with, and the short suites that they run."""

from __future__ import annotations

import json
from collections.abc import Callable

from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import sweep
from farreach.benchmarks.running.messages import Progress


class Listener:
    """A listener that says nothing, and can be told to do something at the first progress of a case."""

    def __init__(self, act: Callable[[sweep.Sweep, Case], None] = lambda _sweep, _case: None) -> None:
        self.act = act
        self.sweep: sweep.Sweep | None = None

    def hear_progress(self, case: Case, _heard: Progress) -> None:
        self.act(self.sweep, case)

    def hear_end(self, _case: Case, _said: str, _ending: str = "") -> None:
        pass


def format_suite(**facts: object) -> str:
    """Return a suite of short cases of the reference, one rnn unless `facts` say otherwise; lists are axes."""
    block = {"task": "adding", "framework": "reference", "cell": "rnn", "hidden": 4, "steps": 100} | facts
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in block.items()]
    return f'description = "short cases"\n[[block]]\nparameters = {{ T = 5 }}\n{"".join(lines)}'
