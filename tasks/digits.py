"""Digits pixel by pixel: name the digit when its last pixel has been read.

Le, Jaitly and Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units", 2015: MNIST as a
sequence, in order and under one fixed permutation. The small images that ship are those of Alpaydin and Kaynak,
"Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
"""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np

from farreach.tasks import base, data

DIGITS = 10

DARKEST = {data.SHIPPED: 16}
"""The largest value that a pixel may have; 255 from the hub."""


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Images and what they show; the splits have no image in common.

    Attributes:
        train: Images [images, pixels] uint8, row after row from the top, and their digits [images] int32.
        evaluation: The same.

    """

    train: tuple[base.Array, base.Array]
    evaluation: tuple[base.Array, base.Array]


@dataclasses.dataclass(frozen=True)
class Task(base.Task):
    """One pixel of an image a step, row after row from the top left, then `delay` blanks; the digit comes out last.

    With 3 by 3 pixels instead of 8 by 8 and `delay` = 2::

        image   0 1 0     input  0 1 0 1 1 0 0 1 0 0 0
                1 1 0     label  1, at the last step
                0 1 0

    A pixel is a number from 0, blank, to 1. With `permuted` the pixels come in another order, drawn once and the same
    for every image, seed and framework: what stood together is now far apart, and the whole sequence must be
    remembered.

    The floor is the cross-entropy, in nats, of the training digits' frequencies on the evaluation digits: what is left
    to who never looks at an image. The shipped digits are nearly equally frequent, and it is ln 10 to three places.

    Attributes:
        delay: Blank steps after the last pixel, 0 to `base.LONGEST`; the papers have none.
        permuted: Whether the pixels come under the fixed permutation.
        source: ``shipped``, 1,437 images of 8 by 8 to train on and 360 to evaluate on, 64 steps; or
            ``hub:OWNER/NAME[:CONFIG][@REVISION]``, such as ``hub:ylecun/mnist``, 28 by 28, 784 steps.

    Raises:
        base.TaskError: A parameter is of the wrong type or out of its range.

    """

    delay: int = 0
    permuted: bool = False
    source: str = data.SHIPPED

    version: ClassVar[int] = 1
    loss: ClassVar[Literal["cross_entropy", "mse"]] = "cross_entropy"
    unit: ClassVar[str] = "nats an image"
    metric: ClassVar[str] = "accuracy"

    def __post_init__(self) -> None:
        base.require_whole("delay", self.delay, 0, base.LONGEST)
        base.require_flag("permuted", self.permuted)
        data.parse(self.source)

    @property
    def features(self) -> int:
        """One pixel."""
        return 1

    @property
    def outputs(self) -> int:
        """Ten digits."""
        return DIGITS

    @property
    def length(self) -> int:
        """Return the number of pixels, 64 of the shipped images, and `delay` more."""
        return int(_corpus(self.source).train[0].shape[1]) + self.delay

    @property
    def scored(self) -> int:
        """The last step alone."""
        return 1

    @property
    def floor(self) -> float:
        """Return the cross-entropy of the training frequencies on the evaluation digits, in nats."""
        corpus = _corpus(self.source)
        seen, asked = (np.bincount(digits, minlength=DIGITS) for _, digits in (corpus.train, corpus.evaluation))
        there = asked > 0
        return float(-(asked[there] * np.log(seen[there] / seen.sum())).sum() / asked.sum())

    def batches(self, seed: int, size: int) -> Iterator[base.Batch]:
        """Yield batches of inputs [size, pixels + delay, 1] and targets [size, 1], without end.

        Every epoch is shuffled anew; a batch may span two epochs.
        """
        images, digits = _corpus(self.source).train
        for rows in base.endless_rows(seed, size, len(digits)):
            yield _batch(images[rows], digits[rows], self)

    def evaluation(self) -> base.Batch:
        """Return the whole evaluation split, 360 of the shipped images."""
        return _evaluation(self)

    def evaluate(self, predict: base.Predict, *, thorough: bool = False) -> dict[str, float]:
        """Return ``loss`` and ``accuracy``, the share of digits that are right."""
        del thorough  # nothing here is slow
        return base.classify(predict, self.evaluation(), "accuracy", self.scored)

    def solved(self, metrics: dict[str, float]) -> bool:
        """Solved is an accuracy of at least 0.9."""
        return metrics["accuracy"] >= 0.9  # noqa: PLR2004 - the criterion itself


def order(pixels: int) -> base.Array:
    """Return the fixed permutation of so many pixels."""
    return base.generator("permutation", 2).permutation(pixels)


def _batch(images: base.Array, digits: base.Array, task: Task) -> base.Batch:
    if task.permuted:
        images = images[:, order(images.shape[1])]
    scaled = images.astype(np.float32) / np.float32(DARKEST.get(task.source, 255))
    inputs = np.pad(scaled, ((0, 0), (0, task.delay)))[..., None]
    return base.Batch(inputs, digits[:, None], np.ones((len(digits), 1), np.float32))


@functools.lru_cache(maxsize=4)
def _evaluation(task: Task) -> base.Batch:
    return _batch(*_corpus(task.source).evaluation, task)


@functools.cache
def _corpus(source: str) -> Corpus:
    """Load both splits; a training image that the evaluation split has too is left out."""
    hub = data.parse(source)
    if hub is None:
        splits = data.load_shipped("digits")
        (images, digits), evaluation = map(_read_shipped, (splits["train"], splits["evaluation"]))
    else:
        (images, digits), evaluation = map(_read_hub, data.held_out(data.load_hub(hub)))
    if images.shape[1] != evaluation[0].shape[1]:
        message = (
            f"source has images of {images.shape[1]} and of {evaluation[0].shape[1]} pixels; all must be of one size"
        )
        raise base.TaskError(message)
    held_out = {image.tobytes() for image in evaluation[0]}
    fresh = np.array([image.tobytes() not in held_out for image in images])
    seen, asked = {*digits[fresh].tolist()}, {*evaluation[1].tolist()}
    if not asked <= seen or len(seen) == 1:
        message = f"source has the digits {sorted(seen)} to train on and {sorted(asked)} to evaluate on; "
        message += "the first must be two at least and hold the others"
        raise base.TaskError(message)
    return Corpus((images[fresh], digits[fresh]), evaluation)


def _read_shipped(rows: Any) -> tuple[base.Array, base.Array]:
    table = rows.with_format("arrow")[:]
    digits = table["label"].to_numpy()
    return table["pixels"].combine_chunks().flatten().to_numpy().reshape(len(digits), -1), digits


def _read_hub(rows: Any) -> tuple[base.Array, base.Array]:
    """Read the columns ``image`` and ``label``; colours become grey."""
    import datasets
    from PIL import Image, UnidentifiedImageError

    if not {"image", "label"} <= set(rows.column_names):
        message = f"source has the columns {rows.column_names}; it must have 'image' and 'label'"
        raise base.TaskError(message)
    images = []
    for cell in rows.cast_column("image", datasets.Image(decode=False))["image"]:
        try:
            images.append(np.asarray(Image.open(io.BytesIO(cell["bytes"])).convert("L")))
        except (TypeError, UnidentifiedImageError, OSError) as error:
            message = f"source has an image that cannot be read: {error}"
            raise base.TaskError(message) from error
    sizes = {image.shape for image in images}
    if len(sizes) != 1:
        message = f"source has images of {len(sizes)} sizes; all must be of one size"
        raise base.TaskError(message)
    digits = np.array(rows["label"], np.int32)
    if not set(digits.tolist()) <= set(range(DIGITS)):
        message = f"source has the labels {sorted(set(digits.tolist()))}; they must be the digits 0 to 9"
        raise base.TaskError(message)
    return np.stack(images).reshape(len(images), -1), digits
