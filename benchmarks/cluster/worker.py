"""What runs on a Dask worker: one case, or one timing, in live processes below the worker's own.

A worker's own processes are daemonic and may have no children by `multiprocessing`; live processes are none of those.
Every function here answers with a dictionary, never with an exception:

    {"outcome": ..., "facts": ..., "seconds": ...}   what `run_case` found, and the facts of this machine
    {"found": ...}                                   what `time_group` found, the facts of this machine in it
    {"failed": reason}                               the case cannot be run, here or elsewhere
    {"refused": reason, "which": 0}                  this worker cannot run that one of the cases; another one may

and with ``worker``, this worker's address.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import get_worker
from distributed.utils import sync

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import LATER, Case, Lane
from farreach.benchmarks.running import environment
from farreach.benchmarks.running.messages import Outcome, Run
from farreach.benchmarks.running.worker_client import CaseFailedError, Live, StartError
from farreach.benchmarks.speed import machine
from farreach.results.record import TIMES

TELL_EVERY = 1.0
"""Seconds between two messages about the progress of one case."""

WATCH_EVERY = 0.5
IDLE = 60.0
"""Seconds after which a live process that nobody needs is ended; its framework may hold the memory of a GPU."""

BEGUN, ENDED = 0, -1
"""What is said of the progress of an errand at its ends."""

Answer = dict[str, Any]


class UnwantedError(Exception):
    """The run that asked for this has ended, or has it from another worker."""


class Errand:
    """One task of this worker: where it is, who hears of it, and whether it is still wanted."""

    def __init__(self, topic: str) -> None:
        self.worker = get_worker()
        self.key, self.topic = self.worker.get_current_task(), topic
        self.lives: list[Live] = []
        self.reported = 0.0

    @property
    def room(self) -> int:
        """The threads of this worker."""
        return int(self.worker.state.nthreads)

    @property
    def logs(self) -> Path:
        """Where live processes write what a library prints."""
        return Path(self.worker.local_directory) / "farreach"

    def begin(self) -> None:
        """Say that it begins, and wait until that is heard: should this worker die now, it may have died of this."""
        message = {"key": self.key, "reached": BEGUN}
        sync(self.worker.loop, self.worker.scheduler.log_event, topic=self.topic, msg=message)

    def end(self) -> None:
        """Say that it has ended: what this worker dies of now is something else."""
        self._log(ENDED)

    def report_progress(self, reached: float) -> None:
        """Say how far it is; raise `UnwantedError` where nobody wants it any more."""
        if not self.is_wanted():
            raise UnwantedError
        if time.monotonic() - self.reported >= TELL_EVERY:
            self._log(reached)

    def is_wanted(self) -> bool:
        """Say whether the scheduler still waits for it: a task that has begun is only marked when it is cancelled."""
        state = self.worker.state.tasks.get(self.key)
        return state is not None and state.state != "cancelled"

    def _log(self, reached: float) -> None:
        self.reported = time.monotonic()
        self.worker.log_event(self.topic, {"key": self.key, "reached": reached})


class Slots:
    """The threads of a worker, handed out in the order in which they are asked for."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.waiting: deque[object] = deque()
        self.taken = 0

    @contextmanager
    def take_slots(self, count: int, room: int, wanted: Callable[[], bool] = lambda: True) -> Iterator[None]:
        """Hold `count` of `room` threads, or all where it is more; raise `UnwantedError` where that is not wanted."""
        ticket, count = object(), min(count, room)
        with self.changed:
            self.waiting.append(ticket)
            try:
                while self.waiting[0] is not ticket or self.taken + count > room:
                    self.changed.wait(WATCH_EVERY)
                    if not wanted():
                        raise UnwantedError
                self.taken += count
            finally:
                self.waiting.remove(ticket)
                self.changed.notify_all()
        try:
            yield
        finally:
            with self.changed:
                self.taken -= count
                self.changed.notify_all()


class Lent:
    """A live process with the facts of its machine, as they were when it was started."""

    def __init__(self, lane: Lane, log: Path) -> None:
        framework, device, threads, _ = lane
        self.lane, self.live = lane, Live(framework, device, threads, log / f"{framework}.log")
        self.facts = environment.collect_facts()
        self.since = time.monotonic()


class Workplace:
    """The live processes of this worker: at most one per thread, each with one case at a time, held by their lane."""

    def __init__(self) -> None:
        self.slots = Slots()
        self.lock = threading.Lock()
        self.idle: list[Lent] = []
        self.errands: list[Errand] = []
        self.machines: dict[tuple[str, int], Answer] = {}
        self.watching = False

    @contextmanager
    def enter(self, errand: Errand, threads: int) -> Iterator[None]:
        """Hold threads for an errand and end its live processes where it is not wanted any more."""
        with self.slots.take_slots(threads, errand.room, errand.is_wanted):
            with self.lock:
                self.errands.append(errand)
                if not self.watching:
                    threading.Thread(target=self._end_unwanted, daemon=True, name="farreach-watch").start()
                    self.watching = True
            errand.begin()
            try:
                yield
            finally:
                errand.end()
                with self.lock:
                    self.errands.remove(errand)

    @contextmanager
    def lend_live(self, lane: Lane, errand: Errand) -> Iterator[Lent]:
        """Lend a live process of a lane, idle or new."""
        with self.lock:
            at = next((at for at, lent in enumerate(self.idle) if lent.lane == lane), None)
            lent = self.idle.pop(at) if at is not None else Lent(lane, errand.logs)
            errand.lives.append(lent.live)
            surplus = self._take_surplus(errand.room - sum(len(one.lives) for one in self.errands))
        _stop_lives(surplus)
        try:
            yield lent
        finally:
            lent.since = time.monotonic()
            good = lent.live.fault is None and errand.is_wanted()
            if not good:  # in the middle of a case that nobody wants, say
                lent.live.stop()
            with self.lock:
                errand.lives.remove(lent.live)
                self.idle += [lent] if good else []

    def stop_idle(self) -> None:
        """End every live process that is idle."""
        with self.lock:
            surplus = self._take_surplus(0)
        _stop_lives(surplus)

    def _take_surplus(self, room: int) -> list[Lent]:
        """Take out the idle processes beyond `room`, the longest idle first."""
        out, self.idle = self.idle[: max(0, len(self.idle) - room)], self.idle[max(0, len(self.idle) - room) :]
        return out

    def _end_unwanted(self) -> None:
        """End what is not wanted: live processes of errands that were cancelled, and those idle for long."""
        while True:
            time.sleep(WATCH_EVERY)
            with self.lock:
                unwanted = [live for errand in self.errands if not errand.is_wanted() for live in errand.lives]
                old = [lent for lent in self.idle if time.monotonic() - lent.since > IDLE]
                self.idle = [lent for lent in self.idle if lent not in old]
            for live in unwanted:
                live.stop()
            _stop_lives(old)


PLACE = Workplace()
"""Of this worker process; its threads share it."""

READING = threading.Lock()
"""Held where plug-ins are read: `ast.parse` fails now and then where two threads call it (seen in Python 3.11)."""


def find_refusals(requests: list[Answer]) -> list[str]:
    """Return for each `make_request` why this worker refuses it, or ""."""
    return [find_refusal(**one) for one in requests]


def run_case(request: Answer, topic: str, alone: bool) -> Answer:  # noqa: FBT001 - Dask maps positions
    """Train the case of a `make_request`, with nothing else at work on this worker if it is to be alone."""
    return _answer_work(topic, functools.partial(_train_case, request, alone))


def time_group(request: tuple[list[Answer], Callable[..., Answer]], topic: str, alone: bool) -> Answer:  # noqa: FBT001
    """Time one group of implementations, which is always alone on its worker; `request` is its cases, and how."""
    del alone
    return _answer_work(topic, functools.partial(_time_cases, *request))


def make_request(case: Case) -> Answer:
    """Return what a worker has to know of a case."""
    return {"case": case.to_json(), "identity": case.identity()}


def find_refusal(case: dict[str, Any], identity: dict[str, Any]) -> str:
    """Return why a case would have another key here, or would not run here at all; "" where it is the same."""
    framework, mode = identity["framework"], identity["mode"]
    try:
        with READING:
            registry.require(registry.require_name("framework", framework, registry.list_frameworks()), mode)
            ours = Case.from_json(case).identity()
    except registry.UsageError as error:
        return str(error)
    except (TypeError, AttributeError, ImportError, OSError) as error:
        return f"it has another version of Farreach ({format_error(error)})"
    names = {
        "framework_version": f"{registry.name_package(framework)} {{}}",
        "task_version": f"version {{}} of task {identity['task']}",
        "metric_version": f"version {{}} of the metrics of task {identity['task']}",
        "numerics": "version {} of Farreach's numerics",
        "schema": "version {} of Farreach's records",
        "versions": "{}",
    }
    for name, text in names.items():
        mine, theirs = (facts.get(name, dict(LATER).get(name)) for facts in (ours, identity))
        if mine != theirs:
            return f"it has {text.format(mine)}, not {text.format(theirs)}"
    return "" if ours == identity else "it has another version of Farreach"


def format_error(error: BaseException) -> str:
    """Return the first line of what an error says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _answer_work(topic: str, work: Callable[[Errand], Answer]) -> Answer:
    """Do some work and say what came of it, and where."""
    errand = Errand(topic)
    try:
        answer = work(errand)
    except StartError as error:
        answer = {"refused": format_error(error), "which": 0}
    except UnwantedError:
        answer = {"failed": "it is not wanted any more"}
    except (CaseFailedError, registry.UsageError) as error:
        answer = {"failed": f"{error}, on {errand.worker.address}"}
    except Exception as error:  # noqa: BLE001 - it costs this case only, and its traceback means nothing elsewhere
        answer = {"failed": f"{type(error).__name__}: {format_error(error)}, on {errand.worker.address}"}
    return answer | {"worker": errand.worker.address}


def _train_case(request: Answer, alone: bool, errand: Errand) -> Answer:  # noqa: FBT001
    reason = find_refusal(**request)
    if reason:
        return {"refused": reason, "which": 0}
    case = Case.from_json(request["case"])
    with PLACE.enter(errand, errand.room if alone else case.threads), PLACE.lend_live(case.lane, errand) as lent:
        started, began, before = environment.read_clock(), time.perf_counter(), lent.live.imports
        outcome = lent.live.ask(Run(case), Outcome, errand.report_progress)
        seconds = dict.fromkeys(TIMES, 0.0) | outcome.times.by_kind() | {"imports": lent.live.imports - before}
        seconds["other"] += time.perf_counter() - began - sum(seconds.values())
        return {
            "outcome": outcome,
            "facts": lent.facts | lent.live.facts | {"started": started},
            "seconds": seconds,
        }


def _time_cases(requests: list[Answer], measure: Callable[..., Answer], errand: Errand) -> Answer:
    for which, reason in enumerate(find_refusals(requests)):
        if reason:
            return {"refused": reason, "which": which}
    with PLACE.enter(errand, errand.room):
        PLACE.stop_idle()
        peak = _measure_machine(Case.from_json(requests[0]["case"]), errand.logs)
        facts = environment.collect_facts() | {"started": environment.read_clock()}
        return {"found": measure(errand.logs, errand.report_progress) | {"facts": facts, "machine": peak}}


def _measure_machine(case: Case, log: Path) -> Answer:
    """Measure what this machine, and the GPU that a case runs on, can do at best, once for a number of threads."""
    known = case.device, case.threads
    if known not in PLACE.machines:
        gpu = machine.measure_gpu(case, log) if case.device != "cpu" else None
        PLACE.machines[known] = machine.measure_machine(case.threads, device=gpu)
    return PLACE.machines[known]


def _stop_lives(lent: list[Lent]) -> None:
    for one in lent:
        one.live.stop()
