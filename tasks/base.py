"""The contract of every task: a batch of NumPy arrays, a floor, metrics, and when it is solved."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Predict = Callable[[Array], Array]
"""Maps inputs [batch, time, ...] to scores [batch, scored, outputs] (logits, or values for MSE)."""

EVALUATION_EXAMPLES = 1_000
"""Size of the fixed evaluation set of a synthetic task."""

EVALUATION_BATCH = 250
"""Every evaluation call has this many rows, so that one compiled shape serves them all."""


LONGEST = 10_000
"""No task goes beyond this many steps: its evaluation set would no longer fit in memory."""

FEWEST_SEQUENCES = 8**5
"""Of fewer different sequences the evaluation set, which training never sees, would hold too many."""


class TaskError(ValueError):
    """A parameter that a task cannot have; the message is one line that says what is allowed."""


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """One batch of examples.

    Attributes:
        inputs: [batch, time, features] float32, or [batch, time] int32 tokens.
        targets: [batch, scored] int32 classes, or [batch, scored, outputs] float32 values.
        mask: [batch, scored] float32, 1 where the position counts in the loss.

    """

    inputs: Array
    targets: Array
    mask: Array


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """A learning problem; the fields of a subclass are the task's parameters.

    A subclass is a frozen dataclass named ``Task`` in a file of its own: the file's name is the
    task's name. Every field has a default, and ``__post_init__`` raises `TaskError` on a value
    that makes no task.
    """

    version: ClassVar[int]
    """Raised when the data, the floor or the loss change: older rows are then stale."""

    metric_version: ClassVar[int] = 1
    """Raised when what `evaluate` or `solved` say of the same predictions changes: older rows are then stale."""

    loss: ClassVar[Literal["cross_entropy", "mse"]]
    """The loss, averaged over the positions that the mask counts."""

    unit: ClassVar[str]
    """Unit of the loss: ``nats`` a symbol, or squared units of the target."""

    metric: ClassVar[str]
    """Name of the headline metric, one of the keys that `evaluate` returns."""

    tokens: ClassVar[bool] = False
    """Whether the inputs are integer tokens, which the model embeds."""

    @property
    @abc.abstractmethod
    def features(self) -> int:
        """Width of one input step, or the size of the vocabulary where `tokens` is true."""

    @property
    @abc.abstractmethod
    def outputs(self) -> int:
        """Number of classes, or of predicted values."""

    @property
    @abc.abstractmethod
    def length(self) -> int:
        """Number of input steps of every example."""

    @property
    @abc.abstractmethod
    def scored(self) -> int:
        """S: the last S steps are scored, and the output layer runs on those alone."""

    @property
    def source_steps(self) -> int:
        """How many first steps are a source, which an encoder may read whole before the others; 0 for none."""
        return 0

    @property
    def padding(self) -> int | None:
        """The token that stands for nothing, which attention leaves out; None where there is none."""
        return None

    @property
    def recalled(self) -> int:
        """The last scored steps that answer from memory; what comes before them must be remembered until then."""
        return self.scored

    @property
    @abc.abstractmethod
    def floor(self) -> float:
        """Loss of the best predictor that ignores the input's long dependency."""

    @abc.abstractmethod
    def batches(self, seed: int, size: int) -> Iterator[Batch]:
        """Yield training batches of `size` examples without end; the same seed, the same bytes."""

    @abc.abstractmethod
    def evaluation(self) -> Batch:
        """Return the fixed evaluation set, which no training seed ever touches."""

    @abc.abstractmethod
    def evaluate(self, predict: Predict, *, thorough: bool = False) -> dict[str, float]:
        """Measure a model on the evaluation set.

        Returns ``loss`` and the task's own metrics. With `thorough` (the end of training) the
        slow ones too, such as those that need greedy decoding.
        """

    @abc.abstractmethod
    def solved(self, metrics: dict[str, float]) -> bool | None:
        """Say whether these metrics meet the task's criterion; None where the task has none."""


def require_whole(name: str, value: object, least: int, most: int) -> None:
    """Raise `TaskError` unless the parameter is an int (a bool is none) from `least` to `most`."""
    if type(value) is not int or not least <= value <= most:
        message = f"{name} is {value!r}; it must be a whole number from {least} to {most}"
        raise TaskError(message)


def require_flag(name: str, value: object) -> None:
    """Raise `TaskError` unless the parameter is True or False."""
    if type(value) is not bool:
        message = f"{name} is {value!r}; it must be true or false"
        raise TaskError(message)


def require_word(name: str, value: object, words: tuple[str, ...]) -> None:
    """Raise `TaskError` unless the parameter is one of these words."""
    if type(value) is not str or value not in words:
        message = f"{name} is {value!r}; it must be one of: {', '.join(words)}"
        raise TaskError(message)


def require_sequences(name: str, value: object, sequences: int) -> None:
    """Raise `TaskError` where the parameter leaves fewer than `FEWEST_SEQUENCES` different sequences."""
    if sequences < FEWEST_SEQUENCES:
        message = f"{name} is {value!r}, which makes {sequences:,} different sequences; it must be larger, "
        message += f"for at least {FEWEST_SEQUENCES:,}"
        raise TaskError(message)


def generator(purpose: Literal["training", "evaluation", "permutation"], seed: int = 0) -> np.random.Generator:
    """Return the random stream of one purpose; streams of different purposes never meet.

    The purpose and the seed are separate words of NumPy's spawn key, so that no training seed
    can equal the evaluation stream.
    """
    word = {"training": 0, "evaluation": 1, "permutation": 2}[purpose]
    return np.random.default_rng(np.random.SeedSequence(entropy=20_260_101, spawn_key=(word, seed)))


def endless_rows(seed: int, size: int, total: int) -> Iterator[Array]:
    """Yield `size` row numbers below `total`, without end, shuffled anew for every epoch.

    A batch may span two epochs, so that none is short and every row is seen equally often.
    """
    random = generator("training", seed)
    waiting = np.empty(0, np.int64)
    while True:
        while len(waiting) < size:
            waiting = np.concatenate([waiting, random.permutation(total)])
        rows, waiting = waiting[:size], waiting[size:]
        yield rows


def draw_apart(
    seed: int, size: int, draw: Callable[[np.random.Generator, int], Array], evaluation: Array
) -> Iterator[Array]:
    """Yield what `draw` gives for `size` rows, without end; a row that the evaluation set holds is drawn again.

    Args:
        seed: The training seed.
        size: Rows of a batch.
        draw: Draws so many rows, [rows, ...], from a random stream.
        evaluation: The evaluation set as `draw` gave it.

    """
    random = generator("training", seed)
    held_out = {row.tobytes() for row in evaluation}
    while True:
        drawn = draw(random, size)
        while seen := [at for at, row in enumerate(drawn) if row.tobytes() in held_out]:
            drawn[seen] = draw(random, len(seen))
        yield drawn


def in_batches(predict: Predict, inputs: Array, reduce: Callable[[Array, slice], Array] | None = None) -> Array:
    """Predict a whole set in calls of `EVALUATION_BATCH` rows, the last one padded with row 0.

    `reduce` turns the scores of some rows, and the slice of the set that they answer, into what is
    kept of them; without it the scores themselves are kept, which a large vocabulary does not allow.
    """
    total, parts = len(inputs), []
    for at in range(0, total, EVALUATION_BATCH):
        rows = slice(at, min(at + EVALUATION_BATCH, total))
        part = inputs[rows]
        missing = EVALUATION_BATCH - len(part)
        padded = np.concatenate([part, np.repeat(inputs[:1], missing, axis=0)]) if missing else part
        scores = predict(padded)[: len(part)]
        parts.append(scores if reduce is None else reduce(scores, rows))
    return np.concatenate(parts)


def cross_entropy(scores: Array, targets: Array) -> Array:
    """Return the negative log-likelihood in nats, [batch, scored], of logits [batch, scored, classes]."""
    losses = np.empty(targets.shape, np.float64)
    for row in range(len(targets)):  # one at a time: a large vocabulary in float64 is large
        logits = scores[row].astype(np.float64)
        with np.errstate(invalid="ignore"):  # a diverged model gives inf - inf: NaN is the right answer
            logits -= logits.max(axis=-1, keepdims=True)
        chosen = np.take_along_axis(logits, targets[row][..., None].astype(np.int64), axis=-1)[..., 0]
        losses[row] = np.log(np.exp(logits).sum(axis=-1)) - chosen
    return losses


def classify(predict: Predict, batch: Batch, metric: str, recalled: int) -> dict[str, float]:
    """Return ``loss``, and under the name `metric` the share of the last `recalled` classes that are right."""

    def judge(scores: Array, rows: slice) -> Array:
        targets = batch.targets[rows]
        return np.stack([cross_entropy(scores, targets), scores.argmax(axis=-1) == targets], axis=-1)

    losses, right = np.moveaxis(in_batches(predict, batch.inputs, judge), -1, 0)
    return {"loss": masked_mean(losses, batch.mask), metric: float(right[:, -recalled:].mean())}


def masked_mean(values: Array, mask: Array) -> float:
    """Average `values` over the positions that `mask` counts."""
    return float((values * mask).sum(dtype=np.float64) / mask.sum(dtype=np.float64))
