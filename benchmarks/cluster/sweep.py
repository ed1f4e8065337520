"""Many cases into a store by way of a cluster: the same store, the same keys, the same resume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from farreach.benchmarks.cluster import worker, workplace
from farreach.benchmarks.cluster.pool import Pool
from farreach.benchmarks.cluster.workers import Work
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running.messages import Progress
from farreach.benchmarks.running.sweep import ELSEWHERE, Keeper, Listener, Plan
from farreach.results.storage.result_set import Store


def list_work(cases: Mapping[str, Case]) -> dict[str, Work]:
    """Return what a cluster has to do for some cases, by their keys."""
    return {key: Work(worker.run_case, worker.make_request(case), (case,)) for key, case in cases.items()}


class ClusterSweep(Keeper):
    """One run whose cases are trained by the workers of a cluster; this process alone writes to the store.

    It claims no case beforehand: what another run into the folder trains at the same time is kept once.
    """

    def __init__(self, chosen: Plan, store: Store, pool: Pool, *, listener: Listener, facts: dict[str, Any]) -> None:
        jobs = max((pool.workers.count_slots(case) for case in chosen.missing.values()), default=0)
        super().__init__(chosen, store, listener=listener, facts=facts | {"jobs": jobs})
        self.pool = pool

    def _run_missing(self) -> None:
        missing = self.plan.missing
        answers = self.pool.run_work(
            list_work(missing), lambda key, steps: self._hear_progress(key, missing[key], steps)
        )
        for key, answer in answers:
            self._keep_answer(key, missing[key], answer)

    def _hear_progress(self, key: str, case: Case, steps: float) -> None:
        """Hear how far a case is; one that another run into this folder has finished meanwhile is not run again."""
        if steps != workplace.BEGUN:
            self.listener.hear_progress(case, Progress(int(steps)))
        elif self.store.has(key):
            self.pool.settle_work(key, {"elsewhere": True})

    def _keep_answer(self, key: str, case: Case, answer: worker.Answer) -> None:
        """Keep what a worker found; its record says how many cases its machine runs at a time."""
        if "elsewhere" in answer:
            self.listener.hear_end(case, ELSEWHERE)
            return
        if "failed" in answer:
            self._fail(case, answer["failed"])
            return
        for kind, seconds in answer["seconds"].items():
            self.seconds[kind] += seconds
        jobs = self.pool.workers.count_slots(case, answer["worker"])
        self._keep(key, case, answer["outcome"], answer["facts"] | {"jobs": jobs})
