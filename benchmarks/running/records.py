"""The record of a finished case."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd

from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running.messages import Outcome
from farreach.results.analysis import reach
from farreach.results.record import Environment, Record


def make_record(key: str, case: Case, outcome: Outcome, facts: dict[str, Any]) -> Record:
    """Join what was asked, what came out and where it ran into one record.

    `facts` are the fields of `Environment` but kernel and digest, and the suite. The precision that the outcome
    measured stands in place of that of the process.
    """
    before = outcome.result.steps_before or 0
    reached: dict[str, Any] = reach.summarise_flow(pd.DataFrame(outcome.flow), before)
    there = {name: value for name, value in facts.items() if name != "suite"}
    there |= {"precision": outcome.precision} if outcome.precision else {}
    return Record(
        key=key,
        suite=facts["suite"],
        case=case,
        result=dataclasses.replace(outcome.result, **reached),
        times=outcome.times,
        environment=Environment(kernel=outcome.kernel, digest=outcome.digest, **there),
    )
