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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from farreach.benchmarks.cluster.workplace import Errand, UnwantedError, Workplace
from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case, require_allowed
from farreach.benchmarks.running import digest, environment
from farreach.benchmarks.running.messages import Outcome, Run
from farreach.benchmarks.running.reasons import write_reason
from farreach.benchmarks.running.worker_client import CaseFailedError, StartError
from farreach.benchmarks.speed import machine
from farreach.results.record import LATER, TIMES
from farreach.tasks.base import TaskError

Answer = dict[str, Any]

PLACE = Workplace()
"""Of this worker process; its threads share it."""

READING = threading.Lock()
"""Held where plug-ins are read: `ast.parse` fails now and then where two threads call it (seen in Python 3.11)."""


def find_refusals(requests: list[Answer]) -> list[str]:
    """Return for each `make_request` why this worker refuses it, or ""."""
    return [find_refusal(**request) for request in requests]


def run_case(request: Answer, topic: str, alone: bool) -> Answer:  # noqa: FBT001 - Dask maps positions
    """Train the case of a `make_request`, with nothing else at work on this worker if it is to be alone."""
    return _answer_work(topic, functools.partial(_train_case, request, alone))


def time_group(request: tuple[list[Answer], Callable[..., Answer]], topic: str, alone: bool) -> Answer:  # noqa: FBT001
    """Time one group of implementations, which is always alone on its worker; `request` is its cases, and how."""
    del alone
    return _answer_work(topic, functools.partial(_time_cases, *request))


def make_request(case: Case) -> Answer:
    """Return what a worker has to know of a case."""
    return {
        "case": case.to_json(),
        "identity": case.identity(),
        "code": digest.hash_case(case),
        "plugins": registry.describe_plugins(case.task, case.framework),
    }


def find_refusal(case: dict[str, Any], identity: dict[str, Any], code: str, plugins: str | None) -> str:
    """Return why a case would have another key or other code here, or would not run at all; "" where it is the same."""
    framework, mode = identity["framework"], identity["mode"]
    try:
        with READING:
            registry.require_framework(framework, mode)
            asked = Case.from_json(case)
            require_allowed([asked])
            ours = asked.identity()
            is_same = digest.hash_case(asked) == code
            plugged = registry.describe_plugins(asked.task, framework)
    except (registry.UsageError, TaskError) as error:
        return str(error)
    except (TypeError, AttributeError, ImportError, OSError) as error:
        return f"it has another version of Farreach ({format_error(error)})"
    names = {
        "framework_version": f"{registry.name_package(framework)} {{}}",
        "task_version": f"version {{}} of task {identity['task']}",
        "metric_version": f"version {{}} of the metrics of task {identity['task']}",
        "schema": "version {} of Farreach's records",
        "versions": "{}",
    }
    for name, text in names.items():
        mine, theirs = (facts.get(name, dict(LATER).get(name)) for facts in (ours, identity))
        if mine != theirs:
            return f"it has {text.format(mine)}, not {text.format(theirs)}"
    if ours != identity:
        return "it has another version of Farreach"
    if plugged != plugins:
        return f"it has other plug-ins: {plugged or 'none'}, not {plugins or 'none'}"
    return "" if is_same else f"it has other code for {framework}"


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
        answer = {"failed": f"{write_reason(error)}, on {errand.worker.address}"}
    return answer | {"worker": errand.worker.address}


def _train_case(request: Answer, alone: bool, errand: Errand) -> Answer:  # noqa: FBT001
    reason = find_refusal(**request)
    if reason:
        return {"refused": reason, "which": 0}
    case = Case.from_json(request["case"])
    with PLACE.enter(errand, errand.room if alone else case.cores), PLACE.lend_live(case.lane, errand) as lent:
        started, began, before = environment.read_clock(), time.perf_counter(), lent.live.imports
        outcome = lent.live.ask(Run(case), Outcome, lambda heard: errand.report_progress(heard.steps))
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
