"""Portable runs: kernels that processors of several makers have, so that their rows can be the same bits.

PyTorch's libraries choose their kernels by the processor. These variables make them choose alike: MKL computes the
matrix products of the rnn and the gru, oneDNN the float32 LSTM, and ATen all else. TensorFlow's and JAX's XLA needs
none of them (seen: the same bits on an AMD EPYC and an Intel Xeon). They are recorded in every row like any other
variable, and are part of its digest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from farreach.benchmarks.matrix.registry import UsageError

VARIABLES = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def set_variables() -> None:
    """Set the variables of a portable run for the workers of this process.

    Raises:
        UsageError: the user has set one of them to something else.

    """
    for name, value in VARIABLES.items():
        if os.environ.setdefault(name, value) != value:
            message = f"--portable sets {name}={value}, but it is set to {os.environ[name]}"
            raise UsageError(message)


def is_portable(row: Mapping[str, Any]) -> bool:
    """Say whether a row was made by a portable run."""
    try:
        variables = json.loads(row["variables"])
    except (TypeError, ValueError):  # a row of earlier, or of somebody else
        return False
    return isinstance(variables, dict) and VARIABLES.items() <= variables.items()


def choose_variables(rows: Iterable[Mapping[str, Any]]) -> None:
    """Set the variables of a portable run where such runs made these rows.

    Raises:
        UsageError: only some of them were made so, or the user has set one of the variables to something else.

    """
    kinds = {is_portable(row) for row in rows}
    if kinds == {True, False}:
        message = "some of these rows were made by --portable and some were not: reproduce each kind by itself"
        raise UsageError(message)
    if True in kinds:
        set_variables()
