"""Many cases into a store: resumable, a live process a framework, nothing finished is ever lost."""

from __future__ import annotations

import abc
import collections
import concurrent.futures
import contextlib
import dataclasses
import math
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from filelock import FileLock

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case, Lane, require_allowed
from farreach.benchmarks.running import environment
from farreach.benchmarks.running.messages import Outcome, Progress, Run
from farreach.benchmarks.running.records import make_record
from farreach.benchmarks.running.worker_client import CaseFailedError, Live, StartError
from farreach.results.record import TIMES, Result
from farreach.results.storage.parts import PARTS
from farreach.results.storage.result_set import Store, list_keys


@dataclasses.dataclass(frozen=True)
class Failure:
    """A case that gave no record, and why."""

    case: Case
    reason: str


@dataclasses.dataclass
class RunSummary:
    """How a run ended; what it says is also a line in the store's log of runs."""

    planned: int
    done_before: int
    finished: int
    failed: list[Failure]
    wall_seconds: float
    left: int = 0
    """Cases that were not begun, since the time for that was over."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """The cases of a run, which of them the store has already, and what the suite says of them: contrasts, draws."""

    cases: dict[str, Case]
    done: set[str]
    said: dict[Case, dict[str, Any]] = dataclasses.field(default_factory=dict)

    @property
    def missing(self) -> dict[str, Case]:
        """The cases that are still to be run, by key."""
        return {key: case for key, case in self.cases.items() if key not in self.done}


class Listener(Protocol):
    """Who hears how a sweep is going, always in the thread that runs it."""

    def hear_progress(self, case: Case, heard: Progress) -> None:
        """Hear how far a case is."""
        ...

    def hear_end(self, case: Case, said: str, ending: str = "") -> None:
        """Hear that a case has ended, and how: in words, and as one of `ENDINGS` where it is known."""
        ...


ENDINGS = ("solved", "not solved", "finished", "diverged", "failed")
"""How a case ends: not solved or, of a task without a criterion, finished."""

PATIENCE = 0.5
"""Seconds between two looks at cases that another run is at work on."""

ELSEWHERE = "done by another run into the same folder"
GONE = "its row is not there any more: somebody removed it while the run was at work; the same command runs it again"


@dataclasses.dataclass(frozen=True)
class Turn:
    """A case that this run holds: nobody else runs it until the claim is released."""

    key: str
    case: Case
    claim: FileLock


def plan_run(cases: list[Case], store: Store, said: dict[Case, dict[str, Any]] | None = None) -> Plan:
    """Name every case by its key and find out which are done; damaged ones are set aside and so are missing."""
    keyed = {case.key(): case for case in cases}
    return Plan(keyed, store.keep_whole(keyed), said or {})


def name_ending(result: Result) -> str:
    """Return which of `ENDINGS` a result is."""
    if result.status == "diverged" or result.solved is None:
        return result.status
    return "solved" if result.solved else "not solved"


def require_frameworks(cases: list[Case]) -> None:
    """Refuse what cannot run here: a framework that is not installed, data from the network that are not allowed."""
    require_allowed(cases)
    for framework, mode in dict.fromkeys((case.framework, case.mode) for case in cases):
        registry.require_framework(framework, mode)


def try_devices(cases: list[Case], log: Path) -> None:
    """Start each framework once on its device, so that a missing GPU is said before anything runs."""
    for framework, device in dict.fromkeys((case.framework, case.device) for case in cases):
        worker = Live(framework, device, 1, log / f"{framework}.log")
        try:
            worker.start()
        except StartError as error:
            message = f"--device {device}: {error}"
            raise registry.UsageError(message) from error
        finally:
            worker.stop()


class Keeper(abc.ABC):
    """What becomes of the cases of a run that end, wherever they ran: the store, the failures, the log of runs.

    Attributes:
        facts: what every record says of this run: `suite`, `command`, `jobs`, and the environment.

    """

    def __init__(self, chosen: Plan, store: Store, *, listener: Listener, facts: dict[str, Any]) -> None:
        self.plan, self.store, self.listener = chosen, store, listener
        self.facts = environment.collect_facts() | facts
        self.seconds = dict.fromkeys(TIMES, 0.0)
        self.failed: list[Failure] = []
        self.left: set[str] = set()
        self.finished = 0

    def run(self) -> RunSummary:
        """Run what is missing; Ctrl-C ends it with everything finished kept."""
        began, started = time.perf_counter(), environment.read_clock()
        try:
            self._run_missing()
            self._count_rows()
        finally:
            wall = time.perf_counter() - began
            self._log(started, wall)
        return RunSummary(len(self.plan.cases), len(self.plan.done), self.finished, self.failed, wall, len(self.left))

    @abc.abstractmethod
    def _run_missing(self) -> None:
        """Run the cases that are missing, here or on a cluster."""

    def _count_rows(self) -> None:
        """Name each case that neither failed nor has a row: a run ends by counting what it was to give."""
        named = {failure.case for failure in self.failed}
        there = {*list_keys(self.store.folder / "rows")} | self.left
        gone = [case for key, case in self.plan.cases.items() if key not in there and case not in named]
        self.failed += [Failure(case, GONE) for case in gone]

    def _keep(self, key: str, case: Case, outcome: Outcome, facts: dict[str, Any]) -> None:
        """Write one finished case to the store."""
        plugged = {"plugins": registry.describe_plugins(case.task, case.framework)}
        record = make_record(key, case, outcome, self.facts | facts | plugged | self.plan.said.get(case, {}))
        if not self.store.write(record, {part: pd.DataFrame(getattr(outcome, part)) for part in PARTS}):
            self.listener.hear_end(case, ELSEWHERE)
            return
        self.finished += 1
        skill = "diverged" if record.result.skill is None else f"skill {record.result.skill:.3f}"
        said = f"{skill}, {record.times.seconds_training:.1f} s of training"
        self.listener.hear_end(case, said, name_ending(record.result))

    def _fail(self, case: Case, reason: str) -> None:
        self.failed.append(Failure(case, reason))
        self.listener.hear_end(case, f"failed: {reason}", "failed")

    def _log(self, started: str, wall: float) -> None:
        self.store.log(
            {
                "started": started,
                "command": self.facts["command"],
                "planned": len(self.plan.cases),
                "done_before": len(self.plan.done),
                "finished": self.finished,
                "failed": [{"case": failure.case.label(), "reason": failure.reason} for failure in self.failed],
                "wall_seconds": wall,
                "jobs": self.facts["jobs"],
                "seconds": self.seconds,
            }
        )


class Sweep(Keeper):
    """One run: lanes of cases, each lane a worker process, up to `jobs` lanes at a time.

    Attributes:
        workers: processes among which the cases of one lane are dealt; 1 where frameworks are compared.
        meanwhile: is done once, as soon as fewer lanes are left than may run: a core is idle then.
        ends: the reading of the clock after which no case begins.

    """

    def __init__(
        self,
        chosen: Plan,
        store: Store,
        *,
        listener: Listener,
        facts: dict[str, Any],
        workers: int = 1,
        seconds: float = math.inf,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(chosen, store, listener=listener, facts=facts)
        self.workers_each, self.meanwhile = workers, meanwhile
        self.ends = time.perf_counter() + seconds
        self.events: queue.Queue[Callable[[], None]] = queue.Queue()
        self.workers: list[Live] = []
        self.stopping = threading.Event()
        self.lock = threading.Lock()

    def _run_missing(self) -> None:
        """Run lane beside lane."""
        pool = concurrent.futures.ThreadPoolExecutor(self.facts["jobs"])
        try:
            self._handle_events([pool.submit(self._run_lane, lane) for lane in self._deal_lanes()])
        finally:
            self.stopping.set()
            with self.lock:
                for worker in self.workers:
                    worker.stop()
            pool.shutdown(cancel_futures=True)

    def _deal_lanes(self) -> list[list[tuple[str, Case]]]:
        lanes: dict[Lane, list[tuple[str, Case]]] = {}
        for key, case in self.plan.missing.items():
            lanes.setdefault(case.lane, []).append((key, case))
        dealt = [lane[at :: self.workers_each] for lane in lanes.values() for at in range(self.workers_each)]
        return [lane for lane in dealt if lane]

    def _handle_events(self, lanes: list[concurrent.futures.Future[None]]) -> None:
        """Handle what the lanes report, until all have ended; Ctrl-C reaches this thread alone."""
        ended = idle = False
        while not ended:
            running = sum(not lane.done() for lane in lanes)
            ended = not running  # asked first: an event may come before the end of its lane
            if not idle and 0 < running < self.facts["jobs"]:
                idle = True
                self.meanwhile()
            with contextlib.suppress(queue.Empty):
                while True:
                    self.events.get(timeout=0 if ended else 0.2)()
            for lane in lanes:
                if lane.done():
                    lane.result()

    def _run_lane(self, lane: list[tuple[str, Case]]) -> None:
        began = time.perf_counter()
        first = lane[0][1]
        worker = Live(
            first.framework, first.device, first.threads, self.store.folder / "logs" / f"{first.framework}.log"
        )
        with self.lock:
            self.workers.append(worker)
        claimed = dict.fromkeys(TIMES, 0.0)
        turns = collections.deque(lane)
        held = 0  # cases in a row that another run holds
        try:
            while turns and not self.stopping.is_set() and time.perf_counter() < self.ends:
                key, case = turns.popleft()
                claim = self.store.claim(key)
                if claim:
                    held = 0
                    self._ask(worker, Turn(key, case, claim), claimed)
                else:
                    turns.append((key, case))
                    held += 1
                    if held >= len(turns):
                        held = 0
                        self.stopping.wait(PATIENCE)
        finally:
            with self.lock:
                self.left |= {key for key, _ in turns}
            worker.stop()
            claimed["imports"] = worker.imports
            # What no case claims is bookkeeping of ours: pipes, JSON, waiting for a turn.
            claimed["other"] += time.perf_counter() - began - sum(claimed.values())
            with self.lock:
                for kind, seconds in claimed.items():
                    self.seconds[kind] += seconds

    def _ask(self, worker: Live, turn: Turn, claimed: dict[str, float]) -> None:
        """Have one case run and pass on what came of it."""
        started = environment.read_clock()
        if self.store.has(turn.key):
            self.events.put(lambda: self._settle(turn, lambda: self.listener.hear_end(turn.case, ELSEWHERE)))
            return
        try:
            outcome = worker.ask(
                Run(turn.case),
                Outcome,
                lambda heard: self.events.put(lambda: self.listener.hear_progress(turn.case, heard)),
            )
        except (CaseFailedError, StartError) as error:
            if not self.stopping.is_set():
                reason = str(error)
                self.events.put(lambda: self._settle(turn, lambda: self._fail(turn.case, reason)))
            return
        for kind, seconds in outcome.times.by_kind().items():
            claimed[kind] += seconds
        facts = worker.facts | {"started": started}
        self.events.put(lambda: self._settle(turn, lambda: self._keep(turn.key, turn.case, outcome, facts)))

    def _settle(self, turn: Turn, settle: Callable[[], None]) -> None:
        """Do what is to be done of a case that has ended, and let go of it."""
        settle()
        self.store.release(turn.claim)
