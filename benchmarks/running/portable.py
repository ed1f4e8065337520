"""Portable runs: kernels that processors of several makers have, so that their rows can be the same bits.

PyTorch's libraries choose their kernels by the processor. These variables make them choose alike: MKL computes the
matrix products of the rnn and the gru, oneDNN the float32 LSTM, and ATen all else. TensorFlow and JAX get none: their
XLA gave the same bits on an AMD EPYC and an Intel Xeon without, and oneDNN's variable moves TensorFlow's. What a
worker is given stands in its rows like any other variable, and is part of their digest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from farreach.benchmarks.matrix.registry import UsageError

VARIABLES = {"pytorch": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "AVX2"}}
"""By framework."""

WANTED = "FARREACH_PORTABLE"
"""The variable by which the command tells the start of its workers."""


def list_variables(framework: str) -> dict[str, str]:
    """Return the variables that a worker of a framework starts with; none where no portable run is wanted."""
    return VARIABLES.get(framework, {}) if os.environ.get(WANTED) else {}


def want_portable() -> None:
    """Let the workers of this process be portable.

    Raises:
        UsageError: the user has set one of the variables to something else.

    """
    for variables in VARIABLES.values():
        for name, value in variables.items():
            if os.environ.get(name, value) != value:
                message = f"--portable sets {name}={value}, but it is set to {os.environ[name]}"
                raise UsageError(message)
    os.environ[WANTED] = "1"


def is_portable(row: Mapping[str, Any]) -> bool:
    """Say whether a row has the variables of a portable run of its framework."""
    try:
        variables = json.loads(row["variables"])
    except (TypeError, ValueError):  # a row of earlier, or of somebody else
        return False
    return isinstance(variables, dict) and VARIABLES[row["framework"]].items() <= variables.items()


def follow_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """Let the workers of this process be portable where those were that made these rows.

    Raises:
        UsageError: only some of them were, or the user has set one of the variables to something else.

    """
    kinds = {is_portable(row) for row in rows if row["framework"] in VARIABLES}
    if kinds == {True, False}:
        message = "some of these rows were made by --portable and some were not: reproduce each kind by itself"
        raise UsageError(message)
    if True in kinds:
        want_portable()
