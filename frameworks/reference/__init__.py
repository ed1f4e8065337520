"""The judge: NumPy in float64, forward, gradients, clip and update written out from the equations.

Slow and plain: there is no framework underneath that could share a mistake with the others. It computes
in float64 whatever dtype is asked for. Every array is time-major, [time, batch, ...]; shapes are those of
`farreach.frameworks.weights`, whose layout this file uses as it is. A name that starts with ``d_`` is the slope of
the loss along what follows: ``d_states[t]`` is dL/dh_t.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import numpy as np

from farreach.frameworks import base
from farreach.frameworks.base import Array, Clip, Model, Optimizer, Regulariser, Training, Weights
from farreach.frameworks.cells import Carry, Gru, Lstm, Rnn, Step, slope_of
from farreach.frameworks.weights import GATES
from farreach.tasks.base import Batch

NEEDS = ("numpy",)
PATHS = {"cpu": {"rnn": ("numpy",), "lstm": ("numpy",), "gru": ("numpy",)}}

SLOTS: dict[Optimizer, int] = {"sgd": 0, "momentum": 1, "rmsprop": 1, "adam": 2}
PENALISED = (".input", ".recurrent", ".kernel")


def configure(device: str, threads: int) -> None:
    """Refuse any device but the CPU. NumPy's threads were fixed when it was imported; `threads` changes nothing."""
    del threads
    if device != "cpu":
        message = f"the reference runs on the CPU, not on {device}"
        raise base.UnsupportedError(message)


@dataclasses.dataclass(frozen=True, eq=False)
class Passed:
    """What a forward pass through one layer leaves for the way back."""

    inputs: Array  # [time, batch, width]
    before: Array  # [time, batch, H]: h_0 to h_{time-1}, the state that each step starts from
    states: Array  # [time, batch, H]: h_1 to h_time, the state that each step ends in
    known: list[Carry]  # of each step


class Network:
    """An embedding for tokens, recurrent layers, a linear output on the last S steps."""

    def __init__(self, model: Model) -> None:
        self.model = model
        cells: dict[str, Step] = {"rnn": Rnn(model.activation), "lstm": Lstm(), "gru": Gru()}
        self.step = cells[model.cell]

    def __call__(self, weights: Weights, inputs: Array) -> tuple[Array, list[Passed]]:
        """Map inputs [time, batch, ...] to scores [S, batch, outputs], and keep what the way back needs."""
        states = weights["embedding"][inputs] if self.model.tokens else inputs.astype(np.float64)
        passed = []
        for layer in range(self.model.layers):
            passed.append(self._forward(weights, layer, states))
            states = passed[-1].states
        return states[-self.model.scored :] @ weights["output.kernel"] + weights["output.bias"], passed

    def backward(
        self, weights: Weights, inputs: Array, passed: list[Passed], d_scores: Array
    ) -> tuple[Weights, list[Carry]]:
        """Return the gradient of every weight, and for each layer dL/dh_t (lstm: and dL/dc_t), [time, batch, H]."""
        scored, kernel = self.model.scored, weights["output.kernel"]
        gradients = {
            "output.kernel": summed_outer(passed[-1].states[-scored:], d_scores),
            "output.bias": d_scores.sum(axis=(0, 1)),
        }
        d_above = np.zeros_like(passed[-1].states)  # what reaches the states from above, not from later steps
        d_above[-scored:] = d_scores @ kernel.T
        flows: list[Carry] = []
        for layer in reversed(range(self.model.layers)):
            found, d_carries, d_above = self._backward(weights, layer, passed[layer], d_above)
            gradients |= found
            flows.insert(0, d_carries)
        if self.model.tokens:
            gradients["embedding"] = np.zeros_like(weights["embedding"])
            np.add.at(gradients["embedding"], inputs, d_above)  # a token that occurs twice collects twice
        return {name: gradients[name] for name in weights}, flows

    def _forward(self, weights: Weights, layer: int, inputs: Array) -> Passed:
        recurrent, (bias, bias_before) = weights[f"layer{layer}.recurrent"], self._biases(weights, layer)
        below = inputs @ weights[f"layer{layer}.input"] + bias
        carry = tuple(np.zeros((inputs.shape[1], self.model.hidden)) for _ in range(self.step.carries))
        states, known = [carry[0]], []
        for now in below:
            carry, step = self.step.forward(now, carry[0] @ recurrent + bias_before, carry)
            states.append(carry[0])
            known.append(step)
        return Passed(inputs, np.stack(states[:-1]), np.stack(states[1:]), known)

    def _backward(self, weights: Weights, layer: int, passed: Passed, d_above: Array) -> tuple[Weights, Carry, Array]:
        """Go back through time; return the layer's gradients, dL/dh_t (and dL/dc_t), and the slope along its inputs."""
        name, recurrent = f"layer{layer}", weights[f"layer{layer}.recurrent"]
        d_carries = tuple(np.empty_like(d_above) for _ in range(self.step.carries))
        d_below = np.empty((*d_above.shape[:2], GATES[self.model.cell] * self.model.hidden))
        d_before = np.empty_like(d_below)
        d_carry = tuple(np.zeros(d_above.shape[1:]) for _ in range(self.step.carries))
        for t in reversed(range(len(d_above))):
            d_total = self.step.total(passed.known[t], (d_above[t] + d_carry[0], *d_carry[1:]))
            for slopes, slope in zip(d_carries, d_total, strict=True):
                slopes[t] = slope
            d_below[t], d_before[t], d_last = self.step.backward(passed.known[t], d_total)
            d_carry = (d_last[0] + d_before[t] @ recurrent.T, *d_last[1:])
        d_biases = [side.sum(axis=(0, 1)) for side in (d_below, d_before)]
        gradients = {
            f"{name}.input": summed_outer(passed.inputs, d_below),
            f"{name}.recurrent": summed_outer(passed.before, d_before),
            f"{name}.bias": np.stack(d_biases) if self.model.cell == "gru" else d_biases[0],
        }
        return gradients, d_carries, d_below @ weights[f"{name}.input"].T

    def _biases(self, weights: Weights, layer: int) -> tuple[Array, Array]:
        """Return the bias beside x W and the bias beside h U, which the gru alone has."""
        bias = weights[f"layer{layer}.bias"]
        return (bias[0], bias[1]) if self.model.cell == "gru" else (bias, np.zeros_like(bias))


def summed_outer(left: Array, right: Array) -> Array:
    """Sum of the outer products over time and batch: [time, batch, m] and [time, batch, n] give [m, n]."""
    return np.asarray(np.tensordot(left, right, axes=((0, 1), (0, 1))))


def loss_of(model: Model, scores: Array, targets: Array, mask: Array) -> tuple[float, Array]:
    """Average the loss over the positions that count; return it with its slope along the scores.

    scores [S, batch, outputs], mask [S, batch]. Cross-entropy: -log softmax(scores)[target]; mean squared
    error: the mean over the outputs of (score - target)².
    """
    if model.loss == "cross_entropy":
        shifted = scores - scores.max(axis=-1, keepdims=True)
        logarithms = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        chosen = np.arange(scores.shape[-1]) == targets[..., np.newaxis]
        each = -np.where(chosen, logarithms, 0).sum(axis=-1)
        d_each = np.exp(logarithms) - chosen
    else:
        error = scores - targets
        each = np.square(error).mean(axis=-1)
        d_each = 2 * error / scores.shape[-1]
    counted = mask.sum()
    return float((each * mask).sum() / counted), d_each * (mask / counted)[..., np.newaxis]


def gradients_of(model: Model, weights: Weights, batch: Batch) -> tuple[float, Weights, list[Carry]]:
    """Return the loss of a batch, the gradient of every weight, and for each layer dL/dh_t, [time, batch, H].

    dL/dh_t counts every way from the state after step t to the loss: the output, the layer above, later steps.
    Beside it stands dL/dc_t for the lstm, whose ways lead through h_t as well.
    """
    network = Network(model)
    inputs, targets, mask = (part.swapaxes(0, 1) for part in (batch.inputs, batch.targets, batch.mask))
    scores, passed = network(weights, inputs)
    loss, d_scores = loss_of(model, scores, targets, mask.astype(np.float64))
    return loss, *network.backward(weights, inputs, passed, d_scores)


def penalise(regulariser: Regulariser, weights: Weights, gradients: Weights) -> Weights:
    """Add the penalty's slope to the gradients of the kernels: strength * sign(w), or 2 * strength * w."""
    kernels = {name: w for name, w in weights.items() if name.endswith(PENALISED)}
    slopes = {name: np.sign(w) if regulariser.kind == "l1" else 2 * w for name, w in kernels.items()}
    return gradients | {name: gradients[name] + regulariser.strength * slope for name, slope in slopes.items()}


def omega(activation: base.Activation, states: Array, d_totals: Array, recurrent: Array) -> tuple[float, Array]:
    """Return the penalty of one layer, as `base.Regulariser` has it, and its immediate slope along U, [H, H].

    States h_k and slopes d_k along the pre-activations are [time, batch, H].
    """
    slopes, following = slope_of(activation, states[:-1]), d_totals[1:]
    back = following @ recurrent.T * slopes
    norms, whole = (np.sqrt(np.square(one).sum(axis=-1)) for one in (back, following))
    there = (norms > 0) & (whole > 0)
    norms, whole = np.where(there, norms, 1), np.where(there, whole, 1)
    # d|b| / dU_ij = b_i f'_i d_j / |b|, for b = (d U^T) * f'
    factor = np.where(there, 2 * (norms / whole - 1) / (norms * whole), 0) / states.shape[1]
    value = np.where(there, np.square(norms / whole - 1), 0).sum() / states.shape[1]
    return float(value), summed_outer(back * slopes * factor[..., np.newaxis], following)


def omegas(model: Model, weights: Weights, batch: Batch) -> Weights:
    """Return the immediate slope of Omega along every recurrent kernel of an rnn."""
    network = Network(model)
    inputs, targets, mask = (part.swapaxes(0, 1) for part in (batch.inputs, batch.targets, batch.mask))
    scores, passed = network(weights, inputs)
    _, d_scores = loss_of(model, scores, targets, mask.astype(np.float64))
    _, flows = network.backward(weights, inputs, passed, d_scores)
    slopes = {}
    for layer, (part, (d_states,)) in enumerate(zip(passed, flows, strict=True)):
        name, d_totals = f"layer{layer}.recurrent", d_states * slope_of(model.activation, part.states)
        _, slopes[name] = omega(model.activation, part.states, d_totals, weights[name])
    return slopes


def clip(kind: str, gradients: Weights, threshold: float) -> tuple[Weights, float, float, float]:
    """Clip the gradient; return it with the norm before, the norm after and the share clipped.

    A norm that is not finite turns every gradient NaN, whether there is a clip or not.
    """
    before = norm_of(gradients)
    poison = 1.0 if np.isfinite(before) else np.nan
    if kind == "value":
        beyond = np.concatenate([np.abs(gradient).ravel() > threshold for gradient in gradients.values()])
        gradients = {name: g.clip(-threshold, threshold) * poison for name, g in gradients.items()}
        return gradients, before, norm_of(gradients), float(beyond.mean())
    scale = (threshold / before if before > threshold else 1.0) * poison
    return {name: g * scale for name, g in gradients.items()}, before, before * scale, float(before > threshold)


def norm_of(gradients: Weights) -> float:
    """Return the global norm: the root of the plain sum of squares."""
    return float(np.sqrt(sum(np.square(gradient).sum() for gradient in gradients.values())))


def update(
    optimizer: Optimizer,
    weights: Weights,
    gradients: Weights,
    slots: tuple[Weights, ...],
    *,
    steps: int,
    learning_rate: float,
) -> tuple[Weights, tuple[Weights, ...]]:
    """Return updated weights and slots after update number `steps`, from 1, by the algebra of `base.Training`."""
    if optimizer == "sgd":
        changes = gradients
    elif optimizer == "momentum":
        (v,) = slots
        changes = {name: base.MOMENTUM * v[name] + g for name, g in gradients.items()}
        slots = (changes,)
    elif optimizer == "rmsprop":
        (s,), decay = slots, base.RMSPROP_DECAY
        s = {name: decay * s[name] + (1 - decay) * g * g for name, g in gradients.items()}
        changes = {name: g / (np.sqrt(s[name]) + base.RMSPROP_EPSILON) for name, g in gradients.items()}
        slots = (s,)
    else:
        (m, v), (first, second) = slots, base.ADAM_DECAYS
        m = {name: first * m[name] + (1 - first) * g for name, g in gradients.items()}
        v = {name: second * v[name] + (1 - second) * g * g for name, g in gradients.items()}
        means = {name: m[name] / (1 - first**steps) for name in m}
        squares = {name: v[name] / (1 - second**steps) for name in v}
        changes = {name: means[name] / (np.sqrt(squares[name]) + base.ADAM_EPSILON) for name in means}
        slots = (m, v)
    return {name: w - learning_rate * changes[name] for name, w in weights.items()}, slots


class Framework:
    """One model in training, in NumPy; see `farreach.frameworks.base.Framework`."""

    trained: Weights
    slots: tuple[Weights, ...]
    steps: int

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
        self.model, self.training = model, training
        nothing = {name: np.zeros_like(value) for name, value in weights.items()}
        self.restore(base.State(weights, (nothing,) * SLOTS[training.optimizer], steps=0))

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
                loss, gradients, _ = gradients_of(self.model, self.trained, batch)
                penalty: Regulariser | None = self.training.regulariser
                if penalty and penalty.kind == "omega":
                    slopes = omegas(self.model, self.trained, batch)
                    gradients |= {name: gradients[name] + penalty.strength * slope for name, slope in slopes.items()}
                elif penalty:
                    gradients = penalise(penalty, self.trained, gradients)
                gradients, before, after, clipped = clip(kind, gradients, threshold)
                self.steps += 1
                self.trained, self.slots = update(
                    self.training.optimizer,
                    self.trained,
                    gradients,
                    self.slots,
                    steps=self.steps,
                    learning_rate=self.training.learning_rate,
                )
                rows.append((loss, before, after, clipped))
        losses, befores, afters, shares = np.array(rows).T
        return base.Trace(losses, befores, afters, shares, seconds=time.perf_counter() - start)

    def predict(self, inputs: Array) -> Array:
        """Return the scores [batch, S, outputs] of inputs [batch, time, ...]."""
        scores, _ = Network(self.model)(self.trained, inputs.swapaxes(0, 1))
        return scores.swapaxes(0, 1)

    def weights(self) -> Weights:
        """Return the current weights in the shared layout."""
        return copied(self.trained)

    def state(self) -> base.State:
        """Return weights, slots and the number of updates."""
        return base.State(self.weights(), tuple(copied(slot) for slot in self.slots), self.steps)

    def restore(self, state: base.State) -> None:
        """Go on from this state instead of the current one."""
        self.trained, self.slots = copied(state.weights), tuple(copied(slot) for slot in state.slots)
        self.steps = state.steps

    @property
    def kernel(self) -> str:
        """The recurrent kernel that runs."""
        return "NumPy loop"

    @staticmethod
    def facts(device: base.Device) -> dict[str, str]:
        """Return the version, the device's name and the precision, which is float64 for every dtype."""
        return {"framework_version": np.__version__, "device_name": device, "precision": "float64"}


def copied(weights: Weights) -> Weights:
    """Return a copy in float64."""
    return {name: np.array(value, np.float64) for name, value in weights.items()}
