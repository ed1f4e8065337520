"""Selective copying and associative recall, against their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farreach.tasks import base, recall, selective_copy


@given(steps=st.integers(8, 40), symbols=st.integers(5, 8), vocabulary=st.integers(8, 20), seed=st.integers(0, 1000))
def test_selective_copy_asks_for_the_scattered_symbols_in_their_order(
    steps: int, symbols: int, vocabulary: int, seed: int
) -> None:
    task = selective_copy.Task(T=steps, symbols=symbols, vocabulary=vocabulary)
    batch = next(task.batches(seed, 5))
    tokens = batch.inputs.argmax(axis=-1)
    np.testing.assert_array_equal(batch.inputs.sum(axis=-1), 1)
    assert tokens.shape[1] == steps + symbols
    assert (tokens[:, steps:] == vocabulary - 1).all()  # the cues
    for row, targets in zip(tokens[:, :steps], batch.targets, strict=True):
        np.testing.assert_array_equal(row[row != vocabulary - 2], targets)


def test_selective_copy_uses_every_place_and_every_symbol_equally() -> None:
    batch = next(selective_copy.Task(T=12, symbols=5, vocabulary=6).batches(0, 6_000))
    tokens = batch.inputs.argmax(axis=-1)[:, :12]
    places = (tokens != 4).sum(axis=0)
    assert places.tolist() == pytest.approx([6_000 * 5 / 12] * 12, rel=0.05)
    assert np.bincount(batch.targets.ravel()).tolist() == pytest.approx([7_500] * 4, rel=0.05)
    _, counts = np.unique(tokens != 4, axis=0, return_counts=True)
    assert len(counts) == math.comb(12, 5)


@pytest.mark.parametrize("vocabulary", [6, 10, 16])
def test_selective_copy_floor_is_the_loss_of_a_uniform_guess(vocabulary: int) -> None:
    task = selective_copy.Task(vocabulary=vocabulary)
    metrics = task.evaluate(lambda inputs: np.zeros((len(inputs), task.scored, task.outputs)))
    assert metrics["loss"] == pytest.approx(task.floor) == pytest.approx(math.log(vocabulary - 2))
    assert metrics["recall_accuracy"] == pytest.approx(1 / (vocabulary - 2), abs=0.02)


@given(pairs=st.integers(3, 6), queries=st.integers(0, 3), delay=st.integers(0, 9), seed=st.integers(0, 1000))
def test_recall_asks_for_the_values_of_keys_that_came_before(pairs: int, queries: int, delay: int, seed: int) -> None:
    task = recall.Task(pairs=pairs, queries=queries, delay=delay, vocabulary=20)
    batch = next(task.batches(seed, 5))
    asked = queries or pairs
    assert batch.inputs.shape == (5, 2 * pairs + delay + asked)
    for row, targets in zip(batch.inputs, batch.targets, strict=True):
        keys, values = row[0 : 2 * pairs : 2], row[1 : 2 * pairs : 2]
        assert len({*keys}) == len({*values}) == pairs
        assert set(keys) <= set(range(1, 10))
        assert set(values) <= set(range(10, 20))
        assert (row[2 * pairs : 2 * pairs + delay] == recall.BLANK).all()
        questions = row[-asked:]
        assert len({*questions}) == asked
        told = dict(zip(keys, values, strict=True))
        assert [told[key] - 10 for key in questions] == targets.tolist()


def test_recall_uses_every_key_value_and_place_equally() -> None:
    task = recall.Task(pairs=3, queries=1, vocabulary=16)
    batch = next(task.batches(0, 8_000))
    assert np.bincount(batch.inputs[:, 0:6:2].ravel())[1:].tolist() == pytest.approx([24_000 / 7] * 7, rel=0.05)
    assert np.bincount(batch.inputs[:, 1:6:2].ravel())[8:].tolist() == pytest.approx([3_000] * 8, rel=0.05)
    asked = (batch.inputs[:, 0:6:2] == batch.inputs[:, -1:]).sum(axis=0)
    assert asked.tolist() == pytest.approx([8_000 / 3] * 3, rel=0.05)


@pytest.mark.parametrize("vocabulary", [16, 17, 64])
def test_recall_floor_is_the_loss_of_a_uniform_guess_among_the_values(vocabulary: int) -> None:
    task = recall.Task(vocabulary=vocabulary)
    metrics = task.evaluate(lambda inputs: np.zeros((len(inputs), task.scored, task.outputs)))
    assert metrics["loss"] == pytest.approx(task.floor) == pytest.approx(math.log(vocabulary - vocabulary // 2))
    assert metrics["recall_accuracy"] == pytest.approx(1 / task.outputs, abs=0.02)


def test_recall_of_the_values_alone_is_no_recall() -> None:
    """A model that knows which values there were guesses among the pairs: a skill above 0, and not solved."""
    task = recall.Task(pairs=4, vocabulary=16)

    def predict(inputs: base.Array) -> base.Array:
        there = (inputs[:, 1:8:2, None] - 8 == np.arange(task.outputs)).any(axis=1)
        return np.repeat(np.where(there, 0.0, -1e9)[:, None], task.scored, axis=1)

    metrics = task.evaluate(predict)
    assert metrics["loss"] == pytest.approx(math.log(4))
    assert metrics["loss"] < task.floor
    assert metrics["recall_accuracy"] < 0.3
    assert not task.solved(metrics)


SMALL: list[base.Task] = [
    selective_copy.Task(T=5, symbols=5),  # 8^5 sequences, the fewest that are allowed
    recall.Task(pairs=2, vocabulary=26),
]


@pytest.mark.parametrize("task", SMALL, ids=lambda task: type(task).__module__)
def test_training_never_meets_the_evaluation_set_even_where_sequences_are_few(task: base.Task) -> None:
    held_out = {row.tobytes() for row in task.evaluation().inputs}
    batches = itertools.islice(task.batches(0, 500), 20)  # some 250 would meet it by chance
    drawn = {row.tobytes() for batch in batches for row in batch.inputs}
    assert len(drawn) > 8_000
    assert held_out.isdisjoint(drawn)


@pytest.mark.parametrize(("accuracy", "solved"), [(0.99, True), (0.989, False)])
def test_solved_is_a_recall_of_99_per_cent(*, accuracy: float, solved: bool) -> None:
    for task in SMALL:
        assert task.solved({"recall_accuracy": accuracy}) is solved


@pytest.mark.parametrize(
    ("kind", "parameters", "said"),
    [
        (selective_copy.Task, {"T": 4, "symbols": 5}, "symbols is 5; it must be a whole number from 1 to 4"),
        (selective_copy.Task, {"vocabulary": 3}, "vocabulary is 3; it must be a whole number from 4 to 64"),
        (
            selective_copy.Task,
            {"T": 5, "symbols": 4},
            "T is 5, which makes 20,480 different sequences; it must be larger",
        ),
        (recall.Task, {"pairs": 8}, "pairs is 8; it must be a whole number from 1 to 7"),
        (recall.Task, {"queries": 5}, "queries is 5; it must be a whole number from 0 to 4"),
        (recall.Task, {"vocabulary": 5}, "vocabulary is 5; it must be a whole number from 6 to 32000"),
        (recall.Task, {"pairs": 1}, "vocabulary is 16, which makes 56 different sequences; it must be larger"),
    ],
)
def test_what_makes_no_task_is_refused(kind: type[base.Task], parameters: dict[str, int], said: str) -> None:
    with pytest.raises(base.TaskError, match=said):
        kind(**parameters)
