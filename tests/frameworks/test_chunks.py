"""How a chunk comes to the framework, and whose kernel then runs."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farreach.benchmarks.matrix import registry
from farreach.frameworks import base
from farreach.frameworks.base import Training
from tests.support.models import CELLS, build_framework, make_batches, make_model


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6)),
    rest=st.sampled_from([(), (1,), (2,), (13,), (2, 3)]),
    dtype=st.sampled_from(["float32", "float64", "int32", "int64"]),
)
def test_a_chunk_made_time_major_holds_the_same_numbers(shape: Any, rest: Any, dtype: str) -> None:
    chunk = np.arange(math.prod((*shape, *rest))).reshape(*shape, *rest).astype(dtype)
    changed = base.make_time_major(chunk)
    np.testing.assert_array_equal(changed, chunk.swapaxes(1, 2))
    assert (changed.dtype, changed.flags.c_contiguous) == (chunk.dtype, True)
    np.testing.assert_array_equal(base.make_time_major(chunk.swapaxes(1, 2)), chunk)  # wherever it lay in memory


@pytest.mark.sampled(every=5)
@pytest.mark.skipif(registry.find_framework_version("pytorch") is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("tokens", [False, True])
def test_the_kernel_that_pytorch_names_is_the_one_that_its_profiler_sees(
    cell: str, layers: int, tokens: bool, dtype: str
) -> None:
    torch, pytorch = importlib.import_module("torch"), importlib.import_module("farreach.frameworks.pytorch")
    model = make_model(cell, layers=layers, tokens=tokens)
    learner = build_framework(pytorch, model, Training(), dtype=dtype, path="eager")
    with torch.profiler.profile() as profile:
        learner.train(make_batches(model, 2))
    seen = {event.key for event in profile.key_averages()}
    assert ("aten::mkldnn_rnn_layer_backward" in seen) == ("aten::mkldnn_rnn_layer" in seen)
    assert learner.kernel == ("oneDNN" if "aten::mkldnn_rnn_layer" in seen else "ATen")
