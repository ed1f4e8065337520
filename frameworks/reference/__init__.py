"""The reference implementation: NumPy in float64, forward, gradients, clip and update written out from the equations.

There is no framework underneath that could share a mistake with the others. It computes in float64 whatever dtype is
asked for, on the CPU alone. Read it beside ``pytorch/``: the same files, and in them the same names in the same order.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from farreach.frameworks import base
from farreach.frameworks.base import Array, Clip, Model, Regulariser, Training, Weights
from farreach.frameworks.layouts import LAYOUTS
from farreach.frameworks.reference.clip import clip_gradients
from farreach.frameworks.reference.networks import find_family
from farreach.frameworks.reference.optimizers import SLOTS, find_rate, update_weights
from farreach.frameworks.reference.penalties import compute_omega_gradients, penalise_gradients
from farreach.frameworks.reference.recurrent import DerivativeClip
from farreach.tasks.base import Batch

NEEDS = ("numpy", "autograd")
PATHS = {
    "cpu": {
        "rnn": ("numpy",),
        "lstm": ("numpy",),
        "gru": ("numpy",),
        "mingru": ("numpy",),
        "minlstm": ("numpy",),
        "indrnn": ("numpy",),
        "lru": ("numpy",),
        "attention": ("numpy",),
        "transformer": ("numpy",),
    }
}
LOOPED = {
    "cpu": {
        "rnn": ("numpy",),
        "lstm": ("numpy",),
        "gru": ("numpy",),
        "mingru": ("numpy",),
        "minlstm": ("numpy",),
        "indrnn": ("numpy",),
    }
}


def configure(device: str, threads: int) -> None:
    """Refuse any device but the CPU. NumPy's threads were fixed when it was imported; `threads` changes nothing.

    Args:
        device: ``cpu`` or ``cuda``.
        threads: of the process, on the CPU.

    Raises:
        UnsupportedError: where the device is not the CPU.

    """
    del threads
    if device != "cpu":
        message = f"the reference runs on the CPU, not on {device}"
        raise base.UnsupportedError(message)


class Framework:
    """One model in training, in NumPy; see `farreach.frameworks.base.Framework`.

    Attributes:
        extra: names of the figures that a step returns behind the four of every step.

    """

    extra: tuple[str, ...] = ()
    trained: Weights
    slots: tuple[Weights, ...]
    steps: int
    history: Array

    def __init__(
        self,
        model: Model,
        training: Training,
        weights: Weights,
        *,
        device: base.Device,
        dtype: base.Precision,
        threads: int,
        path: str,
    ) -> None:
        configure(device, threads)
        del dtype, path  # float64 and NumPy, whatever was asked for
        self.model, self.training, self.family = model, training, find_family(model)
        start = {name: np.full_like(value, training.accumulator) for name, value in weights.items()}
        self.restore(base.State(weights, (start,) * SLOTS[training.optimizer], steps=0))

    def prepare(self, batches: Sequence[Batch], inputs: Array) -> float:
        """Do nothing: there is nothing to compile."""
        del batches, inputs
        return 0.0

    def train(self, batches: Sequence[Batch]) -> base.Trace:
        """Do one update per batch."""
        start = time.perf_counter()
        limit: Clip | None = self.training.clip
        kind, threshold = (limit.kind, limit.threshold) if limit else ("norm", float("inf"))
        rows = []
        # A case that diverges overflows on its way: that is a result, not a warning.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for batch in batches:
                cut = DerivativeClip(threshold if kind == "backprop" else np.inf)
                loss, gradients, extra = self.compute_gradients(batch, cut)
                gradients, before, after, clipped, self.history = clip_gradients(
                    kind,
                    gradients,
                    threshold,
                    weights=self.trained,
                    names=list(self.trained),
                    history=self.history,
                )
                clipped = cut.changed / cut.seen if kind == "backprop" else clipped
                self.steps += 1
                self.trained, self.slots = update_weights(
                    self.training.optimizer,
                    self.trained,
                    gradients,
                    self.slots,
                    steps=self.steps,
                    learning_rate=find_rate(self.training, self.steps),
                    decay=self.training.decay,
                    weight_decay=self.training.weight_decay,
                )
                if LAYOUTS[self.model.cell].is_projected:
                    self.trained = self.family.project_weights(self.model, self.trained)
                rows.append((loss, before, after, clipped, *extra))
        return base.make_trace(np.array(rows), time.perf_counter() - start, self.extra)

    def compute_gradients(self, batch: Batch, cut: DerivativeClip) -> tuple[float, Weights, list[float]]:
        """Return the loss of a batch, the gradient that is clipped, the penalty's in it, and the further figures."""
        loss, gradients, _ = self.family.compute_gradients(self.model, self.trained, batch, cut)
        penalty: Regulariser | None = self.training.regulariser
        if penalty and penalty.kind in base.OMEGAS:
            added = compute_omega_gradients(penalty.kind, self.model, self.trained, batch)
            gradients |= {name: gradients[name] + penalty.strength * value for name, value in added.items()}
        elif penalty:
            gradients = penalise_gradients(
                penalty.kind, self.trained, gradients, names=list(self.trained), strength=penalty.strength
            )
        return loss, gradients, []

    def predict(self, inputs: Array) -> Array:
        """Return the scores [batch, S, outputs] of inputs [batch, time, ...]."""
        scores, _ = self.family.Network(self.model)(self.trained, inputs.swapaxes(0, 1))
        return np.asarray(scores.swapaxes(0, 1))

    def weights(self) -> Weights:
        """Return the current weights in the shared layout."""
        return copy_weights(self.trained)

    def state(self) -> base.State:
        """Return weights, slots and the number of updates."""
        slots = tuple(copy_weights(slot) for slot in self.slots)
        return base.State(self.weights(), slots, self.steps, self.history.copy())

    def restore(self, state: base.State) -> None:
        """Go on from this state instead of the current one."""
        self.trained, self.slots = copy_weights(state.weights), tuple(copy_weights(slot) for slot in state.slots)
        self.steps, self.history = state.steps, np.array(state.history, np.float64)

    @property
    def kernel(self) -> str:
        """The recurrent kernel that runs."""
        return "NumPy loop"

    @staticmethod
    def facts(device: base.Device) -> dict[str, str]:
        """Return the version, the device's name and the precision, which is float64 for every dtype."""
        return {"framework_version": np.__version__, "device_name": device, "precision": "float64"}


def copy_weights(weights: Weights) -> Weights:
    """Return a copy in float64."""
    return {name: np.array(value, np.float64) for name, value in weights.items()}
