"""Optax, recorded: the norms that the transformation met and left, in every shape of a JAX loop, or a warning."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402 - after the skip

from farreach.jax import (  # noqa: E402 - after the skip
    Recorder,
    clip_norm,
    clip_value,
    find_figures,
    measure_flow,
    record,
    recorded,
)
from tests.support.own_runs import list_texts, read_run  # noqa: E402 - after the skip

PARAMS = {"a": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones(2)}
BATCHES = [1.0, 0.1, 10.0, 3.0, 0.01]


pytestmark = pytest.mark.usefixtures("heard")


def find_loss(params: Any, scale: Any) -> Any:
    return scale * (jnp.square(params["a"]).sum() + jnp.square(params["b"]).sum())


def measure(gradient: Any) -> float:
    """Return the norm of a gradient, apart from the recorder, in float64."""
    return math.sqrt(sum(float((np.asarray(leaf, np.float64) ** 2).sum()) for leaf in jax.tree.leaves(gradient)))


def make_step(optimizer: Any, **options: Any) -> Callable[..., Any]:
    def step(params: Any, state: Any, scale: Any) -> Any:
        loss, gradient = jax.value_and_grad(find_loss)(params, scale)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, loss, gradient

    return jax.jit(step, **options)


@pytest.mark.parametrize("kind", ["norm", "value", "none", "agc"])
@pytest.mark.parametrize("donate", [False, True])
def test_the_norms_are_those_of_the_gradients(
    tmp_path: Path, heard: list[warnings.WarningMessage], kind: str, *, donate: bool
) -> None:
    clips = {"norm": optax.clip_by_global_norm(2.0), "value": optax.clip(2.0), "none": optax.identity()}
    clips |= {"agc": optax.adaptive_grad_clip(0.1)}
    mine = {"norm": clip_norm(2.0), "value": clip_value(2.0), "none": record()}
    mine |= {"agc": recorded(optax.adaptive_grad_clip(0.1), "agc", 0.1)}
    optimizer = optax.chain(mine[kind], optax.sgd(1e-3))
    params = jax.tree.map(jnp.copy, PARAMS)
    state = optimizer.init(params)
    step = make_step(optimizer, donate_argnums=(0, 1) if donate else ())
    expected = []
    with Recorder(tmp_path, "mine") as recorder:
        for scale in BATCHES:
            before = jax.tree.map(jnp.copy, params)
            params, state, loss, gradient = step(params, state, scale)
            recorder.step(loss, state)
            after, _ = clips[kind].update(gradient, clips[kind].init(before), before)
            expected.append([float(loss), measure(gradient), measure(after)])
    curves, row = read_run(recorder)
    np.testing.assert_allclose(curves.to_numpy()[:, 1:4], expected, rtol=1e-5)
    assert row["clip"] == kind
    assert row["threshold"] == {"norm": 2.0, "value": 2.0, "none": None, "agc": 0.1}[kind]
    shares = curves["clipped"].tolist()
    assert (max(shares) > 0) == (kind != "none")
    if kind == "norm":
        assert shares == [float(before > 2.0) for _, before, _ in expected]
    assert not list_texts(heard)


def test_recording_does_not_change_the_training() -> None:
    ends = []
    for clip in (clip_norm(2.0), optax.clip_by_global_norm(2.0)):
        optimizer = optax.chain(clip, optax.adam(0.1))
        params, state, step = PARAMS, optimizer.init(PARAMS), make_step(optimizer)
        for scale in BATCHES:
            params, state, *_ = step(params, state, scale)
        ends.append(params)
    for one, other in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_array_equal(one, other)


def test_batches_that_are_added_up_are_one_update_and_a_step_for_each_is_named(
    tmp_path: Path, heard: list[warnings.WarningMessage]
) -> None:
    optimizer = optax.MultiSteps(optax.chain(clip_norm(2.0), optax.sgd(1e-3)), every_k_schedule=3)
    params, state, step = PARAMS, optimizer.init(PARAMS), make_step(optimizer)
    norms: list[float] = []
    with Recorder(tmp_path, "mine") as recorder:
        for _ in range(9):
            params, state, loss, gradient = step(params, state, 1.0)
            norms.append(measure(gradient))
            recorder.step(loss, state)
    curves, row = read_run(recorder)
    assert curves["norm_before"].tolist() == pytest.approx(norms[2::3], rel=1e-5)
    assert row["steps_done"] == 3
    assert ["once per update" in text for text in list_texts(heard)] == [True]


def test_a_clip_of_every_micro_batch_is_named(tmp_path: Path, heard: list[warnings.WarningMessage]) -> None:
    optimizer = optax.chain(
        clip_norm(2.0), optax.MultiSteps(optax.sgd(1e-3), every_k_schedule=3).gradient_transformation()
    )
    params, state, step = PARAMS, optimizer.init(PARAMS), make_step(optimizer)
    with Recorder(tmp_path, "mine") as recorder:
        params, state, loss, _ = step(params, state, 1.0)
        recorder.step(loss, state)
    assert any("every micro-batch alone" in text for text in list_texts(heard))


def test_a_clip_behind_the_optimizer_is_named(tmp_path: Path, heard: list[warnings.WarningMessage]) -> None:
    optimizer = optax.chain(optax.adam(1e-3), clip_norm(2.0))
    params, state, step = PARAMS, optimizer.init(PARAMS), make_step(optimizer)
    with Recorder(tmp_path, "mine") as recorder:
        params, state, loss, _ = step(params, state, 1.0)
        recorder.step(loss, state)
    _, row = read_run(recorder)
    assert any("clips updates and not gradients" in text for text in list_texts(heard))
    assert "clips updates" in row["warnings"]


def test_updates_that_are_not_finite_are_skipped(tmp_path: Path, heard: list[warnings.WarningMessage]) -> None:
    optimizer = optax.apply_if_finite(optax.chain(clip_norm(2.0), optax.sgd(1e-3)), 5)
    params, state, step = PARAMS, optimizer.init(PARAMS), make_step(optimizer)
    with Recorder(tmp_path, "mine") as recorder:
        for scale in (1.0, math.inf, 1.0, 1.0):
            params, state, loss, _ = step(params, state, scale)
            recorder.step(loss, state)
    curves, row = read_run(recorder)
    assert curves["skipped"].tolist() == [0, 1, 0, 0]
    assert (row["status"], row["steps_skipped"], row["steps_done"]) == ("finished", 1, 4)
    assert not list_texts(heard)


def test_a_diverged_run_is_recorded_with_its_step(tmp_path: Path) -> None:
    optimizer = optax.chain(clip_norm(2.0), optax.sgd(1e-3))
    params, state, step = PARAMS, optimizer.init(PARAMS), make_step(optimizer)
    with Recorder(tmp_path, "mine") as recorder:
        for scale in (1.0, 1.0, math.nan, 1.0):
            params, state, loss, _ = step(params, state, scale)
            recorder.step(loss, state)
    _, row = read_run(recorder)
    assert (row["status"], row["diverged_at"]) == ("diverged", 3)


def test_groups_of_parameters_with_a_clip_each_are_one_update_of_parts(tmp_path: Path) -> None:
    chains = {"a": optax.chain(clip_norm(1.0), optax.sgd(1e-3)), "b": optax.chain(clip_norm(0.5), optax.sgd(1e-3))}
    optimizer = optax.multi_transform(chains, {"a": "a", "b": "b"})
    params, state, step = PARAMS, optimizer.init(PARAMS), make_step(optimizer)
    with Recorder(tmp_path, "mine") as recorder:
        params, state, loss, gradient = step(params, state, 10.0)
        recorder.step(loss, state)
    curves, row = read_run(recorder)
    assert curves["norm_before"].tolist() == pytest.approx([measure(gradient)], rel=1e-5)
    assert curves["norm_after"].tolist() == pytest.approx([math.hypot(1.0, 0.5)], rel=1e-5)
    assert row["clip"] == "part"


def test_a_scan_of_many_steps_is_recorded_together(tmp_path: Path, heard: list[warnings.WarningMessage]) -> None:
    optimizer = optax.chain(clip_norm(2.0), optax.sgd(1e-3))
    step = make_step(optimizer)

    def body(held: Any, scale: Any) -> Any:
        params, state, loss, gradient = step(*held, scale)
        return (params, state), (loss, find_figures(state), optax.global_norm(gradient))

    (_, state), (losses, figures, norms) = jax.lax.scan(body, (PARAMS, optimizer.init(PARAMS)), jnp.array(BATCHES))
    with Recorder(tmp_path, "mine") as recorder:
        recorder.steps(losses, figures, state)
    curves, _ = read_run(recorder)
    np.testing.assert_allclose(curves["norm_before"], norms, rtol=1e-5)
    np.testing.assert_allclose(curves["loss"], losses, rtol=1e-6)
    assert not list_texts(heard)


def test_what_cannot_be_recorded_is_refused_at_the_first_step(tmp_path: Path) -> None:
    optimizer = optax.chain(clip_norm(2.0), optax.sgd(1e-3))
    state = optimizer.init(PARAMS)
    recorder = Recorder(tmp_path, "mine")
    with pytest.raises(ValueError, match="holds nothing recorded"):
        recorder.step(1.0, optax.adam(1e-3).init(PARAMS))
    with pytest.raises(ValueError, match="must be one number, not an array of shape"):
        recorder.step(jnp.ones(3), state)
    with pytest.raises(ValueError, match="above 0"):
        clip_norm(0.0)
    recorder.close()


def test_what_goes_wrong_later_never_ends_the_loop(tmp_path: Path, heard: list[warnings.WarningMessage]) -> None:
    optimizer = optax.chain(clip_norm(2.0), optax.sgd(1e-3))
    params, state, step = PARAMS, optimizer.init(PARAMS), make_step(optimizer)
    with Recorder(tmp_path, "mine") as recorder:
        for number in range(6):
            params, state, loss, _ = step(params, state, 1.0)
            recorder.step(jnp.ones(3) if number == 4 else loss, state)
    _, row = read_run(recorder)
    assert row["steps_done"] == 4
    assert any("recording ended after step 4" in text for text in list_texts(heard))


def test_the_gradient_of_the_input_through_time_is_that_of_central_differences() -> None:
    weight = 0.5

    def last(inputs: Any) -> Any:
        state, _ = jax.lax.scan(lambda h, x: (jnp.tanh(x + weight * h), None), jnp.zeros((3,)), inputs.T)
        return state.sum()

    inputs = jnp.array(np.random.default_rng(0).normal(size=(3, 8)))
    flow = measure_flow(last, inputs)
    expected = []
    for t in range(8):
        small = 1e-2
        moves = [small * np.eye(24).reshape(24, 3, 8)[8 * row + t] for row in range(3)]
        parts = [float(last(inputs + move) - last(inputs - move)) / (2 * small) for move in moves]
        expected.append(float(np.linalg.norm(parts)))
    assert flow.x == pytest.approx(expected, rel=2e-2, abs=1e-4)
    assert flow.before == 7
