"""Translation's floor: the trigram model against its formula, and against evaluation itself."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farreach.tasks import base, translation
from farreach.tasks.data import subwords, trigram

VOCABULARY = 9
sentences = st.lists(st.lists(st.integers(2, VOCABULARY - 1), min_size=1, max_size=6), min_size=1, max_size=12)


def laid_out(corpus: list[list[int]]) -> tuple[base.Array, base.Array]:
    targets = np.zeros((len(corpus), 6), np.int32)
    mask = np.zeros((len(corpus), 6), np.float32)
    for row, sentence in enumerate(corpus):
        targets[row, : len(sentence)] = sentence
        mask[row, : len(sentence)] = 1
    return targets, mask


def by_the_formula(corpus: list[list[int]], u: int, v: int, w: int) -> float:
    """Return p(w | u, v), written out with dictionaries."""
    counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for sentence in corpus:
        words = [subwords.SEPARATOR, subwords.SEPARATOR, *sentence]
        for place in range(2, len(words)):
            for start in (place - 2, place - 1, place):
                counts[tuple(words[start:place])][words[place]] += 1
    chance = 1 / (VOCABULARY - 2) if w >= 2 else 0.0
    for history in ((), (v,), (u, v)):
        after = counts[history]
        if after:
            chance = (after[w] + len(after) * chance) / (after.total() + len(after))
    return chance


@given(sentences, st.integers(1, VOCABULARY - 1), st.integers(1, VOCABULARY - 1))
def test_probabilities_sum_to_one_after_every_history(corpus: list[list[int]], u: int, v: int) -> None:
    model = trigram.Trigram(*laid_out(corpus), VOCABULARY)
    chances = model.probability(np.array([(u, v, w) for w in range(VOCABULARY)]))
    assert chances.sum() == pytest.approx(1)
    assert (chances[2:] > 0).all()
    assert (chances[:2] == 0).all()


@given(sentences)
def test_probabilities_are_those_of_the_formula(corpus: list[list[int]]) -> None:
    model = trigram.Trigram(*laid_out(corpus), VOCABULARY)
    grams = list(itertools.product([1, 2, 5], [1, 3, 5], range(VOCABULARY)))
    expected = [by_the_formula(corpus, *gram) for gram in grams]
    np.testing.assert_allclose(model.probability(np.array(grams)), expected, rtol=1e-12)


def test_more_text_of_one_kind_lowers_the_cross_entropy() -> None:
    kind = [[2, 3, 4, 5], [3, 4, 5, 6]]
    held_out = laid_out(kind)
    losses = [trigram.Trigram(*laid_out(kind * times), VOCABULARY).cross_entropy(*held_out) for times in (1, 4, 16)]
    assert losses == sorted(losses, reverse=True)


def test_floor_is_the_loss_of_a_trigram_predictor() -> None:
    """The model's whole distribution, as logits, through the task's own evaluation."""
    task = translation.Task(longest=16, vocabulary=1_000)
    train = translation.training(task)
    model = trigram.Trigram(train.targets, train.mask, task.vocabulary)

    def predict(inputs: base.Array) -> base.Array:
        rows, back = np.unique(inputs, axis=0, return_inverse=True)
        before = np.concatenate([np.full((len(rows), 1), subwords.SEPARATOR), rows[:, task.longest :]], axis=1)
        logits = np.full((len(rows), task.scored, task.outputs), -1e9)
        for row, position in itertools.product(range(len(rows)), range(task.scored)):
            history = np.tile(before[row, position : position + 2], (task.outputs, 1))
            chances = model.probability(np.column_stack([history, np.arange(task.outputs)]))
            logits[row, position, 2:] = np.log(chances[2:])
        return logits[back.ravel()]

    assert task.evaluate(predict)["loss"] == pytest.approx(task.floor, rel=1e-9)


def test_floor_is_below_that_of_a_uniform_guess_and_quick() -> None:
    task = translation.Task(longest=24)
    task.evaluation()
    start = time.perf_counter()
    floor = task.floor
    assert time.perf_counter() - start < 2  # about .05 s on an idle machine
    assert 3 < floor < math.log(task.vocabulary)


def test_floor_is_that_of_the_training_pairs_in_use() -> None:
    assert translation.Task(longest=16, pairs=50).floor > translation.Task(longest=16).floor
