"""Adding and multiplication, with each way to mark the two steps, against their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farreach.tasks import adding, base, multiplication

KINDS = [adding.Task, multiplication.Task]
MARKS = ("halves", "anywhere", "hochreiter")


def many(task: base.Task, rows: int = 100_000) -> base.Batch:
    return next(task.batches(0, rows))


@pytest.mark.parametrize("marks", MARKS)
@pytest.mark.parametrize("kind", KINDS)
def test_floor_is_the_loss_of_the_best_constant(kind: type[adding.Task], marks: str) -> None:
    """The least mean squared error that a constant can have, which is the variance, of a hundred thousand targets."""
    task = kind(T=24, marks=marks)
    targets = many(task).targets
    assert float(targets.var()) == pytest.approx(task.floor, rel=0.02)
    usual = float(targets.mean())
    metrics = task.evaluate(lambda inputs: np.full((len(inputs), 1, 1), usual))
    assert metrics["loss"] == pytest.approx(task.floor, rel=0.1)  # a thousand targets
    assert not task.solved(metrics)


def test_floors_are_those_of_the_papers() -> None:
    assert adding.Task().floor == adding.Task(marks="anywhere").floor == 1 / 6
    assert multiplication.Task().floor == pytest.approx(7 / 144)
    assert adding.Task(T=100, marks="hochreiter").floor == pytest.approx((2 - 0.1 - 0.9 / 48) / 48)


@given(steps=st.integers(2, 60), seed=st.integers(0, 1000))
def test_halves_marks_one_step_in_each_half(steps: int, seed: int) -> None:
    batch = next(adding.Task(T=steps).batches(seed, 5))
    values, markers = batch.inputs[..., 0], batch.inputs[..., 1]
    assert ((values >= 0) & (values < 1)).all()
    np.testing.assert_array_equal(markers[:, : steps // 2].sum(axis=1), 1)
    np.testing.assert_array_equal(markers[:, steps // 2 :].sum(axis=1), 1)
    np.testing.assert_allclose((values * markers).sum(axis=1), batch.targets[:, 0, 0], rtol=1e-6)


@pytest.mark.parametrize("marks", ["halves", "anywhere"])
def test_every_step_can_be_marked(marks: str) -> None:
    markers = many(adding.Task(T=5, marks=marks), 20_000).inputs[..., 1]
    assert (markers.sum(axis=1) == 2).all()
    assert (markers.sum(axis=0) > 3_000).all()


def test_anywhere_marks_every_pair_of_steps_equally_often() -> None:
    markers = many(adding.Task(T=5, marks="anywhere"), 20_000).inputs[..., 1]
    _, counts = np.unique(markers, axis=0, return_counts=True)
    assert counts.tolist() == pytest.approx([2_000] * 10, rel=0.1)


@pytest.mark.parametrize("kind", KINDS)
@given(steps=st.integers(22, 60), seed=st.integers(0, 1000))
def test_hochreiter_marks_as_the_paper_says(kind: type[adding.Task], steps: int, seed: int) -> None:
    task = kind(T=steps, marks="hochreiter")
    batch = next(task.batches(seed, 8))
    assert batch.inputs.shape == (8, steps + steps // 10, 2)
    for row, target in zip(batch.inputs, batch.targets[:, 0, 0], strict=True):
        ends = np.flatnonzero(row[:, 1] == -1)
        assert len(ends) == 2
        start, last = ends
        assert last == task.length - 1
        assert steps <= task.length - start <= steps + steps // 10
        assert (row[:start] == 0).all()  # filled up on the left
        assert set(row[:, 1]) <= {-1, 0, 1}
        places = np.flatnonzero(row[:, 1] == 1) - start
        assert len(places) in {1, 2}  # the first step keeps its marker where it is one of the two
        assert places.max() < steps // 2 - 1
        assert len(places) == 1 or places.min() < 10
        chosen = row[start + places, 0]
        if kind is adding.Task:
            assert target == pytest.approx(0.5 + chosen.sum() / 4, abs=1e-6)
        else:
            assert target == pytest.approx(chosen.prod(), abs=1e-6)


def test_hochreiter_draws_values_lengths_and_places_evenly() -> None:
    for kind, least in ((adding.Task, -1), (multiplication.Task, 0)):
        task = kind(T=40, marks="hochreiter")
        inputs = many(task, 20_000).inputs
        starts = (inputs[..., 1] == -1).argmax(axis=1)
        assert np.bincount(starts).tolist() == pytest.approx([4_000] * 5, rel=0.1)
        values = inputs[:, 10:, 0]
        assert values.min() == pytest.approx(least, abs=1e-3)
        assert values.max() == pytest.approx(1, abs=1e-3)
        marked = np.flatnonzero(inputs[starts == 0][..., 1] == 1) % task.length
        counts = np.bincount(marked, minlength=20)
        assert counts[0] == 0  # the first step is marked by -1
        assert counts[1:10].tolist() == pytest.approx([counts[1:10].mean()] * 9, rel=0.25)
        assert counts[10:19].tolist() == pytest.approx([counts[10:19].mean()] * 9, rel=0.25)
        assert counts[19:].sum() == 0


def test_the_chance_that_the_first_step_is_marked_is_the_one_of_the_formula() -> None:
    task = adding.Task(T=24, marks="hochreiter")
    single = (many(task).inputs[..., 1] == 1).sum(axis=1) == 1
    assert float(single.mean()) == pytest.approx(task.first_marked, rel=0.03)
    assert task.first_marked == pytest.approx(0.1 + 0.9 / 10)


@pytest.mark.parametrize("marks", MARKS)
def test_multiplication_multiplies_what_adding_adds(marks: str) -> None:
    batch = many(multiplication.Task(T=22, marks=marks), 500)
    chosen = np.where(batch.inputs[..., 1] == 1, batch.inputs[..., 0], 1)
    np.testing.assert_allclose(batch.targets[:, 0, 0], chosen.prod(axis=1), rtol=1e-5)


def off_by(task: base.Task, error: float) -> base.Predict:
    batch = task.evaluation()
    targets = {row.tobytes(): target for row, target in zip(batch.inputs, batch.targets, strict=True)}
    return lambda inputs: np.stack([targets[row.tobytes()] + error for row in inputs])


@pytest.mark.parametrize("marks", MARKS)
def test_targets_missed_by_less_than_four_hundredths_are_counted(marks: str) -> None:
    task = adding.Task(T=22, marks=marks)
    assert task.evaluate(off_by(task, 0.039))["within_0_04"] == 1
    assert task.evaluate(off_by(task, 0.041))["within_0_04"] == 0
    assert task.evaluate(off_by(task, -0.041))["within_0_04"] == 0
    assert task.evaluate(off_by(task, 0.2))["loss"] == pytest.approx(0.04)


@pytest.mark.parametrize(("kind", "bound"), [(adding.Task, 0.01), (multiplication.Task, 0.06 * 7 / 144)])
def test_solved_is_an_error_of_six_per_cent_of_the_floor(kind: type[adding.Task], bound: float) -> None:
    task = kind(T=4)
    assert task.solved(task.evaluate(off_by(task, 0.95 * math.sqrt(bound)))) is True
    assert task.solved(task.evaluate(off_by(task, 1.05 * math.sqrt(bound)))) is False
    assert adding.Task().solved({"loss": 0.01}) is False


@pytest.mark.parametrize("kind", KINDS)
def test_hochreiters_are_solved_when_99_per_cent_are_right(kind: type[adding.Task]) -> None:
    task = kind(T=40, marks="hochreiter")
    assert task.solved({"loss": 1.0, "within_0_04": 0.99}) is True
    assert task.solved({"loss": 0.0, "within_0_04": 0.989}) is False


@pytest.mark.parametrize(
    ("marks", "steps", "said"),
    [
        ("halves", 1, "T is 1; it must be a whole number from 2 to 10000"),
        ("anywhere", 1, "T is 1; it must be a whole number from 2 to 10000"),
        ("hochreiter", 21, "T is 21; it must be a whole number from 22 to 10000"),
        ("thirds", 50, "marks is 'thirds'; it must be one of: halves, anywhere, hochreiter"),
    ],
)
def test_too_few_steps_and_unknown_marks_are_refused(marks: str, steps: int, said: str) -> None:
    for kind in KINDS:
        with pytest.raises(base.TaskError, match=said):
            kind(T=steps, marks=marks)


def test_the_shortest_sequences_are_possible() -> None:
    for marks, steps in (("halves", 2), ("anywhere", 2), ("hochreiter", 22)):
        batches = itertools.islice(adding.Task(T=steps, marks=marks).batches(0, 8), 2)
        assert all(np.isfinite(batch.targets).all() for batch in batches)
