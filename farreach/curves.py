"""The curves of one run of a user's own, written as they grow, and the row that stands for the run.

    curves/KEY.csv    per training step: step, loss, norm_before, norm_after, clipped, skipped
    rows/KEY.json     the row, flat, with the columns that every row of a result folder has

Whole lines are appended to the curves at every flush, and the row is written anew, each time whole or not at all: a
run that is killed can be reported, and its row says that it did not end. What a user's own run does not know (a floor,
a skill, an evaluation set) is null.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import os
import platform
import re
import shlex
import statistics
import sys
import time
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from farreach import granted
from farreach.probes import Probes
from farreach.warned import ClipWarning, NoGradientWarning, Warner, caller

__all__ = ["ClipWarning", "Curves", "NoGradientWarning", "Settings", "Step", "Warner", "caller"]

SCHEMA = 1
"""Version of the row, as `farreach.results.record` has it."""

MODE = "own"
"""The mode of every row that is written here."""

COLUMNS = ("step", "loss", "norm_before", "norm_after", "clipped", "skipped")

LAST = 100
"""The training loss of a row is the mean over this many last steps."""

LONGEST_NAME = 200
"""Characters of a run's name, which stands in titles."""

HOPELESS = 25
"""So many steps skipped without a break, to the end, are a divergence: a loss scale of 2^16 has reached 1 before."""

SOARED = 1_000.0
"""A norm of so many times the median of those before it is told of at once."""

RARELY = 10.0
"""Seconds between two writings of the row of a run that goes on, once it has doubled its steps no more."""

UNKNOWN = [
    *("task_version", "activation", "replicate", "evaluate_every", "steps_to_solve", "solved", "floor", "loss"),
    *("weights_sha256", "seconds_compile", "seconds_data", "seconds_evaluation", "seconds_other", "cpu_to_wall"),
    *("kernel", "precision", "device_name", "jobs", "numpy", "commit", "skill"),
    *("schedule", "warmup", "rate_end", "accumulator"),
]
"""The columns of a row that nobody knows here."""

UNFINISHED = "this run has not ended, or was killed: these are its first {} steps"


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


class Step(NamedTuple):
    """What is recorded of one training step.

    Attributes:
        loss: the batch's loss; None where nobody said it.
        before: the global gradient norm before the clip.
        after: that of the gradient that the optimizer used.
        clipped: the share of the gradient's elements that the clip changed, 0 to 1.
        skipped: whether the update was left out, as a loss scaler does after an overflow.

    """

    loss: float | None
    before: float
    after: float
    clipped: float
    skipped: bool = False


class Curves:
    """The curves and the row of one run.

    Args:
        folder: the result folder; it is made where it is not there.
        name: the run's name, any text.
        settings: what the user says about the run.
        facts: what the framework says: framework, framework_version, path, device, dtype, threads.
        warner: whose warnings the row keeps.

    Raises:
        ValueError: an empty name, a task that is not one word, a figure that is not finite.
        TypeError: a setting that there is not, or that is neither text nor a number.
        OSError: a folder that cannot be written.

    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        name: str,
        settings: Settings,
        facts: dict[str, Any],
        *,
        warner: Warner | None = None,
    ) -> None:
        check_settings(name, settings)
        self.folder, self.name, self.facts, self.warner = Path(folder), name, facts, warner or Warner()
        self.settings = json.loads(json.dumps(settings, allow_nan=False, default=float))
        self.clip, self.threshold = "none", float("nan")
        self.measured: dict[str, Any] = {}
        self.writers: list[Any] = []
        started = dt.datetime.now(dt.UTC)
        self.started = started.isoformat(timespec="seconds")
        identity = [name, self.settings, facts, started.isoformat(), os.getpid()]
        self.key = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:16]
        self.path = self.folder / "curves" / f"{self.key}.csv"
        self.probes = Probes(self.folder / "flow" / f"{self.key}.csv")
        self.steps = self.skipped = 0
        self._skipped_last = 0  # without a break, to the last step
        self._diverged_at: int | None = None
        self._losses, self._norms, self._clipped, self._scales = (array("d") for _ in range(4))
        self._chunks: list[float] = []  # seconds per step, one figure per flush
        self._seconds, self._clock = 0.0, time.perf_counter()
        self._noted = (0, 0.0)  # steps and time of the last writing of the row
        self._told: set[str] = set()
        self._most = 0.0  # the largest norm
        for part in ("rows", "curves"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)

    @property
    def diverged_at(self) -> int | None:
        """The first step with a loss or a norm that is not finite, or the first of `HOPELESS` that were skipped."""
        if self._diverged_at is None and self._skipped_last >= HOPELESS:
            return self.steps - self._skipped_last + 1
        return self._diverged_at

    def clips(self, kind: str, threshold: float) -> bool:
        """Note the run's clip, its kind and its threshold; return whether it differs from the one before.

        Kinds are norm, value, variable (each variable alone), part (of some parameters) and a norm of another order,
        such as inf-norm. A threshold that is not finite only measures: no clip. One that is not above 0, which leaves
        no gradient, stands as the smallest number.
        """
        if not math.isfinite(threshold):
            return False
        threshold = max(threshold, sys.float_info.min)
        differs = self.clip != "none" and (kind, threshold) != (self.clip, self.threshold)
        self.clip, self.threshold = kind, threshold
        return differs

    def add(self, steps: Iterable[Step | tuple[float, float, float, float]]) -> None:
        """Append steps to the file, whole lines at once, and write the row anew where it is worth it."""
        seconds = time.perf_counter() - self._clock
        lines = []
        for one in steps:
            step = Step(*one)
            self.steps += 1
            self._count(step)
            loss = math.nan if step.loss is None else step.loss
            figures = (loss, step.before, step.after, step.clipped)
            for writer in self.writers:
                for name, figure in zip(COLUMNS[1:], figures, strict=False):
                    writer.add_scalar(f"farreach/{name}", figure, self.steps)
            lines.append(f"{self.steps},{','.join(map(repr, figures))},{int(step.skipped)}\n")
        if lines:
            head = "" if self.path.exists() else ",".join(COLUMNS) + "\n"
            with self.path.open("a", encoding="ascii") as file:
                file.write(head + "".join(lines))
            self._chunks.append(seconds / len(lines))
            self._seconds += seconds
            steps_noted, at = self._noted
            if self.steps >= 2 * steps_noted or time.monotonic() - at > RARELY:
                self._write(UNFINISHED.format(self.steps))
        self._clock = time.perf_counter()

    def add_layers(self, head: list[str], lines: list[list[str]]) -> None:
        """Append lines of norms, one for each parameter, to layers/KEY.csv."""
        path = self.folder / "layers" / f"{self.key}.csv"
        path.parent.mkdir(exist_ok=True)
        text = "".join(",".join(line) + "\n" for line in ([] if path.exists() else [head]) + lines)
        with path.open("a", encoding="utf-8") as file:
            file.write(text)

    def close(self) -> Path | None:
        """Write the row, whole or not at all, and return its path; None where no step was recorded."""
        return self._write() if self.steps else None

    def _count(self, step: Step) -> None:
        self.skipped += step.skipped
        self._skipped_last = self._skipped_last + 1 if step.skipped else 0
        if step.skipped or self._diverged_at is not None:
            return
        if not (math.isfinite(step.loss or 0.0) and math.isfinite(step.before)):
            self._diverged_at = self.steps
            what = "gradient norm" if math.isfinite(step.loss or 0.0) else "loss"
            self._tell("diverged", f"step {self.steps}: the {what} is not finite")
            return
        if step.before > self._most:
            if (
                len(self._norms) >= LAST
                and step.before > SOARED * (usual := statistics.median(self._norms[-LAST:])) > 0
            ):
                what = f"step {self.steps}: the gradient norm is {step.before:.3g}, its median before {usual:.3g}"
                self._tell("exploding", what)
            self._most = step.before
        if step.loss is not None:
            self._losses.append(step.loss)
        self._norms.append(step.before)
        self._clipped.append(step.clipped)
        self._scales.append(step.after / step.before if step.before else 1.0)

    def _tell(self, what: str, line: str) -> None:
        """Say a line on the terminal, once of a kind: the run is at work and may be stopped."""
        if what not in self._told:
            self._told.add(what)
            sys.stderr.write(f"farreach: {self.name}: {line}\n")

    def _write(self, note: str = "") -> Path:
        path = self.folder / "rows" / f"{self.key}.json"
        part = path.with_name(f".{self.key}.{os.getpid()}.part")
        try:
            part.write_text(json.dumps(self.row(note), indent=1, allow_nan=False) + "\n", encoding="utf-8")
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        self._noted = (self.steps, time.monotonic())
        return path

    def row(self, note: str = "") -> dict[str, Any]:
        """Return the row: every column that a result folder knows, null where it does not apply.

        Medians and shares are over the steps before a divergence that were not skipped; ``step_seconds`` is wall time
        between two flushes over their steps, the user's own data loading included.

        Args:
            note: a warning of the moment, which stands before the others.

        """
        settings = {name: self.settings.get(name) for name in Settings.__annotations__}
        last = [*self._losses[-LAST:]]
        loss = sum(last) / len(last) if last and self.diverged_at is None else None
        clips = self.clip != "none" and len(self._norms) > 0
        noted = [*([note] if note else []), *self.warner.texts]
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
        row |= {"steps_skipped": self.skipped, "warnings": json.dumps(noted) if noted else None}
        row |= {"step_seconds": statistics.median(self._chunks), "seconds_training": self._seconds}
        row |= {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count() or 1}
        row |= {"cores_granted": granted.count_cores()}
        row |= {"python": platform.python_version(), "platform": platform.platform()}
        return row | {"command": command()} | self.facts | self.measured | self.probes.list_columns()

    def _gain_late(self) -> float | None:
        """Return by how much the mean loss of the last third lies below that of the middle third."""
        third = len(self._losses) // 3
        return (
            statistics.fmean(self._losses[third : 2 * third]) - statistics.fmean(self._losses[2 * third :])
            if third
            else None
        )


def check_settings(name: str, settings: Settings) -> None:
    """Raise ValueError or TypeError for a name or a setting that no report could show."""
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


def command() -> str:
    """Return the command that ran this program, without the folders of the machine."""
    script, *rest = sys.argv or ["?"]
    return shlex.join(["python", Path(script).name, *("DIR" if Path(one).is_absolute() else one for one in rest)])
