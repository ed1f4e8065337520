"""The record of a finished case."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd

from farreach.benchmarks.matrix import registry, versions
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running.messages import Outcome
from farreach.results.analysis import certificates, reach
from farreach.results.record import Environment, Record


def make_record(key: str, case: Case, outcome: Outcome, facts: dict[str, Any]) -> Record:
    """Join what was asked, what came out and where it ran into one record.

    `facts` are the fields of `Environment` but kernel, numerics and certificate, and the suite.
    """
    before = outcome.result.steps_before or 0
    reached: dict[str, Any] = reach.summarise_flow(pd.DataFrame(outcome.flow), before)
    numerics = versions.find_certified_version(case.framework)
    identity = certificates.name_certificate(case.framework, facts["framework_version"], numerics, case.device)
    # A certificate is about matched arithmetic: a native case stands under none, whatever its version.
    certificate = certificates.find_certificate(identity, {case.path}) if case.mode == registry.MATCHED else None
    there = {name: value for name, value in facts.items() if name != "suite"}
    return Record(
        key=key,
        suite=facts["suite"],
        case=case,
        result=dataclasses.replace(outcome.result, **reached),
        times=outcome.times,
        environment=Environment(kernel=outcome.kernel, numerics=case.numerics, certificate=certificate, **there),
    )
