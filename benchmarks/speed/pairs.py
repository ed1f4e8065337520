"""Alternating blocks: every implementation once a round, in an order drawn anew for each round.

A pilot, thrown away afterwards, tells how many rounds the width that is asked for takes; that number then stands.
Stopping when the interval looks narrow enough would double the false positives.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from farreach.benchmarks.matrix.registry import UsageError
from farreach.benchmarks.running.messages import Message
from farreach.benchmarks.running.worker_client import Answer, CaseFailedError, Live, StartError
from farreach.benchmarks.speed.implementations import Implementation
from farreach.benchmarks.speed.messages import Chunk, Load, Loaded, Steps
from farreach.results.analysis import statistics

BLOCK_SECONDS = 0.1
"""What a block takes at least, so that its ends, where caches are cold, weigh little."""

LONGEST_CHUNK = 100
"""Steps between two waits for the device: what a suite's chunk has."""

PILOT_ROUNDS = (15, 45)
PILOT_SHARE = 0.25
"""The pilot has as many rounds as this share of the limit takes. Fifteen say little: a tenth of what is needed, or ten
times as many."""

TRIAL_STEPS = 4


@dataclasses.dataclass(frozen=True)
class TimingPlan:
    """How to time: what width is wanted, and what may be spent.

    Attributes:
        width: half of the interval that every pair should have, as a share of its ratio.
        limit: seconds that the rounds of one group may take.
        block_seconds: what a block takes at least.
        rounds: a number of rounds that stands, whatever a pilot would say.
        energy: whether the energy of a step is estimated afterwards.

    """

    width: float = 0.01
    limit: float = 120.0
    block_seconds: float = BLOCK_SECONDS
    rounds: int | None = None
    energy: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no plan."""
        for name in ("width", "limit", "block_seconds"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                message = f"--{name} must be a positive finite number, not {value}"
                raise UsageError(message)


class ImplementationFailedError(Exception):
    """An implementation that cannot be timed; the message is one line."""

    def __init__(self, implementation: Implementation, reason: str) -> None:
        super().__init__(f"{implementation.name}: {reason}")
        self.implementation, self.reason = implementation, reason


@dataclasses.dataclass(frozen=True)
class RoundTimes:
    """What the rounds gave; arrays are [rounds, implementations].

    Attributes:
        seconds: wall seconds per step.
        cpu: processor seconds over wall seconds of each block, all threads together.
        waiting: processor time that the waiting processes took during the blocks, over the blocks' wall time.
        clock_step: seconds by which the clock of the day moved against the monotonic one, by which blocks are timed.

    """

    seconds: NDArray[np.float64]
    cpu: NDArray[np.float64]
    waiting: float
    clock_step: float


class Runner:
    """An implementation in its live process; each method raises `ImplementationFailedError` where it fails."""

    def __init__(self, implementation: Implementation, live: Live) -> None:
        self.implementation, self.live = implementation, live
        self.steps = TRIAL_STEPS
        self.compile_seconds = 0.0
        self.kernel = ""
        self.device: list[float] = []  # the GPU's own seconds per step of each block, where its framework tells them

    def runs_same_code(self, other: Runner) -> bool:
        """Say whether both run the same code: another process or environment of it, or a slowed one."""
        return (self.implementation.case, self.implementation.loop) == (
            other.implementation.case,
            other.implementation.loop,
        )

    def load(self, steps: int) -> None:
        """Make chunks of so many steps ready."""
        one, self.steps = self.implementation, steps
        answer = self.ask(Load(one.name, one.case, steps, one.loop, one.slowed), Loaded)
        self.compile_seconds, self.kernel = answer.compile_seconds, answer.kernel

    def calibrate(self, block_seconds: float) -> float:
        """Load chunks that fill a block; return the seconds per step of the second of two blocks."""
        self.load(TRIAL_STEPS)
        self.run_block()
        seconds, _ = self.run_block()
        steps = min(LONGEST_CHUNK, max(1, round(block_seconds / seconds)))
        if steps != TRIAL_STEPS:
            self.load(steps)
        self.run_block()
        return self.run_block()[0]

    def run_block(self) -> tuple[float, float]:
        """Run one chunk; return its wall seconds per step, and its processor over its wall seconds."""
        began = time.perf_counter()
        chunk = self.ask(Steps(self.implementation.name), Chunk)
        elapsed = time.perf_counter() - began
        wall, cpu = chunk.wall, chunk.cpu
        if not 0 < wall <= 1.01 * elapsed:
            reason = f"its clock says {wall} s for a block that ended within {elapsed} s"
            raise ImplementationFailedError(self.implementation, reason)
        if chunk.device is not None:
            self.device.append(chunk.device / self.steps)
        return wall / self.steps, cpu / wall

    def ask(self, request: Message, answer: type[Answer]) -> Answer:
        """Send the live process a request and return its answer, which is of this kind."""
        try:
            return self.live.ask(request, answer)
        except (CaseFailedError, StartError) as error:
            raise ImplementationFailedError(self.implementation, str(error)) from error


@contextmanager
def start_runners(implementations: Sequence[Implementation], log: Path) -> Iterator[list[Runner]]:
    """Give each implementation its live process, started when it is first asked and ended with the block."""
    lives: dict[tuple[str, int], Live] = {}
    for one in implementations:
        case = one.case
        if one.process not in lives:
            file = log / f"{case.framework}.log"
            lives[one.process] = Live(case.framework, case.device, case.threads, file, python=one.python)
    try:
        yield [Runner(one, lives[one.process]) for one in implementations]
    finally:
        for live in lives.values():
            live.stop()


def settle_rounds(runners: Sequence[Runner], plan: TimingPlan, random: np.random.Generator) -> tuple[int, int]:
    """Calibrate, run a pilot and throw it away; return the rounds that will be run, and those that were wanted.

    Where the limit is short, blocks are too, so that as many fit into it as an interval takes.
    """
    block_seconds = min(plan.block_seconds, 0.6 * plan.limit / statistics.FEWEST_BLOCKS / len(runners))
    once = sum(runner.calibrate(block_seconds) * runner.steps for runner in runners)
    for runner in runners:  # blocks of identical code have the same length, or their ends would weigh differently
        steps = max(other.steps for other in runners if other.runs_same_code(runner))
        if steps != runner.steps:
            runner.load(steps)
    pilot = time_rounds(runners, int(np.clip(PILOT_SHARE * plan.limit / once, *PILOT_ROUNDS)), random)
    wanted = plan.rounds or count_rounds(pilot, plan.width)
    return limit_rounds(wanted, pilot, runners, plan.limit), wanted


def count_rounds(pilot: RoundTimes, width: float) -> int:
    """Return the rounds after which every pair's 95 % interval should lie within 1 +- width of its ratio."""
    rounds = statistics.FEWEST_BLOCKS
    for a, b in itertools.combinations(range(pilot.seconds.shape[1]), 2):
        logs = np.log(pilot.seconds[:, a] / pilot.seconds[:, b])
        rounds = max(rounds, statistics.count_blocks(logs, math.log1p(width)))
    return rounds


def limit_rounds(rounds: int, pilot: RoundTimes, runners: Sequence[Runner], limit: float) -> int:
    """Return how many of the rounds fit into `limit` seconds; raise `UsageError` where not one does."""
    once = float(sum(np.median(pilot.seconds[:, at]) * runner.steps for at, runner in enumerate(runners)))
    fits = int(limit / once)
    if fits < 1:
        message = f"--limit {limit:g} s is too short for one round of blocks, which takes {once:.2g} s"
        raise UsageError(message)
    return min(rounds, fits)


def time_rounds(
    runners: Sequence[Runner], rounds: int, random: np.random.Generator, hear: Callable[[], None] = lambda: None
) -> RoundTimes:
    """Run the rounds, each implementation once in each, in random order."""
    seconds = np.empty((rounds, len(runners)))
    cpu = np.empty_like(seconds)
    idle = _Idle(runners)
    day, steady = time.time(), time.monotonic()
    for at in range(rounds):
        for which in random.permutation(len(runners)):
            with idle.watch_others(runners[which]):
                seconds[at, which], cpu[at, which] = runners[which].run_block()
        hear()
    clock_step = (time.time() - day) - (time.monotonic() - steady)
    return RoundTimes(seconds, cpu, idle.share(), clock_step)


class _Idle:
    """Watches what the waiting processes do: a thread that spins would slow the one that is timed."""

    def __init__(self, runners: Sequence[Runner]) -> None:
        lives = {runner.live.process.pid for runner in runners if runner.live.process}
        self.processes = {pid: psutil.Process(pid) for pid in lives}
        self.spent = self.wall = 0.0

    def watch_others(self, runner: Runner) -> _Idle:
        """Watch every process but the runner's."""
        running = runner.live.process.pid if runner.live.process else None
        self.watched = [process for pid, process in self.processes.items() if pid != running]
        return self

    def __enter__(self) -> None:
        self.before, self.began = self._sum_cpu(), time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.spent += self._sum_cpu() - self.before
        self.wall += time.perf_counter() - self.began

    def share(self) -> float:
        """Return the processor time of the waiting processes over the wall time."""
        return self.spent / self.wall if self.wall else 0.0

    def _sum_cpu(self) -> float:
        try:
            return sum(sum(process.cpu_times()[:2]) for process in self.watched)
        except psutil.NoSuchProcess:  # the block that runs finds out and says so
            return 0.0
