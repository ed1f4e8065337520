"""All checks of `farreach.benchmarks.studies.certification` in live workers, and the certificate that comes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from farreach.benchmarks.matrix import registry, versions
from farreach.benchmarks.running import environment
from farreach.benchmarks.running.worker_client import CaseFailedError, Live, StartError
from farreach.benchmarks.studies import certification
from farreach.benchmarks.studies.certification import Check
from farreach.benchmarks.studies.messages import Certify, Differences, FindHorizon, Horizon
from farreach.frameworks.base import Cell, Device
from farreach.results.analysis import certificates


def choose_checks(only: list[str], device: Device = "cpu") -> dict[str, list[Check]]:
    """Return the checks by framework that meet every KEY=VALUE; raise `UsageError` where that is none."""
    everything = [
        check for framework in registry.list_compared() for check in certification.list_checks(framework, device)
    ]
    fields = [field.name for field in dataclasses.fields(Check)]
    wanted: dict[str, set[str]] = {}
    for text in only:
        key, _, value = text.partition("=")
        registry.require_name("key", key, fields)
        registry.require_name(key, value, sorted({str(getattr(check, key)) for check in everything}))
        wanted.setdefault(key, set()).add(value)
    every = [check for check in everything if all(str(getattr(check, key)) in values for key, values in wanted.items())]
    if not every:
        message = f"no check has {' and '.join(only)}"
        raise registry.UsageError(message)
    named = "framework" in wanted
    by_framework: dict[str, list[Check]] = {}
    for check in every:
        if named or registry.find_framework_version(check.framework):
            by_framework.setdefault(check.framework, []).append(check)
    for framework in by_framework:
        registry.require_framework(framework)
    return by_framework


def make_certificate(framework: str, checks: Iterable[Check], log: Path, device: Device = "cpu") -> dict[str, Any]:
    """Verify one framework on one device against the reference in these checks; return the certificate.

    It is complete, and has the float32 horizons, where no check is left out.
    """
    facts = environment.collect_facts()  # of the start: the checkout may move on while this runs
    started = environment.read_clock()
    worker = Live(framework, device, 1, log / f"{framework}.log")
    results = []
    try:
        for check in checks:
            try:
                result = worker.ask(Certify(check, certification.STEPS), Differences).values
                fault = None
            except CaseFailedError as error:
                result = dict.fromkeys((*certification.COMPARED, "drift", "copy_drift"), float("inf"))
                fault = str(error)
            results.append(
                dataclasses.asdict(check)
                | result
                | {"passed": certification.is_within_tolerance(result), "fault": fault}
            )
        complete = len(results) == len(certification.list_checks(framework, device))
        cells = get_args(Cell) if complete else ()
        horizons = [_ask_horizon(worker, framework, cell, device) for cell in cells]
    except StartError as error:
        raise registry.UsageError(str(error)) from error
    finally:
        worker.stop()
    version, numerics = worker.facts["framework_version"], versions.find_certified_version(framework)
    return {
        "name": certificates.name_certificate(framework, version, numerics, device),
        "framework": framework,
        "framework_version": version,
        "numerics": numerics,
        "device": device,
        "bound": certification.TOLERANCE,
        "steps": certification.STEPS,
        "complete": complete,
        "passed": all(result["passed"] for result in results),
        "horizons": horizons,
        "started": started,
        "checks": results,
    } | facts


def _ask_horizon(worker: Live, framework: str, cell: Cell, device: Device) -> dict[str, Any]:
    """Return where the float32 curves of a cell part; a failure costs that figure only."""
    try:
        return worker.ask(FindHorizon(framework, cell, device), Horizon).steps
    except CaseFailedError as error:
        return {"cell": cell, "judge": None, "copy": None, "fault": str(error)}
