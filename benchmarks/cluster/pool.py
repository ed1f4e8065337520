"""A Dask cluster, seen from the process that sends it work: every piece of work is answered once.

Dask itself sends what a dead worker had to another one. What it does not do is done here: a worker that has gone silent
(paused, say, or cut off) is given up after a while, a worker that refuses a case is not asked again, a piece of work that nobody can
do ends with a reason, and so does one that kills each worker that it meets.
"""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import distributed
from distributed.scheduler import KilledWorker

from benchmarks import plugins
from benchmarks.case import Case
from benchmarks.cluster import worker
from benchmarks.cluster.watch import View, Watch

ASK = 10.0
"""Seconds that workers have to say which versions they have; one that is busy is asked with its first case."""

TRIES = 3
"""A piece of work that failed so many times for want of a worker that lived is given up."""

BATCH = 1_000
"""Pieces of work in one message to the scheduler."""

POLL = 0.02

Need = tuple[str, str, str, str]
"""What a worker may lack: framework, mode, task, device."""

Fits = dict[tuple[tuple[Need, ...], bool], tuple[frozenset[str], bool]]
"""The workers that can do some work, and whether these are all, by its needs and whether it runs alone."""


@dataclasses.dataclass(frozen=True)
class Work:
    """A piece of work.

    Attributes:
        function: `worker.run_case` or `worker.time_group`, and `asked`, its first argument.
        cases: those whose frameworks, versions and device it needs.
        alone: whether it needs a machine to itself: one worker a machine is given such work.

    """

    function: Callable[..., worker.Answer]
    asked: Any
    cases: tuple[Case, ...]
    alone: bool = False

    @property
    def needs(self) -> tuple[Need, ...]:
        """What its worker must have, case by case."""
        return tuple((case.framework, case.mode, case.task, case.device) for case in self.cases)


@dataclasses.dataclass
class Attempt:
    """One task of the scheduler: whose work it is, which workers may take it, and whether they went silent."""

    key: str
    future: distributed.Future
    workers: frozenset[str] | None
    given_up: bool = False


class Pool:
    """The workers of a cluster; leave it and what is out is cancelled.

    Attributes:
        patience: seconds after which a silent worker is given up, and work that no worker can take.
        notice: hears one line about a worker that is not used.

    """

    def __init__(
        self, client: distributed.Client, address: str, *, patience: float, notice: Callable[[str], None]
    ) -> None:
        self.client, self.address, self.patience, self.notice = client, address, patience, notice
        self.name = f"farreach-{uuid.uuid4().hex}"
        self.watch = Watch(client, patience)
        self.refused: dict[tuple[str, Need], str] = {}
        self.waiting: dict[str, Work] = {}
        self.attempts: dict[str, Attempt] = {}
        self.settled: deque[tuple[str, worker.Answer]] = deque()
        self.stranded: dict[str, float] = {}
        self.strikes: Counter[str] = Counter()
        self.begun: Counter[str] = Counter()
        self.count = 0
        self.noticed: set[str] = set()
        self.done = distributed.as_completed(with_results=True, raise_errors=False, loop=client.loop)
        self.events: queue.Queue[tuple[float, Mapping[str, Any]]] = queue.Queue()

    def __enter__(self) -> Self:
        self.watch.start()
        self.client.subscribe_topic(self.name, self.events.put)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.watch.stop()
        self.client.close(timeout=5)  # the scheduler cancels what a client that leaves had out

    @property
    def view(self) -> View:
        """How the cluster looked a moment ago."""
        return self.watch.view

    def slots(self, case: Case, host: str | None = None) -> int:
        """Return how many cases like this one run at a time, on one machine or on all."""
        there = [facts for facts in self.view.workers.values() if host in {None, facts["host"]}]
        return max(1, sum(_slots(facts, case) for facts in there))

    def host(self, address: str) -> str | None:
        """Return the machine of a worker."""
        return self.watch.hosts.get(address)

    def check(self, work: Iterable[Work]) -> None:
        """Ask every worker for its versions; raise `UsageError` where there is work that none of them can do."""
        work = list(work)
        needs = {need: case for one in work for need, case in zip(one.needs, one.cases, strict=True)}
        asked = [worker.request(case) for case in needs.values()]
        futures = {
            address: self.client.submit(
                worker.introduce, asked, key=f"farreach-ask-{uuid.uuid4().hex}", workers=[address], priority=100
            )
            for address in self.view.workers
        }
        with contextlib.suppress(TimeoutError):  # who says nothing is asked again with its first case
            list(distributed.as_completed(futures.values(), loop=self.client.loop, timeout=ASK))
        for address, future in futures.items():
            if future.status == "error":
                reason = f"it cannot import Farreach ({worker.line(future.exception())}); start it in a checkout"
                self.refused |= {(address, need): reason for need in needs}
            elif future.status == "finished":
                said = zip(needs, future.result(), strict=True)
                self.refused |= {(address, need): reason for need, reason in said if reason}
        for one in work:
            if not self._fit(one)[0]:
                raise plugins.UsageError(self._why(one))

    def each(
        self, work: Mapping[str, Work], heard: Callable[[str, float], None]
    ) -> Iterator[tuple[str, worker.Answer]]:
        """Yield each piece of work's key and answer, once, as they end; `heard` is told how far the others are."""
        self.waiting = dict(work)
        self._tend()
        tended = time.monotonic()
        while self.waiting or self.settled:
            while not self.events.empty():
                self._progress(self.events.get()[1], heard)
            batch = self.done.next_batch(block=False)
            dropped = [self._hear(future, answer) for future, answer in batch]
            if any(dropped) or time.monotonic() - tended > self.watch.interval:
                self._tend()
                tended = time.monotonic()
            if self.settled:
                yield self.settled.popleft()
            elif not batch:
                time.sleep(POLL)

    def _hear(self, future: distributed.Future, answer: Any) -> bool:
        """Take what a task ended with; return whether its work has to be sent again."""
        attempt = self.attempts.pop(future.key, None)
        if attempt is None or attempt.key not in self.waiting:
            return False  # it has arrived from another worker
        key = attempt.key
        if future.status == "finished":
            if "refused" not in answer:
                self._settle(key, answer)
                return False
            self.refused[answer["worker"], self.waiting[key].needs[answer["which"]]] = answer["refused"]
        elif future.status == "error":
            self._strike(key, answer[1])
        return True  # what is neither was cancelled, since the scheduler was lost for a while

    def _strike(self, key: str, error: BaseException) -> None:
        """Count an end for which no worker had an answer; after `TRIES` of them the work fails."""
        self.strikes[key] += 1
        killed = isinstance(error, KilledWorker)
        if self.strikes[key] >= TRIES or (killed and self.begun[key] >= TRIES):
            lost = f"{max(self.begun[key], self.strikes[key])} workers died while they had it"
            self._settle(key, {"failed": lost if killed else f"{type(error).__name__}: {worker.line(error)}"})

    def _settle(self, key: str, answer: worker.Answer) -> None:
        """End a piece of work; what is still out of it is cancelled."""
        del self.waiting[key]
        self.stranded.pop(key, None)
        self.settled.append((key, answer))
        late = [attempt for attempt in self.attempts.values() if attempt.key == key]
        for attempt in late:
            self.attempts.pop(attempt.future.key)
            attempt.future.cancel()

    def _progress(self, event: Mapping[str, Any], heard: Callable[[str, float], None]) -> None:
        attempt = self.attempts.get(event["key"])
        if attempt is not None:
            self.begun[attempt.key] += not event["reached"]
            heard(attempt.key, event["reached"])

    def _tend(self) -> None:
        """Look at all that is out: send what nobody has, give up what is with silent workers, fail what is hopeless."""
        now, view = time.monotonic(), self.view
        if self.client.status == "closed" or now - view.at > self.patience:
            for key in list(self.waiting):
                self._settle(key, {"failed": f"the scheduler at {self.address} does not answer any more"})
            return
        for (address, need), reason in self.refused.items():
            self._note(f"{address} is not used for {need[0]}: {reason}")
        for address, keys in view.silent.items():
            self._note(f"{address} has been silent for {self.patience:g} s: its cases go to other workers")
            for attempt in filter(None, map(self.attempts.get, keys)):
                attempt.given_up = True
        live = view.workers.keys() - view.silent.keys()
        held = {attempt.key for attempt in self.attempts.values() if _alive(attempt, live)}
        fits: Fits = {}
        for key, work in list(self.waiting.items()):
            which = (work.needs, work.alone)
            if which not in fits:
                fits[which] = self._fit(work)
            if fits[which][0]:
                self.stranded.pop(key, None)
            elif now - self.stranded.setdefault(key, now) > self.patience or self._hopeless(work, live):
                self._settle(key, {"failed": self._why(work)})
        if self.client.status == "running":
            self._send([key for key in self.waiting if key not in held and key not in self.stranded], fits)

    def _send(self, keys: list[str], fits: Fits) -> None:
        """Give work to the scheduler, all that may go to the same workers in one message, in the order of the run."""
        together: dict[tuple[Any, ...], list[str]] = {}
        for key in keys:
            work = self.waiting[key]
            workers, all_of_them = fits[work.needs, work.alone]
            where = None if all_of_them else workers
            together.setdefault((work.function, where, work.cases[0].device), []).append(key)
        for (function, where, device), some in together.items():
            names = [f"{self.name}-{self.count + at:08d}" for at in range(len(some))]
            self.count += len(some)
            futures = self.client.map(
                function,
                [self.waiting[key].asked for key in some],
                [self.name] * len(some),
                key=names,
                workers=where and sorted(where),
                resources={"GPU": 1} if device == "cuda" else None,
                pure=False,
                batch_size=BATCH,
            )
            for key, name, future in zip(some, names, futures, strict=True):
                self.attempts[name] = Attempt(key, future, where)
            self.done.update(futures)

    def _fit(self, work: Work) -> tuple[frozenset[str], bool]:
        """Return the workers that can do some work, and whether these are all but for what Dask itself minds."""
        view = self.view
        able = {address for address, facts in view.workers.items() if _slots(facts, work.cases[0])}
        fit = {one for one in able if one not in view.silent and not self._reason(one, work)}
        if work.alone:
            fit = set({view.workers[address]["host"]: address for address in sorted(fit)}.values())
        return frozenset(fit), fit == able

    def _reason(self, address: str, work: Work) -> str:
        """Return why a worker refused some work, or "" where it did not."""
        return next((self.refused[address, need] for need in work.needs if (address, need) in self.refused), "")

    def _hopeless(self, work: Work, live: Iterable[str]) -> bool:
        """Say whether there are workers and all of them refused some work: waiting for one that is gone is no use."""
        reasons = [self._reason(address, work) for address in live]
        return bool(reasons) and all(reasons)

    def _why(self, work: Work) -> str:
        """Return why there is nobody to do some work."""
        workers = self.view.workers
        reasons = [f"{address}: {reason}" for address in workers if (reason := self._reason(address, work))]
        if not workers:
            return f"the cluster at {self.address} has no workers"
        if not any(_slots(facts, work.cases[0]) for facts in workers.values()):
            return f"cases on cuda go to workers that declare a GPU (--resources GPU=1); none at {self.address} does"
        if reasons:
            return f"no worker at {self.address} can run this; {reasons[0]}"
        return f"no worker at {self.address} gives a sign of life"

    def _note(self, line: str) -> None:
        """Say something once."""
        if line not in self.noticed:
            self.noticed.add(line)
            self.notice(line)


def _slots(facts: Mapping[str, Any], case: Case) -> int:
    """Return how many cases like this one a worker runs at a time; 0 where it has no such device."""
    slots = max(1, int(facts["nthreads"]) // case.threads)
    return slots if case.device == "cpu" else min(slots, int(facts["resources"].get("GPU", 0)))


def _alive(attempt: Attempt, live: Iterable[str]) -> bool:
    return not attempt.given_up and (attempt.workers is None or not attempt.workers.isdisjoint(live))
