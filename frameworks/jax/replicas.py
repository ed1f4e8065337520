"""An update in parts in JAX: replicas by ``jax.shard_map``, a device of each process; microbatches one after another.

A chunk of steps is one program, as in one process: every replica runs it at once on its own rows, and ``lax.psum`` of
one flat array in every step brings them together. Replication is not checked (``check_vma=False``), and nothing is
reduced but what is written here.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.extend import backend
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from farreach.frameworks import base
from farreach.frameworks import jax as folder
from farreach.frameworks.base import Array, Device, Model, Optimizer, Precision, Training, Weights
from farreach.frameworks.dividing import require_split, take_part
from farreach.frameworks.jax.clip import clip_gradients, compute_norm
from farreach.frameworks.jax.networks import find_family
from farreach.frameworks.jax.paths import Differentiate, make_chunk, make_step, prepare_gradient
from farreach.frameworks.jax.penalties import penalise_gradients
from farreach.frameworks.split import REDUCED, Split
from farreach.tasks.base import Batch

_AXIS = "replicas"

_WHOLE = PartitionSpec()  # type: ignore[no-untyped-call]
_ROWS = PartitionSpec(None, None, _AXIS)  # type: ignore[no-untyped-call]
"""How a chunk [steps, time, batch, ...] lies on the devices: each has the rows of its replica."""


def join_group(rank: int, addresses: tuple[str, ...], device: Device) -> None:
    """Meet the other replicas: they serve every `Framework` of this process, one after another.

    JAX ends a process that another one left, so that none may end before all have done their last update.

    Args:
        rank: number of this process among the replicas, from 0.
        addresses: ``127.0.0.1:PORT`` of each replica, the same in all.
        device: ``cpu`` or ``cuda``.

    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # type: ignore[no-untyped-call]
    local = None
    if device == "cuda":
        local = [rank % jax.local_device_count()]
        # It asked for its devices already, and would not share them.
        backend.clear_backends()  # type: ignore[no-untyped-call]
    jax.distributed.initialize(addresses[0], len(addresses), rank, local_device_ids=local)


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
        require_split(training, split, jax.process_count() if jax.distributed.is_initialized() else 1)
        self.split, self.rank, self.extra = split, rank, split.extra
        super().__init__(model, training, weights, device=device, dtype=dtype, threads=threads, path=path)
        limit, penalty = training.clip, training.regulariser
        self.chunk = _compile_chunk(
            model,
            training.optimizer,
            kind=limit.kind if limit else "norm",
            penalty=penalty.kind if penalty else "none",
            path=path,
            decay=training.decay,
            split=split,
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
        return super().kernel if self.split.replicas == 1 else f"{super().kernel}, shard_map and psum"


@functools.cache
def _compile_chunk(
    model: Model, optimizer: Optimizer, *, kind: str, penalty: str, path: str, decay: float | None, split: Split
) -> Callable[..., Any]:
    """Return the compiled chunk of a split: as that of `compile_program`, its batches own rows and whole masks."""
    network = find_family(model).Network(model, path)
    differentiate = _prepare_parts(prepare_gradient(model, network), kind=kind, penalty=penalty, split=split)
    # What is clipped before the sum is not clipped again: the clip is past, as it is under backprop.
    late = kind if split.clip_at == "after" else "backprop"
    step = make_step(model, network, optimizer, differentiate, kind=late, penalty="none", decay=decay)
    chunk = make_chunk(_add_limits(step), len(split.extra))
    if split.replicas == 1:
        return jax.jit(chunk, donate_argnums=0)
    mesh = Mesh(np.array(jax.devices()), (_AXIS,))
    parts = (_ROWS, _ROWS, _WHOLE)
    specs = (_WHOLE, parts, _WHOLE, _WHOLE)
    program = jax.jit(
        jax.shard_map(chunk, mesh=mesh, in_specs=specs, out_specs=_WHOLE, check_vma=False), donate_argnums=0
    )

    def run(state: Any, batches: Any, limits: Any, count: Any) -> Any:
        """Run the program of all devices on what lies on this one alone, and hand out what lies on this one."""
        given = [
            jax.tree.map(functools.partial(_share, NamedSharding(mesh, spec)), values)
            for values, spec in ((state, _WHOLE), (limits, _WHOLE), (count, _WHOLE))
        ]
        shared = tuple(_share(NamedSharding(mesh, spec), part) for part, spec in zip(batches, parts, strict=True))
        return jax.tree.map(lambda one: one.addressable_data(0), program(given[0], shared, *given[1:]))

    return run


def _share(sharding: NamedSharding, own: Any) -> jax.Array:
    """Return an array of all replicas of which this one has its part, or the whole as the others have it."""
    local = jax.device_put(own, jax.local_devices()[0])
    shape = list(local.shape)
    for axis, name in enumerate(sharding.spec):
        shape[axis] *= sharding.mesh.size if name else 1
    return jax.make_array_from_single_device_arrays(tuple(shape), sharding, [local])


def _add_limits(step: Callable[[Any, Any, Any], tuple[Any, Any]]) -> Callable[[Any, Any, Any], tuple[Any, Any]]:
    """Return a step whose batch has the penalty's strength behind it, which parts need before they are summed."""
    return lambda state, batch, limits: step(state, (*batch, limits[2]), limits)


def _prepare_parts(gradient: Differentiate, *, kind: str, penalty: str, split: Split) -> Differentiate:
    """Return what gives of own rows, a whole mask and a strength what all parts come to, the same in every replica."""
    is_before = split.clip_at == "before"

    def differentiate(weights: Any, threshold: Any, batch: Any) -> Any:
        inputs, targets, mask, strength = batch
        masks = mask.reshape(len(mask), split.parts, -1)
        counted = masks.sum(axis=(0, 2))
        shares = counted / counted.sum()
        first = (lax.axis_index(_AXIS) if split.replicas > 1 else 0) * split.microbatches
        rows = mask.shape[1] // split.parts
        nothing = jax.tree.map(jnp.zeros_like, weights)
        loss, changed, norms = jnp.zeros((), mask.dtype), jnp.zeros((), mask.dtype), jnp.zeros_like(shares)
        whole, left = nothing, nothing if is_before else {}
        for at in range(split.microbatches):
            share, own = shares[first + at], slice(at * rows, (at + 1) * rows)
            # A part that counts nothing weighs nothing, whatever its loss: it must be a number.
            counts = jnp.where(share > 0, masks[:, first + at], 1)
            value, gradients, _, _ = gradient(weights, None, (inputs[:, own], targets[:, own], counts))
            gradients = penalise_gradients(penalty, weights, gradients, names=list(weights), strength=strength)
            gradients = {name: share * part for name, part in gradients.items()}
            loss += share * value
            norms = norms.at[first + at].set(compute_norm(gradients))
            whole = _add(whole, gradients)
            if is_before:
                clipped, share_changed = _clip(kind, weights, gradients, threshold)
                left, changed = _add(left, clipped), changed + share_changed / split.parts
        loss, changed, norms, whole, left = _sum((loss, changed, norms, whole, left), split)
        if not is_before:
            clipped = whole if kind == "autoclip" else _clip(kind, weights, whole, threshold)[0]
            return loss, whole, None, [compute_norm(whole), _compute_cosine(whole, clipped), *norms]
        return loss, left, changed, [compute_norm(whole), _compute_cosine(whole, left), *norms]

    return differentiate


def _sum(figures: Any, split: Split) -> Any:
    """Return the sums over replicas, by one reduction of one flat array."""
    if split.replicas == 1:
        return figures
    flat, restore = ravel_pytree(figures)
    return restore(lax.psum(flat, _AXIS))  # type: ignore[no-untyped-call]


def _clip(kind: str, weights: Any, gradients: Any, threshold: Any) -> tuple[Any, Any]:
    """Return a gradient clipped, and the share of its elements that changed."""
    clipped, _, _, changed, _ = clip_gradients(
        kind, gradients, threshold, weights=weights, names=list(weights), history=jnp.zeros(0, threshold.dtype)
    )
    return clipped, changed


def _add(sums: Any, others: Any) -> Any:
    return {name: sums[name] + other for name, other in others.items()}


def _compute_cosine(gradients: Any, others: Any) -> jax.Array:
    """Return the cosine of the angle between two gradients; 1 where one is zero."""
    flat, other = (jnp.concatenate([parts[name].ravel() for name in gradients]) for parts in (gradients, others))
    dtype = flat.dtype
    flat, other = flat.astype(jnp.float64), other.astype(jnp.float64)
    norms = compute_norm(flat), compute_norm(other)
    there = (norms[0] != 0) & (norms[1] != 0)
    units = flat / jnp.where(there, norms[0], 1), other / jnp.where(there, norms[1], 1)
    return jnp.minimum(jnp.where(there, (units[0] * units[1]).sum(), 1), 1).astype(dtype)
