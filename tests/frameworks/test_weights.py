"""The first weights: how they are spread, what the radius does, and what a permuted replicate is."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy import stats

from farreach.frameworks import layouts, weights
from farreach.frameworks.base import Model
from tests.support.models import CELLS, make_batches, make_model


def make_wide(cell: str) -> Model:
    """Return a model with so many weights that their spread is known to a few percent."""
    return Model(cell=cell, hidden=64, features=40, outputs=30, scored=1, loss="mse")


@pytest.mark.parametrize("cell", CELLS)
def test_input_and_output_kernels_are_uniform_up_to_glorots_limit(cell: str) -> None:
    model = make_wide(cell)
    drawn = weights.draw(model, 0)
    for name, fans in (("layer0.input", 40 + 64), ("output.kernel", 64 + 30)):
        kernel, limit = drawn[name], np.sqrt(6 / fans)
        assert np.abs(kernel).max() <= limit
        assert np.abs(kernel).max() > 0.99 * limit
        assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.05)
        assert kernel.mean() == pytest.approx(0, abs=4 * limit / np.sqrt(3 * kernel.size))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("radius", [1.0, 0.5, 2.0])
def test_every_eigenvalue_of_a_recurrent_block_has_the_radius(cell: str, radius: float) -> None:
    model = make_wide(cell)
    recurrent = weights.draw(model, 0, radius)["layer0.recurrent"]
    for block in np.split(recurrent, layouts.count_gates(model), axis=1):
        np.testing.assert_allclose(np.abs(np.linalg.eigvals(block)), radius, rtol=1e-10)


def test_the_radius_scales_recurrent_blocks_and_nothing_else() -> None:
    model = make_model("lstm", tokens=True, layers=2)
    one, other = weights.draw(model, 3), weights.draw(model, 3, 0.5)
    for name, value in one.items():
        np.testing.assert_array_equal(other[name], 0.5 * value if name.endswith("recurrent") else value)


def test_orthogonal_matrices_are_drawn_uniformly() -> None:
    """The trace of a uniformly drawn orthogonal matrix has mean 0 and variance 1; QR alone gives another."""
    traces = [np.trace(weights.draw(make_model("rnn"), seed)["layer0.recurrent"]) for seed in range(400)]
    assert np.mean(traces) == pytest.approx(0, abs=0.2)
    assert np.var(traces) == pytest.approx(1, abs=0.3)


def test_every_seed_and_every_replicate_is_another() -> None:
    model = make_wide("gru")
    drawn = [weights.draw(model, seed) for seed in range(5)]
    replicates = [weights.permute_hidden(model, drawn[0], replicate) for replicate in range(5)]
    assert len({weights.digest(one) for one in drawn}) == 5
    assert len({weights.digest(one) for one in replicates}) == 5
    assert replicates[0] is drawn[0]


@pytest.mark.parametrize("cell", CELLS)
def test_a_permuted_replicate_has_the_same_numbers_in_other_places_and_computes_the_same(cell: str) -> None:
    networks = pytest.importorskip("farreach.frameworks.reference.networks")
    model = make_model(cell, tokens=True, layers=2)
    drawn = weights.draw(model, 0)
    permuted = weights.permute_hidden(model, drawn, 1)
    for name in ("layer0.input", "layer0.recurrent", "layer1.input", "layer1.recurrent", "output.kernel"):
        assert not np.array_equal(permuted[name], drawn[name]), name
        np.testing.assert_array_equal(np.sort(permuted[name], axis=None), np.sort(drawn[name], axis=None))
    inputs = make_batches(model, 1)[0].inputs.swapaxes(0, 1)
    network = networks.find_family(model).Network(model)
    np.testing.assert_allclose(network(permuted, inputs)[0], network(drawn, inputs)[0], rtol=1e-12)


CHRONO = {"initial": "chrono", "chrono_length": 100}
SMALL = {"irnn": 0.001, "sigmoid": 0.01, "basic_tanh": 0.1, "smart_tanh": 0.01}


def make_rnn(initial: str, **changes: Any) -> Model:
    """Return a wide rnn of the activation that an initial is of."""
    activation = {"irnn": "relu", "sigmoid": "sigmoid"}.get(initial, "tanh")
    return dataclasses.replace(make_wide("rnn"), activation=activation, **changes)


def test_chrono_gives_the_gate_that_keeps_the_logarithm_of_a_uniform_number() -> None:
    lstm = dataclasses.replace(make_wide("lstm"), hidden=300, layers=2)
    drawn = weights.draw(lstm, 0, **CHRONO)
    for layer in range(2):
        take, keep, candidate, out = np.split(drawn[f"layer{layer}.bias"], 4)
        assert (keep >= 0).all()
        np.testing.assert_array_equal(take, -keep)
        assert not candidate.any()
        assert not out.any()
        assert stats.kstest(np.exp(keep), stats.uniform(1, 98).cdf).pvalue > 0.01
        assert np.exp(keep).max() > 95
    assert not np.array_equal(drawn["layer0.bias"], drawn["layer1.bias"])


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_chrono_draws_no_memory_of_the_whole_length(cell: str) -> None:
    """U(1, T_max - 1): of a T_max of 3 none above 2, and of 6,400 units some just below."""
    model = dataclasses.replace(make_wide(cell), hidden=64)
    drawn = [weights.draw(model, seed, initial="chrono", chrono_length=3)["layer0.bias"] for seed in range(100)]
    kept = np.exp(np.abs(drawn).max())
    assert 1.99 < kept < 2


def test_chrono_lets_an_untouched_unit_forget_over_as_many_steps_as_were_drawn() -> None:
    """With no input and no state the lstm's f and the gru's z are 1 - 1/(1 + u): a memory of about u steps."""
    for cell, bias in (("lstm", lambda whole: whole[300:600]), ("gru", lambda whole: whole[0, 300:600])):
        model = dataclasses.replace(make_wide(cell), hidden=300)
        gate = 1 / (1 + np.exp(-bias(weights.draw(model, 0, **CHRONO)["layer0.bias"])))
        lifetimes = 1 / (1 - gate)
        assert stats.kstest(lifetimes, stats.uniform(2, 98).cdf).pvalue > 0.01
    rows = weights.draw(model, 0, **CHRONO)["layer0.bias"]
    assert not rows[1].any()
    assert not rows[0, :300].any()
    assert not rows[0, 600:].any()


def test_the_gate_that_chrono_sets_is_the_one_that_keeps_the_state() -> None:
    """Large biases in it: the state hardly moves; in the other gates nothing like it."""
    recurrent = pytest.importorskip("farreach.frameworks.reference.recurrent")
    inputs = np.random.default_rng(0).standard_normal((6, 3, 40))
    for cell in ("lstm", "gru"):
        model = make_wide(cell)
        moved = []
        for length in (3, 10**6):
            drawn = weights.draw(model, 0, initial="chrono", chrono_length=length)
            scores = recurrent.Network(dataclasses.replace(model, scored=6))(drawn, inputs)[0]
            moved.append(np.abs(scores).max())
        assert moved[1] < 0.1 * moved[0]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_chrono_changes_the_biases_of_a_seed_and_nothing_else(cell: str) -> None:
    model = make_model(cell, tokens=True, layers=2)
    plain, chrono = weights.draw(model, 3, 0.5), weights.draw(model, 3, 0.5, **CHRONO)
    changed = {name for name, value in plain.items() if not np.array_equal(chrono[name], value)}
    assert changed == {"layer0.bias", "layer1.bias"}


def test_permuted_replicates_keep_the_biases_of_a_unit_together() -> None:
    model = make_model("lstm", layers=2)
    drawn = weights.draw(model, 0, **CHRONO)
    permuted = weights.permute_hidden(model, drawn, 1)
    for layer in range(2):
        take, keep, *_ = np.split(permuted[f"layer{layer}.bias"], 4)
        np.testing.assert_array_equal(take, -keep)
        assert not np.array_equal(keep, np.split(drawn[f"layer{layer}.bias"], 4)[1])
        # A unit's row of the recurrent kernel goes with its bias.
        old = [*np.split(drawn[f"layer{layer}.bias"], 4)[1]]
        order = [old.index(value) for value in keep]
        rows = drawn[f"layer{layer}.recurrent"][order]
        np.testing.assert_array_equal(np.sort(permuted[f"layer{layer}.recurrent"]), np.sort(rows))


@pytest.mark.parametrize("initial", SMALL)
def test_normal_kernels_have_the_standard_deviation_of_their_source(initial: str) -> None:
    model = make_rnn(initial, layers=2)
    drawn = weights.draw(model, 0, initial=initial)
    names = ["layer0.input", "layer1.input", "output.kernel"]
    names += ["layer0.recurrent", "layer1.recurrent"] if initial in {"sigmoid", "basic_tanh"} else []
    for name in names:
        values = drawn[name].ravel()
        assert stats.kstest(values, stats.norm(0, SMALL[initial]).cdf).pvalue > 0.001, name
    assert not any(value.any() for name, value in drawn.items() if name.endswith("bias"))
    assert len({weights.digest(weights.draw(model, seed, initial=initial)) for seed in range(3)}) == 3


def test_an_irnn_begins_with_the_identity_or_a_scaled_one() -> None:
    model = make_rnn("irnn", layers=2)
    np.testing.assert_array_equal(weights.draw(model, 0, initial="irnn")["layer1.recurrent"], np.eye(64))
    np.testing.assert_array_equal(weights.draw(model, 0, 0.5, initial="irnn")["layer0.recurrent"], 0.5 * np.eye(64))


def test_a_smart_tanh_unit_feeds_fifteen_others_and_the_radius_is_95_hundredths() -> None:
    recurrent = weights.draw(make_rnn("smart_tanh"), 0, initial="smart_tanh")["layer0.recurrent"]
    assert ((recurrent != 0).sum(axis=1) == 15).all()
    assert len({tuple(np.flatnonzero(row)) for row in recurrent}) == 64
    assert (recurrent != 0).sum(axis=0).min() < 15 < (recurrent != 0).sum(axis=0).max()
    assert np.abs(np.linalg.eigvals(recurrent)).max() == pytest.approx(0.95, rel=1e-10)
    small = weights.draw(make_rnn("smart_tanh", hidden=5), 0, initial="smart_tanh")["layer0.recurrent"]
    assert (small != 0).all()


def test_the_forget_bias_is_that_of_the_forget_gate_alone() -> None:
    model = make_model("lstm")
    plain, other = weights.draw(model, 0), weights.draw(model, 0, forget_bias=-2.5)
    hidden = model.hidden
    assert (plain["layer0.bias"][hidden : 2 * hidden] == 1).all()
    assert (other["layer0.bias"][hidden : 2 * hidden] == -2.5).all()
    other["layer0.bias"][hidden : 2 * hidden] = 1
    assert weights.digest(other) == weights.digest(plain)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("rnn", CHRONO, "initial chrono sets biases of gates, for cell lstm or gru, not for rnn"),
    ("lstm", {"initial": "chrono"}, "initial chrono needs a chrono_length"),
    ("lstm", CHRONO | {"chrono_length": 2}, "chrono_length must be a whole number from 3 to 2147483648, not 2"),
    ("lstm", CHRONO | {"chrono_length": 2**32}, "chrono_length must be a whole number from 3"),
    ("lstm", {"chrono_length": 100}, "initial default takes no chrono_length"),
    ("lstm", CHRONO | {"forget_bias": 5.0}, "initial chrono takes no forget_bias"),
    ("gru", {"forget_bias": 5.0}, "forget_bias is for cell lstm, not for gru"),
    ("lstm", {"forget_bias": np.inf}, "forget_bias must be a finite number, not inf"),
    ("gru", {"initial": "irnn"}, "initial irnn is for cell rnn, not for gru"),
    ("rnn", {"initial": "sigmoid"}, "initial sigmoid is for activation sigmoid, not tanh"),
    ("rnn", {"initial": "smart_tanh", "radius": 0.5}, "initial smart_tanh takes no radius"),
]


@pytest.mark.parametrize(("cell", "settings", "said"), REFUSED)
def test_what_no_model_begins_with_is_refused_in_one_line(cell: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        weights.draw(make_model(cell), 0, **settings)


def test_a_digest_depends_on_every_number_and_name_and_on_no_order() -> None:
    drawn = weights.draw(make_model("rnn"), 0)
    swapped = dict(reversed(drawn.items()))
    assert weights.digest(swapped) == weights.digest(drawn)
    changed = drawn | {"output.bias": drawn["output.bias"] + [0.0, 1e-300]}
    renamed = {name.replace("bias", "offset"): value for name, value in drawn.items()}
    assert len({weights.digest(one) for one in (drawn, changed, renamed)}) == 3
