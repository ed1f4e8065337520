"""What the tasks share: random streams, endless epochs, calls of one shape, the cross-entropy."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farreach.tasks import base


@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_no_training_seed_gives_the_evaluation_stream(seed: int, other: int) -> None:
    training = base.generator("training", seed).integers(2**63)
    assert training != base.generator("evaluation").integers(2**63)
    assert training != base.generator("permutation", other).integers(2**63)


@given(size=st.integers(1, 40), total=st.integers(1, 30), seed=st.integers(0, 100))
def test_every_epoch_has_every_row_once(size: int, total: int, seed: int) -> None:
    batches = list(itertools.islice(base.endless_rows(seed, size, total), 3 * total))
    assert {len(batch) for batch in batches} == {size}
    stream = np.concatenate(batches)
    for epoch in range(len(stream) // total):
        assert sorted(stream[epoch * total : (epoch + 1) * total]) == list(range(total))


@pytest.mark.parametrize("rows", [1, 249, 250, 251, 600])
def test_predictions_come_back_in_order_from_calls_of_one_shape(rows: int) -> None:
    inputs = np.arange(rows, dtype=np.float32).reshape(rows, 1, 1)
    shapes = set()

    def predict(part: base.Array) -> base.Array:
        shapes.add(part.shape)
        return 2 * part

    np.testing.assert_array_equal(base.in_batches(predict, inputs), 2 * inputs)
    doubled = base.in_batches(predict, inputs, lambda scores, at: scores[:, 0, 0] - inputs[at, 0, 0])
    np.testing.assert_array_equal(doubled, inputs[:, 0, 0])
    assert shapes == {(base.EVALUATION_BATCH, 1, 1)}


@given(st.integers(0, 10_000), st.floats(-2_000, 2_000))
def test_cross_entropy_is_minus_the_log_of_the_softmax(seed: int, shift: float) -> None:
    random = np.random.default_rng(seed)
    logits, targets = random.normal(size=(3, 4, 5)), random.integers(0, 5, (3, 4))
    chances = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    expected = -np.log(np.take_along_axis(chances, targets[..., None], axis=-1))[..., 0]
    np.testing.assert_allclose(base.cross_entropy(logits + shift, targets), expected, rtol=1e-9, atol=1e-12)


def test_masked_mean_ignores_what_the_mask_leaves_out() -> None:
    values = np.array([[1.0, 100.0], [3.0, 2.0]])
    assert base.masked_mean(values, np.array([[1, 0], [1, 1]])) == 2


@pytest.mark.parametrize(("purpose", "word"), [("training", 0), ("evaluation", 1), ("permutation", 2)])
def test_a_stream_is_that_of_its_purpose_and_its_seed(
    purpose: Literal["training", "evaluation", "permutation"], word: int
) -> None:
    """Written out: another stream would make other batches, and every published number another."""
    for seed in (0, 1, 7):
        by_hand = np.random.default_rng(np.random.SeedSequence(entropy=20_260_101, spawn_key=(word, seed)))
        np.testing.assert_array_equal(base.generator(purpose, seed).random(5), by_hand.random(5))
