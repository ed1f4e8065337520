"""An update in parts in TensorFlow: replicas by MultiWorkerMirroredStrategy, microbatches one after another.

``strategy.run`` runs a step in each replica, and ``all_reduce`` of one flat tensor brings them together. XLA compiles
no such reduction on the CPU: where the path is compiled, the gradient and the update are two programs, with the
reduction between them, and a chunk is no program of its own. Microbatches alone are within one, as in one process.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from farreach.frameworks import base
from farreach.frameworks import tensorflow as folder
from farreach.frameworks.base import Array, Device, Model, Optimizer, Precision, Training, Weights
from farreach.frameworks.dividing import require_split, take_part
from farreach.frameworks.layouts import list_names
from farreach.frameworks.split import REDUCED, Split
from farreach.frameworks.tensorflow.clip import clip_gradients, compute_norm
from farreach.frameworks.tensorflow.networks import find_family
from farreach.frameworks.tensorflow.paths import COMPILED, Differentiate, make_chunk, make_step, prepare_gradient
from farreach.frameworks.tensorflow.penalties import penalise_gradients
from farreach.tasks.base import Batch

_GROUP: list[Any] = []
"""The strategy of this process, once it joined the others."""


def join_group(rank: int, addresses: tuple[str, ...], device: Device) -> None:
    """Meet the other replicas: they serve every `Framework` of this process, one after another.

    Args:
        rank: number of this process among the replicas, from 0.
        addresses: ``127.0.0.1:PORT`` of each replica, the same in all.
        device: ``cpu`` or ``cuda``.

    """
    task = {"type": "worker", "index": rank}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": [*addresses]}, "task": task})
    implementations = tf.distribute.experimental.CommunicationImplementation
    if device == "cuda":
        found = tf.config.list_physical_devices("GPU")
        tf.config.set_visible_devices(found[rank % len(found)], "GPU")
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=implementations.NCCL if device == "cuda" else implementations.RING
    )
    _GROUP.append(tf.distribute.MultiWorkerMirroredStrategy(communication_options=options))


class Framework(folder.Framework):
    """One model in training in parts; see `farreach.frameworks.base.Framework` and `Split`.

    What the figures are, `farreach.frameworks.reference.replicas.Framework` says. ``prepare`` and ``train`` are called
    by all replicas at once; what else there is asks no other.
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
        require_split(training, split, _GROUP[0].num_replicas_in_sync if _GROUP else 1)
        self.split, self.rank, self.extra = split, rank, split.extra
        super().__init__(model, training, weights, device=device, dtype=dtype, threads=threads, path=path)
        penalty = training.regulariser
        self.chunk = _compile_chunk(
            model,
            training.optimizer,
            kind=self.kind,
            penalty=penalty.kind if penalty else "none",
            dtype=dtype,
            path=path,
            decay=training.decay,
            split=split,
            rank=rank,
        )

    def prepare(self, batches: Sequence[Batch], inputs: Array) -> float:
        """Trace and compile both programs with a chunk of no steps and a prediction thrown away."""
        return super().prepare([take_part(batch, self.split, self.rank) for batch in batches], inputs)

    def train(self, batches: Sequence[Batch]) -> base.Trace:
        """Do one update per batch; the device is waited for once, when the chunk's figures are read."""
        trace = super().train([take_part(batch, self.split, self.rank) for batch in batches])
        if self.split.clip_at == "after":
            return trace
        # The step saw the gradient that was clipped already.
        return dataclasses.replace(trace, norm_before=trace.extra[REDUCED])

    @property
    def kernel(self) -> str:
        """The recurrent kernel that runs, and what reduces the gradient."""
        return super().kernel if self.split.replicas == 1 else f"{super().kernel}, all_reduce of the strategy"


@functools.cache
def _compile_chunk(  # noqa: PLR0913 - as `compile_program`, and which part of which split
    model: Model,
    optimizer: Optimizer,
    *,
    kind: str,
    penalty: str,
    dtype: str,
    path: str,
    decay: float | None,
    split: Split,
    rank: int,
) -> Callable[..., Any]:
    """Return the compiled chunk of a split: as that of `compile_program`, its batches own rows and whole masks."""
    network, is_compiled = find_family(model).Network(model, dtype, path), path in COMPILED
    parts = _prepare_parts(
        prepare_gradient(model, network), list_names(model), kind=kind, penalty=penalty, split=split, rank=rank
    )
    # What is clipped before the sum is not clipped again: the clip is past, as it is under backprop.
    late = kind if split.clip_at == "after" else "backprop"
    differentiate = _prepare_sums(list_names(model), kind=kind, split=split)
    update = make_step(model, optimizer, differentiate, kind=late, penalty="none", decay=decay)
    if split.replicas == 1:

        def step(state: Any, batch: Any, limits: Any) -> Any:
            return update(state, (parts(state[0], limits, batch),), limits)

        chunk = make_chunk(step, dtype, len(split.extra))
        return tf.function(chunk, jit_compile=is_compiled, reduce_retracing=False)  # type: ignore[no-any-return]
    strategy = _GROUP[0]
    first, last = (tf.function(one, jit_compile=is_compiled, reduce_retracing=False) for one in (parts, update))

    def run(state: Any, batch: Any, limits: Any) -> Any:
        own = first(state[0], limits, batch)
        flat = tf.concat([tf.reshape(part, [-1]) for part in own], axis=0)
        flat = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, flat)
        sums = tf.split(flat, [part.shape.num_elements() for part in own])
        sums = [tf.reshape(part, like.shape) for part, like in zip(sums, own, strict=True)]
        return last(state, (sums,), limits)

    reduced = tf.function(lambda *given: strategy.run(run, args=given), reduce_retracing=False)

    def go_through(state: Any, batches: Any, limits: Any, count: Any) -> Any:
        """Do `count` updates of a chunk; of none, the first is done to compile it, and thrown away."""
        threshold, rates, *others = limits
        rows = []
        for at in range(int(count) or 1):
            now = (threshold, rates[at] if rates.shape.rank else rates, *others)
            following, row = reduced(state, tuple(part[at] for part in batches), now)
            state = following if int(count) else state
            rows.append(row)
        return state, tf.stack(rows)

    return go_through


def _prepare_parts(
    gradient: Differentiate, names: Sequence[str], *, kind: str, penalty: str, split: Split, rank: int
) -> Callable[[Any, Any, Any], list[Any]]:
    """Return what gives of weights, limits, own rows and a whole mask what the own parts come to.

    These are figures [2 + parts], loss, share changed and norms; the sum of the gradients; and under ``before`` that of
    what the clip left.
    """

    def run(weights: Any, limits: Any, batch: Any) -> Any:
        inputs, targets, mask = batch
        threshold, _, strength, _ = limits
        masks = tf.reshape(mask, [split.parts, -1, mask.shape[1]])
        counted = tf.reduce_sum(masks, axis=[1, 2])
        shares = counted / tf.reduce_sum(counted)
        rows = mask.shape[0] // split.parts
        zero = tf.zeros([], mask.dtype)
        loss, changed, norms = zero, zero, [zero] * split.parts
        whole: list[Any] = []
        left: list[Any] = []
        for at in range(split.microbatches):
            part, own = rank * split.microbatches + at, slice(at * rows, (at + 1) * rows)
            # A part that counts nothing weighs nothing, whatever its loss: it must be a number.
            counts = tf.where(shares[part] > 0, masks[part], tf.ones_like(masks[part]))
            value, gradients, _, _ = gradient(weights, None, (inputs[own], targets[own], counts))
            gradients = penalise_gradients(penalty, weights, gradients, names=names, strength=strength)
            gradients = [shares[part] * one for one in gradients]
            loss += shares[part] * value
            norms[part] = compute_norm(gradients)
            whole = _add(whole, gradients)
            if split.clip_at == "before":
                clipped, share_changed = _clip(kind, gradients, threshold, weights=weights, names=names)
                left, changed = _add(left, clipped), changed + share_changed / split.parts
        return [tf.stack([loss, changed, *norms]), *whole, *left]

    return run


def _prepare_sums(names: Sequence[str], *, kind: str, split: Split) -> Differentiate:
    """Return what reads, of the sums over all parts, the loss, the gradient, the share changed and the figures."""

    def read(weights: Any, threshold: Any, batch: Any) -> Any:
        ((figures, *sums),) = batch
        loss, changed, *norms = tf.unstack(figures)
        whole, left = sums[: len(names)], sums[len(names) :]
        if split.clip_at == "before":
            return loss, left, changed, [compute_norm(whole), _compute_cosine(whole, left), *norms]
        clipped = whole if kind == "autoclip" else _clip(kind, whole, threshold, weights=weights, names=names)[0]
        return loss, whole, None, [compute_norm(whole), _compute_cosine(whole, clipped), *norms]

    return read


def _clip(kind: str, gradients: Any, threshold: Any, *, weights: Any, names: Sequence[str]) -> tuple[Any, Any]:
    """Return a gradient clipped, and the share of its elements that changed."""
    clipped, _, _, changed, _ = clip_gradients(
        kind, gradients, threshold, weights=weights, names=names, history=tf.zeros([0], threshold.dtype)
    )
    return clipped, changed


def _add(sums: Any, others: Any) -> Any:
    return [one + other for one, other in zip(sums, others, strict=True)] if sums else list(others)


def _compute_cosine(gradients: Any, others: Any) -> Any:
    """Return the cosine of the angle between two gradients; 1 where one is zero."""
    flat, other = (
        tf.concat([tf.reshape(tf.cast(part, tf.float64), [-1]) for part in parts], axis=0)
        for parts in (gradients, others)
    )
    norms = compute_norm([flat]), compute_norm([other])
    there = (norms[0] != 0) & (norms[1] != 0)
    one = tf.ones([], tf.float64)
    units = flat / tf.where(there, norms[0], one), other / tf.where(there, norms[1], one)
    cosine = tf.minimum(tf.where(there, tf.reduce_sum(units[0] * units[1]), one), one)
    return tf.cast(cosine, gradients[0].dtype)
