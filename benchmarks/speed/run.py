"""Groups of implementations into timing files, one a group; what is there already is not timed again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import NUMERICS, Case
from farreach.benchmarks.speed import pairs
from farreach.benchmarks.speed.flops import count_flops
from farreach.benchmarks.speed.implementations import Group, Implementation
from farreach.benchmarks.speed.messages import Energy, Joules, Memory, Peak, list_known
from farreach.results import record
from farreach.results.record import use_first_names
from farreach.results.timing import interleaved

CALIBRATION_ROUNDS = 9
"""Alternating rounds by which the fastest path is found."""

FASTER = 1.02
"""The factor by which a path must be faster to be chosen; less than that, so short a calibration is inconclusive."""


LATER = record.LATER - {("radius", 1.0)}
"""Fields of a case that joined later, and the value of every case before: with it a name stays what it was."""


def name_group(group: Group, plan: pairs.TimingPlan) -> str:
    """Return the name of the group's file: a hash of everything that can change what it holds."""
    facts: dict[str, Any] = {
        "contenders": [
            (one.name, _list_fields(one.case), registry.find_framework_version(one.case.framework))
            for one in group.implementations
        ],
        "auto": sorted(group.auto),
        "plan": dataclasses.asdict(plan),
        "numerics": NUMERICS,
        "schema": interleaved.SCHEMA,
    }
    if interleaved.STEP_VERSION > 1:  # no file before there was one had it
        facts["step_version"] = interleaved.STEP_VERSION
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _list_fields(case: Case) -> dict[str, Any]:
    """Return the fields of a case that a name is made of, the task's parameters among them."""
    fields = use_first_names(case.to_json())
    return {name: value for name, value in fields.items() if name == "parameters" or (name, value) not in LATER}


def time_group(
    group: Group, plan: pairs.TimingPlan, log: Path, hear: Callable[[float], None] = lambda _: None
) -> dict[str, Any]:
    """Time one group and return what its file holds; `hear` is told the share of the rounds that is done.

    An implementation that fails is named in ``failed``, and the others start over without it. The order in which the
    processes start is drawn: of two with identical code the later has been seen to be faster by half a percent.
    """
    implementations, failed = list(group.implementations), []
    random = np.random.default_rng(int(name_group(group, plan), 16))
    content: dict[str, Any] = {"contenders": []}
    while implementations:
        try:
            kept, tried = choose_paths(implementations, group.auto, plan, log)
            with pairs.start_runners([kept[at] for at in random.permutation(len(kept))], log) as runners:
                content = _time_rounds(runners, plan, random, hear)
            names = [one.name for one in kept]
            content["contenders"].sort(key=lambda line: names.index(line["name"]))
            for line in content["contenders"]:
                line["tried"] = tried.get(line["framework"], [])
            break
        except pairs.ImplementationFailedError as error:
            failed.append({"contender": error.implementation.name, "reason": error.reason})
            implementations.remove(error.implementation)
    return {
        "key": name_group(group, plan),
        "schema": interleaved.SCHEMA,
        "step_version": interleaved.STEP_VERSION,
        "step": group.step,
        "length": group.implementations[0].case.load().length,
        "plan": dataclasses.asdict(plan),
        "failed": failed,
        **content,
    }


def choose_paths(
    implementations: list[Implementation], auto: frozenset[str], plan: pairs.TimingPlan, log: Path
) -> tuple[list[Implementation], dict[str, list[dict[str, Any]]]]:
    """Keep of each framework in `auto` its fastest path; return also what each path took in the calibration.

    A path is kept over those that the framework's file names before it where it is faster by `FASTER`.
    """
    tried: dict[str, list[dict[str, Any]]] = {}
    best: dict[str, tuple[float, Implementation]] = {}
    ours = [one for one in implementations if one.case.framework in auto and not one.loop]
    with pairs.start_runners(ours, log) as runners:
        for runner in runners:
            runner.calibrate(plan.block_seconds)
        rounds = pairs.time_rounds(runners, CALIBRATION_ROUNDS, np.random.default_rng(0)) if runners else None
        for at, runner in enumerate(runners):
            one, seconds = runner.implementation, float(np.median(rounds.seconds[:, at])) if rounds else 0.0
            line = {"path": one.case.path, "seconds": seconds, "compile_seconds": runner.compile_seconds}
            tried.setdefault(one.case.framework, []).append(line)
            first = best.setdefault(one.case.framework, (seconds, one))
            if seconds * FASTER < first[0]:
                best[one.case.framework] = (seconds, one)
    chosen = {one for _, one in best.values()}
    return [one for one in implementations if one not in ours or one in chosen], tried


def _time_rounds(
    runners: Sequence[pairs.Runner], plan: pairs.TimingPlan, random: np.random.Generator, hear: Callable[[float], None]
) -> dict[str, Any]:
    """Settle the number of rounds and run them."""
    rounds, wanted = pairs.settle_rounds(runners, plan, random)
    done = iter(range(1, rounds + 1))
    series = pairs.time_rounds(runners, rounds, random, lambda: hear(next(done) / rounds))
    return {
        "contenders": [_describe_runner(runner, series, at, energy=plan.energy) for at, runner in enumerate(runners)],
        "rounds": rounds,
        "rounds_wanted": wanted,
        "waiting": series.waiting,
        "clock_step": series.clock_step,
    }


def _describe_runner(runner: pairs.Runner, series: pairs.RoundTimes, at: int, *, energy: bool) -> dict[str, Any]:
    """Return what the file says of one implementation."""
    one = runner.implementation
    return {
        "name": one.name,
        "framework": one.case.framework,
        "path": one.case.path,
        "loop": one.loop,
        "copy": one.copy,
        "slowed": one.slowed,
        "kernel": runner.kernel,
        "facts": runner.live.facts,
        "compile_seconds": runner.compile_seconds,
        "chunk": runner.steps,
        "flops": count_flops(one.case.model(), one.case.batch, one.case.load().length),
        **list_known(runner.ask(Memory(one.name), Peak)),
        "seconds": series.seconds[:, at].tolist(),
        **({"device_seconds": float(np.median(runner.device[-len(series.seconds) :]))} if runner.device else {}),
        "cpu_to_wall": float(np.median(series.cpu[:, at])),
        **(dataclasses.asdict(runner.ask(Energy(one.name, runner.steps), Joules)) if energy else {}),
    }
