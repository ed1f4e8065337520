"""Record the gradient norms of ``model.fit`` in Keras 3, before and after the clip.

    optimizer = farreach.keras.recorded(keras.optimizers.Adam(1e-3, global_clipnorm=5.0))
    model.compile(optimizer, loss="mse")
    model.fit(inputs, targets, callbacks=[farreach.keras.Recorder("results/runs/mine", "my lstm")])

The optimizer is wrapped, so that the norms are computed inside the compiled step (eager, graph or XLA) and wait
there, in a variable of some 256 rows; the callback reads it after steps 1, 2, 4 and so on, and every 100th. The loss is
each batch's own, not the running mean that Keras prints. A ``train_step`` of one's own is recorded too: its loss where
it calls ``optimizer.scale_loss(loss)``, and a clip that it does itself where that is ``optimizer.clip_norm(gradients,
5.0)``. A loop without ``fit`` uses `Loop`. Under a strategy of several replicas the norms are those of their sum.

Backends: TensorFlow and PyTorch. Not JAX, whose ``fit`` hands the loss to the optimizer where nothing can be kept.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, Unpack

import keras
from keras import ops

from farreach.curves import Curves, Settings, Step
from farreach.flow import Flow
from farreach.keras_flow import measure_flow
from farreach.keras_optimizer import SIZE, Recorded, clip_of, recorded
from farreach.recording import Recording
from farreach.warned import ClipWarning, NoGradientWarning

__all__ = ["ClipWarning", "Flow", "Loop", "NoGradientWarning", "Recorded", "Recorder", "measure_flow", "recorded"]

ZERO = (
    "in some step every gradient was exactly zero, so that the clip changed nothing: does the loss depend on the model?"
)
CHANGED = (
    "this optimizer's clip was changed after its step was compiled, which does not notice: compile the model again"
)

LOSSLESS = (
    "the model's own train_step never calls optimizer.scale_loss(loss), so the loss is not recorded: write "
    "loss = self.optimizer.scale_loss(loss) before tape.gradient"
)
LOST = "{} steps came before the last were read, and are lost"
UNPAIRED = (
    "recorder.step(loss) was called {} times for {} updates, which are recorded without a loss: call it once for each"
)
REPLICAS = (
    "Keras clips the gradient of each of the {} replicas alone and then adds them up: the threshold is that of a part, "
    "and the norm of what is used may differ from it"
)

CELLS = {"simplernn": "rnn", "lstm": "lstm", "gru": "gru", "simplernncell": "rnn", "lstmcell": "lstm", "grucell": "gru"}


class Run(Recording):
    """One run of a `recorded` optimizer: what waits in its variable is read now and then.

    Args:
        optimizer: the recorded optimizer.
        curves: where it is written.
        every: steps between two flushes, at most `SIZE`.

    """

    def __init__(self, optimizer: Recorded, curves: Curves, every: int) -> None:
        super().__init__(curves, every)
        self.optimizer = optimizer
        self._read = int(ops.convert_to_numpy(optimizer.count))
        self._losses: list[Any] | None = None  # those that a loop gives, since the last flush

    def note_batches(self, batches: int) -> None:
        """Note that so many batches were trained on, and read what waits where there is much of it."""
        self._count += batches
        if self._is_due() or self._count + batches - self._flushed > SIZE:
            self.flush()

    def keep_loss(self, loss: Any) -> None:
        """Keep the loss of an update of a loop."""
        shape = tuple(getattr(loss, "shape", ()))
        if math.prod(shape) != 1:
            message = f"the loss must be one number, not a tensor of shape {shape}: give its mean"
            raise ValueError(message)
        self._losses = [*(self._losses or []), loss]
        self.note_batches(1)

    def _flush(self) -> None:
        optimizer, self._flushed = self.optimizer, self._count
        count, log = int(ops.convert_to_numpy(optimizer.count)), ops.convert_to_numpy(optimizer.log)
        lost, rows = (
            count - self._read - SIZE,
            [log[at % SIZE].tolist() for at in range(max(self._read, count - SIZE), count)],
        )
        losses, self._losses, self._read = self._losses, None if self._losses is None else [], count
        if lost > 0:
            self._warner.warn(LOST.format(lost), optimizer.line)
        found: list[float | None] = [row[0] if optimizer.has_loss else None for row in rows]
        if losses is not None:
            same = len(losses) == len(rows)
            found = [float(ops.convert_to_numpy(loss).reshape(())) for loss in losses] if same else [None] * len(rows)
            if not same:
                self._warner.warn(UNPAIRED.format(len(losses), len(rows)), optimizer.line)
        elif rows and not optimizer.has_loss:
            self._warner.warn(LOSSLESS, optimizer.line)
        if optimizer.compiled is not None:
            self.curves.clips(*optimizer.compiled)
            if any(before == 0 for _, before, _, _ in rows):
                self._warner.warn(ZERO, optimizer.line, NoGradientWarning)
            elif optimizer.compiled != (optimizer.by_hand or clip_of(optimizer.inner)):
                self._warner.warn(CHANGED, optimizer.line)
            if optimizer.replicas > 1 and optimizer.compiled[0] != "none":
                self._warner.warn(REPLICAS.format(optimizer.replicas), optimizer.line)
        self.curves.add(Step(loss, *row[1:]) for loss, row in zip(found, rows, strict=True))


class Recorder(keras.callbacks.Callback):  # type: ignore[misc]
    """Reads what a `recorded` optimizer keeps and writes it; one ``fit`` is one run.

    Args:
        folder: the result folder, such as ``results/runs/mine``; it may hold other runs.
        name: the run's name; runs with one name stand side by side in the report, by clip and seed.
        every: steps between two flushes, at most `SIZE`.
        probe: measures the gradient through time, before training and after every epoch; such as
            ``lambda: measure_flow(model, find_loss, inputs)``.
        settings: what the report should show, see `farreach.Settings`; cell, optimizer and learning rate are
            read from the model where they are not given.

    Raises:
        ValueError: an empty name, a task that is not one word; at the start of ``fit``, an optimizer that is not
            `recorded`. After the first step nothing raises: the recorder warns once, stops and keeps what it has.
        OSError: a folder that cannot be written.

    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        name: str,
        *,
        every: int = 100,
        probe: Callable[[], Flow] | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__()
        self.probe = probe
        if not 1 <= every <= SIZE:
            message = f"every must lie between 1 and {SIZE}, not {every}"
            raise ValueError(message)
        self.folder, self.name, self.every, self.settings = folder, name, every, settings
        self.run: Run | None = None
        self.path: Path | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin a run; one that a ``fit`` left open, which was interrupted, is closed."""
        del logs
        self.close()
        optimizer = self.model.optimizer
        if not isinstance(optimizer, Recorded):
            message = (
                f"the model's optimizer is a {type(optimizer).__name__}: "
                "compile it with farreach.keras.recorded(optimizer), and without loss scaling"
            )
            raise ValueError(message)  # noqa: TRY004 - the type is right, its use is not
        if self.model.steps_per_execution > SIZE:
            message = f"steps_per_execution must be at most {SIZE} to be recorded, not {self.model.steps_per_execution}"
            raise ValueError(message)
        settings = self.settings.copy()
        kinds = [type(part).__name__.lower() for part in self.model._flatten_layers()]  # noqa: SLF001
        settings.setdefault("cell", next((CELLS[kind] for kind in kinds if kind in CELLS), "unknown"))
        plain, compiled = ("graph", "xla") if keras.backend.backend() == "tensorflow" else ("eager", "compiled")
        how = "eager" if self.model.run_eagerly else compiled if self.model.jit_compile else plain
        curves = begin_curves(
            optimizer, self.folder, self.name, settings, how=how, device=device_of(self.model.weights)
        )
        self.run = Run(optimizer, curves, self.every)
        self._measure()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Measure the gradient through time, where that is wanted."""
        del epoch, logs
        self._measure()

    def _measure(self) -> None:
        if self.run is not None and self.probe is not None:
            self.run.note_flow(self.probe())

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Read the optimizer's variable when enough steps wait there."""
        del batch, logs
        if self.run is not None:
            self.run.note_batches(int(self.model.steps_per_execution))

    def on_train_end(self, logs: Any = None) -> None:
        """Write what is left and the row."""
        del logs
        self.close()

    def close(self) -> Path | None:
        """Write what is left and the row, as the end of ``fit`` does; return the row's path, None without steps."""
        if self.run is not None:
            self.path, self.run = self.run.close(), None
        return self.path


class Loop:
    """Writes what a `recorded` optimizer keeps in a loop of one's own; call `step` after each update.

    Args:
        optimizer: the recorded optimizer, whose ``apply`` or ``apply_gradients`` the loop calls, compiled or not.
        folder, name, every, settings: as a `Recorder` has them.

    """

    def __init__(
        self,
        optimizer: Recorded,
        /,
        folder: str | os.PathLike[str],
        name: str,
        *,
        every: int = 100,
        **settings: Unpack[Settings],
    ) -> None:
        if not 1 <= every <= SIZE:
            message = f"every must lie between 1 and {SIZE}, not {every}"
            raise ValueError(message)
        curves = begin_curves(optimizer, folder, name, settings, how="loop", device=device_of([optimizer.log]))
        self.run = Run(optimizer, curves, every)

    def step(self, loss: Any) -> None:
        """Record one update, with its batch's loss, one number."""
        self.run._try(self.run.keep_loss, loss)  # noqa: SLF001 - of this module

    def close(self) -> Path | None:
        """Write what is left and the row; return the row's path, None without steps."""
        return self.run.close()

    def __enter__(self) -> Self:
        """Return the recorder."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close, also where the loop was interrupted: what was recorded until then is kept."""
        self.close()


def begin_curves(
    optimizer: Recorded, folder: str | os.PathLike[str], name: str, settings: Settings, *, how: str, device: str
) -> Curves:
    """Return the curves of a run, with what the optimizer says of itself."""
    settings.setdefault("optimizer", type(optimizer.inner).__name__.lower())
    settings.setdefault("learning_rate", float(f"{float(ops.convert_to_numpy(optimizer.learning_rate)):.7g}"))
    facts = {"framework": "keras", "framework_version": keras.__version__, "threads": None}
    facts |= {"path": f"{keras.backend.backend()} {how}", "device": device, "dtype": keras.config.floatx()}
    return Curves(folder, name, settings, facts, warner=optimizer.warner)


def device_of(weights: list[Any]) -> str:
    """Return ``cpu`` or ``cuda``: where the first weight lies."""
    place = str(getattr(weights[0].value, "device", "")).lower() if weights else ""
    return "cuda" if "gpu" in place or "cuda" in place else "cpu"
