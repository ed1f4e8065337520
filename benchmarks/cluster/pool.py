"""Work sent to a Dask cluster: every piece of it is answered once, whatever becomes of the workers.

Dask itself sends what a dead worker had to another one. What it does not do is done here: a worker that no longer
responds (paused, say, or cut off) is abandoned after a while, one that refuses a case is not asked again, work that
nobody can do ends with a reason, and so does work that kills each worker that it meets.
"""

from __future__ import annotations

import dataclasses
import pickle
import queue
import time
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import distributed
from distributed.scheduler import KilledWorker

from farreach.benchmarks.cluster import worker, workplace
from farreach.benchmarks.cluster.workers import Fit, Need, Work, Workers
from farreach.benchmarks.running.reasons import write_reason

TRIES = 3
"""Work during which so many workers died is given up; the last of them had nothing else to do."""

ERRORS = 10
"""Work that ended so often without an answer for other reasons is given up: its workers died before it began, say."""

BATCH = 1_000
"""Pieces of work in one message to the scheduler."""

POLL = 0.02

Kind = tuple[tuple[Need, ...], bool]
"""Work that the same workers can do: its needs, and whether it runs alone."""


@dataclasses.dataclass
class Attempt:
    """One task of the scheduler.

    Attributes:
        key: whose work it is.
        workers: who may take it; None for everybody.
        begun: whether it has begun, and not ended, as far as is known. Where it begins again, its worker has died: Dask
            itself sends work on, a few times over.
        given_up: whether it is with a silent worker.

    """

    key: str
    future: distributed.Future
    workers: frozenset[str] | None
    begun: bool = False
    given_up: bool = False

    def is_hopeful(self, live: set[str]) -> bool:
        """Say whether its answer is still to be waited for."""
        return not self.given_up and (self.workers is None or not self.workers.isdisjoint(live))


class Pool:
    """The way to the workers of a cluster; leave it and what is out is cancelled.

    Attributes:
        workers: who there is; after its patience an unresponsive one, and work that nobody can take, is abandoned.
        notice: hears one line about each worker that is not used.

    """

    def __init__(self, client: distributed.Client, workers: Workers, notice: Callable[[str], None]) -> None:
        self.client, self.workers, self.notice = client, workers, notice
        self.name = f"farreach-{uuid.uuid4().hex}"
        self.waiting: dict[str, Work] = {}
        self.attempts: dict[str, Attempt] = {}
        self.names: defaultdict[str, list[str]] = defaultdict(list)  # of the attempts at some work
        self.settled: deque[tuple[str, worker.Answer]] = deque()
        self.stranded: dict[str, float] = {}
        self.deaths: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.untended = True
        self.count = 0
        self.noticed: set[str] = set()
        self.done = distributed.as_completed(with_results=True, raise_errors=False, loop=client.loop)
        self.events: queue.Queue[tuple[float, Mapping[str, Any]]] = queue.Queue()

    def __enter__(self) -> Self:
        self.workers.watch.start()
        self.client.subscribe_topic(self.name, self.events.put)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.workers.watch.stop()
        self.client.close(timeout=5)  # the scheduler cancels what a client that leaves had out

    def run_work(
        self, work: Mapping[str, Work], report: Callable[[str, float], None]
    ) -> Iterator[tuple[str, worker.Answer]]:
        """Yield each piece of work's key and answer, once, as they end.

        `report` is told how far the others are, `workplace.BEGUN` first; it may `settle_work` of them.
        """
        self.waiting, self.untended = dict(work), True
        self.workers.expect_work(work.values())
        tended = time.monotonic()
        while self.waiting or self.settled:
            while not self.events.empty():
                self._pass_progress(self.events.get()[1], report)
            batch = self.done.next_batch(block=False)
            for future, answer in batch:
                self._take_answer(future, answer)
            if self.untended or time.monotonic() - tended > self.workers.watch.interval:
                self._tend_work()
                self.untended, tended = False, time.monotonic()
            if self.settled:
                yield self.settled.popleft()
            elif not batch:
                time.sleep(POLL)

    def _pass_progress(self, event: Mapping[str, Any], report: Callable[[str, float], None]) -> None:
        """Pass on how far a piece of work is, and note when it begins and ends."""
        name, reached = event["key"], event["reached"]
        attempt = self.attempts.get(name)
        if attempt is None:
            return
        if reached == workplace.BEGUN and attempt.begun:
            self._count_death(name)
            return
        attempt.begun = reached != workplace.ENDED
        if attempt.begun:
            report(attempt.key, reached)

    def _take_answer(self, future: distributed.Future, answer: Any) -> None:
        """Take what a task ended with; work that has no answer yet is sent again."""
        attempt = self.attempts.get(future.key)
        if self.workers.learn_answer(future, answer) or attempt is None:
            return  # a worker's versions, or work that another one has done meanwhile
        key = attempt.key
        if future.status == "error" and isinstance(answer[1], KilledWorker) and attempt.begun:
            self._count_death(future.key)
            return
        del self.attempts[future.key]
        if future.status == "finished" and "refused" in answer:
            self.workers.refused[answer["worker"], self.waiting[key].needs[answer["which"]]] = answer["refused"]
        elif future.status == "finished":
            self.settle_work(key, answer)
        elif future.status == "error":
            self.errors[key] += 1
            if self.errors[key] >= ERRORS:
                self.settle_work(key, {"failed": write_reason(answer[1])})
            return  # it is sent again a little later, when its worker may have said that it cannot
        self.untended |= key in self.waiting

    def _count_death(self, name: str) -> None:
        """Count a worker that died in the middle of some work, which then is sent again, in the end alone."""
        attempt = self.attempts.pop(name)
        attempt.future.cancel()
        self.deaths[attempt.key] += 1
        self.untended = True
        if self.deaths[attempt.key] >= TRIES:
            self.settle_work(attempt.key, {"failed": f"{TRIES} workers died while they ran it"})

    def settle_work(self, key: str, answer: worker.Answer) -> None:
        """End a piece of work; what is still out of it is cancelled."""
        del self.waiting[key]
        self.stranded.pop(key, None)
        self.settled.append((key, answer))
        for name in self.names.pop(key, ()):
            if name in self.attempts:
                self.attempts.pop(name).future.cancel()

    def _tend_work(self) -> None:
        """Look after all that is out: give up what silent workers hold, end what is hopeless, send what nobody has."""
        view = self.workers.watch.view
        if self.client.status == "closed" or time.monotonic() - view.at > self.workers.patience:
            for key in list(self.waiting):
                self.settle_work(key, {"failed": self.workers.explain_silence()})
        self.done.update(self.workers.ask_workers())
        for line in self.workers.list_notices():
            if line not in self.noticed:
                self.noticed.add(line)
                self.notice(line)
        for attempt in filter(None, map(self.attempts.get, frozenset().union(*view.silent.values()))):
            attempt.given_up = True
        fits = self._find_fits()
        live = self.workers.live
        busy = {attempt.key for attempt in self.attempts.values() if attempt.is_hopeful(live)}
        if self.client.status == "running":
            self._send_work([key for key in self.waiting if key not in busy and key not in self.stranded], fits)

    def _find_fits(self) -> dict[Kind, Fit]:
        """Return who can do each kind of work; end what nobody has been able to do for too long."""
        fits: dict[Kind, Fit] = {}
        seen = self.workers.watch.view.at  # by this clock, so that nothing is held against workers that nobody saw
        for key, work in list(self.waiting.items()):
            kind = work.needs, work.alone
            if kind not in fits:
                fits[kind] = self.workers.find_fit(work)
            if fits[kind].workers:
                self.stranded.pop(key, None)
            elif seen - self.stranded.setdefault(key, seen) > self.workers.patience or self.workers.is_hopeless(work):
                self.settle_work(key, {"failed": self.workers.explain_failure(work)})
        return fits

    def _send_work(self, keys: list[str], fits: Mapping[Kind, Fit]) -> None:
        """Give work to the scheduler, all that may go to the same workers in one message, in the order of the run."""
        together: dict[tuple[Any, ...], list[str]] = {}
        for key in keys:
            work = self.waiting[key]
            fit = fits[work.needs, work.alone]
            where = None if fit.everybody else fit.workers
            alone = self.deaths[key] >= TRIES - 1  # whoever dies now dies of this
            together.setdefault((where, work.cases[0].device, alone), []).append(key)
        for (where, device, alone), some in together.items():
            names = [f"{self.name}-{self.count + at:08d}" for at in range(len(some))]
            self.count += len(some)
            futures = self.client.map(
                pickle.loads,
                [self.waiting[key].make_call(self.name, alone=alone).pack_call() for key in some],
                key=names,
                workers=where and sorted(where),
                resources={"GPU": 1} if device == "cuda" else None,
                pure=False,
                batch_size=BATCH,
            )
            for key, name, future in zip(some, names, futures, strict=True):
                self.attempts[name] = Attempt(key, future, where)
                self.names[key].append(name)
            self.done.update(futures)
