"""A row of a mixed case: the precision that its kernel was measured to have, its digest, and the steps it skipped."""

from __future__ import annotations

from typing import Any

import pytest

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import digest
from farreach.benchmarks.running.messages import Outcome, Progress, Run, decode, encode
from farreach.benchmarks.running.records import make_record
from farreach.benchmarks.worker import Session

FACTS = {"device": "cpu", "path": "eager", "task": "adding", "parameters": (("T", 10),), "framework": "pytorch"}

MACHINE: dict[str, Any] = {
    "framework_version": "1",
    "precision": "float32, TF32 off",
    "device_name": "cpu",
    "processor": "One",
    "cores": 2,
    "cores_granted": 2,
    "jobs": 1,
    "python": "3",
    "numpy": "2",
    "platform": "p",
    "commit": "c",
    "started": "2026-01-01T00:00:00+00:00",
    "command": "run",
    "suite": "precision",
}


@pytest.mark.skipif(registry.find_framework_version("pytorch") is None, reason="PyTorch is not installed")
def test_a_row_has_the_precision_that_was_measured() -> None:
    heard: list[Any] = []
    session = Session(heard.append, None)
    outcomes = {}
    for dtype in ("float32", "float16"):
        case = Case(cell="rnn", hidden=8, batch=8, steps=200, evaluate_every=100, dtype=dtype, **FACTS)
        answer = session.answer(encode(Run(case)))
        assert isinstance(answer, Outcome)
        outcomes[dtype] = decode(encode(answer))
        assert outcomes[dtype].precision == answer.precision
        record = make_record("k", case, answer, MACHINE)
        row = {"precision": record.environment.precision, "kernel": answer.kernel, "variables": "{}"}
        if dtype == "float32":
            assert row["precision"] == MACHINE["precision"]
            assert answer.result.steps_skipped is None
            continue
        assert row["precision"] == "float16 products and layer output, float32 weights"
        assert answer.result.steps_skipped == sum(answer.curves["skipped"])
        assert answer.result.status == "finished"
        # Whoever reads the row must find its digest again, though no other process knows what was measured.
        assert digest.UNSETTLED[case.variant] == ("precision",)
        assert answer.digest != outcomes["float32"].digest
    assert all(isinstance(one, Progress) for one in heard)
