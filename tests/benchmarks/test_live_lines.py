"""What a terminal shows during a run: a line of each case at work, the endings so far, the time left."""

from __future__ import annotations

import io
import math
import types
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import sweep, training
from farreach.benchmarks.running.messages import Progress
from farreach.benchmarks.running.progress import Progress as Lines
from farreach.frameworks.base import Trace
from farreach.results.record import CONFIRMATIONS
from farreach.results.storage.result_set import Store

CASES = [
    Case(task="adding", parameters=(("T", 10),), framework="reference", cell=cell, hidden=4, steps=200, path="numpy")
    for cell in ("rnn", "lstm", "gru")
]


def draw(lines: Lines) -> str:
    """Return what a wide terminal shows."""
    console = Console(file=io.StringIO(), width=200, force_terminal=True)
    with console.capture() as captured:
        console.print(lines.draw_lines())
    return captured.get()


def test_a_case_at_work_has_a_line_with_its_steps_loss_norm_and_whether_it_is_solved() -> None:
    lines = Lines(CASES, Console(file=io.StringIO(), force_terminal=True))
    lines.hear_progress(CASES[0], Progress(100, 0.123456, 7.8901))
    lines.hear_progress(CASES[1], Progress(200, None, None, solved=True))
    first, second, *_ = (line for line in draw(lines).splitlines() if "adding" in line)
    assert all(part in first for part in ("rnn", "step 100/200", "loss 0.123", "norm 7.89"))
    assert "solved" not in first
    assert "solved" in second
    assert "loss" not in second


def test_what_ended_leaves_its_line_and_is_counted_by_how_it_ended() -> None:
    lines = Lines(CASES, Console(file=io.StringIO(), force_terminal=True))
    lines.hear_progress(CASES[0], Progress(100, 0.1, 1.0))
    for case, ending in zip(CASES, ("solved", "diverged", "diverged"), strict=True):
        lines.hear_end(case, "as it was", ending)
    shown = draw(lines)
    assert "step" not in shown
    assert "so far: 1 solved, 2 diverged" in shown
    assert "3/3 cases" in shown


def test_no_markup_of_a_label_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Case, "label", lambda _: "[red]name[/red]")
    lines = Lines(CASES, Console(file=io.StringIO(), force_terminal=True))
    lines.hear_progress(CASES[0], Progress(100))
    assert "[red]name[/red]" in draw(lines)


def test_progress_holds_the_figures_of_the_last_batch_and_whether_the_criterion_is_confirmed() -> None:
    task = CASES[0].load()
    trace = Trace(np.array([3.0, 0.5]), np.array([9.0, math.inf]), np.ones(2), np.zeros(2), 1.0)
    met = [{"step": at, "loss": 0.0, task.metric: 0.0} for at in range(CONFIRMATIONS)]
    assert training.describe_progress(task, 2, trace, met[:-1]) == Progress(2, 0.5, None, solved=False)
    assert training.describe_progress(task, 2, trace, met).solved == (task.solved(met[0]) is True)


@pytest.mark.parametrize(
    ("status", "solved", "ending"),
    [
        ("finished", True, "solved"),
        ("finished", False, "not solved"),
        ("finished", None, "finished"),
        ("diverged", False, "diverged"),
    ],
)
def test_an_ending_is_named_by_the_result(status: str, solved: bool | None, ending: str) -> None:
    result = types.SimpleNamespace(status=status, solved=solved)
    assert sweep.name_ending(result) == ending  # type: ignore[arg-type]


def test_a_run_tells_of_each_case_how_it_ended(tmp_path: Path) -> None:
    heard: list[tuple[float | None, str]] = []

    class Listener:
        last: float | None = None

        def hear_progress(self, case: Case, one: Progress) -> None:
            del case
            self.last = one.loss

        def hear_end(self, case: Case, said: str, ending: str = "") -> None:
            del case, said
            heard.append((self.last, ending))

    store = Store(tmp_path)
    store.create()
    plan = sweep.plan_run(CASES[:1], store)
    sweep.Sweep(plan, store, listener=Listener(), facts={"suite": "x", "command": "a test", "jobs": 1}).run()
    ((loss, ending),) = heard
    assert ending in {"solved", "not solved"}
    assert loss is not None
    assert math.isfinite(loss)
