"""Record the gradient norms of a JAX loop that trains by Optax, before and after the clip.

    from farreach.jax import Recorder, clip_norm

    optimizer = optax.chain(clip_norm(5.0), optax.adam(1e-3))  # optax.clip_by_global_norm, recorded
    state = optimizer.init(params)
    with Recorder("results/runs/mine", "my lstm", cell="lstm", optimizer="adam", learning_rate=1e-3) as recorder:
        for batch in batches:
            params, state, loss = step(params, state, batch)  # jitted, with optimizer.update inside
            recorder.step(loss, state)

`clip_value` is ``optax.clip``; `recorded` takes any other transformation, and `record` clips nothing. The norms are
computed inside the compiled step and lie in the optimizer's state, where `Recorder.step` takes a copy of them, five
numbers that stay on the device until they are written. So it is with ``flax.nnx.Optimizer`` and with a ``TrainState``:
give ``optimizer.opt_state``. A loop inside ``jax.lax.scan`` returns `find_figures` of its state for each step, and
gives them to `Recorder.steps` together.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from farreach.curves import Curves, Settings, Step
from farreach.flow import Flow
from farreach.jax_recorded import (
    MISSING,
    Place,
    clip_norm,
    clip_value,
    find_figures,
    list_parts,
    list_places,
    record,
    recorded,
    unwrap,
)
from farreach.recording import CLOSED, Recording
from farreach.warned import ClipWarning, NoGradientWarning, caller

__all__ = [
    "ClipWarning",
    "Flow",
    "NoGradientWarning",
    "Recorder",
    "clip_norm",
    "clip_value",
    "find_figures",
    "measure_flow",
    "record",
    "recorded",
]

OFTEN = (
    "recorder.step(loss, state) came without an update since the last one, and nothing was recorded for it: call it "
    "once per update, with the state that the update returned"
)
SELDOM = "{} updates came without recorder.step(loss, state), and are not recorded"
AFTER = "this clip comes after the optimizer in optax.chain, so that it clips updates and not gradients: put it first"
PARTIAL = (
    "this clip lies outside optax.MultiSteps, so that it clips every micro-batch alone: give MultiSteps the whole chain"
)
ZERO = "in some step every gradient was exactly zero, so that the clip changed nothing: does the loss depend on them?"
SEVERAL = "several clips or thresholds in one run; the report names the last of them alone"


def measure_flow(
    find_loss: Callable[[jax.Array], jax.Array], inputs: jax.Array, *, scored: int = 1, time_axis: int = 1
) -> Flow:
    """Return the gradient of a loss through time, of the model's input: dL/dx_t.

    Args:
        find_loss: returns the loss for these inputs, one number; it is to count the last steps of the sequence alone.
        inputs: a batch, of floats: of tokens, the vectors of an embedding.
        scored: how many steps at the end the loss counts.
        time_axis: the axis of the inputs that is time.

    Raises:
        ValueError: fewer steps than `scored`.

    """
    length = inputs.shape[time_axis]
    if not 1 <= scored <= length:
        message = f"scored must lie between 1 and the {length} steps of the inputs, not {scored}"
        raise ValueError(message)
    away = tuple(axis for axis in range(inputs.ndim) if axis != time_axis % inputs.ndim)
    norms = jnp.sqrt(jnp.square(jax.grad(find_loss)(inputs)).sum(axis=away))
    return Flow(length - scored, {}, {}, norms.tolist())


class Recorder(Recording):
    """Writes what `recorded` transformations keep; see the top of this module.

    Args:
        folder: the result folder, such as ``results/runs/mine``; it may hold other runs.
        name: the run's name; runs with one name stand side by side in the report, by clip and seed.
        every: steps between two flushes, once there are so many.
        settings: what the report should show, see `farreach.Settings`.

    Raises:
        ValueError: an empty name, a task that is not one word; at the first step, a state without anything recorded,
            or a loss that is not one number. After it no step raises: the recorder warns once, stops and keeps what
            it has.
        OSError: a folder that cannot be written.

    """

    def __init__(
        self, folder: str | os.PathLike[str], name: str, *, every: int = 100, **settings: Unpack[Settings]
    ) -> None:
        device = {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())
        facts: dict[str, Any] = {
            "framework": "jax",
            "framework_version": jax.__version__,
            "path": "jit",
            "device": device,
        }
        facts |= {"dtype": None, "threads": None}
        super().__init__(Curves(folder, name, settings, facts), every)
        self._rows: list[tuple[Any, Any, Any]] = []  # loss, figures, whether the update was finite
        self._places: list[Place] = []
        self._last = 0.0  # count of the last update written

    def step(self, loss: Any, state: Any) -> None:
        """Record one update: its batch's loss, one number, and the optimizer's state after it."""
        if self._open:
            self._try(self._record, loss, state)
        else:
            self._warner.warn(CLOSED)

    def steps(self, losses: Any, figures: Any, state: Any) -> None:
        """Record the updates of a ``jax.lax.scan``: losses [N], `find_figures` of each [N, ...], and the last state."""
        self._try(self._begin, state)
        for loss, figure in zip(losses, figures, strict=True):
            self._try(self._keep, loss, figure, None)

    def _record(self, loss: Any, state: Any) -> None:
        if np.size(loss) != 1:
            message = f"the loss must be one number, not an array of shape {np.shape(loss)}: give its mean"
            raise ValueError(message)
        self._begin(state)
        finite = next((unwrap(part.last_finite) for part in list_parts(state) if hasattr(part, "last_finite")), None)
        kept = loss if isinstance(loss, jax.Array) else float(loss)
        self._keep(kept, find_figures(state), None if finite is None else jnp.copy(finite))

    def _begin(self, state: Any) -> None:
        if self._places:
            return
        self._places = list_places(state)
        if not self._places:
            raise ValueError(MISSING)
        line = caller()
        for place in self._places:
            if place.late:
                self._warner.warn(AFTER, line)
            if place.many:
                self._warner.warn(PARTIAL, line)
        self._line = line
        self.curves.facts["dtype"] = str(unwrap(self._places[0].state.figures).dtype)
        clips = [(place.state.kind, place.state.threshold, place.group) for place in self._places]
        groups = {group for *_, group in clips}
        named = dict.fromkeys(
            ("part" if len(groups) > 1 and kind == "norm" else kind, limit)
            for kind, limit, _ in clips
            if kind != "none"
        )
        differs = [self.curves.clips(*clip) for clip in named]
        if any(differs):
            self._warner.warn(SEVERAL, line)

    def _keep(self, loss: Any, figures: Any, finite: Any) -> None:
        self._rows.append((loss, figures, finite))
        self._count += 1
        if self._is_due():
            self._flush()

    def _flush(self) -> None:
        rows, self._rows, self._flushed = self._rows, [], self._count
        if not rows or not self._is_first():
            return
        self.curves.add(self._settle(jax.device_get(rows)))

    def _settle(self, rows: Sequence[tuple[Any, Any, Any]]) -> Iterator[Step]:
        for loss, figures, finite in rows:
            figure = np.asarray(figures, np.float64)
            count = figure[:, 0].max()
            if finite is not None and not finite:
                yield Step(_read(loss), math.inf, math.inf, 0.0, skipped=True)
                self._last = count
                continue
            if count == self._last:
                self._warner.warn(OFTEN, self._line)
                continue
            if self._last and count > self._last + 1:
                self._warner.warn(SELDOM.format(int(count - self._last - 1)), self._line)
            self._last = count
            step = self._combine(_read(loss), figure)
            if step.before == 0 and self.curves.clip != "none":
                self._warner.warn(ZERO, self._line, NoGradientWarning)
            yield step

    def _combine(self, loss: float, figure: Any) -> Step:
        """Return a step: in each group the norm before the first transformation and after the last, groups together."""
        groups: dict[tuple[str, ...], list[Any]] = {}
        for place, line in zip(self._places, figure, strict=True):
            groups.setdefault(place.group, []).append(line)
        before = math.hypot(*(lines[0][1] for lines in groups.values()))
        after = math.hypot(*(lines[-1][2] for lines in groups.values()))
        size = sum(lines[0][4] for lines in groups.values())
        changed = sum(min(sum(line[3] for line in lines), lines[0][4]) for lines in groups.values())
        return Step(loss, before, after, float(changed / size) if size else 0.0)

    def _is_first(self) -> bool:
        return jax.process_index() == 0


def _read(loss: Any) -> float:
    return float(np.asarray(loss).reshape(()))
