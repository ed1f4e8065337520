"""What a cluster gives and costs: cases per second through 1, 2, 4 and 8 workers of one thread, all on this machine.

It starts a scheduler and workers and runs three kinds of cases by way of them: trivial ones, which show what one case
costs beside its training; ones that compute for about a second, of which no more run at once than there are cores; and
ones that wait for a second instead, as if each worker had a core of its own, which show what the way there and back
allows. The efficiency is the rate over that of one worker times their number; *sender* is the processor time that a
case takes of the process that sends the work and writes the store, so that 1 / sender is the most that any number of
workers can give. The first line is one process without a cluster. A benchmark, not a test: on a busy machine the
figures are worse, and nothing fails. ``python -m benchmarks cluster-cost`` runs it.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import distributed
import pandas as pd

from farreach.benchmarks.cluster.pool import Pool
from farreach.benchmarks.cluster.sweep import ClusterSweep
from farreach.benchmarks.cluster.workers import Workers
from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import messages, sweep, training
from farreach.results.analysis import labels
from farreach.results.storage.result_set import Store

COMMAND = "python -m benchmarks cluster-cost"

COLUMNS = ["workers"]
COLUMNS += [f"{kind}{part}" for kind in ("trivial", "computing", "waiting") for part in ("", " efficiency")]
COLUMNS += ["sender"]

WORKERS = (1, 2, 4, 8)
TRIVIAL_EACH, SECONDS_EACH = 20, 4
"""Cases a worker, of those that are trivial and of those of a second."""

WAITS = 10**6
"""Seeds from here on wait for a second: see `PRELOAD`."""

PRELOAD = f"""
import time
from farreach.benchmarks.running import worker_client

answers = []

def waiting(self, request, answer, progress=lambda _: None, ask=worker_client.Live.ask):
    if answers and request.case.seed >= {WAITS}:
        time.sleep(1)
        return answers[0]
    answers.append(ask(self, request, answer, progress))
    return answers[-1]

if worker_client.Live.ask.__name__ != "waiting":  # Dask loads a preload twice
    worker_client.Live.ask = waiting
"""
"""What workers load first: some cases are not trained but take a second and give what the first one gave."""


class Quiet:
    """A listener that says nothing."""

    def hear_progress(self, case: Case, heard: messages.Progress) -> None:
        """Hear nothing."""

    def hear_end(self, case: Case, said: str, ending: str = "") -> None:
        """Hear nothing."""


@dataclasses.dataclass(frozen=True)
class Kinds:
    """Cases of every kind; no two of all that are made have one seed."""

    seeds: Iterator[int]
    second: int  # steps that take about a second

    def trivial(self, count: int) -> list[Case]:
        """Return cases of 100 steps of a network of four units."""
        return [_case(next(self.seeds), 100) for _ in range(count)]

    def computing(self, count: int) -> list[Case]:
        """Return cases that compute for about a second."""
        return [_case(next(self.seeds), self.second) for _ in range(count)]

    def waiting(self, count: int) -> list[Case]:
        """Return cases that wait for a second and compute nothing."""
        return [_case(WAITS + next(self.seeds), 100) for _ in range(count)]


def measure_workers(say: Callable[[str], None]) -> tuple[pd.DataFrame, str]:
    """Measure every number of workers; return the table and the sentence that explains it."""
    with tempfile.TemporaryDirectory() as folder:
        kinds, scratch = Kinds(itertools.count(), _second()), Path(folder)
        facts = {"suite": "cost", "command": COMMAND, "jobs": 1}
        lines: list[list[str]] = []
        store = _store(scratch)
        local = sweep.plan_run(kinds.trivial(TRIVIAL_EACH), store)
        report = sweep.Sweep(local, store, listener=Quiet(), facts=facts).run()
        lines.append(["no cluster", f"{report.finished / report.wall_seconds:.2f}", *[""] * 6])
        first: list[float] = []
        for count in WORKERS:
            with _cluster(count, scratch) as pool:
                _run(kinds.trivial(2 * count), pool, scratch)  # live processes start
                spent = time.process_time()
                rates = [
                    _run(kinds.trivial(TRIVIAL_EACH * count), pool, scratch),
                    _run(kinds.computing(SECONDS_EACH * count), pool, scratch),
                    _run(kinds.waiting(SECONDS_EACH * count), pool, scratch),
                ]
            spent = (time.process_time() - spent) / ((TRIVIAL_EACH + 2 * SECONDS_EACH) * count)
            first = first or rates
            shares = [rate / (count * alone) for rate, alone in zip(rates, first, strict=True)]
            cells = [(f"{rate:.2f}", labels.format_percent(share)) for rate, share in zip(rates, shares, strict=True)]
            lines.append([str(count), *itertools.chain(*cells), f"{1e3 * spent:.0f} ms"])
            say(f"{count} workers done")
    note = f"Cases per second. {kinds.second} steps compute for about a second."
    return pd.DataFrame(lines, columns=COLUMNS), note


def _run(cases: list[Case], pool: Pool, scratch: Path) -> float:
    """Return the cases a second of a run; every one of them has to arrive."""
    store = _store(scratch)
    facts = {"suite": "cost", "command": COMMAND}
    report = ClusterSweep(sweep.plan_run(cases, store), store, pool, listener=Quiet(), facts=facts).run()
    if report.finished != len(cases):
        message = f"{len(cases) - report.finished} cases did not arrive: {report.failed[:1]}"
        raise RuntimeError(message)
    return report.finished / report.wall_seconds


def _case(seed: int, steps: int) -> Case:
    return Case(
        task="adding",
        parameters=(("T", 5),),
        framework=registry.REFERENCE,
        cell="rnn",
        path="numpy",
        hidden=4,
        steps=steps,
        dtype="float64",
        seed=seed,
    )


def _second() -> int:
    """Return the steps that take about a second here, to the hundred."""
    began = time.perf_counter()
    training.train(_case(0, 1_000), lambda _: None)
    return max(200, round(10 / (time.perf_counter() - began)) * 100)


def _store(scratch: Path) -> Store:
    store = Store(Path(tempfile.mkdtemp(dir=scratch)))
    store.create()
    return store


@contextmanager
def _cluster(workers: int, scratch: Path) -> Iterator[Pool]:
    """Start a scheduler and workers of one thread; yield the way to them."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    scheduler, preload = folder / "scheduler.json", folder / "preload.py"
    preload.write_text(PRELOAD)
    options = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(scheduler)]
    started = [_dask(folder, "scheduler", "--port", "0", *options)]
    try:
        while not (scheduler.exists() and scheduler.read_text("utf-8").endswith("}")):
            time.sleep(0.1)
        alone = ["--nthreads", "1", "--no-nanny", "--death-timeout", "60", "--preload", str(preload), *options]
        started += [_dask(folder, "worker", *alone) for _ in range(workers)]
        address = json.loads(scheduler.read_text("utf-8"))["address"]
        client = distributed.Client(address, set_as_default=False)
        client.wait_for_workers(workers, timeout=120)
        with Pool(client, Workers(client, address, patience=60), print) as pool:
            yield pool
    finally:
        for process in started:
            process.kill()
            process.wait()


def _dask(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "dask", *arguments],
        cwd=registry.HOME,
        env=os.environ | {"DASK_TEMPORARY_DIRECTORY": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
