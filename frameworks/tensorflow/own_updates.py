"""Updates in parts as TensorFlow's users write them: strategies, Keras' accumulation, a scaled loss."""

from __future__ import annotations

import functools
import json
import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

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


def _make_layer() -> Any:
    """Return a model of the layer alone, all zeros."""
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])


def _make_optimizer(**arguments: Any) -> Any:
    """Return plain gradient descent at rate 1, with Keras' own arguments."""
    return keras.optimizers.SGD(learning_rate=1.0, **arguments)


def _compute_losses(_: Any, outputs: Any) -> Any:
    """Return twice the output of each sequence, [batch], as `fit` wants losses: it takes the mean."""
    return 2 * outputs[:, 0]


def _compute_mean(_: Any, outputs: Any) -> Any:
    """Return twice the mean of the outputs: a loss of one number, which `fit` takes as it is."""
    return 2 * tf.reduce_mean(outputs)


def _read_update(layer: Any) -> Array:
    """Return minus the weights: the gradient that reached the optimizer."""
    return -np.concatenate([np.ravel(weight) for weight in layer.get_weights()])


def _mirror() -> Any:
    """Return a MirroredStrategy over two devices that this process takes its processor for."""
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def _join_group(place: Place) -> Any:
    """Return a MultiWorkerMirroredStrategy with the other processes."""
    task = {"type": "worker", "index": place.rank}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": [*place.addresses]}, "task": task})
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=tf.distribute.experimental.CommunicationImplementation.RING
    )
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


def _fit_mirrored(place: Place, /, loss: Any = _compute_losses, **arguments: Any) -> Array:
    """``model.fit`` of a model that was compiled in ``MirroredStrategy().scope()``."""
    del place
    with _mirror().scope():
        layer = _make_layer()
        layer.compile(optimizer=_make_optimizer(**arguments), loss=loss)
    layer.fit(INPUTS, np.zeros((2, 1), np.float32), batch_size=2, shuffle=False, verbose=0)
    return _read_update(layer)


def _apply_in_replicas(place: Place, /, **arguments: Any) -> Array:
    """``optimizer.apply`` in ``strategy.run``, of the gradient of each replica's loss over their number."""
    strategy = _join_group(place)
    with strategy.scope():
        layer = _make_layer()
        optimizer = _make_optimizer(**arguments)
        optimizer.build(layer.trainable_variables)

    def step(inputs: Any) -> None:
        with tf.GradientTape() as tape:
            loss = _compute_mean(None, layer(inputs)) / strategy.num_replicas_in_sync
        optimizer.apply(tape.gradient(loss, layer.trainable_variables), layer.trainable_variables)

    _run_in_replicas(strategy, step)
    return _read_update(layer)


def _clip_after_reduction(place: Place, *, clip: str) -> Array:
    """``all_reduce`` the gradients, clip them by TensorFlow's function, give the optimizer each replica's share."""
    strategy = _join_group(place)
    with strategy.scope():
        layer = _make_layer()
        optimizer = _make_optimizer()
        optimizer.build(layer.trainable_variables)
    count = strategy.num_replicas_in_sync

    def step(inputs: Any) -> None:
        with tf.GradientTape() as tape:
            loss = _compute_mean(None, layer(inputs)) / count
        gradients = tape.gradient(loss, layer.trainable_variables)
        gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if clip == "norm":
            gradients, _ = tf.clip_by_global_norm(gradients, THRESHOLD)
        else:
            gradients = [tf.clip_by_value(gradient, -THRESHOLD, THRESHOLD) for gradient in gradients]
        # The optimizer takes the sum over replicas of what it is given.
        optimizer.apply([gradient / count for gradient in gradients], layer.trainable_variables)

    _run_in_replicas(strategy, step)
    return _read_update(layer)


def _run_in_replicas(strategy: Any, step: Any) -> None:
    """Run a step in every replica, each on its part of the batch, [1, 2]."""
    parts = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(INPUTS[context.replica_id_in_sync_group][None])
    )
    tf.function(lambda: strategy.run(step, args=(parts,)))()


def _accumulate(place: Place, /, **arguments: Any) -> Array:
    """``model.fit`` with ``gradient_accumulation_steps=2`` of the optimizer, one sequence a batch."""
    del place
    layer = _make_layer()
    layer.compile(optimizer=_make_optimizer(gradient_accumulation_steps=2, **arguments), loss=_compute_losses)
    layer.fit(INPUTS, np.zeros((2, 1), np.float32), batch_size=1, shuffle=False, verbose=0)
    return _read_update(layer)


def _scale_loss(place: Place, /, **arguments: Any) -> Array:
    """``LossScaleOptimizer``, the clip an argument of the optimizer in it; it takes none of its own."""
    del place
    layer = _make_layer()
    optimizer = keras.optimizers.LossScaleOptimizer(_make_optimizer(**arguments), initial_scale=LOSS_SCALE)
    layer.compile(optimizer=optimizer, loss=_compute_losses)
    layer.fit(INPUTS, np.zeros((2, 1), np.float32), batch_size=2, shuffle=False, verbose=0)
    return _read_update(layer)


def _clip_scaled(place: Place) -> Array:
    """A loop with ``LossScaleOptimizer.scale_loss`` that clips what the tape gives."""
    del place
    layer = _make_layer()
    optimizer = keras.optimizers.LossScaleOptimizer(_make_optimizer(), initial_scale=LOSS_SCALE)
    optimizer.build(layer.trainable_variables)
    with tf.GradientTape() as tape:
        loss = optimizer.scale_loss(_compute_mean(None, layer(tf.constant(INPUTS))))
    gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, layer.trainable_variables), THRESHOLD)
    optimizer.apply(gradients, layer.trainable_variables)
    return _read_update(layer)


def _accumulate_counts(place: Place, *, weighted: bool) -> Array:
    """``fit`` with ``sample_weight`` 0 where a row does not count: the mean over all rows, or over those that count.

    With `weighted` each row that counts weighs all rows over the counted ones of the update.
    """
    del place
    layer = _make_layer()
    layer.compile(optimizer=_make_optimizer(gradient_accumulation_steps=2), loss=_compute_losses)
    weights = MASKS.reshape(-1) * (MASKS.size / MASKS.sum() if weighted else 1)
    layer.fit(
        np.concatenate(UNEVEN),
        np.zeros((MASKS.size, 1), np.float32),
        sample_weight=weights,
        batch_size=3,
        shuffle=False,
        verbose=0,
    )
    return _read_update(layer)


_KERAS: dict[str, str] = {"global_clipnorm": "norm", "clipnorm": "variable", "clipvalue": "value"}
"""Keras' arguments that clip, and the kind of clip of each."""

UPDATES: tuple[OwnUpdate, ...] = (
    *(
        OwnUpdate(
            REPLICAS,
            f"`fit` in MirroredStrategy, `{argument}=1`",
            kind,
            functools.partial(_fit_mirrored, **{argument: THRESHOLD}),
        )
        for argument, kind in _KERAS.items()
    ),
    OwnUpdate(REPLICAS, "`fit` in MirroredStrategy, no clip, losses [batch]", "none", _fit_mirrored),
    OwnUpdate(
        REPLICAS,
        "`fit` in MirroredStrategy, no clip, a loss of one number",
        "none",
        functools.partial(_fit_mirrored, loss=_compute_mean),
    ),
    *(
        OwnUpdate(
            REPLICAS,
            f"MultiWorkerMirroredStrategy: `strategy.run`, `optimizer.apply`, `{argument}=1`",
            kind,
            functools.partial(_apply_in_replicas, **{argument: THRESHOLD}),
            2,
        )
        for argument, kind in _KERAS.items()
    ),
    *(
        OwnUpdate(
            REPLICAS,
            f"MultiWorkerMirroredStrategy: `all_reduce`, `{name}`, `optimizer.apply` of each replica's share",
            kind,
            functools.partial(_clip_after_reduction, clip=kind),
            2,
        )
        for name, kind in (("tf.clip_by_global_norm", "norm"), ("tf.clip_by_value", "value"))
    ),
    *(
        OwnUpdate(
            ACCUMULATION,
            f"`fit`, `gradient_accumulation_steps=2`, `{argument}=1`",
            kind,
            functools.partial(_accumulate, **{argument: THRESHOLD}),
        )
        for argument, kind in _KERAS.items()
    ),
    *(
        OwnUpdate(
            SCALE,
            f"LossScaleOptimizer of an optimizer with `{argument}=1`",
            kind,
            functools.partial(_scale_loss, **{argument: THRESHOLD}),
        )
        for argument, kind in _KERAS.items()
    ),
    OwnUpdate(
        SCALE, "LossScaleOptimizer in a loop: `tf.clip_by_global_norm` of the tape's gradient", "norm", _clip_scaled
    ),
    OwnUpdate(
        COUNTS,
        "`fit`, `gradient_accumulation_steps=2`, `sample_weight` 0 where nothing counts",
        "none",
        functools.partial(_accumulate_counts, weighted=False),
    ),
    OwnUpdate(
        COUNTS,
        "`fit`, `gradient_accumulation_steps=2`, `sample_weight` rows over counted rows of the update",
        "none",
        functools.partial(_accumulate_counts, weighted=True),
    ),
)
