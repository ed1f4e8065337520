"""One training step of the adding problem, per framework, cell and length.

The worker times a chunk of steps with its device idle at both ends and reports the seconds a
step; compilation and warm-up come before and are reported apart. pytest-benchmark counts a
round a chunk, on the worker's clock, so that no pipe between the processes is timed.

    pytest benchmarks/speed                     writes results/runs/speed/speed.json
    pytest benchmarks/speed -k "lstm and 200"   a part of it
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running.worker_client import Live
from farreach.benchmarks.speed.messages import Chunk, Load, Loaded, Steps

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from farreach.frameworks.base import Cell

ROUNDS, WARMUP_ROUNDS, STEPS_A_ROUND = 20, 2, 5


class WorkerClock:
    """Sums the seconds that workers report; pytest-benchmark reads it before and after a round."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def read(self) -> float:
        """Return the seconds reported so far."""
        return self.seconds


CLOCK = WorkerClock()


@pytest.mark.benchmark(timer=CLOCK.read)
@pytest.mark.parametrize("length", [50, 200])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_training_step(benchmark: BenchmarkFixture, worker: Live, cell: Cell, length: int) -> None:
    """Time one step, clip by norm at 1 and norm recording included."""
    framework, device, threads = worker.arguments
    case = Case(
        task="adding",
        parameters=(("T", length),),
        framework=framework,
        cell=cell,
        clip="norm",
        threshold=1.0,
        device=device,
        path=registry.list_paths(framework, device, cell)[0],
        threads=int(threads),
    )
    compiled = worker.ask(Load("step", case, STEPS_A_ROUND), Loaded).compile_seconds

    def steps() -> None:
        CLOCK.seconds += worker.ask(Steps("step"), Chunk).wall / STEPS_A_ROUND

    benchmark.group = f"adding T={length} {cell}"
    benchmark.extra_info.update(
        task=case.task,
        T=length,
        framework=framework,
        cell=cell,
        hidden=case.hidden,
        batch=case.batch,
        path=case.path,
        threads=case.threads,
        device=case.device,
        compile_seconds=compiled,
        framework_version=registry.find_framework_version(framework),
        steps_a_round=STEPS_A_ROUND,
    )
    benchmark.pedantic(steps, rounds=ROUNDS, warmup_rounds=WARMUP_ROUNDS)
