"""The contract of every framework: a model, a training recipe, a clip, the trace of a chunk, and who trains it.

A framework is a folder beside this file. Its ``__init__.py`` alone is needed; `Framework` says what stands there, and
`farreach.frameworks.parts` what else is welcome.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from farreach.tasks.base import Batch

Array = NDArray[Any]
Weights = dict[str, Array]
"""Named arrays in the shared layout that `farreach.frameworks.weights` documents."""

Cell = Literal["rnn", "lstm", "gru"]
Activation = Literal["tanh", "relu", "sigmoid"]
Loss = Literal["cross_entropy", "mse"]
Optimizer = Literal["sgd", "momentum", "rmsprop", "adam"]
Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "float64"]
Mode = Literal["matched", "native"]
ClipKind = Literal["norm", "value"]

MOMENTUM = 0.9
RMSPROP_DECAY = 0.99
RMSPROP_EPSILON = 1e-8
ADAM_DECAYS = (0.9, 0.999)
ADAM_EPSILON = 1e-8


class UnsupportedError(RuntimeError):
    """Something that this framework or this machine cannot do; the message is one line."""


def make_time_major(chunk: Array) -> Array:
    """Return a chunk [steps, batch, time, ...] as [steps, time, batch, ...], laid out anew in memory."""
    # What a time step holds moves as one element: by its parts NumPy takes ten times as long.
    parts = chunk.reshape(*chunk.shape[:3], -1)
    whole = np.ascontiguousarray(parts).view(f"V{parts.shape[-1] * chunk.itemsize}")[..., 0]
    swapped = np.ascontiguousarray(whole.swapaxes(1, 2))
    return swapped.view(chunk.dtype).reshape(chunk.shape[0], chunk.shape[2], chunk.shape[1], *chunk.shape[3:])


@dataclasses.dataclass(frozen=True)
class Model:
    """A recurrent network: an embedding where inputs are tokens, recurrent layers, an output layer.

    Attributes:
        cell: the recurrent cell of every layer.
        activation: of the `rnn` cell; the others are tanh by definition.
        layers: number of recurrent layers, at least 1.
        hidden: units in each layer, and the width of the embedding.
        features: width of one input step, or the size of the vocabulary where `tokens` is true.
        tokens: whether inputs are integer tokens.
        outputs: width of the output layer.
        scored: S; the output layer runs on the last S steps alone.
        loss: the loss over the scored steps.

    """

    cell: Cell
    hidden: int
    features: int
    outputs: int
    scored: int
    loss: Loss
    activation: Activation = "tanh"
    layers: int = 1
    tokens: bool = False

    def __post_init__(self) -> None:
        """Refuse a combination that is no model."""
        if self.cell != "rnn" and self.activation != "tanh":
            message = f"activation {self.activation} is for cell rnn; {self.cell} is tanh by definition"
            raise ValueError(message)


@dataclasses.dataclass(frozen=True)
class Clip:
    """A gradient clip: `norm` scales the whole gradient, `value` cuts each element.

    ``norm``: g * min(1, threshold / ||g||), the norm taken over all trained parameters.
    ``value``: min(max(g, -threshold), threshold), element by element.
    No clipping is the absence of a Clip, never a threshold of 0.
    """

    kind: ClipKind
    threshold: float

    def __post_init__(self) -> None:
        """Refuse a threshold that is not a positive finite number."""
        if not (math.isfinite(self.threshold) and self.threshold > 0):
            message = f"threshold must be a positive finite number, not {self.threshold}"
            raise ValueError(message)


@dataclasses.dataclass(frozen=True)
class Regulariser:
    """A penalty added to the loss that is differentiated, not to the recorded one; its gradient is clipped too.

    ``l1``: ``strength * sum |w|``, with gradient 0 at w = 0. ``l2``: ``strength * sum w²``. The sum runs over
    recurrent, input and output kernels; biases and embeddings are free.

    ``omega``: strength * the penalty of Pascanu, Mikolov and Bengio (ICML 2013, equations 9 and 10), of an `rnn`
    with states h_k, pre-activations a_k and d_k = dL/da_k, which counts every later step::

        Omega = mean over the batch of sum over k of (|(d_{k+1} U^T) * f'(a_k)| / |d_{k+1}| - 1)²

    It is 0 where the gradient keeps its norm from step to step. As in the paper its gradient is the immediate one with
    respect to the recurrent kernel U alone: d_k and f'(a_k) are held. Steps without a gradient do not count.
    """

    kind: Literal["l1", "l2", "omega"]
    strength: float

    def __post_init__(self) -> None:
        """Refuse a strength that is not a positive finite number."""
        if not (math.isfinite(self.strength) and self.strength > 0):
            message = f"strength must be a positive finite number, not {self.strength}"
            raise ValueError(message)


@dataclasses.dataclass(frozen=True)
class Training:
    """How the weights are updated: the optimizer, its learning rate, the clip, the regulariser.

    The algebra is the same in every framework; decays and epsilons are this module's constants.
    ``sgd``: w - lr g. ``momentum``: v = 0.9 v + g, w - lr v. ``rmsprop``: s = .99 s + .01 g²,
    w - lr g / (sqrt(s) + 1e-8). ``adam`` (Kingma & Ba 2015): bias-corrected, epsilon outside the root.
    """

    optimizer: Optimizer = "adam"
    learning_rate: float = 3e-3
    clip: Clip | None = None
    regulariser: Regulariser | None = None

    def __post_init__(self) -> None:
        """Refuse a learning rate that is not a positive finite number."""
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            message = f"learning_rate must be a positive finite number, not {self.learning_rate}"
            raise ValueError(message)


@dataclasses.dataclass(frozen=True, eq=False)
class Trace:
    """What one chunk of training steps left behind; every array is float64, [steps].

    Attributes:
        loss: mean loss of each batch before its update.
        norm_before: global gradient norm before the clip.
        norm_after: global gradient norm after the clip.
        clipped: share of the gradient's elements that the clip changed, 0 to 1.
        seconds: wall time of the chunk, from idle device to idle device.

    """

    loss: Array
    norm_before: Array
    norm_after: Array
    clipped: Array
    seconds: float


@dataclasses.dataclass(frozen=True, eq=False)
class State:
    """Everything that an update changes, in the shared layout.

    Attributes:
        weights: the trained weights.
        slots: the optimizer's memory, each like the weights: none (sgd), v (momentum), s (rmsprop), m and v (adam).
        steps: updates done.

    """

    weights: Weights
    slots: tuple[Weights, ...]
    steps: int


@dataclasses.dataclass(frozen=True, eq=False)
class Flow:
    """The gradient through time: norms over batch and units of the loss's total gradient at every state, float64.

    Attributes:
        h: norm of dL/dh_t, [layers, time].
        c: norm of dL/dc_t, [layers, time], of an lstm; None for other cells.

    """

    h: Array
    c: Array | None


class Learner(Protocol):
    """One model in training: in mode matched (`Framework`) or in mode native (`parts.NativeLearner`)."""

    model: Model

    def prepare(self, batches: Sequence[Batch], inputs: Array) -> float:
        """Compile for these shapes without touching the state.

        Args:
            batches: a chunk as `train` will get it: as many batches, of the same shapes.
            inputs: as `predict` will get them, [batch, time, ...].

        Returns:
            The seconds that it took.

        """
        ...

    def train(self, batches: Sequence[Batch]) -> Trace:
        """Do one update per batch and report; the device is waited for once, at the end.

        Args:
            batches: at least one, all of one shape.

        Returns:
            The figures of every step. One whose gradient norm is not finite turns every weight NaN.

        """
        ...

    def predict(self, inputs: Array) -> Array:
        """Return the scores of inputs [batch, time, ...]: [batch, S, outputs], in the precision of the case."""
        ...

    def weights(self) -> Weights:
        """Return a copy of the weights: in the shared layout for a `Framework`, else under names of its own."""
        ...

    @property
    def kernel(self) -> str:
        """The recurrent kernel that runs, in words."""
        ...


class Framework(Learner, Protocol):
    """One model in training, in mode matched. The ``__init__.py`` of every framework has one class with this name.

    Beside it the module declares, as literals that can be read without importing it:
    ``NEEDS``, the distributions that must be installed, of which the first is the framework itself;
    ``PATHS``, which maps device and cell to the paths on offer, the default first; and, where a device needs any,
    ``ENVIRONMENT``, which maps it to variables that are set before the process starts. ``configure(device, threads)``
    sets up the process once and raises `UnsupportedError` where the device is not there.
    """

    def __init__(
        self,
        model: Model,
        training: Training,
        weights: Weights,
        *,
        device: Device,
        dtype: Precision,
        threads: int,
        path: str,
    ) -> None:
        """Load the weights.

        Args:
            model: the network.
            training: the optimizer, its rate, the clip and the penalty.
            weights: the first ones, in the shared layout, float64.
            device: where it trains.
            dtype: the precision of weights, inputs and every product.
            threads: of the process, on the CPU.
            path: one of ``PATHS`` for this device and cell.

        Raises:
            UnsupportedError: where the combination cannot run here.

        """
        ...

    def state(self) -> State:
        """Return weights, slots and the number of updates."""
        ...

    def restore(self, state: State) -> None:
        """Go on from this state instead of the current one; compiled programs stay."""
        ...

    @staticmethod
    def facts(device: Device) -> dict[str, str]:
        """Return what a record should know: version, device name, what float32 products really use.

        Of an accelerator also ``device_software``, the versions of its libraries, and ``device_settings``, what was
        set so that it repeats itself bit for bit.
        """
        ...
