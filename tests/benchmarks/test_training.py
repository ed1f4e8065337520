"""What is recorded of a run: the weights and batches that it came from, and what is said of traces made by hand."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import gradient_probe, training
from farreach.frameworks import reference, weights
from farreach.frameworks.base import SKIPPED, Array, Model, Trace
from farreach.results.record import Result
from farreach.tasks.base import Batch, Task
from tests.support.models import make_model

STEPS = 6


def make_case(**fields: Any) -> Case:
    """Return a case of the reference that takes a few milliseconds: 6 steps, evaluated every 2."""
    usual: dict[str, Any] = {"task": "adding", "parameters": (("T", 8),), "framework": "reference", "cell": "rnn"}
    usual |= {"hidden": 5, "batch": 4, "steps": STEPS, "evaluate_every": 2, "path": "numpy", "dtype": "float64"}
    return Case(**(usual | fields))


def make_trace(losses: Sequence[float], *, before: float = 2.0, after: float = 1.0, clipped: float = 0.0) -> Trace:
    """Return the trace of a chunk with these losses."""
    count = len(losses)
    norms = (np.full(count, value) for value in (before, after, clipped))
    return Trace(np.array(losses, float), *norms, seconds=float(count))


def describe(traces: list[Trace], evaluations: Sequence[tuple[float, float]] = (), case: Case | None = None) -> Result:
    """Return what a record says of traces and of evaluations, each a loss and a share within 0.04."""
    case = case or make_case(clip="norm", threshold=1.0)
    figures = [
        {"step": 2 * at, "loss": loss, "within_0_04": share} for at, (loss, share) in enumerate(evaluations, start=1)
    ]
    first, final = ({"a": np.full(3, value), "b": np.full(1, value)} for value in (2.0, 3.0))
    return training.make_result(case.load(), case, traces, figures, first=first, final=final)


CASES: list[dict[str, Any]] = [
    {},
    {"seed": 3},
    {"radius": 0.5},
    {"replicate": 1},
    {"cell": "lstm", "seed": 1, "radius": 2.0, "replicate": 2},
    {"cell": "lstm", "initial": "chrono", "chrono_length": 8, "replicate": 1},
    {"cell": "lstm", "forget_bias": 5.0},
    {"initial": "irnn", "activation": "relu", "radius": 0.5},
]


@pytest.mark.parametrize("fields", CASES)
def test_a_case_trains_from_the_weights_of_its_seed_radius_and_replicate_on_the_batches_of_its_seed(
    fields: dict[str, Any],
) -> None:
    case = make_case(**fields)
    model, task = case.model(), case.load()
    given = {name: fields[name] for name in ("radius", "initial", "chrono_length", "forget_bias") if name in fields}
    initial = weights.permute_hidden(model, weights.draw(model, case.seed, **given), case.replicate)
    by_hand = reference.Framework(
        model, case.training(), initial, device="cpu", dtype="float64", threads=1, path="numpy"
    )
    trace = by_hand.train(list(itertools.islice(task.batches(case.seed, case.batch), STEPS)))
    outcome = training.train(case, lambda _: None)
    assert outcome.curves["loss"] == trace.loss.tolist()
    assert outcome.curves["norm_before"] == trace.norm_before.tolist()
    assert outcome.curves["step"] == [1, 2, 3, 4, 5, 6]
    assert outcome.result.weights_sha256 == weights.digest(by_hand.weights())
    assert outcome.result.loss == task.evaluate(by_hand.predict)["loss"]
    assert outcome.result.moved == pytest.approx(training.measure_move(initial, by_hand.weights()))
    assert outcome.result.steps_done == STEPS


def test_seeds_radii_and_replicates_start_apart() -> None:
    starts = [training.build(make_case(**fields)).weights() for fields in CASES[:4]]
    assert len({weights.digest(start) for start in starts}) == 4


def test_the_loss_and_the_metrics_are_those_of_the_last_evaluation() -> None:
    result = describe([make_trace([1.0] * 4)], [(0.5, 0.1), (0.2, 0.7)])
    assert (result.loss, result.score, result.metrics) == (0.2, 0.7, {"within_0_04": 0.7})
    assert result.skill == pytest.approx(1 - 0.2 * 6)


@pytest.mark.parametrize(
    ("losses", "step"),
    [
        ([0.5, 0.001, 0.001], None),
        ([0.001, 0.001], None),
        ([0.001, 0.001, 0.001], 2),
        ([0.5, 0.001, 0.001, 0.001], 4),
        ([0.001, 0.001, 0.5, 0.001, 0.001, 0.001, 0.5], 8),
        ([0.001, 0.5, 0.001, 0.001, 0.5, 0.001, 0.001], None),
        ([], None),
    ],
)
def test_solved_is_three_evaluations_in_a_row_and_the_steps_are_those_of_the_first(
    losses: list[float], step: int | None
) -> None:
    result = describe([make_trace([1.0] * 4)], [(loss, 0.0) for loss in losses])
    assert result.steps_to_solve == step
    assert result.solved == (step is not None)


def test_a_run_that_diverges_has_no_loss_is_not_solved_and_counts_what_came_before() -> None:
    traces = [make_trace([0.4, 0.4]), make_trace([0.4, math.nan, math.nan], before=4.0, clipped=1.0)]
    result = describe(traces, [(0.001, 1.0)] * 3)
    assert (result.status, result.diverged_at, result.steps_done) == ("diverged", 4, 5)
    assert (result.loss, result.score, result.solved, result.steps_to_solve, result.metrics) == (
        None,
        None,
        False,
        None,
        {},
    )
    assert (result.norm_before_median, result.norm_before_max) == (2.0, 4.0)
    assert result.clip_fraction == pytest.approx(1 / 3)


def test_a_norm_that_is_not_finite_is_a_divergence_too() -> None:
    assert training.find_divergence([make_trace([0.4, 0.4]), make_trace([0.4], before=math.inf)]) == 3
    assert training.find_divergence([make_trace([0.4, 0.4])]) is None
    assert training.find_divergence([make_trace([math.inf])]) == 1


def test_the_clip_fraction_is_of_steps_and_the_clipped_elements_are_of_elements() -> None:
    traces = [make_trace([1.0] * 3), make_trace([1.0], clipped=0.25)]
    result = describe(traces)
    assert (result.clip_fraction, result.clipped_elements) == (0.25, 0.0625)
    free = describe(traces, case=make_case())
    assert (free.clip_fraction, free.clipped_elements, free.scale_median) == (0.0, 0.0, None)
    one = describe([make_trace([1.0], clipped=1.0)])
    assert (one.clip_fraction, one.clipped_elements) == (1.0, 1.0)


def test_the_scale_is_the_median_of_the_norm_after_over_the_norm_before() -> None:
    traces = [make_trace([1.0], before=8.0, after=1.0), make_trace([1.0, 1.0], before=2.0, after=2.0)]
    traces += [make_trace([1.0, 1.0], before=4.0, after=1.0)]
    assert describe(traces).scale_median == 0.25
    nothing = [make_trace([1.0], before=0.0), make_trace([1.0], before=math.inf)]
    assert training.find_scale_median(nothing) is None
    assert training.find_scale_median([*nothing, *traces]) == 0.25


def test_what_a_clip_on_the_way_back_left_of_the_norm_is_not_known() -> None:
    result = describe([make_trace([1.0], clipped=0.25)], case=make_case(clip="backprop", threshold=1.0))
    assert (result.clip_fraction, result.clipped_elements, result.scale_median) == (1.0, 0.25, None)


def test_autoclip_is_told_how_many_norms_it_will_remember() -> None:
    case = make_case(clip="autoclip", threshold=10.0)
    assert case.training().steps == STEPS
    built = training.build(case)
    built.train(list(itertools.islice(case.load().batches(0, 4), STEPS)))
    assert len(built.state().history) == STEPS


def test_the_late_gain_is_by_how_much_the_last_third_lies_below_the_middle_one() -> None:
    assert training.find_late_gain(np.array([9.0, 9.0, 3.0, 5.0, 1.0, 2.0])) == 2.5
    assert training.find_late_gain(np.array([9.0, 9.0, 3.0, 5.0, 1.0, 2.0, 6.0])) == 1.0
    assert training.find_late_gain(np.array([9.0, 3.0, 1.0])) == 2.0
    assert training.find_late_gain(np.array([9.0, 3.0])) is None
    assert describe([make_trace([9.0, 3.0]), make_trace([1.0])]).gain_late == 2.0


def test_how_far_the_weights_moved_is_relative_to_the_first_ones_and_over_all_of_them() -> None:
    assert describe([make_trace([1.0])]).moved == pytest.approx(0.5)
    first = {"a": np.array([3.0]), "b": np.array([4.0])}
    assert training.measure_move(first, {"a": np.array([3.0]), "b": np.array([5.0])}) == pytest.approx(0.2)
    assert training.measure_move(first, first) == 0


def test_norms_are_summed_up_by_their_median_and_their_largest() -> None:
    traces = [make_trace([1.0], before=value) for value in (1.0, 2.0, 9.0)]
    result = describe(traces)
    assert (result.norm_before_median, result.norm_before_max) == (2.0, 9.0)
    first = describe([make_trace([math.nan])])
    assert (first.norm_before_median, first.norm_before_max, first.clip_fraction) == (None, None, 0.0)


class Scripted:
    """A learner whose chunks are made by hand: the losses of each, and half a second a step and one a chunk."""

    kernel = "a script"

    def __init__(self, losses: list[list[float]]) -> None:
        self.losses = iter(losses)
        self.model = make_model("rnn")

    def prepare(self, batches: Sequence[Batch], inputs: Array) -> float:
        del batches, inputs
        return 0.0

    def train(self, batches: Sequence[Batch]) -> Trace:
        losses = next(self.losses)
        assert len(batches) == len(losses)
        return dataclasses.replace(make_trace(losses), seconds=len(losses) / 2 + 1)

    def predict(self, inputs: Array) -> Array:
        return np.zeros((len(inputs), 1, 1))

    def weights(self) -> dict[str, Array]:
        return {"a": np.ones(2)}


def run_script(
    monkeypatch: pytest.MonkeyPatch, losses: list[list[float]], **fields: Any
) -> tuple[training.Outcome, list[int]]:
    """Train a case by a script; return the outcome and the steps at which progress was told."""
    monkeypatch.setattr(training, "build", lambda _: Scripted(losses))
    monkeypatch.setattr(gradient_probe.registry, "has_part", lambda *_: False)
    heard: list[int] = []
    return training.train(make_case(**fields), lambda one: heard.append(one.steps)), heard


def test_a_chunk_is_evaluated_and_told_and_a_step_has_its_share_of_a_chunks_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, bool]] = []
    kind = type(make_case().load())

    def evaluate(_task: Task, _predict: object, *, thorough: bool = False) -> dict[str, float]:
        asked.append(("evaluate", thorough))
        return {"loss": float(len(asked)), "within_0_04": 0.5}

    monkeypatch.setattr(kind, "evaluate", evaluate)
    outcome, heard = run_script(monkeypatch, [[0.5, 0.5], [0.4, 0.4], [0.3, 0.3]])
    assert heard == [2, 4, 6]
    assert [thorough for _, thorough in asked] == [False, False, True]
    assert [one["step"] for one in outcome.evaluations] == [2, 4, 6]
    assert outcome.result.loss == 3.0
    assert outcome.times.step_seconds == 1.0
    assert outcome.kernel == "a script"
    assert (outcome.flow["step"], outcome.spectra["step"]) == ([], [])


def test_until_solved_a_case_ends_at_its_third_confirmation_with_a_thorough_evaluation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bool] = []
    scores = iter([0.5, 0.001, 0.001, 0.001, 0.001])

    def evaluate(_task: Task, _predict: object, *, thorough: bool = False) -> dict[str, float]:
        asked.append(thorough)
        return {"loss": next(scores), "within_0_04": 0.5} | ({"slow": 7.0} if thorough else {})

    monkeypatch.setattr(type(make_case().load()), "evaluate", evaluate)
    outcome, heard = run_script(monkeypatch, [[0.5, 0.5]] * 4, steps=20, until="solved")
    assert heard == [2, 4, 6, 8]
    assert asked == [False, False, False, False, True]
    assert [one["step"] for one in outcome.evaluations] == [2, 4, 6, 8]
    result = outcome.result
    assert (result.solved, result.steps_to_solve, result.steps_done, result.status) == (True, 4, 8, "finished")
    assert result.metrics == {"within_0_04": 0.5, "slow": 7.0}
    assert len(outcome.curves["loss"]) == 8


def test_a_case_that_is_confirmed_by_its_last_evaluation_is_evaluated_once_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bool] = []

    def evaluate(_task: Task, _predict: object, *, thorough: bool = False) -> dict[str, float]:
        asked.append(thorough)
        return {"loss": 0.001, "within_0_04": 0.5}

    monkeypatch.setattr(type(make_case().load()), "evaluate", evaluate)
    outcome, _ = run_script(monkeypatch, [[0.5, 0.5]] * 3, until="solved")
    assert asked == [False, False, True]
    assert (outcome.result.steps_to_solve, outcome.result.steps_done) == (2, 6)


@pytest.mark.parametrize("solved_from", [2, 99])
def test_a_run_until_solved_is_the_beginning_of_the_whole_one(
    monkeypatch: pytest.MonkeyPatch, solved_from: int
) -> None:
    monkeypatch.setattr(
        type(make_case().load()), "solved", lambda _self, metrics: metrics.get("step", 0) >= solved_from
    )
    whole, short = (training.train(make_case(steps=12, until=until), lambda _: None) for until in ("steps", "solved"))
    done = short.result.steps_done
    assert done == (6 if solved_from == 2 else 12)
    assert {name: values[:done] for name, values in whole.curves.items()} == short.curves
    assert whole.evaluations[: done // 2] == short.evaluations
    assert sorted(set(short.flow["step"])) == [0, done]
    assert sorted(set(short.spectra["step"])) == [0, done]
    assert whole.result.steps_to_solve == short.result.steps_to_solve
    again = training.train(make_case(steps=done), lambda _: None).result
    ended = dataclasses.replace(short.result, solved=again.solved, steps_to_solve=again.steps_to_solve)
    assert ended == again


def test_nothing_is_trained_evaluated_or_told_after_a_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, heard = run_script(monkeypatch, [[0.5, 0.5], [0.4, math.inf], [0.3, 0.3]])
    assert heard == [2]
    assert [one["step"] for one in outcome.evaluations] == [2]
    assert (outcome.result.diverged_at, outcome.result.steps_done) == (4, 4)


def test_wall_time_is_split_without_a_rest() -> None:
    clock = training.Clock()
    with clock.measuring("data"):
        pass
    parts = clock.split()
    assert set(parts) == {"compile", "data", "training", "evaluation", "probes", "other"}
    assert 0 <= parts["data"] <= sum(parts.values())
    assert parts["other"] >= 0
    assert [parts[name] for name in ("compile", "training")] == [0, 0]


def test_the_probe_counts_the_last_scored_group_alone() -> None:
    case = make_case(task="copy", parameters=(("T", 5),))
    task = case.load()
    batch = gradient_probe.make_probe_batch(task)
    whole = task.evaluation()
    assert gradient_probe.count_steps_before(task) == 15
    assert batch.mask.shape == (gradient_probe.ROWS, 25)
    np.testing.assert_array_equal(batch.mask.sum(axis=1), 10)
    np.testing.assert_array_equal(batch.mask[:, -10:], 1)
    np.testing.assert_array_equal(batch.inputs, whole.inputs[: gradient_probe.ROWS])
    np.testing.assert_array_equal(batch.targets, whole.targets[: gradient_probe.ROWS])
    assert whole.mask.all(), "the mask of the evaluation set was written on"


def test_the_probe_looks_before_training_every_hundred_steps_and_at_the_end() -> None:
    steps = [done for done in range(0, 351, 50) if gradient_probe.is_due(done, last=done == 350)]
    assert steps == [0, 100, 200, 300, 350]
    outcome = training.train(make_case(), lambda _: None)
    assert sorted(set(outcome.flow["step"])) == [0, STEPS]
    assert sorted(set(outcome.spectra["step"])) == [0, STEPS]


FACTORS = {"rnn": "h", "lstm": "ifgo", "gru": "rzn", "mingru": "", "minlstm": "", "indrnn": "h", "lru": "h"}
"""The recurrent factors of each cell that do not depend on the input."""


@pytest.mark.parametrize("cell", FACTORS)
def test_what_the_probe_writes_is_what_the_framework_measures_layer_by_layer_and_step_by_step(cell: str) -> None:
    case = make_case(cell=cell, layers=2)
    learner = training.build(case)
    observer = gradient_probe.Observer("reference", case.load(), case.model())
    observer.look(learner, 7)
    measured = observer.measure_flow(learner, observer.batch) if observer.measure_flow else None
    assert measured is not None
    flow = observer.flow
    assert flow["step"] == [7] * 16
    assert flow["layer"] == [0] * 8 + [1] * 8
    assert flow["time"] == [*range(8), *range(8)]
    assert flow["h"] == measured.h.ravel().tolist()
    assert flow["c"] == ([None] * 16 if measured.c is None else measured.c.ravel().tolist())
    assert observer.spectra["layer"] == [layer for layer in (0, 1) for _ in FACTORS[cell]]
    assert observer.spectra["gate"] == [*FACTORS[cell]] * 2


def test_the_spectra_are_the_radius_and_the_largest_singular_value_of_every_gate() -> None:
    model = Model(cell="lstm", hidden=2, features=1, outputs=1, scored=1, loss="mse")
    gates = [np.array([[value, 1.0], [0.0, -value / 4]]) for value in (4.0, 9.0, 0.25, 1.0)]
    found = gradient_probe.measure_spectra(model, {"layer0.recurrent": np.hstack(gates)})
    assert [(layer, gate) for layer, gate, _, _ in found] == [(0, "i"), (0, "f"), (0, "g"), (0, "o")]
    assert [radius for *_, radius, _ in found] == pytest.approx([4.0, 9.0, 0.25, 1.0])
    assert [sigma for *_, sigma in found] == pytest.approx([np.linalg.norm(gate, 2) for gate in gates])
    assert gradient_probe.measure_spectra(model, {"layer0.recurrent": np.full((2, 8), np.nan)}) == []
    lru = Model(cell="lru", hidden=2, features=1, outputs=1, scored=1, loss="mse")
    at = {"layer0.nu": np.log(-np.log(np.array([0.5, 0.9])))}
    assert gradient_probe.measure_spectra(lru, at) == [(0, "h", pytest.approx(0.9), pytest.approx(0.9))]


def test_evaluation_calls_have_one_shape() -> None:
    batch = make_case().load().evaluation()
    shape = training.shape_evaluation(batch)
    assert shape.shape == (250, 8, 2)
    np.testing.assert_array_equal(shape[:250], batch.inputs[:250])


def test_a_step_that_a_loss_scaler_left_out_is_counted_and_is_no_divergence() -> None:
    trace = dataclasses.replace(
        make_trace([0.5, 0.4, 0.3]),
        norm_before=np.array([2.0, math.inf, 4.0]),
        clipped=np.array([1.0, 0.0, 1.0]),
        extra={SKIPPED: np.array([0.0, 1.0, 0.0])},
    )
    assert training.find_divergence([trace]) is None
    result = describe([trace])
    assert (result.status, result.steps_done, result.steps_skipped) == ("finished", 3, 1)
    assert (result.norm_before_median, result.norm_before_max, result.clip_fraction) == (3.0, 4.0, 1.0)


@pytest.mark.parametrize("extra", [{}, {SKIPPED: np.zeros(3)}])
def test_the_same_step_diverges_where_nothing_left_it_out(extra: dict[str, Array]) -> None:
    trace = dataclasses.replace(make_trace([0.5, 0.4, 0.3]), norm_before=np.array([2.0, math.inf, 4.0]), extra=extra)
    assert training.find_divergence([trace]) == 2
    assert describe([trace]).steps_skipped == (0 if extra else None)


def test_what_a_trace_has_beside_is_a_column_of_the_curves() -> None:
    traces = [dataclasses.replace(make_trace([0.5, 0.4]), extra={"cosine": np.array([1.0, 0.5])}) for _ in range(2)]
    curves = training.join_curves(traces)
    assert curves["step"] == [1, 2, 3, 4]
    assert curves["cosine"] == [1.0, 0.5, 1.0, 0.5]
