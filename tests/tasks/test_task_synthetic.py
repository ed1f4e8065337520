"""The copying memory and the temporal order, against their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farreach.tasks import base, copy, order


@given(delay=st.integers(1, 60), symbols=st.integers(5, 12), delimiters=st.integers(1, 6), seed=st.integers(0, 1000))
def test_copy_repeats_the_symbols_after_the_first_delimiter(
    delay: int, symbols: int, delimiters: int, seed: int
) -> None:
    batch = next(copy.Task(T=delay, symbols=symbols, delimiters=delimiters).batches(seed, 3))
    tokens = batch.inputs.argmax(axis=-1)
    np.testing.assert_array_equal(batch.inputs.sum(axis=-1), 1)
    assert tokens.shape[1] == delay + 2 * symbols
    assert (tokens[:, :symbols] < copy.ALPHABET).all()
    first = symbols + delay - 1
    assert (tokens[:, symbols:first] == copy.BLANK).all()
    assert (tokens[:, first : first + delimiters] == copy.DELIMITER).all()
    assert (tokens[:, first + delimiters :] == copy.BLANK).all()
    np.testing.assert_array_equal(batch.targets[:, -symbols:], tokens[:, :symbols])
    assert (batch.targets[:, :-symbols] == copy.BLANK).all()


def test_copy_with_eleven_delimiters_ends_in_eleven_of_them() -> None:
    """As Bai et al. (2018): T + 20 steps, the last eleven of them a delimiter."""
    tokens = copy.Task(T=30, delimiters=11).evaluation().inputs.argmax(axis=-1)
    assert tokens.shape == (1000, 50)
    np.testing.assert_array_equal((tokens == copy.DELIMITER).sum(axis=0), [0] * 39 + [1000] * 11)


@pytest.mark.parametrize(("delay", "symbols"), [(1, 10), (50, 10), (200, 10), (10, 5), (10, 21)])
def test_copy_floor_is_the_loss_of_a_predictor_without_memory(delay: int, symbols: int) -> None:
    task = copy.Task(T=delay, symbols=symbols)
    logits = np.full((task.length, task.outputs), -1e9)
    logits[:-symbols, copy.BLANK] = 0
    logits[-symbols:, : copy.ALPHABET] = 0
    metrics = task.evaluate(lambda inputs: np.broadcast_to(logits, (len(inputs), *logits.shape)))
    assert metrics["loss"] == pytest.approx(task.floor)
    assert metrics["recall_accuracy"] == pytest.approx(1 / 8, abs=0.02)


def test_copy_counts_the_symbols_that_are_right_and_no_blank() -> None:
    task = copy.Task(T=4, symbols=5)
    batch = task.evaluation()
    known = {row.tobytes(): answer for row, answer in zip(batch.inputs, batch.targets, strict=True)}

    def predict(inputs: base.Array) -> base.Array:
        answers = np.stack([known[row.tobytes()] for row in inputs])
        answers[:, -1] = (answers[:, -1] + 1) % copy.ALPHABET  # the last symbol is wrong
        return np.eye(task.outputs)[answers]

    assert task.evaluate(predict)["recall_accuracy"] == pytest.approx(4 / 5)
    assert task.recalled == 5


def test_copy_as_a_pair_has_the_same_inputs_and_scores_the_symbols_alone() -> None:
    whole, pair = copy.Task(T=6, symbols=5), copy.Task(T=6, symbols=5, pair=True)
    one, other = (next(task.batches(3, 4)) for task in (whole, pair))
    np.testing.assert_array_equal(one.inputs, other.inputs)
    np.testing.assert_array_equal(one.targets[:, -5:], other.targets)
    assert other.mask.shape == other.targets.shape == (4, pair.scored) == (4, 5)
    assert (whole.source_steps, pair.source_steps, pair.length) == (0, 10, whole.length)
    assert (other.inputs[:, pair.source_steps].argmax(axis=-1) == copy.DELIMITER).all()
    assert (other.inputs[:, : pair.source_steps].argmax(axis=-1) != copy.DELIMITER).all()
    assert pair.floor == pytest.approx(np.log(8))
    assert pair.recalled == pair.scored
    batch = pair.evaluation()
    assert pair.evaluate(lambda inputs: np.zeros((len(inputs), 5, 9)))["loss"] == pytest.approx(np.log(9))
    assert batch.targets.shape == (1_000, 5)


def test_a_pair_is_true_or_false() -> None:
    with pytest.raises(base.TaskError, match="pair is 1; it must be true or false"):
        copy.Task(pair=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("accuracy", "solved"), [(0.99, True), (0.989, False)])
def test_copy_is_solved_when_99_per_cent_of_the_symbols_are_right(*, accuracy: float, solved: bool) -> None:
    assert copy.Task().solved({"recall_accuracy": accuracy}) is solved


def test_copy_draws_again_what_the_evaluation_set_has(monkeypatch: pytest.MonkeyPatch) -> None:
    held_out = copy.Task().evaluation().targets[:, -10:]
    draws = iter([held_out[:4].copy(), held_out[4:8].copy(), np.zeros((4, 10), np.int32)])
    monkeypatch.setattr(copy, "_draw", lambda *_, **__: next(draws))
    batch = next(copy.Task().batches(0, 4))
    assert (batch.targets[:, -10:] == 0).all()


def test_copy_training_never_meets_the_evaluation_set_even_where_sequences_are_few() -> None:
    task = copy.Task(T=1, symbols=5)
    held_out = {row.tobytes() for row in task.evaluation().inputs}
    batches = list(itertools.islice(task.batches(0, 500), 20))  # about 300 would meet it by chance
    drawn = {row.tobytes() for batch in batches for row in batch.inputs}
    assert held_out.isdisjoint(drawn)
    assert len(drawn) > 8_000


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"symbols": 4}, "symbols is 4; it must be a whole number from 5 to 100"),
        ({"symbols": 101}, "symbols is 101; it must be a whole number from 5 to 100"),
        ({"delimiters": 0}, "delimiters is 0; it must be a whole number from 1 to 11"),
        ({"symbols": 5, "delimiters": 7}, "delimiters is 7; it must be a whole number from 1 to 6"),
    ],
)
def test_copy_refuses_too_few_symbols_and_more_delimiters_than_there_are_places(
    parameters: dict[str, int], said: str
) -> None:
    with pytest.raises(base.TaskError, match=said):
        copy.Task(**parameters)


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


PLACES = {
    "10-20,40-50": [range(10, 21), range(40, 51)],
    "10-20,50-60": [range(10, 21), range(50, 61)],
    "10-20,33-43,66-76": [range(10, 21), range(33, 44), range(66, 77)],
    "0-0,99-99": [range(1), range(99, 100)],
}


@pytest.mark.parametrize("windows", PLACES)
def test_order_symbols_stand_in_the_windows_that_are_asked_for(windows: str) -> None:
    task = order.Task(T=100, windows=windows)
    batch = next(task.batches(0, 2_000))
    symbols = batch.inputs.argmax(axis=-1)
    there = sorted(place for window in PLACES[windows] for place in window)
    np.testing.assert_array_equal(np.flatnonzero((symbols < 2).any(axis=0)), there)
    classes = 2 ** len(PLACES[windows])
    assert task.outputs == classes
    assert task.floor == pytest.approx(math.log(classes))
    assert np.bincount(batch.targets[:, 0]).tolist() == pytest.approx([2000 / classes] * classes, rel=0.25)
    for row, target in zip(symbols[:50], batch.targets[:50, 0], strict=True):
        bits = "".join(str(symbol) for symbol in row[row < 2])
        assert len(bits) == len(PLACES[windows])
        assert int(bits, 2) == target


@pytest.mark.parametrize(
    ("windows", "steps", "said"),
    [
        ("10-20,20-30", 50, "which overlap at T = 50; each must be behind the one before it"),
        ("10-20,15-30", 50, "which overlap at T = 50"),
        ("40-50,10-20", 50, "which overlap at T = 50"),
        ("10-20,40-50,45-60", 50, "which overlap at T = 50"),
        ("10-20,21-24", 10, "each must be wide enough to hold a place among 10 steps"),
        ("20-10,40-50", 50, "each must be wide enough to hold a place among 50 steps"),
        *((text, 50, "must be two or three windows in percent, such as '10-20,40-50'") for text in (
            "", "10-20", "10-20,40-50,60-70,80-90", "10-20,40-100", "10-20, 40-50", "10-20,-5-50", "1-2,4-5\n",
            "a-b,c-d", "\u0661-2,4-5",
        )),
    ],
)  # fmt: skip
def test_order_refuses_windows_that_overlap_or_hold_nothing(windows: str, steps: int, said: str) -> None:
    with pytest.raises(base.TaskError) as caught:
        order.Task(T=steps, windows=windows)
    assert str(caught.value).startswith(f"windows is {windows!r}")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_order_draws_again_what_the_evaluation_set_has(monkeypatch: pytest.MonkeyPatch) -> None:
    held_out = order.Task(T=10).evaluation().inputs.argmax(axis=-1).astype(np.int8)
    fresh = np.tile(np.int8([2, 0, 2, 2, 0, 2, 2, 2, 2, 2]), (2, 1))
    draws = iter([np.concatenate([held_out[:2], fresh]), held_out[7:9], fresh])
    monkeypatch.setattr(order, "_draw", lambda *_, **__: next(draws).copy())
    batch = next(order.Task(T=10).batches(0, 4))
    np.testing.assert_array_equal(batch.inputs.argmax(axis=-1), np.tile(fresh[0], (4, 1)))


def test_order_training_never_meets_the_evaluation_set_even_where_sequences_are_few() -> None:
    task = order.Task(T=10)
    held_out = {row.tobytes() for row in task.evaluation().inputs}
    batches = itertools.islice(task.batches(0, 500), 40)  # about 19 would meet it by chance
    assert held_out.isdisjoint(row.tobytes() for batch in batches for row in batch.inputs)


@pytest.mark.parametrize(("windows", "classes"), [("10-20,40-50", 4), ("10-20,33-43,66-76", 8)])
def test_order_floor_is_the_loss_of_a_coin_for_each_symbol(windows: str, classes: int) -> None:
    task = order.Task(windows=windows)
    metrics = task.evaluate(lambda inputs: np.zeros((len(inputs), 1, classes)))
    assert metrics["loss"] == pytest.approx(task.floor)
    assert metrics["accuracy"] == pytest.approx(1 / classes, abs=0.05)
    assert task.solved({"accuracy": 0.99}) is True
    assert task.solved({"accuracy": 0.989}) is False


def test_the_shortest_tasks_are_possible_and_shorter_ones_are_not() -> None:
    assert copy.Task(T=1).length == 21
    assert order.Task(T=10).length == 10
    for too_short in (lambda: copy.Task(T=0), lambda: order.Task(T=9)):
        with pytest.raises(base.TaskError, match="T is"):
            too_short()


def test_the_floor_is_that_of_the_paper() -> None:
    assert copy.Task(T=100).floor == pytest.approx(10 * math.log(8) / 120)
