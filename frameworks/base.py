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

from farreach.frameworks.layouts import LAYOUTS, Layout, list_activated
from farreach.frameworks.schedule import Schedule
from farreach.tasks.base import Batch

Array = NDArray[Any]
Weights = dict[str, Array]
"""Named arrays in the shared layout that `farreach.frameworks.layouts` documents."""

Cell = Literal["rnn", "lstm", "gru", "mingru", "minlstm", "indrnn", "lru", "attention", "transformer"]
Activation = Literal["tanh", "relu", "sigmoid"]
Loss = Literal["cross_entropy", "mse"]
Optimizer = Literal["sgd", "momentum", "rmsprop", "adam", "adagrad", "adamw"]
Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "float64"]
Mode = Literal["matched", "native"]
Initial = Literal["default", "chrono", "irnn", "sigmoid", "basic_tanh", "smart_tanh"]
ClipKind = Literal["norm", "value", "variable", "agc", "autoclip", "backprop"]

MOMENTUM = 0.9
RMSPROP_DECAY = 0.99
RMSPROP_EPSILON = 1e-8
ADAGRAD_EPSILON = 1e-10
ADAM_DECAYS = (0.9, 0.999)
ADAM_EPSILON = 1e-8
WHOLE = 100.0
LEAST_NORM = 1e-3
"""The least norm that ``agc`` takes a unit of the weights to have."""

SKIPPED = "skipped"
"""Among the further figures of a step: 1 where its gradient was not finite and the update was left out, else 0."""

OMEGAS = ("omega", "omega2")
"""The penalties on what happens to the norm of the gradient on its way back."""


class UnsupportedError(RuntimeError):
    """Something that this framework or this machine cannot do; the message is one line."""


def make_time_major(chunk: Array) -> Array:
    """Return a chunk [steps, batch, time, ...] as [steps, time, batch, ...], laid out anew in memory."""
    # What a time step holds moves as one element: by its parts NumPy takes ten times as long.
    parts = chunk.reshape(*chunk.shape[:3], -1)
    whole = np.ascontiguousarray(parts).view(f"V{parts.shape[-1] * chunk.itemsize}")[..., 0]
    swapped = np.ascontiguousarray(whole.swapaxes(1, 2))
    return swapped.view(chunk.dtype).reshape(chunk.shape[0], chunk.shape[2], chunk.shape[1], *chunk.shape[3:])


def pad_history(history: Array, training: Training) -> Array:
    """Return the norms of a `State.history`, then infinities: as many as there is room for under ``autoclip``, else 0.

    Args:
        history: ascending.
        training: the recipe, whose ``steps`` are the room.

    Raises:
        ValueError: where there are more norms than room.

    """
    room = training.steps if training.clip and training.clip.kind == "autoclip" else 0
    require_room(training, len(history) if room else 0)
    padded = np.full(room, np.inf)
    padded[: len(history)] = history[:room]
    return padded


def require_room(training: Training, steps: int) -> None:
    """Raise `ValueError` where so many updates are more than ``autoclip`` has room for."""
    if training.clip and training.clip.kind == "autoclip" and steps > training.steps:
        message = f"clip autoclip has room for the norms of {training.steps} steps (Training.steps), not for {steps}"
        raise ValueError(message)


@dataclasses.dataclass(frozen=True)
class Model:
    """A network: an embedding where inputs are tokens, layers of one architecture, an output layer.

    Attributes:
        cell: the architecture of every layer, a name of `farreach.frameworks.layouts.LAYOUTS`.
        activation: of a cell that takes several; that of any other is part of its definition.
        layers: number of layers, at least 1.
        hidden: units in each layer, and the width of the embedding.
        features: width of one input step, or the size of the vocabulary where `tokens` is true.
        tokens: whether inputs are integer tokens.
        outputs: width of the output layer.
        scored: S; the output layer runs on the last S steps alone.
        loss: the loss over the scored steps.
        length: time steps of every sequence, for an architecture that must know them; 0 for any other.
        heads: of the transformer, which divide `hidden`; 0 for any other.
        source: of attention, the first steps, which the encoder reads; the scored ones come later. 0 for any other.
        padding: the token, where there is one, that attention and the transformer never look at.

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
    length: int = 0
    heads: int = 0
    source: int = 0
    padding: int | None = None

    def __post_init__(self) -> None:
        """Refuse a combination that is no model."""
        layout = LAYOUTS[self.cell]
        if self.activation not in layout.activations:
            others = " and ".join(name for name in list_activated() if self.activation in LAYOUTS[name].activations)
            message = f"activation {self.activation} is for cell {others}; {self.cell} takes {layout.activations[0]}"
            raise ValueError(message)
        if layout.needs_length != bool(self.length):
            message = f"cell {self.cell} takes {'a' if layout.needs_length else 'no'} length, not {self.length}"
            raise ValueError(message)
        if layout.needs_length and self.length < layout.shortest:
            message = f"cell {self.cell} needs sequences of at least {layout.shortest} steps, not of {self.length}"
            raise ValueError(message)
        self._check_own(layout)

    def _check_own(self, layout: Layout) -> None:
        """Refuse what is of some architectures alone: heads, a source, padding."""
        message = ""
        if layout.needs_heads and (self.heads < 1 or self.hidden % self.heads):
            message = f"heads must divide hidden, {self.hidden}, which {self.heads} does not"
        elif self.heads and not layout.needs_heads:
            message = f"cell {self.cell} takes no heads, not {self.heads}"
        elif layout.needs_source and not self.source:
            message = f"cell {self.cell} needs a task with a source: translation, or copy with pair = true"
        elif layout.needs_source and self.scored > self.length - self.source:
            message = (
                f"cell {self.cell} answers after the source, in {self.length - self.source} steps, not in {self.scored}"
            )
        elif self.source and not layout.needs_source:
            message = f"cell {self.cell} takes no source"
        if message:
            raise ValueError(message)


@dataclasses.dataclass(frozen=True)
class Clip:
    """A gradient clip; g is the gradient over all trained parameters, ||.|| the L2 norm.

    ``norm``: g * min(1, threshold / ||g||).
    ``value``: min(max(g, -threshold), threshold), element by element.
    ``variable``: g_i * min(1, threshold / ||g_i||) for each variable i of the shared layout.
    ``agc``: g_u * min(1, threshold * max(||w_u||, 1e-3) / ||g_u||) for each unit u. A unit is a column of a kernel or
    of an embedding, or a whole bias; of the gru's bias [2, 3·H] each row is one. The output layer is left alone.
    ``autoclip``: as ``norm``, at the threshold-th percentile (0 to 100, linearly interpolated) of the finite norms of
    all steps so far, this one included.
    ``backprop``: on the way back the derivative d of the loss with respect to what goes into every sigmoid and tanh
    (relu) of a recurrent layer is cut to min(max(d, -threshold), threshold), element by element at every time step, and
    goes on as it was cut. The lstm's tanh(c) is no such place.
    No clipping is the absence of a Clip, never a threshold of 0.

    Source: Pascanu, Mikolov and Bengio, ICML 2013 (norm); Mikolov, Statistical language models based on neural
    networks, 2012 (value); Keras' ``clipnorm`` (variable); Brock et al., ICML 2021, equation 3 (agc); Seetharaman et
    al., MLSP 2020 (autoclip); Graves, arXiv 1308.0850, 2013, section 2.1 (backprop).
    """

    kind: ClipKind
    threshold: float

    def __post_init__(self) -> None:
        """Refuse a threshold that is not a positive finite number, or no percentile."""
        if not (math.isfinite(self.threshold) and self.threshold > 0):
            message = f"threshold must be a positive finite number, not {self.threshold}"
            raise ValueError(message)
        if self.kind == "autoclip" and self.threshold > WHOLE:
            message = f"threshold of clip autoclip is a percentile, above 0 and at most 100, not {self.threshold}"
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

    ``omega2``: the same with squared norms, as equation 10 and the authors' code have it::

        Omega2 = mean over the batch of sum over k of (|(d_{k+1} U^T) * f'(a_k)|² / |d_{k+1}|² - 1)²

    Where a ratio r is near 1, (r² - 1)² is nearly 4 (r - 1)²: a strength of omega2 does what four times that strength
    does of omega. Far from 1 it is another penalty: a gradient that doubles in a step costs 1 in omega and 9 in omega2,
    one that shrinks to a tenth .81 and .98. Both are sums over the steps. The authors' code takes the mean over the
    steps with a gradient (and ratios of dL/dh), so its factor alpha is a strength of about alpha / steps of omega2, and
    of 4 alpha / steps of omega.
    """

    kind: Literal["l1", "l2", "omega", "omega2"]
    strength: float

    def __post_init__(self) -> None:
        """Refuse a strength that is not a positive finite number."""
        if not (math.isfinite(self.strength) and self.strength > 0):
            message = f"strength must be a positive finite number, not {self.strength}"
            raise ValueError(message)


@dataclasses.dataclass(frozen=True)
class Training:
    """How the weights are updated: the optimizer, its learning rate and its schedule, the clip, the regulariser.

    The algebra is the same in every framework; what is no field is a constant of this module. w are the weights, g
    their clipped gradient, t counts the updates from 1, lr is the learning rate times the factor of the schedule::

        sgd       w = w - lr g
        momentum  v = 0.9 v + g                       w = w - lr v
        rmsprop   s = decay s + (1 - decay) g²        w = w - lr g / (sqrt(s) + 1e-8)
        adagrad   s = s + g²                          w = w - lr g / (sqrt(s) + 1e-10)
        adam      m = 0.9 m + 0.1 g
                  v = 0.999 v + 0.001 g²              w = w - lr m' / (sqrt(v') + 1e-8)
        adamw     as adam                             w = w - lr (m' / (sqrt(v') + 1e-8) + weight_decay w)

    with m' = m / (1 - 0.9^t) and v' = v / (1 - 0.999^t). Every memory starts at 0, but s at `accumulator`. The weight
    decay is that of every trained weight, biases and embeddings too, as it is in PyTorch, Keras and optax by default.

    Attributes:
        optimizer: its name.
        learning_rate: a positive finite number.
        clip: None for no clip.
        regulariser: None for no penalty.
        decay: of rmsprop, above 0 and below 1; None for .99.
        accumulator: what s starts from, of rmsprop and adagrad, at least 0. The frameworks' own adagrad starts from 0
            (PyTorch) or .1 (Keras, optax).
        weight_decay: of adamw, at least 0.
        schedule: None for a constant learning rate.
        steps: how many updates there will be: clip ``autoclip`` keeps room for as many norms.

    Source: momentum: PyTorch's `torch.optim.SGD`; rmsprop: Hinton 2012, with PyTorch's epsilon; adagrad: Duchi, Hazan
    and Singer, JMLR 2011, with PyTorch's epsilon; adam: Kingma and Ba, ICLR 2015; adamw: Loshchilov and Hutter, ICLR
    2019, with the decay times the learning rate, as PyTorch, Keras and optax have it.

    """

    optimizer: Optimizer = "adam"
    learning_rate: float = 3e-3
    clip: Clip | None = None
    regulariser: Regulariser | None = None
    decay: float | None = None
    accumulator: float = 0.0
    weight_decay: float = 0.0
    schedule: Schedule | None = None
    steps: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be, and a penalty whose derivatives are cut."""
        message = ""
        if self.clip and self.regulariser and self.clip.kind == "backprop" and self.regulariser.kind in OMEGAS:
            message = f"clip backprop takes no regulariser {self.regulariser.kind}, which is of the derivatives it cuts"
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            message = f"learning_rate must be a positive finite number, not {self.learning_rate}"
        elif self.decay is not None and not 0 < self.decay < 1:
            message = f"decay must be a number above 0 and below 1, not {self.decay}"
        for name in ("accumulator", "weight_decay"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                message = f"{name} must be a finite number of at least 0, not {getattr(self, name)}"
        if message:
            raise ValueError(message)

    def list_rates(self, done: int, count: int) -> Array:
        """Return the learning rates of `count` updates that come after `done` others, [count] in float64."""
        factors = np.ones(count) if self.schedule is None else self.schedule.list_factors(done, count)
        return self.learning_rate * factors


@dataclasses.dataclass(frozen=True, eq=False)
class Trace:
    """What one chunk of training steps left behind; every array is float64, [steps].

    Attributes:
        loss: mean loss of each batch before its update.
        norm_before: global gradient norm before the clip. Under ``backprop`` there is no such gradient: it is that
            of the gradient that came out, as ``norm_after`` is.
        norm_after: global gradient norm after the clip.
        clipped: share of the gradient's elements that the clip changed, 0 to 1; under ``backprop``, of the derivatives.
        seconds: wall time of the chunk, from idle device to idle device.
        extra: what else a way to train says of each step, by name; `SKIPPED` is 1 where an update was left out.

    """

    loss: Array
    norm_before: Array
    norm_after: Array
    clipped: Array
    seconds: float
    extra: dict[str, Array] = dataclasses.field(default_factory=dict)


def make_trace(figures: Array, seconds: float, extra: Sequence[str] = ()) -> Trace:
    """Return the trace of a chunk that took so many seconds.

    Args:
        figures: of every step, [steps, 4 + extra]: loss, norm before, norm after, share clipped, then the others.
        seconds: wall time of the chunk.
        extra: the names of the others.

    """
    loss, before, after, clipped, *others = figures.astype(np.float64, copy=False).T
    return Trace(loss, before, after, clipped, seconds, dict(zip(extra, others, strict=True)))


@dataclasses.dataclass(frozen=True, eq=False)
class State:
    """Everything that an update changes, in the shared layout.

    Attributes:
        weights: the trained weights.
        slots: the optimizer's memory, each like the weights: none (sgd), v (momentum), s (rmsprop,
            adagrad), m and v (adam, adamw).
        steps: updates done.
        history: the finite gradient norms of all updates, ascending; empty but for clip ``autoclip``.

    """

    weights: Weights
    slots: tuple[Weights, ...]
    steps: int
    history: Array = dataclasses.field(default_factory=lambda: np.zeros(0))


@dataclasses.dataclass(frozen=True, eq=False)
class Flow:
    """The gradient through time: norms over batch and units of the loss's total gradient at every state, float64.

    Attributes:
        h: norm of dL/dh_t, [layers, time]; [0, time] where there is no state at each step, as in a transformer.
        c: norm of dL/dc_t, [layers, time], of an lstm; None for other cells.
        x: norm of dL/dx_t, [time], of the first layer's input: the embedded token, or what the task gives.

    """

    h: Array
    c: Array | None
    x: Array


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
    ``PATHS``, which maps device and cell to the paths on offer, the default first; where layers run step by step,
    ``LOOPED``, which maps device and cell to the paths on which clip ``backprop`` can reach each step back; and, where
    a device needs any, ``ENVIRONMENT``, which maps it to variables that are set before the process starts.
    ``configure(device, threads)`` sets up the process once and raises `UnsupportedError` where the device is not there.
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
