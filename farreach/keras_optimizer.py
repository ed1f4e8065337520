"""An optimizer of Keras 3 that keeps, inside the compiled step, the norms before and after its clip."""

from __future__ import annotations

import math
import threading
from typing import Any, Self

import keras
from keras import ops

from farreach.warned import ClipWarning, Warner, caller

SIZE = 256
"""Steps that wait in the optimizer's variable until they are read."""

EACH = (
    "clipnorm clips the gradient of each variable alone, and their norm together may exceed it; "
    "the textbook's clip is global_clipnorm"
)

CLIPS = {"clipnorm": "variable", "global_clipnorm": "norm", "clipvalue": "value"}


def recorded(optimizer: Any) -> Recorded:
    """Return an optimizer that does what this one does, by this one, and keeps norms and losses for a `Recorder`.

    Raises ValueError for what would be recorded wrongly: the JAX backend, gradient accumulation, loss scaling.
    Warns where the optimizer has ``clipnorm``, the clip of each variable alone.
    """
    if keras.backend.backend() == "jax":
        message = "farreach.keras needs Keras on TensorFlow or PyTorch: on JAX the loss of a step cannot be kept"
        raise ValueError(message)
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        message = "loss scaling (mixed_float16) is not recorded: its gradients are scaled"
        raise TypeError(message)
    for name in ("gradient_accumulation_steps", "loss_scale_factor"):
        if getattr(optimizer, name, None) is not None:
            message = f"{name} is not recorded: the gradients of a step are not what is clipped"
            raise ValueError(message)
    whole = Recorded(optimizer)
    if clip_of(optimizer)[0] == "variable":
        whole.warner.warn(EACH, whole.line, ClipWarning)
    return whole


class _Now(threading.local):
    """What belongs to the step that is being computed; each replica computes it in a thread of its own."""

    def __reduce__(self) -> Any:
        """Return what copies it: nothing of a step."""
        return (_Now, ())


@keras.saving.register_keras_serializable(package="farreach")
class Recorded(keras.optimizers.Optimizer):  # type: ignore[misc]
    """An optimizer around another one; make it by `recorded`. A saved model loads where `farreach.keras` is imported.

    Attributes:
        inner: the user's optimizer, which clips and updates.
        log: the last `SIZE` steps, [SIZE, 4]: loss, norm before, norm after, share of elements clipped.
        count: updates done since it was made, an integer variable.

    """

    def __init__(self, inner: Any, name: str | None = None) -> None:
        super().__init__(learning_rate=0.0, name=name or f"recorded_{inner.name}")
        self.inner = inner
        self.warner, self.line = Warner(), caller()
        self.has_loss = False
        self.compiled: tuple[str, float] | None = None
        self.floats = "float64" if keras.config.floatx() == "float64" else "float32"
        self.by_hand: tuple[str, float] | None = None
        self._now = _Now()
        self.replicas = count_replicas()
        same = {"aggregation": "only_first_replica"}
        self.log = self.add_variable((SIZE, 4), dtype=self.floats, name="log", **same)
        self.count = self.add_variable((), dtype="int32", name="count", **same)
        self.loss = self.add_variable((), dtype=self.floats, name="loss", **same)

    def build(self, variables: list[Any]) -> None:
        """Build the inner optimizer for these variables."""
        self.inner.build(variables)
        super().build(variables)

    @property
    def variables(self) -> list[Any]:
        """The variables of both."""
        return [*super().variables, *self.inner.variables]

    def scale_loss(self, loss: Any) -> Any:
        """Keep the batch's loss, which Keras hands to its optimizer on the way to the gradient."""
        self.has_loss = True
        now = ops.cast(ops.stop_gradient(loss), self.floats)
        if self.replicas > 1:
            self._now.loss = now
        else:
            self.loss.assign(now)
        return self.inner.scale_loss(loss)

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Keep the norms of these gradients, then let the inner optimizer clip and update."""
        grads = [*grads]
        if not self.built and trainable_variables is not None:
            self.build([*trainable_variables])
        self.compiled = clip_of(self.inner)
        present = [grad for grad in grads if grad is not None]
        own = self._now.__dict__.pop("own", None)
        if present:
            clipped = self.inner._clip_gradients(present)  # noqa: SLF001 - the clip itself, which no public name reaches
            before, after = ([dense(one, self.floats) for one in several] for several in (present, clipped))
            share = share_of([one.values if sliced(one) else one for one in present], before, after, self.compiled)
            norm, loss = norm_of(before), self._now.__dict__.pop("loss", None)
            loss = ops.convert_to_tensor(self.loss) if loss is None else loss
            if own is not None:
                norm, share = own
                self.compiled = self.by_hand
            if self.replicas > 1:  # each clips its own gradient, and what they leave is summed up
                before, after, share, loss = self._sum_replicas(before, after, share, loss)
                norm = norm_of(before) if own is None else norm
            figures = [loss, norm, norm_of(after), share]
            row = ops.reshape(ops.stack([ops.cast(figure, self.floats) for figure in figures]), (1, 4))
            at = ops.mod(ops.convert_to_tensor(self.count), SIZE)
            self.log.assign(ops.slice_update(ops.convert_to_tensor(self.log), (at, 0), row))
            self.count.assign_add(1)
        self.inner.apply(grads, trainable_variables)

    def clip_norm(self, grads: Any, limit: float) -> list[Any]:
        """Return gradients clipped by their norm, all together, as ``tf.clip_by_global_norm`` does, recorded.

        It is for a loop or a ``train_step`` that clips by hand, before ``apply`` or ``apply_gradients``.
        """
        grads = [*grads]
        norm = norm_of([dense(grad, self.floats) for grad in grads if grad is not None])
        self._now.own = (norm, ops.cast(norm > limit, self.floats))
        self.by_hand = ("norm", float(limit))
        scale = limit / ops.maximum(norm, limit)
        return [grad if grad is None else grad * ops.cast(scale, grad.dtype) for grad in grads]

    def _sum_replicas(self, before: list[Any], after: list[Any], share: Any, loss: Any) -> tuple[Any, Any, Any, Any]:
        """Return what the replicas have together: gradients and losses are shares of a sum, the share of a mean."""
        import tensorflow as tf  # noqa: PLC0415 - there are replicas, so it is there

        context = tf.distribute.get_replica_context()
        parts = context.all_reduce(tf.distribute.ReduceOp.SUM, [*before, *after, share / self.replicas, loss])
        return parts[: len(before)], parts[len(before) : -2], parts[-2], parts[-1]

    @property
    def iterations(self) -> Any:
        """The inner optimizer's count of updates."""
        return self.inner.iterations

    @property
    def learning_rate(self) -> Any:
        """The inner optimizer's learning rate."""
        return self.inner.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        self.inner.learning_rate = learning_rate

    def finalize_variable_values(self, var_list: Any) -> None:
        """Let the inner optimizer finish, such as by its moving average."""
        self.inner.finalize_variable_values(var_list)

    def get_config(self) -> dict[str, Any]:
        """Return the inner optimizer, serialised, and the name."""
        return {"name": self.name, "inner": keras.saving.serialize_keras_object(self.inner)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Return the optimizer that `get_config` described."""
        return cls(keras.saving.deserialize_keras_object(config["inner"], custom_objects), config["name"])


def clip_of(optimizer: Any) -> tuple[str, float]:
    """Return the optimizer's clip, ``none`` or a kind of `CLIPS`, and its threshold, infinite for none."""
    for name, kind in CLIPS.items():
        if getattr(optimizer, name, None):
            return kind, float(getattr(optimizer, name))
    return "none", float("inf")


def norm_of(gradients: list[Any]) -> Any:
    """Return the L2 norm over all gradients together, 0-d."""
    return ops.sqrt(sum(ops.sum(ops.square(gradient)) for gradient in gradients))


def share_of(seen: list[Any], before: list[Any], after: list[Any], clip: tuple[str, float]) -> Any:
    """Return the share of all elements that the clip changed, 0-d.

    Args:
        seen: the gradients as Keras clips them: for an embedding the values of its slices, repeats apart.
        before: the gradients, whole.
        after: the gradients after the clip, whole.
        clip: its kind and its threshold.

    """
    kind, threshold = clip
    floats = before[0].dtype
    sizes = [float(math.prod(one.shape)) for one in before]
    if kind == "value":
        changed = sum(ops.sum(ops.cast(a != b, floats)) for a, b in zip(before, after, strict=True))
    elif kind == "variable":
        over = [ops.cast(norm_of([one]) > threshold, floats) for one in seen]
        changed = sum(n * one for n, one in zip(sizes, over, strict=True))
    else:
        changed = sum(sizes) * ops.cast(norm_of(seen) > threshold, floats)
    return changed / sum(sizes)


def dense(gradient: Any, floats: str) -> Any:
    """Return a whole gradient; TensorFlow has that of an embedding as slices, whose repeated tokens are summed here."""
    if sliced(gradient):
        import tensorflow as tf  # noqa: PLC0415 - it is there, since the gradient is one of its own

        gradient = tf.convert_to_tensor(gradient)
    return ops.cast(gradient, floats)


def sliced(gradient: Any) -> bool:
    """Return whether a gradient is TensorFlow's slices of an embedding."""
    return hasattr(gradient, "dense_shape")


def count_replicas() -> int:
    """Return over how many replicas TensorFlow's strategy spreads a step; 1 without one."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf  # noqa: PLC0415 - it is there, since Keras runs on it

    return int(tf.distribute.get_strategy().num_replicas_in_sync)
