"""Record the gradient norms of a PyTorch training loop, before and after the clip.

    with Recorder(model, "results/runs/mine", "my lstm", cell="lstm", optimizer="adam", learning_rate=1e-3) as recorder:
        for inputs, targets in batches:
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            recorder.clip_norm(5.0)  # torch's own clip_grad_norm_, watched
            optimizer.step()
            recorder.step(loss)

A loop that calls ``clip_grad_norm_`` or ``clip_grad_value_`` itself stays as it is inside
``with recorder.watching():``, with ``recorder.step(loss)`` after its ``optimizer.step()``. Several optimizers,
closures, loss scalers, accumulated batches and sharded parameters are recorded as they are; what is used wrongly is
named.

Figures stay on the device until `Recorder.flush`: no step waits for it but steps 1, 2, 4, 8 and so on, and every
100th. Needs PyTorch 2.6 or newer.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self, Unpack

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from farreach import torch_watch
from farreach.curves import Curves, Settings
from farreach.flow import Flow
from farreach.recording import CLOSED, Recording
from farreach.torch_flow import measure_flow
from farreach.torch_tracking import CURE, Tracker
from farreach.torch_updates import LATE, SCALED, UNSEEN, ZERO, Row, settle_rows
from farreach.warned import ClipWarning, Line, NoGradientWarning, caller

__all__ = ["ClipWarning", "Flow", "NoGradientWarning", "Recorder", "measure_flow"]

CHANGED = {
    LATE: f"this clip came too early: the gradients that optimizer.step() used are others, unclipped; {CURE}",
    SCALED: (
        "this clip met gradients that a loss scale stood on, so that its threshold was another one: call "
        "scaler.unscale_(optimizer) before it"
    ),
    UNSEEN: (
        "something that the recorder does not see changed the gradients between loss.backward() and optimizer.step(): "
        "a clip by hand, or one outside of recorder.watching(); the norm before is that after loss.backward()"
    ),
    ZERO: f"this clip changed nothing: every gradient was exactly zero; {CURE}",
}
SEVERAL = "several clips or thresholds in one run; the report names the last of them alone"
NOTHING = "no parameter has a gradient here: call recorder.step(loss) after optimizer.step() and before zero_grad()"
STRANGE = (
    "the optimizer that stepped has none of the recorder's parameters: make the recorder of the model that is trained, "
    "after it was wrapped"
)
OFTEN = (
    "recorder.step(loss) came without an update since the last one, and nothing was recorded for it: call it once per "
    "optimizer.step(), not once per batch that adds to the gradient"
)
EMPTY = "optimizer.step() found no gradient, and nothing was recorded for it: zero_grad() came after loss.backward()"
EARLY = (
    "recorder.step(loss) came before optimizer.step(): each loss is recorded with the update that followed it; call it "
    "after optimizer.step()"
)
SELDOM = "optimizer.step() came again without recorder.step(loss): these updates are recorded without a loss"
LOSSLESS = "the trainer says no loss of this update, so none is recorded: return it from the model or its training_step"
SHARDED = (
    "FullyShardedDataParallel keeps parts of flattened parameters, of which no norm can be told: use "
    "torch.distributed.fsdp.fully_shard"
)

CELLS = {"rnn": "rnn", "lstm": "lstm", "gru": "gru", "rnncell": "rnn", "lstmcell": "lstm", "grucell": "gru"}

ARGUMENTS = {
    "clip_grad_norm_": ("max_norm", "norm_type"),
    "clip_grad_value_": ("clip_value",),
    "clip_grads_with_norm_": ("max_norm", "total_norm"),
}
"""The arguments of torch's clip functions after the parameters, in their order, as far as they are looked at."""


class Recorder(Recording):
    """Records loss and gradient norms of a training loop, one `step` an update; see the top of this module.

    The norm is L2 over the gradients that the update used, together: of all the optimizers that step between two calls
    of `step`. It is taken before the first and after the last clip of these gradients; without a clip both are the norm
    that the optimizers used. The norm at the clip is held against that at the update: a clip that comes at the wrong
    time is warned about, by file and line. What is said of a run stands in its row, and the report begins with it.

    What is wrong from the start is refused at the first step. After it no step raises: the recorder warns once, stops
    and keeps what it has.

    Args:
        model: a module, or its parameters. Of a module they are taken at the first step, sharded or not.
        folder: the result folder, such as ``results/runs/mine``; it may hold other runs.
        name: the run's name; runs with one name stand side by side in the report, by clip and seed.
        every: steps between two flushes, once there are so many.
        per_layer: whether to write the norms of each parameter as well, to layers/KEY.csv.
        settings: what the report should show, see `farreach.Settings`; the cell is guessed for a module, optimizer and
            learning rate are read from the optimizer where they are not given.

    Raises:
        ValueError: no parameters, an empty name, a task that is not one word; at the first step, a loss that is not one
            number.
        OSError: a folder that cannot be written.

    """

    def __init__(
        self,
        model: torch.nn.Module | Iterable[torch.Tensor],
        folder: str | os.PathLike[str],
        name: str,
        *,
        every: int = 100,
        per_layer: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        self._per_layer = per_layer
        self._module = model if isinstance(model, torch.nn.Module) else None
        self.parameters = [*(model.parameters() if isinstance(model, torch.nn.Module) else model)]
        if not self.parameters:
            message = "there is no parameter to record"
            raise ValueError(message)
        if self._module is not None:
            kinds = [type(part).__name__ for part in self._module.modules()]
            if "FullyShardedDataParallel" in kinds:
                raise ValueError(SHARDED)
            cells = [CELLS[kind.lower()] for kind in kinds if kind.lower() in CELLS]
            settings.setdefault("cell", cells[0] if cells else "unknown")
        first = self.parameters[0]
        facts = {"framework": "pytorch", "framework_version": str(torch.__version__), "path": "eager", "threads": None}
        facts |= {"device": first.device.type, "dtype": str(first.dtype).removeprefix("torch.")}
        self._known: set[str] = {*settings}
        super().__init__(Curves(folder, name, settings, facts), every)
        self._rows: list[Row] = []
        self._rank = 0
        self._calls = 0  # of `step`
        self._by_hand = 0  # of them, those that no optimizer had stepped before
        self._early = False  # `step` comes before the optimizer's
        self._held: torch.Tensor | float | None = None  # the loss of a step that came early
        self._step_line: Line | None = None
        self._tracker = self._make_tracker()
        self._stops += [
            register_optimizer_step_pre_hook(lambda *call: self._try(self._note, "begin_step", *call)).remove,
            register_optimizer_step_post_hook(lambda *call: self._try(self._note, "end_step", *call)).remove,
            torch_watch.watch_scalers(lambda *call: self._try(self._note, "note_scaler", *call)),
        ]

    @property
    def updated(self) -> bool:
        """Whether an update has been done, or skipped by a loss scaler, since the last `step`."""
        return bool(self._tracker.uses)

    def clip_norm(self, max_norm: float, norm_type: float = 2.0, *, error_if_nonfinite: bool = False) -> torch.Tensor:
        """Call ``torch.nn.utils.clip_grad_norm_`` on all the parameters, recorded; return the norm before, 0-d."""
        named = {"norm_type": norm_type, "error_if_nonfinite": error_if_nonfinite}
        total: torch.Tensor = self._clip("clip_grad_norm_", self._list_parameters(), (max_norm,), named)
        return total

    def clip_value(self, clip_value: float) -> None:
        """Call ``torch.nn.utils.clip_grad_value_`` on all the parameters, recorded."""
        self._clip("clip_grad_value_", self._list_parameters(), (clip_value,), {})

    @contextmanager
    def watching(self) -> Iterator[Self]:
        """Record the calls of torch's clip functions inside the block, whoever makes them and by whatever name.

        These are ``clip_grad_norm_``, ``clip_grad_value_`` and ``clip_grads_with_norm_``. Calls on parameters that are
        not this recorder's pass through. A clip written by hand is told by what it did, and named.
        """
        with torch_watch.watch_clips(self._clip):
            yield self

    def step(self, loss: torch.Tensor | float) -> None:
        """Record one step: call it once an update, after ``optimizer.step()``, with the batch's loss, one number."""
        if not self._open:
            self._warner.warn(CLOSED)
            return
        self._try(self._record, loss)

    def note_update(self, loss: torch.Tensor | float | None) -> None:
        """Record the update that was done, for a trainer that says when; its loss may not be known."""
        self._calls += 1
        if loss is None:
            self._warner.warn(LOSSLESS)
        self._try(lambda: self._push(None if loss is None else read_loss(loss)))

    def _make_tracker(self) -> Tracker:
        tracker = Tracker(self.parameters, self._warner, self._begin_another, self._try)
        self._stops += tracker.watch_backward()
        return tracker

    def _follow(self) -> Tracker:
        """Return what follows the gradients; until the first event a module may still get other parameters."""
        if not self._tracker.is_started:
            if [*map(id, self._list_parameters())] != [*map(id, self._tracker.parameters)]:
                self._tracker = self._make_tracker()
            self._tracker.start(alone=not self._is_parallel())
        return self._tracker

    @staticmethod
    def _is_parallel() -> bool:
        """Return whether several processes train together: they add up gradients after the backward pass."""
        there = torch.distributed.is_available() and torch.distributed.is_initialized()
        return there and torch.distributed.get_world_size() > 1

    def _note(self, event: str, *call: Any) -> None:
        getattr(self._follow(), event)(*call)

    def _is_first(self) -> bool:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            self._rank = torch.distributed.get_rank()  # to the end, when the processes may have parted
        return self._rank == 0

    def _list_parameters(self) -> list[torch.Tensor]:
        if not self._tracker.is_started and self._module is not None:
            self.parameters = [*self._module.parameters()]
        return self.parameters

    def _clip(self, name: str, given: list[torch.Tensor], rest: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Clip by torch's own function and keep what it did; `NotImplemented` for parameters of others."""
        if not self._open:
            return torch_watch.call_plain(name, given, *rest, **named)
        tracker = self._try(self._follow)
        if tracker is not None and not tracker.is_ours(given):
            return NotImplemented
        values = dict(zip(ARGUMENTS[name], rest, strict=False)) | named
        clip = None
        if tracker is not None and ARGUMENTS[name][0] in values:
            threshold, order = float(values[ARGUMENTS[name][0]]), float(values.get("norm_type", 2.0))
            clip = self._try(tracker.begin_clip, name, given, threshold, order)
            if clip is None and self.curves.clip == "none":
                self.curves.clips("value" if name == "clip_grad_value_" else "norm", threshold)
        result = torch_watch.call_plain(name, given, *rest, **named)
        if clip is not None:
            total = values.get("total_norm", result)
            self._try(tracker.end_clip, clip, total)
        return result

    def _record(self, loss: Any) -> None:
        tracker, line = self._follow(), caller()
        tracker.forget_open_steps()
        loss = read_loss(loss)
        self._calls += 1
        if tracker.uses:
            if self._early:
                loss, self._held = self._held, loss
            self._push(loss)
        elif self._early:
            self._held = loss
        elif tracker.optimizer is not None:
            self._warner.warn(EMPTY if tracker.is_empty else OFTEN, line)
            tracker.is_empty = False
        elif tracker.use_all():  # no optimizer of torch.optim has stepped: the gradients are what they are now
            self._by_hand += 1
            tracker.note_gradients()
            self._push(loss)
        else:
            self._warner.warn(STRANGE if tracker.strange else NOTHING, line)
        self._step_line = line

    def _begin_another(self) -> None:
        """Record the update that no `step` has asked for."""
        if self._early:
            loss, self._held = self._held, None
            self._push(loss)
            return
        if self._calls:
            self._warner.warn(SELDOM, self._step_line)
        self._push(None)

    def _push(self, loss: torch.Tensor | float | None) -> None:
        tracker = self._follow()
        if self._by_hand and tracker.optimizer is not None:
            loss = self._reconsider(loss)
        row, clips = tracker.take_row(loss)
        self._rows.append(row)
        self._count += 1
        differs = [self.curves.clips(*clip) for clip in clips]
        if any(differs) and row.line is not None:
            self._warner.warn(SEVERAL, row.line)
        if self._is_due() and (not self._by_hand or len(self._rows) >= self.every):
            self._flush()

    def _reconsider(self, loss: torch.Tensor | float | None) -> torch.Tensor | float | None:
        """See that steps which were taken for updates by hand came before the optimizer's, or too often."""
        tracker = self._follow()
        alone = self._by_hand == 1 and len(self._rows) == 1
        if alone and tracker.is_same:
            self._early, self._held, loss = True, loss, self._rows[0].loss
        self._warner.warn(EARLY if self._early else OFTEN, self._step_line)
        self._count -= len(self._rows)
        self._rows, self._by_hand = [], 0
        return loss

    def _flush(self) -> None:
        rows, self._rows, self._flushed = self._rows, [], self._count
        if not rows or not self._is_first():
            return
        settled = settle_rows(rows)
        self._note_facts()
        if self._per_layer:
            self._write_layers(rows)
        self.curves.add(step for step, _ in settled)
        for row, (_, found) in zip(rows, settled, strict=True):
            if found is not None:
                kind = NoGradientWarning if found in {LATE, ZERO} else ClipWarning
                self._warner.warn(CHANGED[found], row.line or self._step_line, kind)

    def _write_layers(self, rows: list[Row]) -> None:
        """Append the norms of each parameter to layers/KEY.csv: before the clip and at the update."""
        names = [name for name, _ in self._module.named_parameters()] if self._module is not None else []
        names = names or [f"parameter{place}" for place in range(len(self.parameters))]
        lines = []
        for step, row in enumerate(rows, start=self.curves.steps + 1):
            cells = [""] * (2 * len(names))
            for place, before, used in zip(row.at, row.before.tolist(), row.used.tolist(), strict=True):
                cells[2 * place : 2 * place + 2] = repr(before), repr(used)
            lines.append([str(step), *cells])
        head = ["step", *(f"{name} {when}" for name in names for when in ("before", "after"))]
        self.curves.add_layers(head, lines)

    def _note_facts(self) -> None:
        tracker = self._follow()
        self.curves.measured["moved"] = tracker.measure_move()
        if tracker.optimizer is not None and "optimizer" not in self._known:
            self.curves.settings["optimizer"] = type(tracker.optimizer).__name__.lower()
        if len(tracker.rates) == 1 and "learning_rate" not in self._known:
            self.curves.settings["learning_rate"] = next(iter(tracker.rates))

    def _end(self) -> None:
        tracker = self._follow()
        if tracker.uses and (self._early or not self._calls):
            self._push(self._held)
        if self._count and not self._calls:
            self._warner.warn(
                f"recorder.step(loss) was never called: {self._count} updates are recorded without a loss"
            )
        self._flush()


def read_loss(loss: Any) -> torch.Tensor | float:
    """Return a loss as a number or a 0-d tensor on its device; raise ValueError for one that is not one number."""
    if isinstance(loss, torch.Tensor):
        if loss.numel() != 1:
            message = f"the loss must be one number, not a tensor of shape {tuple(loss.shape)}: give its mean"
            raise ValueError(message)
        whole: Any = loss.detach()
        whole = whole.full_tensor() if hasattr(whole, "full_tensor") else whole
        return whole.reshape(()).clone()  # type: ignore[no-any-return]
    try:
        return float(loss)
    except (TypeError, ValueError):
        message = f"the loss must be one number, not {type(loss).__name__}"
        raise ValueError(message) from None
