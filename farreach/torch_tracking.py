"""What happens to the gradients of a PyTorch loop: clips, optimizers and loss scalers, in the order in which they come.

A gradient is known by its tensor and by torch's count of its changes in place. So it is known, without waiting for the
device, whether a clip met a gradient that an optimizer had used already, or whether a backward pass added to one that
had been clipped.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from farreach.torch_norms import (
    WHOLE,
    Mark,
    are_alike,
    is_added_to,
    is_unchanged,
    mark_gradient,
    measure_norms,
    measure_weights,
)
from farreach.torch_updates import Clip, Row, Use, compose_row, name_clips
from farreach.warned import NoGradientWarning, Warner, caller

CURE = "clip after loss.backward() and before optimizer.step()"
NONE = f"this clip changes nothing: none of its parameters has a gradient yet; {CURE}"
USED = f"this clip changes nothing that trains: optimizer.step() has already used these gradients; {CURE}"
PARTIAL = (
    "this clip came before the last backward pass of the update as well: the sum of a clipped and a new gradient was "
    "clipped again; clip once, after the last backward pass"
)
UNUSED = (
    "this clip counted gradients that no optimizer used in the step: they made its norm larger than that of the update"
)
HOOKED = (
    "some parameters have a gradient hook (register_hook): if it changes their gradient, as a clip does, that is not "
    "seen, and the norms are those after it"
)
SIGN = "a clip threshold that is not above 0 leaves no gradient, or turns it round"

Place = tuple[int, torch.Tensor]
"""The place of a parameter among those that are recorded, and its gradient."""


class Tracker:
    """Follows the gradients of some parameters.

    Args:
        parameters: those that are recorded.
        warner: says what is wrong.
        begin_another: is called where an optimizer begins an update before the last one was taken.
        attempt: calls a function, and keeps to itself what that raises later than at the first step.

    Attributes:
        clips: those whose gradients no optimizer has used yet.
        uses: what optimizers used in this update.
        optimizer: the last optimizer of ours that stepped; None before.
        strange: whether an optimizer has stepped that has none of the parameters.
        is_empty: whether one has stepped in this update that found no gradient.

    """

    def __init__(
        self,
        parameters: Sequence[torch.Tensor],
        warner: Warner,
        begin_another: Callable[[], None],
        attempt: Callable[..., Any],
    ) -> None:
        self.parameters = [*parameters]
        self.clips: list[Clip] = []
        self.uses: list[Use] = []
        self._bound: list[Clip] = []  # the clips of what was used
        self.optimizer: torch.optim.Optimizer | None = None
        self.strange = self.is_empty = False
        self.rates: set[float] = set()
        self._places = {id(parameter): place for place, parameter in enumerate(self.parameters)}
        self._warner, self._begin_another = warner, begin_another
        self._clipped: dict[int, Mark] = {}  # gradients as the last clip left them
        self._spent: dict[int, Mark] = {}  # gradients as the last update left them
        self._noted: dict[int, Mark] = {}  # gradients as they were at a call of `note_gradients`
        self._same: bool | None = None  # whether they were so at the next clip or update
        self._scaled = False  # a loss scaler is in its step now
        self._done = self._done_before = 0  # uses since the start, and at the begin of a scaler's step
        self._closures = 0  # optimizers that are in their step now and call a closure
        self._active: list[int] = []  # optimizers in their step now: a subclass may call its parent's
        self._raw: tuple[dict[int, int], torch.Tensor, list[weakref.ref[torch.Tensor]]] | None = None
        self._attempt, self._queued = attempt, False
        self._is_watched = False  # a backward pass has been seen
        self._stale: set[int] = set()  # gradients of before the last update: no backward pass has come since
        self._first: torch.Tensor | None = None  # a sample of the weights at the first event

    @property
    def is_started(self) -> bool:
        """Whether anything has happened yet."""
        return self._first is not None

    def start(self, *, alone: bool) -> None:
        """Note what the weights are before the first update.

        Args:
            alone: whether this process has the whole gradient after a backward pass: several add theirs up after it.

        """
        self._first = measure_weights(self.parameters)
        self._raw, self._is_watched = (self._raw, self._is_watched) if alone else (None, False)
        self._queued = self._queued or not alone  # which then queues nothing
        if any(parameter._backward_hooks for parameter in self.parameters):  # noqa: SLF001 - no public list is there
            self._warner.warn(HOOKED)

    def is_ours(self, parameters: Iterable[torch.Tensor]) -> bool:
        """Return whether any of these parameters is recorded."""
        return any(id(parameter) in self._places for parameter in parameters)

    def measure_move(self) -> float | None:
        """Return how far a sample of the weights has gone since the start, as a share of its norm."""
        if self._first is None:
            return None
        start = float(torch.linalg.vector_norm(self._first))
        way = float(torch.linalg.vector_norm(measure_weights(self.parameters) - self._first))
        return way / start if start > 0 and way < float("inf") else None

    def watch_backward(self) -> list[Callable[[], None]]:
        """Measure the gradients at the end of every backward pass from now on; return what ends that."""
        trained: list[Any] = [parameter for parameter in self.parameters if parameter.requires_grad]
        return [parameter.register_post_accumulate_grad_hook(self._queue).remove for parameter in trained]

    def _queue(self, _: torch.Tensor) -> None:
        if not self._queued:
            self._queued = True
            engine: Any = torch.autograd.Variable._execution_engine  # noqa: SLF001 - as torch's own parallel modules do
            engine.queue_callback(lambda: self._attempt(self._measure_raw))

    def _measure_raw(self) -> None:
        self._queued, self._raw, self._is_watched = False, None, True
        self._stale.clear()
        places = self._list_places(self.parameters)
        if places:
            order = {place: number for number, (place, _) in enumerate(places)}
            self._raw = order, measure_norms([grad for _, grad in places]), [weakref.ref(grad) for _, grad in places]

    def _take_raw(self, places: list[Place]) -> torch.Tensor | None:
        """Return the norms of these gradients at the end of the backward pass; None where they are others."""
        if self._raw is None:
            return None
        order, norms, there = self._raw
        if not all(place in order and there[order[place]]() is grad for place, grad in places):
            return None
        numbers = [order[place] for place, _ in places]
        if numbers == [*range(len(order))]:
            return norms
        return norms[torch.tensor(numbers).to(norms.device, non_blocking=True)]

    # Clips

    def begin_clip(self, name: str, given: list[torch.Tensor], threshold: float, order: float) -> Clip | None:
        """Note a clip that is about to be done; return None for one that changes nothing that trains.

        Args:
            name: of torch's function.
            given: its parameters.
            threshold: its threshold.
            order: the order of its norm.

        """
        line = caller()
        places = self._list_places(given)
        if threshold <= 0:
            self._warner.warn(SIGN, line)
        if not places or all(
            is_unchanged(grad, self._spent.get(place)) or place in self._stale for place, grad in places
        ):
            self._warner.warn(USED if places else NONE, line, NoGradientWarning)
            return None
        self._compare(places)
        changed = {place for place, grad in places if place in self._clipped and not self._is_clipped(place, grad)}
        added = [place for place, grad in places if is_added_to(grad, self._clipped.get(place))]
        if added and not self._closures and any({*clip.at} & {*added} for clip in self.clips):
            self._warner.warn(PARTIAL, line)
        self.clips = [clip for clip in self.clips if not {*clip.at} & changed]
        gradients = [grad for _, grad in places]
        before = measure_norms(gradients)  # anew: a loss scaler's unscale_ counts as no change in place
        total = before  # a clip by norm says its own when it is done
        kind = "value" if name == "clip_grad_value_" else "norm" if order == 2 else f"{order:g}-norm"  # noqa: PLR2004
        if kind == "value":
            with torch.no_grad():
                touched = [_localise((grad.abs() > threshold).sum()) for grad in gradients]
            total = torch.stack([one.to(before.device) for one in touched]).sum()
        size = sum(grad.numel() for grad in gradients)
        return Clip(kind, threshold, line, [place for place, _ in places], before, None, size, total)

    def end_clip(self, clip: Clip, total: torch.Tensor | None) -> None:
        """Note what the clip left; `total` is the norm by which it decided, None for a clip by value."""
        places = [(place, self._gradient(place)) for place in clip.at]
        gradients = [grad for _, grad in places]
        if total is None or not _is_whole(total) or gradients[0].dtype not in WHOLE or not are_alike(gradients):
            clip.after = measure_norms(gradients)
        if total is not None:
            clip.total = torch.as_tensor(_localise(total)).detach().clone()  # it is the user's to change
        self._clipped |= {place: mark_gradient(grad) for place, grad in places}
        self.clips.append(clip)

    # Optimizers

    def begin_step(self, optimizer: torch.optim.Optimizer, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Note that an optimizer is about to step: it uses what is there, unless a closure makes it first."""
        if not self.is_ours(_list_parameters(optimizer)):
            self.strange = True
            return
        self._active.append(id(optimizer))
        if self._active.count(id(optimizer)) > 1:
            return
        if _has_closure(arguments, named):
            self._closures += 1
        else:
            self._use(optimizer)

    def end_step(self, optimizer: torch.optim.Optimizer, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Note that an optimizer has stepped: with a closure, what it used last is there now."""
        if id(optimizer) not in self._active:
            return
        self._active.remove(id(optimizer))
        if id(optimizer) in self._active:
            return
        if _has_closure(arguments, named):
            self._closures -= 1
            self._use(optimizer)
        places = self._list_places(_list_parameters(optimizer))
        self._spent |= {place: mark_gradient(grad) for place, grad in places}
        self._stale |= {place for place, _ in places} if self._is_watched else set()
        for place, _ in places:
            self._clipped.pop(place, None)

    def note_scaler(self, optimizer: torch.optim.Optimizer, begins: bool) -> None:  # noqa: FBT001
        """Note that a loss scaler begins or ends a step; one that ends without the optimizer's has skipped it."""
        if not self.is_ours(_list_parameters(optimizer)):
            return
        if begins:
            self._scaled, self._done_before = True, self._done
        elif self._done == self._done_before:
            self.optimizer = optimizer
            self._use(optimizer, skipped=True)
            self._clipped.clear()
        self._scaled = begins

    def use_all(self) -> bool:
        """Take all gradients as they are now for what an update by hand used; return whether there are any."""
        places = self._list_places(self.parameters)
        if places:
            self._add_use(places)
        return bool(places)

    # Updates

    def forget_open_steps(self) -> None:
        """Note that no optimizer is in its step now: one that raised there has not said that it ended."""
        self._active, self._closures, self._scaled = [], 0, False

    def note_gradients(self) -> None:
        """Keep what the gradients are now, for `is_same`."""
        self._noted = {place: mark_gradient(grad) for place, grad in self._list_places(self.parameters)}
        self._same = None

    @property
    def is_same(self) -> bool:
        """Whether the gradients at the next clip or update were those that `note_gradients` had noted."""
        return bool(self._same)

    def take_row(self, loss: torch.Tensor | float | None) -> tuple[Row, list[tuple[str, float]]]:
        """Return the update and the kinds and thresholds of its clips, and begin a new one."""
        used = {place for use in self.uses for place in use.at}
        trained = {place for place in used if self.parameters[place].requires_grad}
        mine, self._bound = self._bound, []
        row = compose_row(mine, self.uses, loss)
        for clip in mine:
            if not {*clip.at} <= used:
                self._warner.warn(UNUSED, clip.line)
        self.uses, self.is_empty = [], False
        return row, name_clips(mine, trained)

    def _use(self, optimizer: torch.optim.Optimizer, *, skipped: bool = False) -> None:
        places = self._list_places(_list_parameters(optimizer))
        self._compare(places)
        if any({*use.at} & {place for place, _ in places} for use in self.uses):
            self._begin_another()
        self.optimizer = optimizer
        if not places:
            self.is_empty = not self.uses
            return
        scale, found_inf = (getattr(optimizer, name, None) for name in ("grad_scale", "found_inf"))
        self._add_use(places, scale, found_inf)
        if skipped:
            norms = self.uses[-1].norms
            self.uses[-1].found_inf = torch.ones((), device=norms.device)
        rates = (group.get("lr") for group in optimizer.param_groups)
        self.rates |= {float(rate) for rate in rates if isinstance(rate, int | float)}

    def _add_use(self, places: list[Place], scale: Any = None, found_inf: Any = None) -> None:
        gradients = [grad for _, grad in places]
        size = sum(grad.numel() for grad in gradients)
        self._done += 1
        places_used = {place for place, _ in places}
        self._bound += [clip for clip in self.clips if places_used & {*clip.at}]
        self.clips = [clip for clip in self.clips if not places_used & {*clip.at}]
        raw = None if self._bound or self._scaled else self._take_raw(places)  # a clip has measured them itself
        at, norms = [place for place, _ in places], measure_norms(gradients)
        self.uses.append(Use(at, norms, size, scale, found_inf, raw, self._scaled))

    def _compare(self, places: list[Place]) -> None:
        if self._noted and self._same is None:
            self._same = all(
                place not in self._noted or is_unchanged(grad, self._noted[place]) for place, grad in places
            )

    def _is_clipped(self, place: int, grad: torch.Tensor) -> bool:
        return is_unchanged(grad, self._clipped.get(place))

    def _list_places(self, parameters: Iterable[torch.Tensor]) -> list[Place]:
        """Return each of these parameters that is recorded and has a gradient, once."""
        found = {}
        for parameter in parameters:
            place = self._places.get(id(parameter))
            if place is not None and (grad := parameter.grad) is not None:
                found[place] = grad
        return [*found.items()]

    def _gradient(self, place: int) -> torch.Tensor:
        grad = self.parameters[place].grad
        assert grad is not None  # noqa: S101 - a clip takes no gradient away
        return grad


def _list_parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _has_closure(arguments: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Return whether a step was given a closure; its first argument is the optimizer."""
    return callable(named.get("closure", arguments[1] if len(arguments) > 1 else None))


def _is_whole(total: Any) -> bool:
    """Return whether the norm by which a clip decided says, with its threshold, what it multiplied the gradients by."""
    return type(total) is torch.Tensor and total.dtype in WHOLE and total.numel() == 1


def _localise(tensor: Any) -> torch.Tensor:
    """Return a figure of a sharded gradient as a plain tensor, the same in every process."""
    whole: torch.Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return whole
