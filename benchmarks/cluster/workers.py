"""Which workers of a cluster can do which work, and why nobody can where that is so."""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import distributed

from farreach.benchmarks.cluster import worker
from farreach.benchmarks.cluster.watch import Watch
from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import digest

ASK = 10.0
"""Seconds that workers have to say which versions they have; one that is busy is asked with its first case."""


class Call:
    """A function call, pickled here and made where it is unpickled: in the task, by a worker that has Farreach.

    Dask unpickles the function of a task where it receives it, on the scheduler and in the event loop of a worker,
    which dies where that fails. With `pickle.loads` as the function, nobody but the task needs Farreach, and where it
    is not there, the task fails and no more.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call

    def pack_call(self) -> bytes:
        """Return what `pickle.loads` makes the call of."""
        return pickle.dumps(self)


Need = tuple[str, str, str, str, str]
"""What a worker may lack: framework, mode, task, device, and the code, by its digest."""


@dataclasses.dataclass(frozen=True)
class Work:
    """A piece of work.

    Attributes:
        function: `worker.run_case` or `worker.time_group`, and `request`, its first argument.
        cases: those whose frameworks, versions and device it needs.
        alone: whether it needs a machine to itself: one worker per machine is given such work.

    """

    function: Callable[..., worker.Answer]
    request: Any
    cases: tuple[Case, ...]
    alone: bool = False

    @property
    def needs(self) -> tuple[Need, ...]:
        """What its worker must have, case by case."""
        return tuple((case.framework, case.mode, case.task, case.device, digest.hash_case(case)) for case in self.cases)

    def make_call(self, topic: str, *, alone: bool) -> Call:
        """Return what a worker is to call."""
        return Call(self.function, self.request, topic, alone)


@dataclasses.dataclass(frozen=True)
class Fit:
    """The workers that can do some work, and whether these are all of those that have its device."""

    workers: frozenset[str]
    everybody: bool


def describe_empty(address: str) -> str:
    """Return what is said of a cluster to which no worker has come."""
    return f"the cluster at {address} has no workers: python -m dask worker {address} starts one"


class Workers:
    """The workers of a cluster, what they refused, and which of them are unresponsive."""

    def __init__(self, client: distributed.Client, address: str, patience: float) -> None:
        self.client, self.address, self.patience = client, address, patience
        self.watch = Watch(client, patience)
        self.needs: dict[Need, Case] = {}
        self.met: set[str] = set()
        self.introductions: dict[str, str] = {}  # the worker, by the task that asks it
        self.refused: dict[tuple[str, Need], str] = {}

    @property
    def live(self) -> set[str]:
        """Those that respond."""
        view = self.watch.view
        return view.workers.keys() - view.silent.keys()

    def require_workers(self, work: Iterable[Work]) -> None:
        """Ask every worker for its versions; raise `UsageError` where there is work that none of them can do."""
        work = list(work)
        self.expect_work(work)
        answers = distributed.as_completed(
            self.ask_workers(), loop=self.client.loop, with_results=True, raise_errors=False, timeout=ASK
        )
        with contextlib.suppress(TimeoutError):  # who says nothing is heard with its first case
            for future, answer in answers:
                self.learn_answer(future, answer)
        for piece in work:
            if not self.find_fit(piece).workers:
                raise registry.UsageError(self.explain_failure(piece))

    def expect_work(self, work: Iterable[Work]) -> None:
        """Note what workers are to be asked about; they are asked anew where there is more than before."""
        needs = {need: case for piece in work for need, case in zip(piece.needs, piece.cases, strict=True)}
        if not needs.keys() <= self.needs.keys():
            self.needs, self.introductions, self.met = needs, {}, set()

    def ask_workers(self) -> list[distributed.Future]:
        """Ask the workers that have come since the last time for their versions, before they are given cases."""
        call, name = Call(worker.find_refusals, list(map(worker.make_request, self.needs.values()))), uuid.uuid4().hex
        new = sorted(self.live - self.met)
        self.met |= set(new)
        futures = [
            self.client.submit(
                pickle.loads,
                call.pack_call(),
                key=f"farreach-ask-{name}-{at}",
                workers=[address],
                priority=100,
                pure=False,
            )
            for at, address in enumerate(new)
        ]
        self.introductions |= {future.key: address for future, address in zip(futures, new, strict=True)}
        return futures

    def learn_answer(self, future: distributed.Future, answer: Any) -> bool:
        """Take what a worker answered; return whether that is what it was."""
        address = self.introductions.pop(future.key, None)
        if address is None:
            return False
        if future.status == "finished":
            reasons = zip(self.needs, answer, strict=True)
            self.refused |= {(address, need): reason for need, reason in reasons if reason}
        elif future.status == "error" and isinstance(answer[1], ImportError):
            reason = f"it cannot import Farreach ({worker.format_error(answer[1])}); start it in a checkout"
            self.refused |= {(address, need): reason for need in self.needs}
        return True

    def find_fit(self, work: Work) -> Fit:
        """Return who can do some work; Dask itself minds who has a GPU."""
        workers = self.watch.view.workers
        able = {address for address, facts in workers.items() if count_slots(facts, work.cases[0])}
        fit = {address for address in able & self.live if not self._find_reason(address, work)}
        if work.alone:
            fit = set({workers[address]["host"]: address for address in sorted(fit)}.values())
        return Fit(frozenset(fit), fit == able)

    def is_hopeless(self, work: Work) -> bool:
        """Say whether there are workers and all of them refused some work: waiting for one that is gone is no use."""
        reasons = [self._find_reason(address, work) for address in self.live]
        return bool(reasons) and all(reasons)

    def explain_silence(self) -> str:
        """Return what is said where the scheduler is gone: its workers ended with it."""
        again = f"start it again, and its workers (python -m dask worker {self.address})"
        return f"the scheduler at {self.address} does not answer any more: {again}; the same command then carries on"

    def explain_failure(self, work: Work) -> str:
        """Return why there is nobody to do some work."""
        workers = self.watch.view.workers
        reasons = [f"{address}: {reason}" for address in workers if (reason := self._find_reason(address, work))]
        if not workers:
            return describe_empty(self.address)
        case = work.cases[0]
        if case.replicas > max(int(facts["nthreads"]) for facts in workers.values()):
            wanted = f"at least as many threads (--nthreads {case.replicas}); none at {self.address} has"
            return f"cases of {case.replicas} replicas go to workers with {wanted}"
        if not any(count_slots(facts, case) for facts in workers.values()):
            return f"cases on cuda go to workers that declare a GPU (--resources GPU=1); none at {self.address} does"
        if reasons:
            return f"no worker at {self.address} can run this; {reasons[0]}"
        return f"no worker at {self.address} responds"

    def list_notices(self) -> list[str]:
        """Return a line for each worker that is not used for something."""
        each = (f"{address} is not used for {need[0]}: {reason}" for (address, need), reason in self.refused.items())
        refused = [*dict.fromkeys(each)]
        trouble = f"has been unresponsive for {self.patience:g} s: its cases go to other workers"
        gone = [] if self.watch.view.workers or not self.watch.hosts else [self._describe_gone()]
        return refused + gone + [f"{address} {trouble}" for address in self.watch.view.silent]

    def _describe_gone(self) -> str:
        """Return what is said of a cluster whose workers are all gone, as after a restart of the scheduler."""
        again = f"python -m dask worker {self.address} starts one"
        return f"the cluster has no workers any more: {again}, and the run waits {self.patience:g} s for it"

    def count_slots(self, case: Case, beside: str | None = None) -> int:
        """Return how many cases like this one run at a time: on all machines, or on that of the worker `beside`."""
        host = self.watch.hosts.get(beside or "")
        there = [facts for facts in self.watch.view.workers.values() if host in {None, facts["host"]}]
        return max(1, sum(count_slots(facts, case) for facts in there))

    def _find_reason(self, address: str, work: Work) -> str:
        """Return why a worker refused some work, or "" where it did not."""
        return next((self.refused[address, need] for need in work.needs if (address, need) in self.refused), "")


def count_slots(facts: Mapping[str, Any], case: Case) -> int:
    """Return how many cases like this one a worker runs at a time.

    0 where it has no such device, or fewer threads than the case has replicas: those are processes of one worker.
    """
    threads = int(facts["nthreads"])
    if case.replicas > 1 and threads < case.replicas:
        return 0
    count = max(1, threads // case.cores)
    return count if case.device == "cpu" else min(count, int(facts["resources"].get("GPU", 0)) // case.replicas)
