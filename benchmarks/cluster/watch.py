"""Which workers a cluster has, and which of them are unresponsive."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Mapping
from typing import Any

import distributed


@dataclasses.dataclass(frozen=True)
class View:
    """A cluster at one moment.

    Attributes:
        workers: what the scheduler says of each, by address: `host`, `nthreads`, `resources` and more.
        silent: the tasks that each silent worker holds, by its address.
        at: when that was, by the monotonic clock.

    """

    workers: Mapping[str, Mapping[str, Any]]
    silent: Mapping[str, frozenset[str]]
    at: float


class Watch:
    """A thread that keeps looking: the scheduler itself may be slow to answer, or never do so.

    A worker is silent when the scheduler's note of when it was last seen has not changed for `patience` seconds.
    Whether it changes is asked, and not what it is: the clocks of two machines differ.
    """

    def __init__(self, client: distributed.Client, patience: float) -> None:
        self.client, self.patience = client, patience
        self.interval = min(1.0, patience / 5)
        self.view = View({}, {}, time.monotonic())
        self.hosts: dict[str, str] = {}
        self.seen: dict[str, tuple[float, float]] = {}
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._keep_asking, daemon=True, name="farreach-watch")

    def start(self) -> None:
        """Look for the first time, and go on in a thread."""
        self.ask_scheduler()
        self.thread.start()

    def stop(self) -> None:
        """End the thread, unless it waits for an answer of the scheduler: then it ends with the process."""
        self.ending.set()

    def ask_scheduler(self) -> None:
        """Ask the scheduler."""
        workers = self.client.scheduler_info()["workers"]
        now = time.monotonic()
        silent = []
        for address, facts in workers.items():
            self.hosts[address] = facts["host"]
            if self.seen.get(address, (None,))[0] != facts["last_seen"]:
                self.seen[address] = facts["last_seen"], now
            elif now - self.seen[address][1] > self.patience:
                silent.append(address)
        tasks = {address: frozenset[str]() for address in silent}
        if silent:
            working, having = self.client.processing(silent), self.client.has_what(silent)
            tasks = {address: frozenset([*working.get(address, ()), *having.get(address, ())]) for address in silent}
        self.view = View(workers, tasks, now)

    def _keep_asking(self) -> None:
        while not self.ending.wait(self.interval):
            try:
                self.ask_scheduler()
            except Exception:  # noqa: BLE001, S112 - an old view says by its age that the scheduler does not answer
                continue
