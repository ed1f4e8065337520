"""Spoken digits: name the digit after a stretch of silence.

Zohar Jackson and contributors, "Free Spoken Digit Dataset", as 13 MFCCs a frame. The silence after
the word is ours: without it the task is too easy to test memory.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np

from farreach.tasks import base, data
from farreach.tasks.data import mfcc

FRAMES = 40
"""The last 40 frames of an utterance are kept; 0.7 % of the shipped ones are longer."""

DIGITS = 10


@dataclasses.dataclass(frozen=True)
class Task(base.Task):
    """The last 40 MFCC frames of a spoken digit, then `delay` silent frames; the digit comes out.

    With one coefficient instead of 13, 6 frames instead of 40, a word of 4 and `delay` = 3::

        input  0 0 .7 -1.2 .4 .9 0 0 0
        label  8, at the last step

    Padding stands on the left, so that the last step is the true end. Coefficients are standardised
    by the mean and deviation of the training frames; padding and silence are 0 after that. The
    floor is ln 10 nats: the digits are equally frequent. The shipped corpus has no speaker column,
    so that speakers of the evaluation set are heard in training too.

    Attributes:
        delay: Silent frames after the word, 0 to `base.LONGEST`.
        source: ``shipped``, or ``hub:OWNER/NAME[:CONFIG][@REVISION]``, such as ``hub:gilkeyio/AudioMNIST``.

    Raises:
        base.TaskError: A parameter is of the wrong type or out of its range.

    """

    delay: int = 20
    source: str = data.SHIPPED

    version: ClassVar[int] = 1
    loss: ClassVar[Literal["cross_entropy", "mse"]] = "cross_entropy"
    unit: ClassVar[str] = "nats an utterance"
    metric: ClassVar[str] = "accuracy"

    def __post_init__(self) -> None:
        base.require_whole("delay", self.delay, 0, base.LONGEST)
        data.parse(self.source)

    @property
    def features(self) -> int:
        """Thirteen MFCCs."""
        return mfcc.COEFFICIENTS

    @property
    def outputs(self) -> int:
        """Ten digits."""
        return DIGITS

    @property
    def length(self) -> int:
        """Return 40 + `delay` frames."""
        return FRAMES + self.delay

    @property
    def scored(self) -> int:
        """The last step alone."""
        return 1

    @property
    def floor(self) -> float:
        """Return ln 10, in nats."""
        return math.log(DIGITS)

    def batches(self, seed: int, size: int) -> Iterator[base.Batch]:
        """Yield batches of inputs [size, 40 + delay, 13] and targets [size, 1], without end.

        Every epoch is shuffled anew; a batch may span two epochs.
        """
        frames, digits = _corpus(self.source)["train"]
        for rows in base.endless_rows(seed, size, len(digits)):
            yield _batch(frames[rows], digits[rows], self.delay)

    def evaluation(self) -> base.Batch:
        """Return the whole evaluation split, 300 utterances of the shipped corpus."""
        return _evaluation(self.source, self.delay)

    def evaluate(self, predict: base.Predict, *, thorough: bool = False) -> dict[str, float]:
        """Return ``loss`` and ``accuracy``, the share of digits that are right."""
        del thorough  # nothing here is slow
        return base.classify(predict, self.evaluation(), "accuracy", self.scored)

    def solved(self, metrics: dict[str, float]) -> bool:
        """Solved is an accuracy of at least 0.95."""
        return metrics["accuracy"] >= 0.95  # noqa: PLR2004 - the criterion itself


def _batch(frames: base.Array, digits: base.Array, delay: int) -> base.Batch:
    inputs = np.pad(frames, ((0, 0), (0, delay), (0, 0)))
    return base.Batch(inputs, digits[:, None], np.ones((len(digits), 1), np.float32))


@functools.lru_cache(maxsize=8)
def _evaluation(source: str, delay: int) -> base.Batch:
    return _batch(*_corpus(source)["evaluation"], delay)


@functools.cache
def _corpus(source: str) -> dict[str, tuple[base.Array, base.Array]]:
    """Return for each split the frames, [utterances, 40, 13] float32, and the digits, int32."""
    hub = data.parse(source)
    raw = _read_hub(hub) if hub else {name: _read_shipped(rows) for name, rows in data.load_shipped("speech").items()}
    heard = np.concatenate([utterance[-FRAMES:] for utterance in raw["train"][0]]).astype(np.float64)
    mean, deviation = heard.mean(axis=0), heard.std(axis=0)
    return {
        split: (np.stack([_fit((utterance - mean) / deviation) for utterance in utterances]), digits)
        for split, (utterances, digits) in raw.items()
    }


def _fit(utterance: base.Array) -> base.Array:
    """Keep the last 40 frames, and pad on the left what has fewer."""
    kept = utterance[-FRAMES:]
    return np.pad(kept, ((FRAMES - len(kept), 0), (0, 0))).astype(np.float32)


def _read_shipped(rows: Any) -> tuple[list[base.Array], base.Array]:
    table = rows.with_format("arrow")[:]
    frames = table["frames"].combine_chunks()
    flat = frames.flatten().to_numpy().reshape(-1, mfcc.COEFFICIENTS)
    ends = frames.value_lengths().to_numpy().cumsum() // mfcc.COEFFICIENTS
    return np.split(flat, ends[:-1]), table["label"].to_numpy()


def _read_hub(hub: data.Hub) -> dict[str, tuple[list[base.Array], base.Array]]:
    train, evaluation = data.held_out(data.load_hub(hub))
    return {"train": _hear(train), "evaluation": _hear(evaluation)}


def _hear(rows: Any) -> tuple[list[base.Array], base.Array]:
    """Turn recordings into MFCCs, and read the digit from the column ``digit`` or ``label``."""
    import datasets

    label = next((name for name in ("digit", "label") if name in rows.column_names), None)
    if label is None or "audio" not in rows.column_names:
        message = f"source has the columns {rows.column_names}; it must have 'audio', and 'digit' or 'label'"
        raise base.TaskError(message)
    utterances = []
    for cell in rows.cast_column("audio", datasets.Audio(decode=False))["audio"]:
        try:
            utterances.append(mfcc.mfcc(mfcc.resample(*mfcc.decode(cell["bytes"]))))
        except ValueError as error:
            message = f"source has a recording that cannot be read: {error}"
            raise base.TaskError(message) from error
    digits = np.array([int(digit) for digit in rows[label]], np.int32)
    if not set(digits.tolist()) <= set(range(DIGITS)):
        message = f"source has the labels {sorted(set(digits.tolist()))}; they must be the digits 0 to 9"
        raise base.TaskError(message)
    return utterances, digits
