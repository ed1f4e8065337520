"""Timings by way of a cluster: each group of implementations on one worker, with nothing else at work there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from farreach.benchmarks.cluster import worker
from farreach.benchmarks.cluster.pool import Pool
from farreach.benchmarks.cluster.workers import Work
from farreach.benchmarks.speed.command import Job, Measured


def list_work(jobs: Iterable[Job]) -> dict[str, Work]:
    """Return what a cluster has to do for some jobs, by the names of their files."""
    return {
        job.path.stem: Work(
            worker.time_group, ([worker.make_request(case) for case in job.cases], job.measure), job.cases, alone=True
        )
        for job in jobs
    }


def run_jobs(pool: Pool, jobs: list[Job], folder: Path, report: Callable[[Job, float], None]) -> Iterator[Measured]:
    """Have the jobs done, each on one worker; `folder` has no logs then, they are with the workers."""
    del folder
    named = {job.path.stem: job for job in jobs}
    for name, answer in pool.run_work(list_work(jobs), lambda name, share: report(named[name], share)):
        yield Measured(named[name], answer.get("found", {}), answer.get("failed", ""))
