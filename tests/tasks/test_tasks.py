"""What every task keeps, checked against each file of tasks/: a new task is tested by being there."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import itertools
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farreach.tasks import base

ROOT = Path(__file__).parents[2]
MODULES = {
    path.stem: importlib.import_module(f"farreach.tasks.{path.stem}")
    for path in sorted((ROOT / "tasks").glob("*.py"))
    if path.stem not in {"__init__", "base"}
}
TASKS = {name: module.Task for name, module in MODULES.items() if hasattr(module, "Task")}
SIZE = 64

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in TASKS),
    ("adding", {"marks": "anywhere"}),
    ("adding", {"marks": "hochreiter"}),
    ("copy", {"T": 10, "symbols": 5, "delimiters": 6}),
    ("digits", {"permuted": True, "delay": 5}),
    ("multiplication", {"marks": "hochreiter"}),
    ("order", {"windows": "10-20,50-60"}),
    ("order", {"T": 10, "windows": "10-20,33-43,66-76"}),
    ("recall", {"pairs": 5, "queries": 2, "delay": 3}),
    ("selective_copy", {"T": 12, "vocabulary": 16}),
]


@pytest.fixture(params=TASKS)
def kind(request: pytest.FixtureRequest) -> type[base.Task]:
    return TASKS[request.param]


@pytest.fixture(params=VARIANTS, ids=lambda variant: " ".join([variant[0], *map(str, variant[1].values())]))
def task(request: pytest.FixtureRequest) -> base.Task:
    name, parameters = request.param
    return TASKS[name](**parameters)


def some(task: base.Task, seed: int, batches: int) -> list[base.Batch]:
    return list(itertools.islice(task.batches(seed, SIZE), batches))


def rows(inputs: base.Array) -> list[bytes]:
    return [row.tobytes() for row in inputs]


def perfect(task: base.Task) -> base.Predict:
    """Know the answer to every evaluation input."""
    batch = task.evaluation()
    answers = dict(zip(rows(batch.inputs), batch.targets, strict=True))

    def predict(inputs: base.Array) -> base.Array:
        targets = np.stack([answers[row] for row in rows(inputs)])
        return targets if task.loss == "mse" else np.float32(50) * np.eye(task.outputs, dtype=np.float32)[targets]

    return predict


def habitual(task: base.Task) -> base.Predict:
    """Answer each position with what is usual there in training, whatever the input."""
    batches = some(task, 7, 64)
    targets = np.concatenate([batch.targets for batch in batches])
    mask = np.concatenate([batch.mask for batch in batches])
    if task.loss == "mse":
        usual = (targets * mask[..., None]).sum(axis=0) / mask.sum(axis=0)[:, None]
    else:
        counts = np.zeros((task.scored, task.outputs))
        for position in range(task.scored):
            np.add.at(counts[position], targets[:, position], mask[:, position])
        usual = np.log(counts + 1e-3) - np.log((counts + 1e-3).sum(axis=1, keepdims=True))
    return lambda inputs: np.broadcast_to(usual, (len(inputs), *usual.shape))


def test_the_tasks_are_found() -> None:
    recent = {"digits", "multiplication", "recall", "selective_copy"}
    assert {"adding", "copy", "order", "speech", "translation", *recent} <= set(TASKS)


def test_importing_the_tasks_imports_nothing_heavy() -> None:
    heavy = "{'datasets', 'pandas', 'tokenizers', 'sacrebleu', 'torch', 'tensorflow', 'jax'}"
    imports = ", ".join(f"farreach.tasks.{name}" for name in TASKS)
    code = f"import sys, {imports}\nfound = {heavy} & set(sys.modules)\nassert not found, found"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)  # noqa: S603 - our own code


def test_a_task_declares_what_it_is(task: base.Task) -> None:
    assert isinstance(task.version, int)
    assert task.version >= 1
    assert task.loss in {"cross_entropy", "mse"}
    assert task.unit
    assert task.metric
    assert isinstance(task.tokens, bool)
    assert 0 < task.scored <= task.length
    assert type(task).__doc__


def test_parameters_survive_json(task: base.Task) -> None:
    parameters = json.loads(json.dumps(dataclasses.asdict(task)))
    assert type(task)(**parameters) == task


def test_batches_have_the_declared_shapes_and_types(task: base.Task) -> None:
    for batch in [*some(task, 0, 2), task.evaluation()]:
        size = len(batch.inputs)
        assert batch.inputs.shape == ((size, task.length) if task.tokens else (size, task.length, task.features))
        assert batch.inputs.dtype == (np.int32 if task.tokens else np.float32)
        assert batch.mask.shape == (size, task.scored)
        assert batch.mask.dtype == np.float32
        if task.loss == "mse":
            assert batch.targets.shape == (size, task.scored, task.outputs)
            assert batch.targets.dtype == np.float32
        else:
            assert batch.targets.shape == (size, task.scored)
            assert batch.targets.dtype == np.int32
            assert batch.targets.min() >= 0
            assert batch.targets.max() < task.outputs
        if task.tokens:
            assert batch.inputs.min() >= 0
            assert batch.inputs.max() < task.features
        assert set(np.unique(batch.mask)) <= {0, 1}
        assert (batch.mask.sum(axis=1) > 0).all()
        assert np.isfinite(batch.inputs).all()
    assert len(some(task, 0, 1)[0].inputs) == SIZE


def test_same_seed_gives_same_bytes(kind: type[base.Task]) -> None:
    for ours, theirs in zip(some(kind(), 3, 3), some(kind(), 3, 3), strict=True):
        assert ours.inputs.tobytes() == theirs.inputs.tobytes()
        assert ours.targets.tobytes() == theirs.targets.tobytes()
        assert ours.mask.tobytes() == theirs.mask.tobytes()


def test_different_seeds_give_different_batches(task: base.Task) -> None:
    assert some(task, 0, 1)[0].inputs.tobytes() != some(task, 1, 1)[0].inputs.tobytes()


def test_successive_batches_differ(task: base.Task) -> None:
    first, second = some(task, 0, 2)
    assert first.inputs.tobytes() != second.inputs.tobytes()


def test_evaluation_is_fixed_whatever_is_trained(kind: type[base.Task]) -> None:
    before = kind().evaluation()
    bytes_before = before.inputs.tobytes(), before.targets.tobytes(), before.mask.tobytes()
    some(kind(), 0, 3)
    after = kind().evaluation()
    assert (after.inputs.tobytes(), after.targets.tobytes(), after.mask.tobytes()) == bytes_before


def test_evaluation_data_never_meet_training(task: base.Task) -> None:
    held_out = set(rows(task.evaluation().inputs))
    for batch in itertools.islice(task.batches(0, SIZE), 80):
        assert held_out.isdisjoint(rows(batch.inputs))


def test_floor_is_finite_and_no_better_than_habit(task: base.Task) -> None:
    floor = task.floor
    assert math.isfinite(floor)
    assert floor > 0
    assert task.evaluate(habitual(task))["loss"] >= floor * 0.95  # 1,000 sums of two numbers stray by 4 %


def test_a_perfect_predictor_has_no_loss_and_solves_the_task(task: base.Task) -> None:
    metrics = task.evaluate(perfect(task))
    assert metrics["loss"] == pytest.approx(0, abs=1e-9)
    assert metrics.get(task.metric, 1) == 1
    assert task.solved(metrics) in {True, None}


def test_habit_does_not_solve_the_task(task: base.Task) -> None:
    assert not task.solved(task.evaluate(habitual(task)))


def test_metrics_are_plain_floats(task: base.Task) -> None:
    metrics = task.evaluate(habitual(task))
    assert all(type(value) is float for value in metrics.values())


def test_a_diverged_model_gives_a_loss_that_is_not_a_number(task: base.Task) -> None:
    shape = (task.scored, task.outputs)
    metrics = task.evaluate(lambda inputs: np.full((len(inputs), *shape), np.nan, np.float32))
    assert math.isnan(metrics["loss"])
    assert not task.solved(metrics)


def test_every_evaluation_call_has_one_shape(task: base.Task) -> None:
    shapes = set()
    answer = perfect(task)

    def predict(inputs: base.Array) -> base.Array:
        shapes.add(inputs.shape)
        return answer(inputs)

    task.evaluate(predict)
    assert len(shapes) == 1


@pytest.mark.parametrize("value", [None, "nonsense", 1.5, -1, 10**12, math.nan, [], b""], ids=repr)
def test_a_bad_parameter_is_refused_in_one_line_that_names_it(kind: type[base.Task], value: Any) -> None:
    for field in dataclasses.fields(kind):
        with pytest.raises(base.TaskError) as caught:
            kind(**{field.name: value})
        message = str(caught.value)
        assert message.startswith(f"{field.name} is {value!r}")
        assert "must be" in message
        assert "\n" not in message


def test_a_truth_value_is_no_number(kind: type[base.Task]) -> None:
    for field in dataclasses.fields(kind):
        if type(field.default) is int:
            with pytest.raises(base.TaskError, match=field.name):
                kind(**{field.name: True})


DATA = {
    "adding": "6f1dab4d098f",
    "copy": "16765cf22e95",
    "digits": "6a9fa7167641",
    "multiplication": "a870ef2760b1",
    "order": "45149dd8f7fb",
    "recall": "61827adafa28",
    "selective_copy": "7d3f79bcad7c",
    "speech": "ce92b014b2ef",
    "translation": "91e44ef0f361",
}
"""SHA-256 of the first training batches of seed 3 and of the evaluation set, cut to twelve characters."""


@pytest.mark.parametrize("name", DATA)
def test_the_data_are_those_that_they_were(name: str) -> None:
    """Where they are not, raise the task's `version`: every published number would be another."""
    task = TASKS[name]()
    digest = hashlib.sha256()
    for batch in [*some(task, 3, 3), task.evaluation()]:
        for part in (batch.inputs, batch.targets, batch.mask):
            digest.update(part.tobytes())
    assert (task.version, digest.hexdigest()[:12]) == (1, DATA[name])
