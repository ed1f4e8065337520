"""What a run shows while it runs: a line of each case that is at work, what came out so far, and the time left."""

from __future__ import annotations

import collections
from types import TracebackType
from typing import Self

from rich import progress
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import messages
from farreach.benchmarks.running.sweep import ENDINGS

REFRESHES = 4
"""How often a second the lines are drawn anew."""


def make_bar(console: Console, counted: str = "") -> progress.Progress:
    """Return a bar with the time left, silent without a terminal; `counted` is what stands after the percentage."""
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TextColumn(f"{{task.percentage:3.0f}} %{counted}, time left"),
        progress.TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        speed_estimate_period=600,
    )


class Progress:
    """Hears of a sweep; without a terminal it prints one line for each case that ends.

    In a terminal it shows a line of each case that is at work, with its steps, the loss and the gradient norm of its
    last batch, then how the cases ended so far, and a bar with the time left.
    """

    def __init__(self, cases: list[Case], console: Console) -> None:
        self.console = console
        # A step costs about as much as its sequence is long: that is the unit of the bar.
        self.work = {case: case.steps * case.load().length for case in cases}
        self.reached: dict[Case, int] = {}
        self.running: dict[Case, messages.Progress] = {}
        self.endings: collections.Counter[str] = collections.Counter()
        self.count = 0
        self.bar = make_bar(console, "  {task.fields[count]} cases")
        self.line = self.bar.add_task("starting", total=sum(self.work.values()), count=f"0/{len(cases)}")
        self.live = Live(console=console, get_renderable=self.draw_lines, refresh_per_second=REFRESHES)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.running.clear()
        if self.console.is_terminal:
            self.live.stop()

    def hear_progress(self, case: Case, heard: messages.Progress) -> None:
        """Move the bar to the steps that a case has done, and keep its figures for its line."""
        self.reached[case] = heard.steps * case.load().length
        self.running[case] = heard
        self._move()

    def hear_end(self, case: Case, said: str, ending: str = "") -> None:
        """Count a case, whole: one that diverged early has nothing left to do."""
        self.count += 1
        self.endings[ending] += 1
        self.running.pop(case, None)
        self.reached[case] = self.work[case]
        self._move()
        if not self.console.is_terminal:
            self.console.print(f"[{self.count}/{len(self.work)}] {case.label()}: {said}", markup=False)

    def draw_lines(self) -> Group:
        """Return what the terminal shows now."""
        lines = Table.grid(padding=(0, 2), expand=True)
        lines.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        for _ in range(4):
            lines.add_column(justify="right", no_wrap=True)
        for case, heard in self.running.items():
            lines.add_row(Text(case.label()), f"step {heard.steps}/{case.steps}", *describe_figures(heard))
        told = [f"{self.endings[ending]} {ending}" for ending in ENDINGS if self.endings[ending]]
        return Group(lines, Text(f"so far: {', '.join(told) or 'none has ended'}"), self.bar.get_renderable())

    def _move(self) -> None:
        done, count = sum(self.reached.values()), f"{self.count}/{len(self.work)}"
        self.bar.update(self.line, completed=done, count=count, description="running")


def describe_figures(heard: messages.Progress) -> tuple[str, str, str]:
    """Return loss, gradient norm and whether it is solved, in words; empty where nothing was heard of it."""
    figures = [("loss", heard.loss), ("norm", heard.norm)]
    loss, norm = ("" if value is None else f"{name} {value:.3g}" for name, value in figures)
    return loss, norm, "solved" if heard.solved else ""
