"""What ``python -m benchmarks speed`` does: time groups of implementations, or run the A/A test."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix import suite as suites
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import environment, progress
from farreach.benchmarks.speed import aa_check, machine, pairs, run, versus
from farreach.benchmarks.speed.handwritten import LOOPS, NEEDS
from farreach.benchmarks.speed.implementations import AUTO, DEFAULT, Group, add_loops, group_cases
from farreach.frameworks.base import Device
from farreach.results.report import timing_contents
from farreach.results.storage import files
from farreach.results.storage.result_set import Store
from farreach.results.timing import aa_check as checked
from farreach.results.timing import files as timing_files
from farreach.results.timing import interleaved, side_by_side

Heard = Callable[[float], None]


@dataclasses.dataclass(frozen=True)
class Job:
    """One file to be made: what it says, how it is measured, where it goes and the cases that it times."""

    label: str
    path: Path
    measure: Callable[[Path, Heard], dict[str, Any]]
    cases: tuple[Case, ...]


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a job gave: its file's content, the facts of the machine included, or why there is none."""

    job: Job
    content: dict[str, Any]
    reason: str = ""


Measure = Callable[[list[Job], Path, Callable[[Job, float], None]], Iterator[Measured]]
"""What does jobs, here or elsewhere, and says for each how far it is: `run_here`, or its like on a cluster."""


def choose_cases(
    suite: str, only: list[str], *, device: Device, threads: int, notice: Callable[[str], None] = lambda _: None
) -> list[Case]:
    """Return the cases of a suite that --only leaves, but for what it says of the path."""
    frameworks = suites.choose_frameworks(only) or registry.list_installed()
    for name in frameworks:
        registry.require_framework(name)
    cases = suites.load_suite(suite).list_cases(frameworks, device=device, threads=threads, notice=notice)
    return suites.narrow_cases(cases, [text for text in only if not text.startswith("path=")], suite)


def choose_groups(
    suite: str,
    only: list[str],
    *,
    device: Device,
    threads: int,
    handwritten: bool,
    notice: Callable[[str], None] = lambda _: None,
) -> list[Group]:
    """Return the groups of a suite that --only leaves; ``path=...`` chooses the path, `AUTO` where it is not there.

    `notice` hears which frameworks lack a cell. Raises `UsageError` where nothing is left, or where a group has nobody
    to be timed.
    """
    paths = [text.partition("=")[2] for text in only if text.startswith("path=")]
    if len(paths) > 1:
        message = f"speed takes one path, {AUTO} or {DEFAULT}, not {' and '.join(paths)}"
        raise registry.UsageError(message)
    cases = choose_cases(suite, only, device=device, threads=threads, notice=notice)
    if any(case.replicas > 1 for case in cases):
        message = "speed times steps of one process against each other: narrow by --only replicas=1, or by replicas=N"
        raise registry.UsageError(message)
    groups = group_cases(cases, paths[0] if paths else AUTO)
    if handwritten:
        there = {
            name: runs_in for name, runs_in in LOOPS.items() if all(map(registry.find_version, NEEDS.get(name, ())))
        }
        refused: list[str] = []
        groups = [part for group in groups for part in add_loops(group, there, refused.append)]
        for reason in dict.fromkeys(refused):
            notice(f"{reason}: left out of {refused.count(reason)} steps")
    if not groups:
        message = f"suite {suite} has no step that anybody can run with {' and '.join(only)}"
        raise registry.UsageError(message)
    return groups


def list_timing_jobs(groups: list[Group], plan: pairs.TimingPlan, folder: Path) -> list[Job]:
    """Return a job for each group."""
    return [
        Job(
            group.label(),
            folder / interleaved.FOLDER / f"{run.name_group(group, plan)}.json",
            functools.partial(run.time_group, group, plan),
            tuple(implementation.case for implementation in group.implementations),
        )
        for group in groups
    ]


def list_launches(trials: int, only: list[str], *, device: Device, threads: int) -> list[aa_check.Launch]:
    """Return the launches of an A/A test; raise `UsageError` where --only narrows it by more than a framework."""
    wrong = [text for text in only if not text.startswith("framework=")]
    if wrong:
        message = f"an A/A test is narrowed by framework only, not by {' and '.join(wrong)}"
        raise registry.UsageError(message)
    frameworks = suites.choose_frameworks(only) or registry.list_installed()
    return aa_check.list_launches(frameworks, trials, threads, device)


def list_test_jobs(launches: list[aa_check.Launch], plan: pairs.TimingPlan, folder: Path) -> list[Job]:
    """Return a job for each launch of an A/A test."""
    return [
        Job(
            f"A/A test, launch {launch.number}: {launch.case.framework} {launch.case.cell}",
            folder / checked.FOLDER / f"{launch.name_file(plan)}.json",
            functools.partial(aa_check.time_launch, launch, plan),
            (launch.case,),
        )
        for launch in launches
    ]


def list_live_jobs(
    groups: list[Group], plan: pairs.TimingPlan, folder: Path, *, pythons: tuple[str, str], launches: int
) -> list[Job]:
    """Return a job for each framework's step, on its own path, in two environments."""
    firsts = [{one.case.framework: one.case for one in reversed(group.implementations)} for group in groups]
    steps = [versus.Versus(case, pythons, launches) for by in firsts for case in by.values()]
    return [
        Job(
            step.label(),
            folder / side_by_side.FOLDER / f"{step.name_file(plan)}.json",
            functools.partial(step.measure, plan),
            (step.case,),
        )
        for step in steps
    ]


def measure_machine(folder: Path, case: Case, say: Callable[[str], object]) -> None:
    """Measure what the machine, and the GPU that a case runs on, can do at best, where that has not been done.

    Of a damaged file `say` gets a line, and the machine is measured again.
    """
    store, path = Store(folder), folder / interleaved.MACHINE
    known = timing_contents.read_machine(store, lambda path, damage: say(store.leave_out(path, damage))) or {}
    gpu = known.get("device")
    if case.device != "cpu" and not gpu:
        gpu = machine.measure_gpu(case, folder / "logs")
    if known.get("threads") != case.threads or gpu != known.get("device"):
        files.write_json(path, machine.measure_machine(case.threads, device=gpu))


def run_here(jobs: list[Job], folder: Path, hear: Callable[[Job, float], None]) -> Iterator[Measured]:
    """Do jobs on this machine, one at a time."""
    facts = environment.collect_facts()
    for job in jobs:
        started = environment.read_clock()
        try:
            content = job.measure(folder / "logs", functools.partial(hear, job))
        except pairs.ImplementationFailedError as error:
            yield Measured(job, {}, str(error))
        else:
            yield Measured(job, content | {"facts": facts | {"started": started}})


KINDS: dict[str, tuple[type[Any], int | None]] = {
    interleaved.FOLDER: (timing_files.Group, interleaved.SCHEMA),
    checked.FOLDER: (timing_files.Launch, None),
    side_by_side.FOLDER: (timing_files.Live, side_by_side.SCHEMA),
}
"""What the files of a folder must be."""


def find_missing(jobs: list[Job], folder: Path, say: Callable[[str], object]) -> list[Job]:
    """Return the jobs whose files are missing, or damaged: of these, which are set aside, `say` gets a line."""
    missing = []
    for job in jobs:
        whole, trouble = timing_files.check_file(job.path, folder, *KINDS[job.path.parent.name])
        if trouble:
            say(trouble)
        if not whole:
            missing.append(job)
    return missing


def run_jobs(
    jobs: list[Job], folder: Path, command: str, console: Console, *, measure: Measure = run_here
) -> list[str]:
    """Have the jobs done whose files are missing or damaged; return a line for each that failed."""
    missing = find_missing(jobs, folder, functools.partial(console.print, markup=False))
    console.print(f"{len(jobs)} timings, {len(jobs) - len(missing)} already done, {len(missing)} to do")
    failed = []
    with _show_progress(missing, console) as (hear, end):
        for done in measure(missing, folder, hear):
            job, content = done.job, done.content
            failed += [f"{job.label}: {done.reason}"] if done.reason else []
            failed += [f"{job.label}: {one['contender']}: {one['reason']}" for one in content.get("failed", [])]
            if any(content.get(part) for part in ("contenders", "trials", "launches")):
                files.write_json(job.path, content | {"facts": content["facts"] | {"command": command}})
            end(job)
    return failed


@contextmanager
def _show_progress(
    jobs: list[Job], console: Console
) -> Iterator[tuple[Callable[[Job, float], None], Callable[[Job], None]]]:
    """Show one progress bar, without a terminal a line for each job that ends; yield who hears shares and ends."""
    done = 0
    with progress.make_bar(console) as bar:
        line = bar.add_task("starting", total=len(jobs))

        def hear(job: Job, share: float) -> None:
            bar.update(line, completed=done + share, description=job.label)

        def end(job: Job) -> None:
            nonlocal done
            done += 1
            bar.update(line, completed=done, description=job.label)
            if not console.is_terminal:
                console.print(f"[{done}/{len(jobs)}] {job.label}", markup=False)

        yield hear, end
