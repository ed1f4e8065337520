"""The formula for a step's model FLOPs is what the frameworks' own products add up to, to the last operation."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.speed.flops import count_flops
from farreach.benchmarks.studies import certification
from farreach.frameworks import weights
from farreach.frameworks.base import Framework, Loss, Model, Training
from farreach.frameworks.layouts import LAYOUTS, count_gates
from tests.support.models import list_own

SHAPES: list[tuple[int, bool, int, Loss]] = [
    (1, False, 1, "mse"),
    (2, False, 4, "mse"),
    (3, False, 1, "mse"),
    (1, True, 3, "cross_entropy"),
    (2, True, certification.TIME, "cross_entropy"),
]
MODELS = [
    Model(
        cell=cell,
        activation=layout.activations[0],
        hidden=6,
        features=11,
        outputs=7,
        scored=scored,
        loss=loss,
        layers=layers,
        tokens=tokens,
        **list_own(cell, certification.TIME, scored, tokens=tokens),
    )
    for cell, layout in LAYOUTS.items()
    for layers, tokens, scored, loss in SHAPES
    if not (layout.needs_source and scored == certification.TIME)
]


def name_of(model: Model) -> str:
    return f"{model.cell}-{model.layers}-{'tokens' if model.tokens else 'vectors'}-S{model.scored}"


def by_formula(model: Model) -> int:
    return count_flops(model, certification.ROWS, certification.TIME)


def products(jaxpr: Any) -> int:
    """Add up 2 m n k over the products of a JAX program, a loop's as often as it turns."""
    total = 0
    for equation in jaxpr.eqns:
        turns = equation.params["length"] if equation.primitive.name == "scan" else 1
        inner = [getattr(value, "jaxpr", value) for value in equation.params.values()]
        total += turns * sum(products(one) for one in inner if hasattr(one, "eqns"))
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left, (out,) = equation.invars[0].aval.shape, equation.outvars
            total += 2 * math.prod(out.aval.shape) * math.prod(left[axis] for axis in contracted)
    return total


@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_the_formula_is_what_pytorch_counts_in_a_training_step(model: Model) -> None:
    pytest.importorskip("torch")
    counting = importlib.import_module("torch.utils.flop_counter")
    batches = certification.draw_batches(model, 1)
    # In float64 no fused kernel hides its products from the counter.
    framework: Framework = importlib.import_module("farreach.frameworks.pytorch").Framework(
        model,
        Training(),
        weights.draw(model, 0),
        device="cpu",
        dtype="float64",
        threads=1,
        path=registry.list_paths("pytorch", "cpu", model.cell)[0],
    )
    attention = importlib.import_module("torch.nn.attention")
    # A fused kernel would compute the shares again on its way back.
    with attention.sdpa_kernel(attention.SDPBackend.MATH), counting.FlopCounterMode(display=False) as counter:
        framework.train(batches)
    assert counter.get_total_flops() == by_formula(model)


@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_jax_asks_for_the_formula_and_the_gradient_with_respect_to_the_state_before_the_first(model: Model) -> None:
    jax = pytest.importorskip("jax")
    pytest.importorskip("optax")
    network_type = importlib.import_module("farreach.frameworks.jax.networks").find_family(model).Network
    compute_loss = importlib.import_module("farreach.frameworks.jax.loss").compute_loss
    (batch,) = certification.draw_batches(model, 1)
    inputs, targets, mask = (np.swapaxes(part, 0, 1) for part in (batch.inputs, batch.targets, batch.mask))
    network, initial = network_type(model), {name: np.float32(w) for name, w in weights.draw(model, 0).items()}

    def loss(at: Any) -> Any:
        return compute_loss(model, network(at, inputs), targets, mask)

    counted = products(jax.make_jaxpr(jax.grad(loss))(initial).jaxpr)
    recurrent = count_gates(model) * model.hidden if LAYOUTS[model.cell].matrices else 0
    recurrent *= 2 if model.cell == "attention" else 1  # the encoder's two; the decoder's first state is wanted
    wanted_by_nobody = model.layers * 2 * certification.ROWS * model.hidden * recurrent
    assert counted == by_formula(model) + wanted_by_nobody


def test_the_formula_gives_what_a_hand_adds_up() -> None:
    """Adding, T = 50, 64 hidden units, batch 32: an rnn's products, and those of four gates and of three."""
    cells = ("rnn", "lstm", "gru", "mingru", "minlstm", "lru")
    model = {cell: Model(cell=cell, hidden=64, features=2, outputs=1, scored=1, loss="mse") for cell in cells}
    below, before, above = 2 * 2 * 32 * 50 * 2 * 64, 149 * 2 * 32 * 64 * 64, 3 * 2 * 32 * 64
    assert count_flops(model["rnn"], 32, 50) == below + before + above == 39_890_944
    assert count_flops(model["lstm"], 32, 50) == 4 * (below + before) + above
    assert count_flops(model["gru"], 32, 50) == 3 * (below + before) + above
    assert count_flops(model["mingru"], 32, 50) == 2 * below + above
    assert count_flops(model["minlstm"], 32, 50) == 3 * below + above
    transformer = Model(cell="transformer", hidden=64, features=2, outputs=1, scored=1, loss="mse", length=50, heads=4)
    layer = 2 * 32 * 50 * (12 * 64 * 64 + 2 * 50 * 64)
    assert count_flops(transformer, 32, 50) == 2 * 2 * 32 * 50 * 2 * 64 + 3 * layer + above == 534_130_688
    last = below // 50 + 3 * (3 * 2 * 32 * 64 * 64)  # D, both parts of C and the gate, of the one step that is scored
    assert count_flops(model["lru"], 32, 50) == 2 * below + last + above
