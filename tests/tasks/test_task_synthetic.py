"""The copying memory, the adding problem and the temporal order, against their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farreach.tasks import adding, base, copy, order


@given(delay=st.integers(1, 60), seed=st.integers(0, 1000))
def test_copy_repeats_the_ten_symbols_after_the_delimiter(delay: int, seed: int) -> None:
    batch = next(copy.Task(T=delay).batches(seed, 3))
    tokens = batch.inputs.argmax(axis=-1)
    np.testing.assert_array_equal(batch.inputs.sum(axis=-1), 1)
    assert (tokens[:, :10] < copy.SYMBOLS).all()
    assert (tokens[:, 10 : 9 + delay] == copy.BLANK).all()
    assert (tokens[:, 9 + delay] == copy.DELIMITER).all()
    assert (tokens[:, 10 + delay :] == copy.BLANK).all()
    np.testing.assert_array_equal(batch.targets[:, -10:], tokens[:, :10])
    assert (batch.targets[:, :-10] == copy.BLANK).all()


@pytest.mark.parametrize("delay", [1, 50, 200])
def test_copy_floor_is_the_loss_of_a_predictor_without_memory(delay: int) -> None:
    task = copy.Task(T=delay)
    logits = np.full((task.length, task.outputs), -1e9)
    logits[:-10, copy.BLANK] = 0
    logits[-10:, : copy.SYMBOLS] = 0
    metrics = task.evaluate(lambda inputs: np.broadcast_to(logits, (len(inputs), *logits.shape)))
    assert metrics["loss"] == pytest.approx(task.floor)
    assert metrics["recall_accuracy"] == pytest.approx(1 / 8, abs=0.02)


def test_copy_draws_again_what_the_evaluation_set_has(monkeypatch: pytest.MonkeyPatch) -> None:
    held_out = copy.Task().evaluation().targets[:, -10:]
    draws = iter([held_out[:4].copy(), held_out[4:8].copy(), np.zeros((4, 10), np.int32)])
    monkeypatch.setattr(copy, "_draw", lambda *_: next(draws))
    batch = next(copy.Task().batches(0, 4))
    assert (batch.targets[:, -10:] == 0).all()


def test_adding_floor_is_the_loss_of_the_constant_one() -> None:
    task = adding.Task(T=10)
    metrics = task.evaluate(lambda inputs: np.ones((len(inputs), 1, 1)))
    assert metrics["loss"] == pytest.approx(task.floor, rel=0.1)
    targets = np.concatenate([batch.targets for batch in itertools.islice(task.batches(0, 1000), 50)])
    assert float(np.square(targets - 1).mean()) == pytest.approx(1 / 6, rel=0.02)


@given(steps=st.integers(2, 60), seed=st.integers(0, 1000))
def test_adding_marks_one_step_in_each_half(steps: int, seed: int) -> None:
    batch = next(adding.Task(T=steps).batches(seed, 5))
    values, markers = batch.inputs[..., 0], batch.inputs[..., 1]
    assert ((values >= 0) & (values < 1)).all()
    np.testing.assert_array_equal(markers[:, : steps // 2].sum(axis=1), 1)
    np.testing.assert_array_equal(markers[:, steps // 2 :].sum(axis=1), 1)
    np.testing.assert_allclose((values * markers).sum(axis=1), batch.targets[:, 0, 0], rtol=1e-6)


def test_adding_every_step_can_be_marked() -> None:
    batch = next(adding.Task(T=5).batches(0, 2_000))
    assert (batch.inputs[..., 1].sum(axis=0) > 300).all()


def test_adding_counts_sums_missed_by_less_than_four_hundredths() -> None:
    task = adding.Task(T=4)
    targets = {row.inputs.tobytes(): row.targets for row in _examples(task.evaluation())}

    def off_by(error: float) -> base.Predict:
        return lambda inputs: np.stack([targets[row.tobytes()] + error for row in inputs])

    assert task.evaluate(off_by(0.039))["within_0_04"] == 1
    assert task.evaluate(off_by(0.041))["within_0_04"] == 0
    assert task.evaluate(off_by(0.2))["loss"] == pytest.approx(0.04)
    assert task.solved(task.evaluate(off_by(0.09))) is True
    assert task.solved(task.evaluate(off_by(0.11))) is False


@given(steps=st.integers(10, 120), seed=st.integers(0, 1000))
def test_order_asks_for_two_symbols_in_two_windows(steps: int, seed: int) -> None:
    batch = next(order.Task(T=steps).batches(seed, 5))
    np.testing.assert_array_equal(batch.inputs.sum(axis=-1), 1)
    symbols = batch.inputs.argmax(axis=-1)
    for row, target in zip(symbols, batch.targets[:, 0], strict=True):
        first, second = np.flatnonzero(row < 2)  # 0 is A, 1 is B, the others are distractors
        assert steps / 10 <= first <= 2 * steps / 10
        assert 4 * steps / 10 <= second <= 5 * steps / 10
        assert ["AA", "AB", "BA", "BB"][target] == "".join("AB"[row[at]] for at in (first, second))


def test_order_every_place_symbol_and_class_occurs() -> None:
    batch = next(order.Task(T=20).batches(0, 4_000))
    symbols = batch.inputs.argmax(axis=-1)
    np.testing.assert_array_equal(np.flatnonzero((symbols < 2).any(axis=0)), [2, 3, 4, 8, 9, 10])
    assert np.bincount(batch.targets[:, 0]).tolist() == pytest.approx([1000] * 4, rel=0.1)
    distractors = np.bincount(symbols.ravel())[2:]
    assert distractors.tolist() == pytest.approx([distractors.mean()] * 4, rel=0.05)


@pytest.mark.parametrize("steps", range(10, 1000, 7))
def test_order_windows_hold_a_place_and_lie_apart_before_the_end(steps: int) -> None:
    first, second = order.places(steps)
    assert len(first) >= 1
    assert len(second) >= 1
    assert first[-1] < second[0] <= second[-1] < steps - 1


def test_order_draws_again_what_the_evaluation_set_has(monkeypatch: pytest.MonkeyPatch) -> None:
    held_out = order.Task(T=10).evaluation().inputs.argmax(axis=-1).astype(np.int8)
    fresh = np.tile(np.int8([2, 0, 2, 2, 0, 2, 2, 2, 2, 2]), (2, 1))
    draws = iter([np.concatenate([held_out[:2], fresh]), held_out[7:9], fresh])
    monkeypatch.setattr(order, "_draw", lambda *_: next(draws).copy())
    batch = next(order.Task(T=10).batches(0, 4))
    np.testing.assert_array_equal(batch.inputs.argmax(axis=-1), np.tile(fresh[0], (4, 1)))


def test_order_training_never_meets_the_evaluation_set_even_where_sequences_are_few() -> None:
    task = order.Task(T=10)
    held_out = {row.tobytes() for row in task.evaluation().inputs}
    batches = itertools.islice(task.batches(0, 500), 40)  # about 19 would meet it by chance
    assert held_out.isdisjoint(row.tobytes() for batch in batches for row in batch.inputs)


def test_order_floor_is_the_loss_of_a_coin_for_each_symbol() -> None:
    task = order.Task()
    metrics = task.evaluate(lambda inputs: np.zeros((len(inputs), 1, 4)))
    assert metrics["loss"] == pytest.approx(task.floor)
    assert metrics["accuracy"] == pytest.approx(1 / 4, abs=0.05)
    assert task.solved({"accuracy": 0.99}) is True
    assert task.solved({"accuracy": 0.989}) is False


def _examples(batch: base.Batch) -> list[base.Batch]:
    return [base.Batch(*row) for row in zip(batch.inputs, batch.targets, batch.mask, strict=True)]


def test_the_shortest_tasks_are_possible_and_shorter_ones_are_not() -> None:
    assert copy.Task(T=1).length == 21
    assert adding.Task(T=2).length == 2
    assert order.Task(T=10).length == 10
    for too_short in (lambda: copy.Task(T=0), lambda: adding.Task(T=1), lambda: order.Task(T=9)):
        with pytest.raises(base.TaskError, match="T is"):
            too_short()


def test_floors_are_those_of_the_papers() -> None:
    assert copy.Task(T=100).floor == pytest.approx(10 * math.log(8) / 120)
    assert adding.Task().floor == pytest.approx(0.1667, abs=1e-4)
