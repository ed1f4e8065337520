"""The penalties of the gradient through time, in every framework and of every activation, against the reference."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from farreach.benchmarks.matrix import registry
from farreach.frameworks import reference
from farreach.frameworks.base import Regulariser, Training
from tests.support.models import build_framework, make_batches, make_model, measure_distance

COMPARED = [name for name in registry.list_compared() if registry.find_framework_version(name)]


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
@pytest.mark.parametrize("kind", ["omega", "omega2"])
@pytest.mark.parametrize("name", COMPARED)
def test_the_update_of_a_penalised_step_is_the_references(name: str, kind: Any, activation: Any) -> None:
    model = make_model("rnn", activation=activation)
    training = Training("sgd", 0.05, None, Regulariser(kind, 0.5))
    right = build_framework(reference, model, training)
    checked = build_framework(importlib.import_module(f"farreach.frameworks.{name}"), model, training)
    plain = build_framework(reference, model, Training("sgd", 0.05, None))
    apart = 0.0
    for batch in make_batches(model, 3, rows=4, time=6):
        for framework in (checked, plain):
            framework.restore(right.state())
        for framework in (right, checked, plain):
            framework.train([batch])
        zero = {key: np.zeros_like(value) for key, value in right.weights().items()}
        size = measure_distance(right.weights(), zero)
        assert measure_distance(checked.weights(), right.weights()) < 1e-10 * size
        apart = max(apart, measure_distance(plain.weights(), right.weights()) / size)
    assert apart > 1e-5  # the penalty moves what is compared
