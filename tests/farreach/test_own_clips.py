"""Clips of many kinds in one loop: both norms are those computed apart in float64, and only what is wrong is named."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.nn import utils  # noqa: E402 - after the skip

from farreach.pytorch import Recorder  # noqa: E402
from tests.support.own_runs import read_run  # noqa: E402

STEPS = 6
Model = Any


def measure_norm(model: Model) -> float:
    """Return the L2 norm of all gradients, in float64."""
    parts = [one.grad.double().norm() for one in model.parameters() if one.grad is not None]
    return float(torch.stack(parts).norm())


def clip_by_norm(model: Model) -> None:
    utils.clip_grad_norm_(model.parameters(), 0.5)


def clip_by_largest(model: Model) -> None:
    utils.clip_grad_norm_(model.parameters(), 0.2, norm_type=float("inf"))


def clip_by_known_norm(model: Model) -> None:
    total = utils.get_total_norm([one.grad for one in model.parameters()])
    utils.clip_grads_with_norm_(model.parameters(), 0.5, total)
    total.zero_()  # the loop's own, to do with as it likes


def clip_each(model: Model) -> None:
    for parameter in model.parameters():
        utils.clip_grad_norm_(parameter, 0.3)


def clip_value_then_norm(model: Model) -> None:
    utils.clip_grad_value_(model.parameters(), 0.2)
    utils.clip_grad_norm_(model.parameters(), 0.4)


def clip_norm_twice(model: Model) -> None:
    utils.clip_grad_norm_(model.parameters(), 2.0)
    utils.clip_grad_norm_(model.parameters(), 0.5)


def clip_a_part(model: Model) -> None:
    utils.clip_grad_norm_(model[0].parameters(), 0.2)


def clip_in_groups(model: Model) -> None:
    utils.clip_grad_norm_(model[0].parameters(), 0.2)
    utils.clip_grad_norm_(model[2].parameters(), 0.1)


def clip_at_every_norm(model: Model) -> None:
    utils.clip_grad_norm_(model.parameters(), float("inf"))


def clip_without_foreach(model: Model) -> None:
    utils.clip_grad_norm_(model.parameters(), 0.5, foreach=False)


def halve_afterwards(model: Model) -> None:
    utils.clip_grad_norm_(model.parameters(), 0.5)
    for parameter in model.parameters():
        parameter.grad.data.mul_(0.5)  # which torch counts as no change


def turn_round(model: Model) -> None:
    utils.clip_grad_norm_(model.parameters(), -0.5)


RIGHT: list[Callable[[Model], None]] = [
    *(clip_by_norm, clip_by_largest, clip_by_known_norm, clip_each, clip_value_then_norm, clip_norm_twice),
    *(clip_a_part, clip_in_groups, clip_at_every_norm, clip_without_foreach),
]
SEVERAL = {clip_value_then_norm, clip_norm_twice, clip_in_groups}
"""Clips of several thresholds, of which a row can name one: both norms are right, and that is said."""

WRONG = {halve_afterwards: "the gradients that optimizer.step() used are others", turn_round: "not above 0"}


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("clip", [*RIGHT, *WRONG], ids=lambda one: one.__name__)
def test_a_clip_of_any_kind_is_recorded_as_it_was(tmp_path: Path, clip: Callable[[Model], None], dtype: str) -> None:
    torch.manual_seed(0)
    kind = getattr(torch, dtype)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)).to(kind)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    expected = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Recorder(model, tmp_path, "mine") as recorder, recorder.watching():
            for step in range(STEPS):
                optimizer.zero_grad()
                loss = (model(torch.randn(8, 3, dtype=kind)) - step).square().mean()
                loss.backward()
                before = measure_norm(model)
                clip(model)
                expected.append((before, measure_norm(model)))
                optimizer.step()
                recorder.step(loss)
        curves, row = read_run(recorder)
    close = {"float32": 1e-6, "float64": 1e-12, "bfloat16": 1e-5}[dtype]
    assert curves["norm_after"].tolist() == pytest.approx([after for _, after in expected], rel=close)
    said = " ".join(json.loads(row["warnings"] or "[]"))
    if clip in WRONG:
        assert WRONG[clip] in said
    else:
        assert ("several clips or thresholds in one run" in said) if clip in SEVERAL else said == ""
        assert curves["norm_before"].tolist() == pytest.approx([before for before, _ in expected], rel=close)
        assert (row["clip"] == "none") == (clip is clip_at_every_norm)
