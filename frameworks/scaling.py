"""Mixed precision: what of it the frameworks share, which is how the loss is scaled and what is measured of a kernel.

Weights, the optimizer's memory and the loss are float32; the products forward and back are of bfloat16 or float16
numbers. The smallest float16 number is 6e-8, so that small derivatives vanish: the loss is multiplied by a scale before
it is differentiated, and the gradient divided by it before anything is done with it, a clip too. Where the gradient is
then not finite the scale was too large: the update is left out, and the scale is halved. bfloat16 has the range of
float32, and its loss no scale.

Source: Micikevicius et al., Mixed precision training, ICLR 2018, section 3.2; the numbers are the defaults of PyTorch's
`torch.amp.GradScaler` (init_scale 65536, growth_factor 2, backoff_factor 0.5, growth_interval 2000).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np

from farreach.frameworks import base
from farreach.frameworks.base import SKIPPED, Array, Model, State, Training, Weights
from farreach.frameworks.layouts import KERNELS
from farreach.tasks.base import Batch

Half = Literal["bfloat16", "float16"]
"""What the operands of the products are."""

SCALED = ("float16",)
"""Those of them whose loss is scaled."""

FIRST_SCALE = 2.0**16
GROWTH = 2.0
BACKOFF = 0.5
GOOD_STEPS = 2000
"""Steps in a row with a finite gradient after which the scale grows."""

SCALE = "scale"
"""Among the further figures of a step: what its loss was multiplied by."""

PROBED = 2
"""Rows of the batch on which a kernel is measured."""


@dataclasses.dataclass(frozen=True, eq=False)
class ScaledState(State):
    """A `State` whose `steps` are the updates that were done, and what else a scaled loss changes.

    Attributes:
        scale: what the next loss is multiplied by.
        good: steps since the scale last changed, all with a finite gradient.
        skipped: updates that were left out.

    """

    scale: float = FIRST_SCALE
    good: int = 0
    skipped: int = 0


def scale_state(state: State) -> ScaledState:
    """Return a state with a scale: its own, or the first one where it has none."""
    if isinstance(state, ScaledState):
        return state
    return ScaledState(state.weights, state.slots, state.steps, state.history)


def list_extra(half: Half) -> tuple[str, ...]:
    """Return the names of the further figures of a step."""
    return (SKIPPED, SCALE) if half in SCALED else ()


class MixedLearner(Protocol):
    """What is asked of a framework in mixed precision when its kernel is refused."""

    half: Half
    model: Model
    path: str


def require_whole(training: Training, half: Half) -> None:
    """Raise `UnsupportedError` for what is of single derivatives, which a scale multiplies."""
    kinds = [training.clip.kind if training.clip else "", training.regulariser.kind if training.regulariser else ""]
    found = next((kind for kind in kinds if kind in {"backprop", *base.OMEGAS}), "")
    if found:
        message = f"{found} is of single derivatives and not defined in mixed precision: it takes no dtype {half}"
        raise base.UnsupportedError(message)


def make_probe(model: Model) -> Batch:
    """Return a small batch of the model's shapes, always the same: that on which a kernel is measured."""
    random = np.random.default_rng(0)
    steps = model.length or model.scored + 2
    shape = (PROBED, steps)
    inputs: Array
    targets: Array
    inputs = random.integers(0, model.features, shape) if model.tokens else random.normal(size=(*shape, model.features))
    if model.loss == "cross_entropy":
        targets = random.integers(0, model.outputs, (PROBED, model.scored))
    else:
        targets = random.normal(size=(PROBED, model.scored, model.outputs))
    return Batch(inputs, targets, np.ones((PROBED, model.scored)))


def round_kernels(weights: Weights, rounding: Callable[[Array], Array]) -> Weights:
    """Return weights whose kernels, the operands of products, are rounded, and of whom the others are as they were."""
    return {
        name: rounding(value) if name.rpartition(".")[2] in KERNELS and value.ndim > 1 else value
        for name, value in weights.items()
    }


def require_precision(
    framework: MixedLearner, name: str, measure: Callable[[], tuple[set[str], list[Array], list[Array]]]
) -> str:
    """Return the precision that a kernel was measured to have, or refuse it.

    Args:
        framework: whose kernel it is.
        name: how the framework is called, in the line that refuses.
        measure: runs the kernel; gives the dtypes that the layers returned, the gradient of every weight at some
            weights, and that at the same ones with kernels rounded to what was asked for. Where the operands of all
            products are rounded, both gradients are the same bits.

    Raises:
        UnsupportedError: where the kernel cannot run so, or runs in another precision without saying so.

    """
    half, model = framework.half, framework.model
    who = f"{name}'s {model.cell} on path {framework.path}"
    try:
        returned, plain, rounded = measure()
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        message = f"{who} does not run in {half} here: {first[:160]}"
        raise base.UnsupportedError(message) from error
    other = sorted(returned - {half})
    if other:
        message = f"{who} was asked for {half} and returned {other[0]}: that is no case of mixed precision"
        raise base.UnsupportedError(message)
    if not all(np.array_equal(*pair, equal_nan=True) for pair in zip(plain, rounded, strict=True)):
        message = f"{who} returned {half}, but multiplies numbers that it did not round to it"
        raise base.UnsupportedError(message)
    return f"{half} products and layer output, float32 weights"
