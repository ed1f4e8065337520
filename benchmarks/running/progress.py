"""What a run shows while it runs: one progress bar with the time left, or a line a case."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich import progress
from rich.console import Console

from farreach.benchmarks.matrix.case import Case


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
    """Hears of a sweep; without a terminal it prints one line for each case that ends."""

    def __init__(self, cases: list[Case], console: Console) -> None:
        self.console = console
        # A step costs about as much as its sequence is long: that is the unit of the bar.
        self.work = {case: case.steps * case.load().length for case in cases}
        self.reached: dict[Case, int] = {}
        self.count = 0
        self.bar = make_bar(console, "  {task.fields[count]} cases")
        self.line = self.bar.add_task("starting", total=sum(self.work.values()), count=f"0/{len(cases)}")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def hear_progress(self, case: Case, steps: int) -> None:
        """Move the bar to the steps that a case has done."""
        self.reached[case] = steps * case.load().length
        self._move(f"{case.framework} {case.task} {case.cell}")

    def hear_end(self, case: Case, said: str) -> None:
        """Count a case, whole: one that diverged early has nothing left to do."""
        self.count += 1
        self.reached[case] = self.work[case]
        self._move(f"{case.framework} {case.task} {case.cell}")
        if not self.console.is_terminal:
            self.console.print(f"[{self.count}/{len(self.work)}] {case.label()}: {said}", markup=False)

    def _move(self, description: str) -> None:
        done, count = sum(self.reached.values()), f"{self.count}/{len(self.work)}"
        self.bar.update(self.line, completed=done, count=count, description=description)
