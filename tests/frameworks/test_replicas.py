"""Updates in parts: as one process makes the whole, and as the reference makes the parts, in real processes too."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farreach.benchmarks.matrix import registry
from farreach.frameworks.base import Clip, Model, Regulariser, Training, UnsupportedError
from farreach.frameworks.layouts import LAYOUTS
from farreach.frameworks.split import Split
from farreach.tasks.base import Batch
from tests.support.paths import quickest
from tests.support.replicas import (
    Update,
    build_parted,
    build_plain,
    load_replicas,
    measure_worst,
    read_found,
    run_group,
    run_update,
)
from tests.support.started import start_group

ENGINES = [name for name in registry.list_compared() if registry.find_framework_version(name) is not None]
BOUND = 1e-10
FAR = 1e-3
"""What a planted fault moves at least."""

CLIPS = ("none", "norm", "value", "variable", "agc", "autoclip")
BEFORE = ("norm", "value", "variable", "agc")
OPTIMIZERS = ("sgd", "momentum", "rmsprop", "adam", "adagrad", "adamw")
RECIPES = [
    Update("lstm", "adam", "norm", regulariser="l1"),
    Update("gru", "sgd", "variable", regulariser="l2", layers=2),
    Update("rnn", "momentum", "value", inputs="vectors"),
    Update("minlstm", "rmsprop", "agc", regulariser="l2"),
]
"""A clip, an optimizer and a kind of layer each."""

BASE = Update("gru", "sgd", "norm", regulariser="l2")
PRODUCT = [
    Update(cell, optimizer, clip, regulariser=regulariser, inputs=inputs)
    for (at, cell), (turn, (optimizer, clip)) in itertools.product(
        enumerate(LAYOUTS), enumerate(itertools.product(OPTIMIZERS, CLIPS))
    )
    for regulariser, inputs in [(("none", "l1", "l2")[(at + turn) % 3], ("tokens", "vectors")[(at + turn // 3) % 2])]
]
"""Every cell x optimizer x clip, with penalties and kinds of inputs in turn."""

OTHER = "'after' if split.clip_at == 'before' else 'before'"

FAULTS: dict[str, dict[str, tuple[str, str]]] = {
    "parts that weigh alike": {
        "pytorch": ("weights = counted / counted.sum()", "weights = torch.full_like(counted, 1 / len(counted))"),
        "tensorflow": (
            "shares = counted / tf.reduce_sum(counted)",
            "shares = tf.ones_like(counted) / split.parts",
        ),
        "jax": ("shares = counted / counted.sum()", "shares = jnp.full_like(counted, 1 / len(counted))"),
    },
    "the clip on the other side": dict.fromkeys(
        ENGINES,
        (
            "require_split(training, split,",
            f"split = Split(split.replicas, split.microbatches, {OTHER})\n        require_split(training, split,",
        ),
    ),
    "the same part seen twice": dict.fromkeys(
        ENGINES,
        ("super().train([take_part(batch, self.split, self.rank)", "super().train([take_part(batch, self.split, 0)"),
    ),
    "a mean for a sum": {
        "pytorch": ("scale = self.split.replicas", "scale = 1"),
        "tensorflow": ("ReduceOp.SUM", "ReduceOp.MEAN"),
        "jax": ("lax.psum(flat, _AXIS)", "lax.pmean(flat, _AXIS)"),
    },
    "a mean for a sum of what was clipped": {
        "pytorch": ("distributed.all_reduce(flat)", "distributed.all_reduce(flat.div_(self.split.replicas))"),
    },
}
"""What is planted: in each framework what is replaced, and by what."""

OF_GROUPS = ("the same part seen twice", "a mean for a sum", "a mean for a sum of what was clipped")
"""The faults that one process cannot show."""


def hold(framework: str, update: Update, found: dict[str, np.ndarray]) -> None:
    """Hold what was found against the reference's parts and, under ``after``, against the whole update at once."""
    assert measure_worst(found, run_update(build_parted("reference", update), update)) < BOUND
    if update.clip_at == "after":
        assert measure_worst(found, run_update(build_plain(framework, update), update)) < BOUND


def list_sides(update: Update) -> list[Update]:
    """Return the update with the clip after the reduction and, where that is defined, before it."""
    sides = ["after", *(["before"] if update.clip in BEFORE else [])]
    return [dataclasses.replace(update, clip_at=side) for side in sides]


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("clip_at", ["after", "before"])
@pytest.mark.parametrize("framework", [registry.REFERENCE, *ENGINES])
def test_three_and_one_become_one_and_one_where_each_part_is_clipped(framework: str, clip_at: str) -> None:
    model = Model("rnn", hidden=1, features=1, outputs=2, scored=1, loss="mse")
    zeros = {
        "layer0.input": np.zeros((1, 1)),
        "layer0.recurrent": np.zeros((1, 1)),
        "layer0.bias": np.zeros(1),
        "output.kernel": np.zeros((1, 2)),
        "output.bias": np.zeros(2),
    }
    # From zeros the output layer's bias alone has a gradient: minus the mean of the targets that count.
    targets = -np.array([[[6, 0]], [[6, 0]], [[0, 2]], [[9, 9]], [[6, 0]], [[9, 9]], [[0, 2]], [[0, 2]]], np.float32)
    masks = np.array([[1, 1, 1, 0, 1, 0, 1, 1]], np.float32).T
    whole = Batch(np.ones((8, 3, 1), np.float32), targets, masks)  # 3 of 4 positions count in both halves
    even = Batch(whole.inputs[:4], targets[[0, 1, 2, 6]], np.ones((4, 1), np.float32))
    learner = load_replicas(framework).Framework(
        model,
        Training("sgd", 1.0, Clip("norm", 1.0)),
        zeros,
        device="cpu",
        dtype="float64",
        threads=1,
        path=quickest(framework, "rnn"),
        split=Split(1, 2, clip_at),  # type: ignore[arg-type]
    )
    trace = learner.train([even])
    reached = -learner.weights()["output.bias"]
    right = np.array([1, 1]) if clip_at == "before" else np.array([3, 1]) / np.sqrt(10)
    np.testing.assert_allclose(reached, right, rtol=1e-12)
    np.testing.assert_allclose(trace.norm_before, [np.sqrt(10)], rtol=1e-12)
    np.testing.assert_allclose(trace.norm_after, [np.sqrt(2) if clip_at == "before" else 1], rtol=1e-12)
    np.testing.assert_allclose(trace.clipped, [0.5 if clip_at == "before" else 1])
    # The loss of a part is the mean over its rows of half the squares of its targets.
    np.testing.assert_allclose(trace.loss, [0.5 * 36 / 2 + 0.5 * 4 / 2], rtol=1e-12)
    figures = {"norm_reduced": np.sqrt(10), "norm_part0": 3, "norm_part1": 1}
    figures["cosine"] = 4 / np.sqrt(20) if clip_at == "before" else 1
    assert {name: float(value[0]) for name, value in trace.extra.items()} == pytest.approx(figures, rel=1e-12)


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize("microbatches", [2, 4])
@pytest.mark.parametrize("update", RECIPES, ids=lambda update: f"{update.cell}-{update.clip}")
@pytest.mark.parametrize("framework", ENGINES)
def test_microbatches_add_up_to_the_whole_batch(framework: str, update: Update, microbatches: int) -> None:
    for side in list_sides(dataclasses.replace(update, microbatches=microbatches, steps=10)):
        hold(framework, side, run_update(build_parted(framework, side), side))


def mark_product(framework: str, cell: str, *others: int) -> Any:
    """Return the parameters of a test of a whole product: a sample of it is slow, and the rest, hours, a campaign."""
    is_sample = (framework, cell, *others) in {("pytorch", "lstm"), ("pytorch", "lstm", 2)}
    return pytest.param(framework, cell, *others, marks=pytest.mark.slow if is_sample else pytest.mark.campaign)


@pytest.mark.parametrize(
    ("framework", "cell"), [mark_product(framework, cell) for framework in ENGINES for cell in LAYOUTS]
)
def test_microbatches_add_up_for_every_optimizer_and_clip(framework: str, cell: str) -> None:
    for update in PRODUCT:
        if update.cell == cell:
            for side in list_sides(dataclasses.replace(update, microbatches=2, steps=5)):
                hold(framework, side, run_update(build_parted(framework, side), side))


@pytest.mark.slow
@pytest.mark.parametrize("framework", ENGINES)
def test_every_path_adds_up(framework: str) -> None:
    for cell in ("lstm", "mingru"):
        for path in registry.list_paths(framework, "cpu", cell):
            update = Update(cell, "adam", "norm", microbatches=2, steps=5, path=path)
            for side in list_sides(update):
                hold(framework, side, run_update(build_parted(framework, side), side))


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("fault", [name for name in FAULTS if name not in OF_GROUPS])
@pytest.mark.parametrize("framework", ENGINES)
def test_a_fault_of_microbatches_is_found(framework: str, fault: str) -> None:
    for side in list_sides(dataclasses.replace(BASE, microbatches=2, steps=5)):
        right = run_update(build_parted("reference", side), side)
        planted = dataclasses.replace(side, fault=FAULTS[fault][framework])
        assert measure_worst(run_update(build_parted(framework, planted), planted), right) > FAR


def list_grouped(framework: str) -> dict[str, Update]:
    """Return the updates of two processes in the default tier, and those with a fault in them, by name."""
    usual = [
        Update("gru", "sgd", "variable", 2, 2, regulariser="l2"),
        Update("rnn", "rmsprop", "value", 2, 1, "before", regulariser="l1", inputs="vectors"),
        Update("gru", "adamw", "autoclip", 2, inputs="vectors"),
    ]
    found = {f"{update.cell}-{update.clip}-{update.clip_at}": update for update in usual}
    for fault, places in FAULTS.items():
        if framework in places:
            clip_at = "before" if fault.endswith("clipped") else "after"
            found[fault] = dataclasses.replace(BASE, replicas=2, clip_at=clip_at, steps=5, fault=places[framework])
    return found


def mark_slow(framework: str, *others: str) -> Any:
    """Return the parameters of a test of two processes: those that XLA compiles for take half a minute or more."""
    return pytest.param(framework, *others, marks=[] if framework == "pytorch" else [pytest.mark.slow])


@functools.cache
def run_grouped(framework: str) -> dict[str, list[dict[str, np.ndarray]]]:
    """Return what both processes found for each of `list_grouped`: one group serves them all."""
    updates = list_grouped(framework)
    answers = run_group(framework, [*updates.values()], 2)
    return {name: [read_found(found) for found in both] for name, *both in zip(updates, *answers, strict=True)}


@pytest.mark.parametrize("framework", [mark_slow(framework) for framework in ENGINES])
def test_two_processes_make_the_update_of_one(framework: str) -> None:
    for name, update in list_grouped(framework).items():
        if update.fault is None:
            first, second = run_grouped(framework)[name]
            assert all(np.array_equal(first[figure], second[figure]) for figure in first), name
            kernel = str(first.pop("kernel"))
            assert kernel != build_plain(framework, update).kernel, name
            hold(framework, update, first)


@pytest.mark.parametrize(
    ("framework", "fault"),
    [mark_slow(framework, fault) for framework in ENGINES for fault, places in FAULTS.items() if framework in places],
)
def test_a_fault_of_two_processes_is_found(framework: str, fault: str) -> None:
    update = dataclasses.replace(list_grouped(framework)[fault], fault=None)
    first, _ = run_grouped(framework)[fault]
    right = run_update(build_parted("reference", update), update)
    assert measure_worst({name: value for name, value in first.items() if name != "kernel"}, right) > FAR


@pytest.mark.parametrize(
    ("framework", "cell", "replicas"),
    [
        mark_product(framework, cell, replicas)
        for framework in ENGINES
        for cell, replicas in [*((cell, 2) for cell in LAYOUTS), ("lstm", 4), ("transformer", 4)]
    ],
)
def test_processes_make_the_update_of_one_for_every_optimizer_and_clip(
    framework: str, cell: str, replicas: int
) -> None:
    few = [update for update in PRODUCT if update.cell == cell]
    updates = [side for update in few for side in list_sides(dataclasses.replace(update, replicas=replicas, steps=5))]
    answers = run_group(framework, updates, replicas, patience=1_500)
    for update, *found in zip(updates, *answers, strict=True):
        assert all(one == found[0] for one in found)
        hold(framework, update, read_found({name: value for name, value in found[0].items() if name != "kernel"}))


REFUSED: list[tuple[dict[str, Any], Split, str]] = [
    ({"clip": Clip("autoclip", 30.0)}, Split(1, 2, "before"), "clip_at before is not defined for clip autoclip"),
    ({}, Split(1, 2, "before"), "clip_at before is not defined for clip none"),
    ({"clip": Clip("backprop", 0.1)}, Split(1, 2), "backprop is of the derivatives of a whole batch"),
    ({"regulariser": Regulariser("omega", 0.1)}, Split(1, 2), "omega is of the derivatives of a whole batch"),
    ({}, Split(2), "2 replicas need a group of 2 processes, not of 1"),
]
"""A recipe, a split that is not defined for it, and what is said; the last is for those that have processes alone."""


@pytest.mark.parametrize(
    ("framework", "recipe", "split", "words"),
    [
        *((framework, *refused) for framework in ENGINES for refused in REFUSED),
        *((registry.REFERENCE, *refused) for refused in REFUSED[:-1]),
    ],
)
def test_what_is_not_defined_in_parts_is_refused_in_one_line(
    framework: str, recipe: dict[str, Any], split: Split, words: str
) -> None:
    update = dataclasses.replace(BASE, cell="rnn")
    check = update.make_check(framework)
    with pytest.raises(UnsupportedError, match=words) as caught:
        load_replicas(framework).Framework(
            check.model(),
            Training("sgd", 0.1, **recipe),
            check.draw_weights(),
            device="cpu",
            dtype="float64",
            threads=1,
            path=check.path,
            split=split,
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("framework", [registry.REFERENCE, *ENGINES])
def test_a_gradient_of_zeros_has_the_cosine_1_and_no_clip_turns_nothing(framework: str) -> None:
    update = dataclasses.replace(BASE, clip="none", regulariser="none", microbatches=2, steps=5, inputs="vectors")
    learner = build_parted(framework, update)
    batches = update.draw_batches()
    trace = learner.train(batches)
    np.testing.assert_allclose(trace.extra["cosine"], 1, rtol=1e-15)
    state = learner.state()
    learner.restore(dataclasses.replace(state, weights={name: 0 * value for name, value in state.weights.items()}))
    zeros = [dataclasses.replace(batch, targets=0 * batch.targets) for batch in batches]
    trace = learner.train(zeros)
    assert (trace.norm_before == 0).all()
    assert (trace.extra["cosine"] == 1).all()


def test_a_process_that_dies_ends_the_others(tmp_path: Path) -> None:
    path = tmp_path / "process"
    sleeps = f"import os, time; open({str(path)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    dies = f"import os, sys, time\nwhile not os.path.exists({str(path)!r}): time.sleep(.05)\nsys.exit('it died')"
    with pytest.raises(AssertionError, match="it died"):
        start_group([["-c", sleeps], ["-c", dies]], os.environ, "", 60)
    with pytest.raises(ProcessLookupError):
        os.kill(int(path.read_text()), 0)
