"""Ways to run a training step, ready to be timed in the process that holds their framework."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running.replicas import find_learner
from farreach.benchmarks.running.training import shape_evaluation
from farreach.benchmarks.speed.handwritten import LATER
from farreach.benchmarks.speed.implementations import refuse_loop
from farreach.benchmarks.speed.messages import Chunk, Joules, Peak
from farreach.benchmarks.speed.resources import EnergyMeter, PeakMemory
from farreach.tasks.base import Batch

if TYPE_CHECKING:
    from farreach.frameworks.base import Clip


class TimedStep(Protocol):
    """A chunk of training steps that can be run again and again."""

    compile_seconds: float
    kernel: str

    def chunk(self) -> None:
        """Train for one chunk; the device is idle before and after."""
        ...


class OurStep:
    """A case's own step, norms recorded, as every suite runs it."""

    def __init__(self, case: Case, count: int) -> None:
        self.learner = find_learner(case)
        self.batches = _draw_batches(case, count)
        self.compile_seconds = self.learner.prepare(self.batches, shape_evaluation(self.batches[0]))
        self.kernel = self.learner.kernel
        # A history has room for the steps of a case: then the training begins anew, and it never grows.
        self.start = self.learner.state() if case.clip == "autoclip" else None  # type: ignore[attr-defined]
        self.room = self.left = case.steps // count

    def chunk(self) -> None:
        """Train for one chunk."""
        if self.start is not None and not self.left:
            self.learner.restore(self.start)  # type: ignore[attr-defined]
            self.left = self.room
        self.left -= 1
        self.learner.train(self.batches)


class HandwrittenStep:
    """The same step as a user of the framework writes it: a file of ``handwritten/``."""

    def __init__(self, case: Case, count: int, loop: str) -> None:
        self.loop = build_loop(case, loop)
        batches, model = _draw_batches(case, count), case.model()
        self.inputs = np.stack([batch.inputs for batch in batches])
        self.targets = np.stack([batch.targets for batch in batches])
        if model.loss == "mse":
            self.targets = self.targets.reshape(count, case.batch, model.outputs)
        self.compile_seconds = self.loop.prepare(self.inputs, self.targets)
        self.kernel = loop

    def chunk(self) -> None:
        """Train for one chunk."""
        self.loop.train(self.inputs, self.targets)


NUMBERS = ("decay", "accumulator", "weight_decay")
"""The numbers of a training that a hand-written loop takes by these names."""


def build_loop(case: Case, loop: str) -> Any:
    """Return a loop of ``handwritten/`` that does what a case does; raise `ValueError` in one line where none can."""
    if reason := refuse_loop(case, loop):
        message = f"{reason}, not for {case.label()}"
        raise ValueError(message)
    model, training = case.model(), case.training()
    clip, penalty = cast("Clip", training.clip), training.regulariser
    numbers = {name: value for name in NUMBERS if (value := getattr(training, name))}
    numbers |= {penalty.kind: penalty.strength} if penalty else {}
    numbers |= {"steps": training.steps} if clip.kind == "autoclip" else {}
    module = importlib.import_module(f"farreach.benchmarks.speed.handwritten.{loop}")
    usual = {
        "cell": model.cell,
        "features": model.features,
        "hidden": model.hidden,
        "outputs": model.outputs,
        "learning_rate": training.learning_rate,
        "threshold": clip.threshold,
        "device": case.device,
        "threads": case.threads,
        "dtype": case.dtype,
    }
    if loop in LATER:
        facts = {name: getattr(model, name) for name in ("heads", "length", "source", "scored")}
        return module.Loop(**usual, facts=facts | {"path": case.path})
    return module.Loop(
        **usual,
        clip=clip.kind,
        optimizer=training.optimizer,
        numbers=numbers or None,
        schedule=dataclasses.asdict(training.schedule) if training.schedule else None,
    )


class SlowedStep:
    """A step that takes a known share longer: what an A/A test injects."""

    def __init__(self, timed: TimedStep, by: float) -> None:
        self.timed, self.by = timed, by
        self.compile_seconds, self.kernel = timed.compile_seconds, timed.kernel

    def chunk(self) -> None:
        """Train for one chunk, then keep the processor busy for the share more."""
        start = time.perf_counter()
        self.timed.chunk()
        end = time.perf_counter()
        while time.perf_counter() - end < self.by * (end - start):
            pass


def load_step(case: Case, *, count: int, loop: str = "", slowed: float = 0.0) -> TimedStep:
    """Return `count` steps per chunk of a case: ours or a hand-written loop's, slowed by a share where asked."""
    timed: TimedStep = HandwrittenStep(case, count, loop) if loop else OurStep(case, count)
    return SlowedStep(timed, slowed) if slowed else timed


def time_call(run: Callable[[], None], gpu: Any = None) -> Chunk:
    """Return the wall and the processor seconds of a call, the latter over all threads; a GPU is idle at both ends."""
    if gpu is not None:
        gpu.synchronise()
    cpu, start = time.process_time(), time.perf_counter()
    with nullcontext() if gpu is None else gpu.Stopwatch() as watch:
        run()
    wall = time.perf_counter() - start
    return Chunk(wall, time.process_time() - cpu, None if watch is None else watch.seconds)


def measure_resident() -> int:
    """Return the bytes that this process holds now."""
    with PeakMemory() as peak:
        return peak.before


def measure_memory(run: Callable[[], None], gpu: Any = None, *, idle: int = 0) -> Peak:
    """Return the peak of this process's memory over a call, beside it that of a GPU's, and how each was measured.

    `idle` is what the process held when nothing was loaded.
    """
    with PeakMemory() as peak:
        there = None if gpu is None else gpu.measure_peak(run)
        if there is None:
            run()
    device_bytes, device_kind = (None, None) if there is None else there
    return Peak(peak.bytes, peak.kind, device_bytes, device_kind, idle)


ENERGY_SECONDS = 10.0
"""codecarbon looks once a second: it needs a while."""


def measure_energy(run: Callable[[], None], steps: int) -> Joules:
    """Return the joules per step of calls of so many steps each, repeated for a while, and how they were found.

    Beside the processor's part, that of the memory is a model's: the same per second, whatever runs.
    """
    calls, start = 0, time.perf_counter()
    with EnergyMeter() as meter:
        while time.perf_counter() - start < ENERGY_SECONDS:
            run()
            calls += 1
    total = meter.result
    joules, cpu_joules = (
        None if value is None else value / (calls * steps) for value in (total.joules, total.cpu_joules)
    )
    return dataclasses.replace(total, joules=joules, cpu_joules=cpu_joules)


def _draw_batches(case: Case, count: int) -> list[Batch]:
    stream: Any = case.load().batches(case.seed, case.batch)
    return list(itertools.islice(stream, count))
