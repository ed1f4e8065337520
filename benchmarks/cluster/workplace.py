"""The live processes of a Dask worker: its threads are handed out, and what nobody wants any more is ended."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import get_worker
from distributed.utils import sync

from farreach.benchmarks.matrix.case import Lane
from farreach.benchmarks.running import environment
from farreach.benchmarks.running.worker_client import Live

TELL_EVERY = 1.0
"""Seconds between two messages about the progress of one case."""

WATCH_EVERY = 0.5
IDLE = 60.0
"""Seconds after which a live process that nobody needs is ended; its framework may hold the memory of a GPU."""

BEGUN, ENDED = 0, -1
"""What is said of the progress of an errand at its ends."""


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
        self.machines: dict[tuple[str, int], dict[str, Any]] = {}
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
            surplus = self._take_surplus(errand.room - sum(len(other.lives) for other in self.errands))
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


def _stop_lives(lent: list[Lent]) -> None:
    for process in lent:
        process.live.stop()
