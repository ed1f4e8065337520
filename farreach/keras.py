"""Record the gradient norms of ``model.fit`` in Keras 3, before and after the clip.

    optimizer = farreach.keras.recorded(keras.optimizers.Adam(1e-3, global_clipnorm=5.0))
    model.compile(optimizer, loss="mse")
    model.fit(inputs, targets, callbacks=[farreach.keras.Recorder("results/runs/mine", "my lstm")])

The optimizer is wrapped, so that the norms are computed inside the compiled step (eager, graph or XLA) and wait
there, in a variable of some 256 rows; the callback reads it every 100 steps. The loss is each batch's own, not
the running mean that Keras prints. Backends: TensorFlow and PyTorch. Not JAX, whose ``fit`` hands the loss to
the optimizer where nothing can be kept.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Self, Unpack

import keras
from keras import ops

from farreach.curves import ClipWarning, Curves, NoGradientWarning, Settings, Warner, caller

__all__ = ["ClipWarning", "NoGradientWarning", "Recorded", "Recorder", "recorded"]

SIZE = 256
"""Steps that wait in the optimizer's variable until they are read."""

EACH = (
    "clipnorm clips the gradient of each variable alone, and their norm together may exceed it; "
    "the textbook's clip is global_clipnorm"
)
ZERO = (
    "in some step every gradient was exactly zero, so that the clip changed nothing: does the loss depend on the model?"
)
CHANGED = (
    "this optimizer's clip was changed after its step was compiled, which does not notice: compile the model again"
)

CELLS = {"simplernn": "rnn", "lstm": "lstm", "gru": "gru", "simplernncell": "rnn", "lstmcell": "lstm", "grucell": "gru"}
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
        self.log = self.add_variable((SIZE, 4), dtype=self.floats, name="log")
        self.count = self.add_variable((), dtype="int32", name="count")
        self.loss = self.add_variable((), dtype=self.floats, name="loss")

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
        self.loss.assign(ops.cast(ops.stop_gradient(loss), self.floats))
        return self.inner.scale_loss(loss)

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Keep the norms of these gradients, then let the inner optimizer clip and update."""
        grads = [*grads]
        if not self.built and trainable_variables is not None:
            self.build([*trainable_variables])
        self.compiled = clip_of(self.inner)
        present = [grad for grad in grads if grad is not None]
        if present:
            clipped = self.inner._clip_gradients(present)  # noqa: SLF001 - the clip itself, which no public name reaches
            before, after = ([dense(one, self.floats) for one in several] for several in (present, clipped))
            share = share_of([one.values if sliced(one) else one for one in present], before, after, self.compiled)
            figures = [self.loss, norm_of(before), norm_of(after), share]
            row = ops.reshape(ops.stack([ops.cast(figure, self.floats) for figure in figures]), (1, 4))
            at = ops.mod(ops.convert_to_tensor(self.count), SIZE)
            self.log.assign(ops.slice_update(ops.convert_to_tensor(self.log), (at, 0), row))
            self.count.assign_add(1)
        self.inner.apply(grads, trainable_variables)

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


class Recorder(keras.callbacks.Callback):  # type: ignore[misc]
    """Reads what a `recorded` optimizer keeps and writes it; one ``fit`` is one run.

    Args:
        folder: the result folder, such as ``results/runs/mine``; it may hold other runs.
        name: the run's name; runs with one name stand side by side in the report, by clip and seed.
        every: steps between two flushes, at most `SIZE`.
        settings: what the report should show, see `farreach.Settings`; cell, optimizer and learning rate are
            read from the model where they are not given.

    Raises:
        ValueError: an empty name, a task that is not one word; at the start of ``fit``, an optimizer that is not
            `recorded`; in training, a loss that the optimizer never sees.
        OSError: a folder that cannot be written.

    """

    def __init__(
        self, folder: str | os.PathLike[str], name: str, *, every: int = 100, **settings: Unpack[Settings]
    ) -> None:
        super().__init__()
        if not 1 <= every <= SIZE:
            message = f"every must lie between 1 and {SIZE}, not {every}"
            raise ValueError(message)
        self.folder, self.name, self.every, self.settings = folder, name, every, settings
        self.curves: Curves | None = None
        self.path: Path | None = None
        self._read = self._batches = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin a run."""
        del logs
        optimizer = self.model.optimizer
        if not isinstance(optimizer, Recorded):
            message = (
                f"the model's optimizer is a {type(optimizer).__name__}: "
                "compile it with farreach.keras.recorded(optimizer), and without loss scaling"
            )
            raise ValueError(message)  # noqa: TRY004 - the type is right, its use is not
        settings = self.settings.copy()
        kinds = [type(part).__name__.lower() for part in self.model._flatten_layers()]  # noqa: SLF001
        settings.setdefault("cell", next((CELLS[kind] for kind in kinds if kind in CELLS), "unknown"))
        settings.setdefault("optimizer", type(optimizer.inner).__name__.lower())
        settings.setdefault("learning_rate", float(f"{float(optimizer.learning_rate):.7g}"))
        backend = keras.backend.backend()
        plain, compiled = ("graph", "xla") if backend == "tensorflow" else ("eager", "compiled")
        how = "eager" if self.model.run_eagerly else compiled if self.model.jit_compile else plain
        facts = {"framework": "keras", "framework_version": keras.__version__, "threads": None}
        facts |= {"path": f"{backend} {how}"}
        facts |= {"device": device_of(self.model), "dtype": keras.config.floatx()}
        self.curves = Curves(self.folder, self.name, settings, facts)
        self._read, self._batches = int(ops.convert_to_numpy(optimizer.count)), 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Read the optimizer's variable when enough steps wait there."""
        del batch, logs
        self._batches += 1
        together = self.model.steps_per_execution
        if (self._batches + 1) * together > min(self.every, SIZE - together):
            self.flush()

    def on_train_end(self, logs: Any = None) -> None:
        """Write what is left and the row."""
        del logs
        self.close()

    def flush(self) -> None:
        """Append the steps that wait in the optimizer to the curves."""
        optimizer, self._batches = self.model.optimizer, 0
        if self.curves is None:
            return
        count, log = int(ops.convert_to_numpy(optimizer.count)), ops.convert_to_numpy(optimizer.log)
        if count > self._read and not optimizer.has_loss:
            message = "the model's own train_step never calls optimizer.scale_loss(loss), so no loss can be recorded"
            raise ValueError(message)
        if count - self._read > SIZE:
            message = f"{count - self._read} steps since the last flush, and {SIZE} fit: use fewer steps_per_execution"
            raise ValueError(message)
        rows = [log[at % SIZE].tolist() for at in range(self._read, count)]
        self._read = count
        if optimizer.compiled is not None:
            self.curves.clips(*optimizer.compiled)
            if any(before == 0 for _, before, _, _ in rows):
                optimizer.warner.warn(ZERO, optimizer.line)
            elif optimizer.compiled != clip_of(optimizer.inner):
                optimizer.warner.warn(CHANGED, optimizer.line, ClipWarning)
        self.curves.add((loss, before, after, share) for loss, before, after, share in rows)

    def close(self) -> Path | None:
        """Write what is left and the row, as the end of ``fit`` does; return the row's path, None without steps."""
        if self.curves is not None:
            self.flush()
            self.path, self.curves = self.curves.close(), None
        return self.path


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


def device_of(model: Any) -> str:
    """Return ``cpu`` or ``cuda``: where the first weight lies."""
    place = str(getattr(model.weights[0].value, "device", "")).lower() if model.weights else ""
    return "cuda" if "gpu" in place or "cuda" in place else "cpu"
