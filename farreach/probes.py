"""The gradient through time at some steps of a run, as its result folder has it: flow/KEY.csv, and parts of the row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from farreach.flow import Flow

COLUMNS = ("step", "layer", "time", "h", "c")

POINTS = ("start", "middle", "end")


class Probes:
    """The flows of one run.

    Args:
        path: the file that they are appended to; it is made with the first.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: list[tuple[int, dict[str, Any]]] = []
        self._before: int | None = None

    def add(self, step: int, flow: Flow) -> None:
        """Append a flow that was measured after so many steps; without recurrent layers it is that of the input."""
        self.path.parent.mkdir(exist_ok=True)
        lines = [] if self.path.exists() else [",".join(COLUMNS)]
        layers = flow.h or {"x": flow.x}
        for number, (name, norms) in enumerate(layers.items()):
            cells = flow.c.get(name, [float("nan")] * len(norms))
            lines += [f"{step},{number},{t},{h!r},{c!r}" for t, (h, c) in enumerate(zip(norms, cells, strict=True))]
        with self.path.open("a", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")
        self._before = flow.before
        reach, growth = flow.reach(), flow.growth()
        first = next(iter(flow.c.values()), None)
        if flow.before == 0 or reach is None:
            return
        found = {"reach": reach, "cell_reach": flow.reach(first) if first is not None else None}
        if growth is not None:
            found |= {"growth": growth.rate, "growth_low": growth.low, "growth_high": growth.high}
        self._found.append((step, found))

    def list_columns(self) -> dict[str, Any]:
        """Return the columns of a row: at the first probe, the last, and the one nearest to the middle of them."""
        if not self._found or self._before is None:
            return {}
        steps = [step for step, _ in self._found]
        middle = (steps[0] + steps[-1]) / 2
        at = {"start": 0, "middle": min(range(len(steps)), key=lambda one: abs(steps[one] - middle)), "end": -1}
        columns: dict[str, Any] = {"steps_before": self._before}
        for point in POINTS:
            for name, value in self._found[at[point]][1].items():
                figure, _, side = name.partition("growth_")
                columns[f"growth_{point}_{side}" if side else f"{figure}_{point}"] = value
        return columns
