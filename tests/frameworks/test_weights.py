"""The first weights: how they are spread, what the radius does, and what a permuted replicate is."""

from __future__ import annotations

import numpy as np
import pytest

from farreach.frameworks import weights
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
    for block in np.split(recurrent, weights.GATES[cell], axis=1):
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
    reference = pytest.importorskip("farreach.frameworks.reference")
    model = make_model(cell, tokens=True, layers=2)
    drawn = weights.draw(model, 0)
    permuted = weights.permute_hidden(model, drawn, 1)
    for name in ("layer0.input", "layer0.recurrent", "layer1.input", "layer1.recurrent", "output.kernel"):
        assert not np.array_equal(permuted[name], drawn[name]), name
        np.testing.assert_array_equal(np.sort(permuted[name], axis=None), np.sort(drawn[name], axis=None))
    inputs = make_batches(model, 1)[0].inputs.swapaxes(0, 1)
    network = reference.Network(model)
    np.testing.assert_allclose(network(permuted, inputs)[0], network(drawn, inputs)[0], rtol=1e-12)


def test_a_digest_depends_on_every_number_and_name_and_on_no_order() -> None:
    drawn = weights.draw(make_model("rnn"), 0)
    swapped = dict(reversed(drawn.items()))
    assert weights.digest(swapped) == weights.digest(drawn)
    changed = drawn | {"output.bias": drawn["output.bias"] + [0.0, 1e-300]}
    renamed = {name.replace("bias", "offset"): value for name, value in drawn.items()}
    assert len({weights.digest(one) for one in (drawn, changed, renamed)}) == 3
