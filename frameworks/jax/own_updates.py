"""Updates in parts as users of JAX, Optax and Flax write them: shard_map, MultiSteps, a scaled loss."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.dynamic_scale import DynamicScale
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from farreach.frameworks.base import Array
from farreach.frameworks.own_updates import (
    ACCUMULATION,
    COUNTS,
    INPUTS,
    LOSS_SCALE,
    MASKS,
    REPLICAS,
    SCALE,
    THRESHOLD,
    UNEVEN,
    OwnUpdate,
    Place,
)

_AXIS = "replicas"

_CLIPS = {"norm": optax.clip_by_global_norm, "value": optax.clip}


def _make_layer() -> dict[str, Any]:
    """Return the weights, all zeros."""
    return {"bias": jnp.zeros(1), "kernel": jnp.zeros((2, 1))}


def _make_optimizer(clip: str = "none") -> optax.GradientTransformation:
    """Return ``optax.chain`` of a clip at the threshold and plain gradient descent at rate 1."""
    return optax.chain(*([_CLIPS[clip](THRESHOLD)] if clip in _CLIPS else []), optax.sgd(1.0))


def _compute_loss(layer: dict[str, Any], inputs: Any) -> Any:
    """Return twice the mean of the outputs."""
    return 2 * jnp.mean(inputs @ layer["kernel"] + layer["bias"])


def _compute_shared_loss(layer: dict[str, Any], inputs: Any) -> Any:
    """Return the mean of `compute_loss` over replicas."""
    return jax.lax.pmean(_compute_loss(layer, inputs), _AXIS)  # type: ignore[no-untyped-call]


def _read_update(layer: dict[str, Any]) -> Array:
    """Return minus the weights, kernel and bias: the gradient that reached the optimizer."""
    local = [np.asarray(layer[name].addressable_data(0)).ravel() for name in ("kernel", "bias")]
    return -np.concatenate(local)


def _join_group(place: Place) -> Mesh:
    """Meet the other processes; return the mesh of one device of each, or of the devices of this process alone."""
    if len(place.addresses) > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")  # type: ignore[no-untyped-call]
        jax.distributed.initialize(place.addresses[0], len(place.addresses), place.rank)
    return Mesh(np.array(jax.devices()), (_AXIS,))


def _clip_in_replicas(place: Place, *, clip: str, reduced: bool | None) -> Array:
    """One update by ``jax.shard_map``, the weights the same in all replicas, a part of the batch in each.

    Args:
        place: which process this is.
        clip: kind of the clip.
        reduced: take the mean over replicas by ``lax.pmean`` of the loss (None: neither) or, False, of what the clip of
            each replica's own gradient gave.

    """
    mesh = _join_group(place)
    optimizer = _make_optimizer(clip)

    def step(layer: dict[str, Any], inputs: Any) -> dict[str, Any]:
        if reduced is False:  # each replica's own gradient wants weights of its own
            own = jax.tree.map(lambda weight: jax.lax.pcast(weight, _AXIS, to="varying"), layer)
            gradients = jax.grad(_compute_loss)(own, inputs)
            updates, _ = optimizer.update(gradients, optimizer.init(own))
            updates = jax.lax.pmean(updates, _AXIS)  # type: ignore[no-untyped-call]
        else:
            gradients = jax.grad(_compute_shared_loss if reduced else _compute_loss)(layer, inputs)
            updates, _ = optimizer.update(gradients, optimizer.init(layer))
        updated: dict[str, Any] = optax.apply_updates(layer, updates)
        return updated

    whole, parts = PartitionSpec(), PartitionSpec(_AXIS)  # type: ignore[no-untyped-call]
    inputs = jax.make_array_from_callback(INPUTS.shape, NamedSharding(mesh, parts), lambda at: INPUTS[at])
    layer = jax.device_put(_make_layer(), NamedSharding(mesh, whole))
    return _read_update(
        jax.jit(jax.shard_map(step, mesh=mesh, in_specs=(whole, parts), out_specs=whole))(layer, inputs)
    )


def _accumulate(place: Place, *, clip: str, outer: bool) -> Array:
    """``optax.MultiSteps`` of the chain with the clip, or the clip before it, on every microbatch."""
    del place
    if outer:
        optimizer = optax.chain(_CLIPS[clip](THRESHOLD), optax.MultiSteps(optax.sgd(1.0), 2).gradient_transformation())
    else:
        optimizer = optax.MultiSteps(_make_optimizer(clip), 2).gradient_transformation()
    layer = _make_layer()
    state = optimizer.init(layer)
    for part in INPUTS:
        updates, state = optimizer.update(jax.grad(_compute_loss)(layer, part[None]), state, layer)
        layer = optax.apply_updates(layer, updates)
    return _read_update(layer)


def _scale_loss(place: Place, *, by_hand: bool) -> Array:
    """Flax' ``DynamicScale``, which divides by itself; or a scaled loss whose gradient is clipped, then divided."""
    del place
    layer, optimizer = _make_layer(), _make_optimizer("norm")
    if by_hand:
        scaled = jax.grad(lambda *given: LOSS_SCALE * _compute_loss(*given))(layer, jnp.asarray(INPUTS))
        updates, _ = optimizer.update(scaled, optimizer.init(layer))
        updates = jax.tree.map(lambda update: update / LOSS_SCALE, updates)
    else:
        scale = DynamicScale(scale=jnp.float32(LOSS_SCALE))
        _, _, _, gradients = scale.value_and_grad(_compute_loss)(layer, jnp.asarray(INPUTS))
        updates, _ = optimizer.update(gradients, optimizer.init(layer))
    return _read_update(optax.apply_updates(layer, updates))


def _accumulate_counts(place: Place, *, weighted: bool) -> Array:
    """Take the mean over the counted rows of each microbatch, or its sum times microbatches over the count of all."""
    del place
    optimizer = optax.MultiSteps(optax.sgd(1.0), 2).gradient_transformation()
    layer = _make_layer()
    state = optimizer.init(layer)

    def compute_counted(layer: dict[str, Any], inputs: Any, mask: Any) -> Any:
        outputs = inputs @ layer["kernel"] + layer["bias"]
        return 2 * jnp.sum(outputs[:, 0] * mask) / (MASKS.sum() / len(MASKS) if weighted else mask.sum())

    for inputs, mask in zip(UNEVEN, MASKS, strict=True):
        updates, state = optimizer.update(jax.grad(compute_counted)(layer, inputs, mask), state, layer)
        layer = optax.apply_updates(layer, updates)
    return _read_update(layer)


_NAMES = {"norm": "optax.clip_by_global_norm", "value": "optax.clip"}
_TWO_DEVICES = (("XLA_FLAGS", "--xla_force_host_platform_device_count=2"),)
_REDUCED = {
    True: "`pmean` of the loss, then",
    None: "no mean, then",
    False: "the gradient of each replica, then `pmean` after",
}

UPDATES: tuple[OwnUpdate, ...] = (
    *(
        OwnUpdate(
            REPLICAS,
            f"shard_map: {_REDUCED[reduced]} `{_NAMES[clip]}`",
            clip,
            functools.partial(_clip_in_replicas, clip=clip, reduced=reduced),
            processes,
            environment=() if processes > 1 else _TWO_DEVICES,
        )
        for processes, reduced, clip in (
            *((2, reduced, clip) for reduced in (True, False) for clip in _CLIPS),
            (1, True, "norm"),
            (1, False, "norm"),
        )
    ),
    OwnUpdate(
        REPLICAS,
        "shard_map: no mean, no clip",
        "none",
        functools.partial(_clip_in_replicas, clip="none", reduced=None),
        2,
    ),
    *(
        OwnUpdate(
            ACCUMULATION,
            f"`optax.MultiSteps(optax.chain({_NAMES[clip]}(1), ...), 2)`",
            clip,
            functools.partial(_accumulate, clip=clip, outer=False),
        )
        for clip in _CLIPS
    ),
    *(
        OwnUpdate(
            ACCUMULATION,
            f"`optax.chain({_NAMES[clip]}(1), optax.MultiSteps(..., 2))`",
            clip,
            functools.partial(_accumulate, clip=clip, outer=True),
        )
        for clip in _CLIPS
    ),
    OwnUpdate(
        SCALE,
        "Flax' DynamicScale, then `optax.clip_by_global_norm`",
        "norm",
        functools.partial(_scale_loss, by_hand=False),
    ),
    OwnUpdate(
        SCALE,
        "by hand: `optax.clip_by_global_norm` of the scaled gradient, then divided",
        "norm",
        functools.partial(_scale_loss, by_hand=True),
    ),
    OwnUpdate(
        COUNTS,
        "`optax.MultiSteps`: each microbatch's mean over its own counted positions",
        "none",
        functools.partial(_accumulate_counts, weighted=False),
    ),
    OwnUpdate(
        COUNTS,
        "`optax.MultiSteps`: each microbatch's sum, times microbatches over the count of all",
        "none",
        functools.partial(_accumulate_counts, weighted=True),
    ),
)
