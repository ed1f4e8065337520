"""What the frameworks' own clips do, against what was measured when this was written."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.studies import clip_semantics, epsilon
from farreach.frameworks import reference, weights
from farreach.frameworks.base import Clip, Model, Training
from farreach.frameworks.reference.optimizers import update_weights
from farreach.tasks.adding import Task

RAISES = {"no gradient yet": "raises ValueError", "one of two missing": "raises ValueError"}

EXPECTED: dict[str, dict[str, Any]] = {
    "torch.nn.utils.clip_grad_norm_": {
        "scope": "global",
        "one +Inf": "[nan, 0, 0]",
        "one NaN": "[nan, nan, nan]",
        "squares overflow": "[0, 0, 0]",
        "zero gradient": "[0, 0, 0]",
        "no gradient yet": "gives None, and says nothing",
    },
    "torch.nn.utils.clip_grad_value_": {
        "scope": "per element",
        "one +Inf": "[1, 1, 1]",
        "one NaN": "[nan, 1, 1]",
        "no gradient yet": "raises RuntimeError",
        "one of two missing": "gives None, [1, 1], and says nothing",
    },
    "tf.clip_by_global_norm": {
        "scope": "global",
        "one +Inf": "[nan, nan, nan]",
        "squares overflow": "[nan, nan, nan]",
        "at the threshold": "left alone",
        "no gradient yet": "gives None, and says nothing",
    },
    "tf.clip_by_norm": {"scope": "per variable"} | RAISES,
    "tf.clip_by_value": {"scope": "per element"} | RAISES,
    "keras optimizer, global_clipnorm": {
        "scope": "global",
        "no gradient yet": "raises ValueError",
        "one of two missing": "gives None, [0.6, 0.8], and warns",
    },
    "keras optimizer, clipnorm": {"scope": "per variable", "no gradient yet": "raises ValueError"},
    "keras optimizer, clipvalue": {"scope": "per element", "no gradient yet": "raises ValueError"},
    "optax.clip_by_global_norm": {"scope": "global", "one +Inf": "[nan, 0, 0]", "squares overflow": "[0, 0, 0]"},
    "optax.clip": {"scope": "per element", "no gradient yet": "gives None, and says nothing"},
}


@pytest.mark.parametrize("framework", registry.list_installed())
def test_the_frameworks_own_clips_do_what_was_measured(framework: str) -> None:
    rows = {row["function"]: row for row in clip_semantics.probe_clips(framework)}
    known = {name: facts for name, facts in EXPECTED.items() if name in rows}
    assert known
    for name, facts in known.items():
        assert {fact: rows[name][fact] for fact in facts} == facts, name


@pytest.mark.parametrize("framework", registry.list_installed())
def test_a_clip_that_is_meant_to_be_ours_is_it_but_where_it_is_not(framework: str) -> None:
    """Keras goes by variables as ours; optax takes columns of biases, rows for vectors, and the output layer."""
    for row in clip_semantics.compare_counterparts(framework):
        others = {title for title, said in row.items() if said.endswith("apart")}
        expected = {"optax.adaptive_grad_clip": {"kernel of one input", "the gru's two biases", "output layer"}}
        assert others == expected.get(row["function"], set()), row


def test_a_counterpart_of_another_size_is_told() -> None:
    assert clip_semantics.describe_difference(np.ones(4), np.ones(4) + 1e-7) == "the same"
    assert clip_semantics.describe_difference(np.ones(4), 2 * np.ones(4)) == "0.5 of our norm apart"


def test_scope_and_epsilon_are_read_off_the_numbers() -> None:
    def exact(gradients: list[Any], threshold: float) -> list[Any]:
        norm = np.sqrt(sum(np.square(gradient).sum() for gradient in gradients))
        return [gradient * min(1, threshold / norm) for gradient in gradients]

    def each(gradients: list[Any], threshold: float) -> list[Any]:
        return [exact([gradient], threshold)[0] for gradient in gradients]

    assert clip_semantics.find_scope(exact) == "global"
    assert clip_semantics.find_scope(each) == "per variable"
    assert clip_semantics.find_scope(lambda gradients, c: [g.clip(-c, c) for g in gradients]) == "per element"
    assert clip_semantics.find_scope(lambda gradients, _: [g[::-1] for g in gradients]) == "other"
    assert abs(float(clip_semantics.measure_excess(exact))) < 1e-6
    assert float(clip_semantics.measure_excess(lambda gradients, _: [gradients[0] / 4])) == pytest.approx(-0.5)
    assert clip_semantics.describe_change(lambda gradients, _: gradients, [0.6, 0.8]) == "left alone"
    assert clip_semantics.describe_change(lambda gradients, _: [gradients[0] / 2], [0.6, 0.8]) == "changed by 5.0e-01"


def test_a_missing_gradient_is_described_by_what_the_clip_does() -> None:
    def warn(gradients: list[Any], _: float) -> list[Any]:
        warnings.warn("no gradient", stacklevel=1)
        return gradients

    assert clip_semantics.describe_missing(warn, [None]) == "gives None, and warns"
    assert clip_semantics.describe_missing(lambda gradients, _: gradients[0].shape, [None]) == "raises AttributeError"
    assert clip_semantics.describe_missing(lambda *_: [np.ones(2)], [None]) == "gives [1, 1], and says nothing"


MODEL = Model(
    cell="gru", activation="tanh", layers=1, hidden=4, features=2, tokens=False, outputs=1, scored=1, loss="mse"
)


def test_the_run_that_is_moved_is_that_of_the_reference() -> None:
    batches = list(itertools.islice(Task(T=5).batches(0, 4), 6))
    for optimizer in epsilon.OPTIMIZERS:
        training = Training(optimizer, epsilon.RATE, Clip("norm", epsilon.THRESHOLD))
        facts: dict[str, Any] = {"device": "cpu", "dtype": "float64", "threads": 1, "path": "numpy"}
        right = reference.Framework(MODEL, training, weights.draw(MODEL, 0), **facts).train(batches).loss
        assert (epsilon.train_freely(MODEL, batches, optimizer, update_weights) == right).all()


@pytest.mark.parametrize("optimizer", epsilon.OPTIMIZERS)
def test_an_epsilon_is_misplaced_where_keras_adds_it(optimizer: Any) -> None:
    keras = pytest.importorskip("keras")
    gradients = [np.array([0.3, -2e-5, 0.0]), np.array([1e-6, 0.1, -0.2])]
    kinds = {"rmsprop": (keras.optimizers.RMSprop, {"rho": 0.99}), "adam": (keras.optimizers.Adam, {})}
    kind, settings = kinds[optimizer]
    theirs = kind(learning_rate=0.01, epsilon=1e-8, **settings)
    variable = keras.Variable(np.ones(3), dtype="float64")
    ours, slots = {"w": np.ones(3)}, tuple({"w": np.zeros(3)} for _ in range(epsilon.SLOTS[optimizer]))
    for step, gradient in enumerate(gradients, 1):
        theirs.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        ours, slots = epsilon.misplace_epsilon(optimizer, ours, {"w": gradient}, slots, steps=step, learning_rate=0.01)
    assert np.allclose(ours["w"], keras.ops.convert_to_numpy(variable), rtol=1e-5)
    assert not np.allclose(ours["w"], 1.0, rtol=1e-3)


def test_the_published_page_says_what_the_readme_quotes() -> None:
    page = (registry.ROOT / "results" / "published" / "semantics.md").read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if line.startswith("| rmsprop | lstm |"))
    factor = line.split("|")[3].strip()
    readme = (registry.ROOT / "README.md").read_text(encoding="utf-8")
    assert f"by a factor of {factor} within 200 steps" in " ".join(readme.split())
