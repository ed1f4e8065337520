"""The curves of one run of a user's own, written as they grow, and the row that closes them.

    curves/KEY.csv    per training step: step, loss, norm_before, norm_after, clipped
    rows/KEY.json     the row, flat, with the columns that every row of a result folder has

Whole lines are appended to the curves at every flush, so that a crash loses what came after the last
one. The row is written last and atomically: a run is finished when its row is there, and not before.
What a user's own run does not know (a floor, a skill, an evaluation set) is null.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import inspect
import json
import math
import os
import platform
import re
import shlex
import statistics
import sys
import time
import warnings
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypedDict

SCHEMA = 1
"""Version of the row, as `farreach.results.record` has it."""

MODE = "own"
"""The mode of every row that is written here."""

COLUMNS = ("step", "loss", "norm_before", "norm_after", "clipped")

LAST = 100
"""The training loss of a row is the mean over this many last steps."""

LONGEST_NAME = 200
"""Characters of a run's name, which stands in titles."""

CLIPS = ("none", "norm", "value", "variable")

UNKNOWN = [
    *("task_version", "activation", "replicate", "evaluate_every", "steps_to_solve", "solved", "floor", "loss"),
    *("weights_sha256", "seconds_compile", "seconds_data", "seconds_evaluation", "seconds_other", "cpu_to_wall"),
    *("kernel", "precision", "device_name", "jobs", "numpy", "commit", "skill"),
]
"""The columns of a row that nobody knows here."""


class ClipWarning(UserWarning):
    """A clip that is not what it seems to be; the message names the line."""


class NoGradientWarning(ClipWarning):
    """A clip that changes nothing, because there is no gradient, an old one or a zero; the message names the line."""


class Settings(TypedDict, total=False):
    """What a run may say about itself: the report shows it. Nothing here is needed.

    Keys: task (one word: letters, digits, ``-``, ``_`` and ``.``), cell (``rnn``, ``lstm``, ``gru`` or your own
    word), hidden and layers (sizes), optimizer (a word), learning_rate, batch (examples), seed, steps (planned).
    Runs that differ in the clip and the seed alone, with one name, stand side by side in the report.
    """

    task: str
    cell: str
    hidden: int
    layers: int
    optimizer: str
    learning_rate: float
    batch: int
    seed: int
    steps: int


class Curves:
    """The curves and the row of one run.

    Args:
        folder: the result folder; it is made where it is not there.
        name: the run's name, any text.
        settings: what the user says about the run.
        facts: what the framework says: framework, framework_version, path, device, dtype, threads.

    Raises:
        ValueError: an empty name, a task that is not one word, a figure that is not finite.
        TypeError: a setting that there is not, or that is neither text nor a number.
        OSError: a folder that cannot be written.

    """

    def __init__(self, folder: str | os.PathLike[str], name: str, settings: Settings, facts: dict[str, Any]) -> None:
        known = Settings.__annotations__
        wrong = [setting for setting in settings if setting not in known]
        if wrong:
            message = f"unknown setting {wrong[0]!r}; allowed: {', '.join(known)}"
            raise TypeError(message)
        if not name.strip() or len(name) > LONGEST_NAME:
            message = f"name must be some text of at most {LONGEST_NAME} characters, not {name[:LONGEST_NAME]!r}"
            raise ValueError(message)
        for setting, value in settings.items():
            if isinstance(value, str) and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", value):
                message = f"{setting} must be one word of letters, digits and _.-, not {value!r}"
                raise ValueError(message)
        self.folder, self.name, self.facts = Path(folder), name, facts
        self.settings = json.loads(json.dumps(settings, allow_nan=False, default=float))
        self.clip, self.threshold = "none", float("nan")
        started = dt.datetime.now(dt.UTC)
        self.started = started.isoformat(timespec="seconds")
        identity = [name, self.settings, facts, started.isoformat(), os.getpid()]
        self.key = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:16]
        self.path = self.folder / "curves" / f"{self.key}.csv"
        self.steps = 0
        self.diverged_at: int | None = None
        self._losses, self._norms, self._clipped, self._scales = (array("d") for _ in range(4))
        self._chunks: list[float] = []  # seconds a step, one figure a flush
        self._seconds, self._clock = 0.0, time.perf_counter()
        for part in ("rows", "curves"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)

    def clips(self, kind: str, threshold: float) -> bool:
        """Note the run's clip, one of `CLIPS` and its threshold; return whether it differs from the one before.

        A threshold that is not finite only measures: no clip.
        """
        if not math.isfinite(threshold):
            return False
        differs = self.clip != "none" and (kind, threshold) != (self.clip, self.threshold)
        self.clip, self.threshold = kind, threshold
        return differs

    def add(self, steps: Iterable[tuple[float, float, float, float]]) -> None:
        """Append steps to the file, whole lines at once: loss, norm before, norm after, share clipped (0 to 1)."""
        seconds = time.perf_counter() - self._clock
        lines = []
        for loss, before, after, clipped in steps:
            self.steps += 1
            if self.diverged_at is None and not (math.isfinite(loss) and math.isfinite(before)):
                self.diverged_at = self.steps
            if self.diverged_at is None:
                self._losses.append(loss)
                self._norms.append(before)
                self._clipped.append(clipped)
                self._scales.append(after / before if before else 1.0)
            lines.append(f"{self.steps},{loss!r},{before!r},{after!r},{clipped!r}\n")
        if lines:
            head = "" if self.path.exists() else ",".join(COLUMNS) + "\n"
            with self.path.open("a", encoding="ascii") as file:
                file.write(head + "".join(lines))
            self._chunks.append(seconds / len(lines))
            self._seconds += seconds
        self._clock = time.perf_counter()

    def close(self) -> Path | None:
        """Write the row, whole or not at all, and return its path; None where no step was recorded."""
        if not self.steps:
            return None
        path = self.folder / "rows" / f"{self.key}.json"
        part = path.with_name(f".{self.key}.{os.getpid()}.part")
        try:
            part.write_text(json.dumps(self.row(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return path

    def row(self) -> dict[str, Any]:
        """Return the row: every column that a result folder knows, null where it does not apply.

        Medians and shares are over the steps before a divergence; ``step_seconds`` is wall time between two
        flushes over their steps, the user's own data loading included.
        """
        settings = {name: self.settings.get(name) for name in Settings.__annotations__}
        last = [*self._losses[-LAST:]]
        loss = sum(last) / len(last) if last and self.diverged_at is None else None
        clips = self.clip != "none" and len(self._norms) > 0
        row: dict[str, Any] = dict.fromkeys(UNKNOWN) | settings
        row |= {"key": self.key, "suite": MODE, "schema": SCHEMA, "mode": MODE, "started": self.started}
        row |= {"task": settings["task"] or "own", "parameters": json.dumps({"name": self.name})}
        row |= {"cell": settings["cell"] or "unknown", "clip": self.clip, "replicate": 0}
        row |= {"regulariser": "none", "strength": None, "unit": ""}
        row |= {"threshold": None if self.clip == "none" else self.threshold}
        row |= {"status": "finished" if self.diverged_at is None else "diverged", "diverged_at": self.diverged_at}
        row |= {"metric": "training_loss", "score": loss, "metric.training_loss": loss, "steps_done": self.steps}
        row |= {"clip_fraction": sum(share > 0 for share in self._clipped) / len(self._norms) if clips else 0.0}
        row |= {"clipped_elements": sum(self._clipped) / len(self._norms) if clips else 0.0}
        row |= {"norm_before_median": statistics.median(self._norms) if self._norms else None}
        row |= {"norm_before_max": max(self._norms, default=None)}
        row |= {"scale_median": statistics.median(self._scales) if clips else None, "gain_late": self._gain_late()}
        row |= {"step_seconds": statistics.median(self._chunks), "seconds_training": self._seconds}
        row |= {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count() or 1}
        row |= {"python": platform.python_version(), "platform": platform.platform()}
        return row | {"command": command()} | self.facts

    def _gain_late(self) -> float | None:
        """Return by how much the mean loss of the last third lies below that of the middle third."""
        third = len(self._losses) // 3
        return (
            statistics.fmean(self._losses[third : 2 * third]) - statistics.fmean(self._losses[2 * third :])
            if third
            else None
        )


class Warner:
    """Warns once for each line of the user's code."""

    def __init__(self) -> None:
        self._said: set[tuple[str, int]] = set()

    def warn(self, what: str, line: tuple[str, int], kind: type[ClipWarning] = NoGradientWarning) -> None:
        """Warn, as if the line itself did; `line` is a file and a line number."""
        if line not in self._said:
            self._said.add(line)
            warnings.warn_explicit(f"{line[0]}:{line[1]}: {what}", kind, filename=line[0], lineno=line[1])


def command() -> str:
    """Return the command that ran this program, without the folders of the machine."""
    script, *rest = sys.argv or ["?"]
    return shlex.join(["python", Path(script).name, *("DIR" if Path(one).is_absolute() else one for one in rest)])


def caller() -> tuple[str, int]:
    """Return file and line of the nearest caller outside this package."""
    here = os.path.dirname(__file__)  # noqa: PTH120 - compared with the names of code objects, which are text
    frame = inspect.currentframe()
    while frame is not None and os.path.dirname(frame.f_code.co_filename) == here:  # noqa: PTH120
        frame = frame.f_back
    return (frame.f_code.co_filename, frame.f_lineno) if frame is not None else ("unknown", 0)
