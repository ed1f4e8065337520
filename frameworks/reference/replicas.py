"""An update in parts in NumPy: all parts one after another in this process, whoever would have them.

Under ``before`` each part's weighted gradient is clipped at the whole threshold, and what is left is summed. That is
what Keras does with an optimizer's clip under a strategy. With two parts whose mean gradients are (6, 0) and (0, 2), so
that the batch's is (3, 1), threshold 1 leaves (1, 0) and (0, 1): their sum is longer than the threshold, and turned.
Where all parts weigh alike it equals what users of other frameworks write by hand: each replica clips the mean gradient
of its own part at the threshold times the number of parts, and the mean over parts is taken.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from farreach.frameworks import base, reference
from farreach.frameworks.base import Array, Device, Model, Precision, Training, Weights
from farreach.frameworks.dividing import require_split
from farreach.frameworks.reference.clip import clip_gradients, compute_norm
from farreach.frameworks.reference.recurrent import DerivativeClip
from farreach.frameworks.split import REDUCED, Split, split_batch, weigh_parts
from farreach.tasks.base import Batch

_CHANGED = "changed"
"""The share of the elements of all parts that the clip before the reduction changed."""


def join_group(rank: int, addresses: tuple[str, ...], device: Device) -> None:
    """Do nothing: every part is computed by whoever asks.

    Args:
        rank: number of this process among the replicas, from 0.
        addresses: ``127.0.0.1:PORT`` of each replica, the same in all.
        device: ``cpu`` or ``cuda``.

    """
    del rank, addresses, device


class Framework(reference.Framework):
    """One model in training in parts; see `farreach.frameworks.base.Framework` and `Split`.

    A trace has `Split.extra` beside the figures of every step. A part's gradient is that of its loss times its weight,
    and its weight's share of the penalty's: their sum is the reduced gradient, whose norm `norm_before` is too. The
    cosine of a gradient of zeros is 1. A part that counts nothing weighs nothing.
    """

    def __init__(  # noqa: PLR0913 - as every framework, and which part of which split
        self,
        model: Model,
        training: Training,
        weights: Weights,
        *,
        device: Device,
        dtype: Precision,
        threads: int,
        path: str,
        split: Split,
        rank: int = 0,
    ) -> None:
        require_split(training, split, split.replicas)
        del rank
        self.split, self.limit = split, training.clip
        self.extra = (*split.extra, _CHANGED)
        # What is clipped before the sum is not clipped again.
        whole = training if split.clip_at == "after" else dataclasses.replace(training, clip=None)
        super().__init__(model, whole, weights, device=device, dtype=dtype, threads=threads, path=path)

    def prepare(self, batches: Sequence[Batch], inputs: Array) -> float:
        """Do nothing: there is nothing to compile."""
        return super().prepare(batches, inputs)

    def train(self, batches: Sequence[Batch]) -> base.Trace:
        """Do one update per batch."""
        trace = super().train(batches)
        changed = trace.extra.pop(_CHANGED)
        if self.split.clip_at == "after":
            return trace
        return dataclasses.replace(trace, norm_before=trace.extra[REDUCED], clipped=changed)

    def compute_gradients(self, batch: Batch, cut: DerivativeClip) -> tuple[float, Weights, list[float]]:
        """Return the weighted loss, the sum of the parts' gradients, each clipped under ``before``, and the figures."""
        loss, norms, changed = 0.0, [], 0.0
        whole = {name: np.zeros_like(value) for name, value in self.trained.items()}
        left = dict(whole)
        weights = weigh_parts(batch, self.split).tolist()
        for part, weight in zip(split_batch(batch, self.split), weights, strict=True):
            if not weight:
                norms.append(0.0)
                continue
            own, gradients, _ = super().compute_gradients(part, cut)  # the penalty's whole gradient in it
            gradients = {name: weight * gradient for name, gradient in gradients.items()}
            loss += weight * own
            norms.append(compute_norm(gradients))
            whole = {name: whole[name] + gradient for name, gradient in gradients.items()}
            if self.split.clip_at == "before":
                gradients, share = self._clip(gradients)
                changed += share / self.split.parts
                left = {name: left[name] + gradient for name, gradient in gradients.items()}
        if self.split.clip_at == "before":
            return loss, left, [compute_norm(whole), _compute_cosine(whole, left), *norms, changed]
        clipped, _ = self._clip(whole)
        return loss, whole, [compute_norm(whole), _compute_cosine(whole, clipped), *norms, changed]

    def _clip(self, gradients: Weights) -> tuple[Weights, float]:
        """Return a gradient clipped and the share of its elements that changed; the history stays."""
        kind, threshold = (self.limit.kind, self.limit.threshold) if self.limit else ("norm", float("inf"))
        clipped, _, _, share, _ = clip_gradients(
            kind, gradients, threshold, weights=self.trained, names=list(self.trained), history=self.history
        )
        return clipped, share


def _compute_cosine(gradients: Weights, others: Weights) -> float:
    """Return the cosine of the angle between two gradients; 1 where one is zero."""
    norms = compute_norm(gradients), compute_norm(others)
    if 0 in norms:
        return 1.0
    products = [np.sum(gradients[name] / norms[0] * (others[name] / norms[1])) for name in gradients]
    return float(np.minimum(sum(products), 1.0))
