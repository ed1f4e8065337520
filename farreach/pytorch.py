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
``with recorder.watching():``, with ``recorder.step(loss)`` after its ``optimizer.step()``.

Figures stay on the device, as tensors, until `Recorder.flush`, every 100 steps: no step waits for the device.
Needs PyTorch 2.6 or newer.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from farreach.curves import ClipWarning, Curves, NoGradientWarning, Settings, Warner, caller

__all__ = ["ClipWarning", "NoGradientWarning", "Recorder"]

TORCH: dict[str, Callable[..., Any]] = {
    "norm": torch.nn.utils.clip_grad_norm_,
    "value": torch.nn.utils.clip_grad_value_,
}

CURE = "clip after loss.backward() and before optimizer.step()"
NONE = f"this clip changes nothing: none of its parameters has a gradient yet; {CURE}"
USED = f"this clip changes nothing that trains: optimizer.step() has already used these gradients; {CURE}"
LATE = f"this clip came too early: loss.backward() added to the gradients after it, unclipped; {CURE}"
ZERO = f"this clip changed nothing: every gradient was exactly zero; {CURE}"
SEVERAL = "several clips or thresholds in one run; the report names the last of them alone"
NOTHING = "no parameter has a gradient here: call recorder.step(loss) after optimizer.step() and before zero_grad()"

CELLS = {"rnn": "rnn", "lstm": "lstm", "gru": "gru", "rnncell": "rnn", "lstmcell": "lstm", "grucell": "gru"}

Line = tuple[str, int]


@dataclasses.dataclass
class Clipped:
    """What a clip did: norms before and after it, and the share of elements that it changed, 0-d tensors."""

    before: torch.Tensor
    after: torch.Tensor
    share: torch.Tensor
    line: Line | None


class Recorder:
    """Records loss and gradient norms of a training loop, one `step` an update; see the top of this module.

    The norm is L2 over the gradients of all the parameters given, together. It is taken before the first and
    after the last clip between a backward pass and the update; without a clip both are the norm that the
    optimizer used. A clip that comes at the wrong time is warned about, by file and line, and counts as none.

    Args:
        model: a module, or its parameters.
        folder: the result folder, such as ``results/runs/mine``; it may hold other runs.
        name: the run's name; runs with one name stand side by side in the report, by clip and seed.
        every: steps between two flushes.
        settings: what the report should show, see `farreach.Settings`; the cell is guessed for a module.

    Raises:
        ValueError: no parameters, an empty name, or a task that is not one word.
        OSError: a folder that cannot be written.

    """

    def __init__(
        self,
        model: torch.nn.Module | Iterable[torch.Tensor],
        folder: str | os.PathLike[str],
        name: str,
        *,
        every: int = 100,
        **settings: Unpack[Settings],
    ) -> None:
        self.parameters = [*(model.parameters() if isinstance(model, torch.nn.Module) else model)]
        if not self.parameters:
            message = "there is no parameter to record"
            raise ValueError(message)
        if isinstance(model, torch.nn.Module):
            cells = [CELLS[kind] for part in model.modules() if (kind := type(part).__name__.lower()) in CELLS]
            settings.setdefault("cell", cells[0] if cells else "unknown")
        first = self.parameters[0]
        self.curves = Curves(
            folder,
            name,
            settings,
            {
                "framework": "pytorch",
                "framework_version": str(torch.__version__),
                "path": "eager",
                "device": first.device.type,
                "dtype": str(first.dtype).removeprefix("torch."),
                "threads": None,
            },
        )
        self.every = every
        self._ours = {id(parameter) for parameter in self.parameters}
        self._warner = Warner()
        self._rows: list[tuple[torch.Tensor | float, Clipped]] = []
        self._pending: Clipped | None = None  # by the clips since the last backward pass
        self._applied: Clipped | None = None  # by what the optimizer used
        self._seen = False  # some backward pass has run; where none ever does, gradients are set by hand
        self._fresh = False  # a backward pass has run since the last clip
        self._used = False  # the optimizer has used these gradients
        trained = [parameter for parameter in self.parameters if parameter.requires_grad]
        self._hooks: list[Any] = [register_optimizer_step_pre_hook(self._on_update)]
        for parameter in trained:
            hook = parameter.register_post_accumulate_grad_hook(self._on_gradient)  # type: ignore[no-untyped-call]
            self._hooks.append(hook)

    def clip_norm(self, max_norm: float, norm_type: float = 2.0, *, error_if_nonfinite: bool = False) -> torch.Tensor:
        """Call ``torch.nn.utils.clip_grad_norm_`` on all the parameters, recorded; return the norm before, 0-d."""
        arguments = {"norm_type": norm_type, "error_if_nonfinite": error_if_nonfinite}
        total: torch.Tensor = self._clip(TORCH["norm"], "norm", self.parameters, max_norm, **arguments)
        return total

    def clip_value(self, clip_value: float) -> None:
        """Call ``torch.nn.utils.clip_grad_value_`` on all the parameters, recorded."""
        self._clip(TORCH["value"], "value", self.parameters, clip_value)

    @contextmanager
    def watching(self) -> Iterator[Self]:
        """Record the user's own calls of ``clip_grad_norm_`` and ``clip_grad_value_`` inside the block.

        Every loaded module that holds one of the two by name gets a watched one, and its own back afterwards.
        Calls on parameters that are not this recorder's pass through. What is not seen: a clip held by a closure
        or a default argument, ``clip_grads_with_norm_``, and clips written by hand.
        """
        changed: list[tuple[dict[str, Any], str, Any]] = []
        try:
            for kind, now in (("norm", torch.nn.utils.clip_grad_norm_), ("value", torch.nn.utils.clip_grad_value_)):
                watched = self._watched(kind, now)
                for module in [*sys.modules.values()]:
                    names = getattr(module, "__dict__", {})
                    for name in [name for name, value in [*names.items()] if value is now]:
                        changed.append((names, name, now))
                        names[name] = watched
            yield self
        finally:
            for names, name, before in changed:
                names[name] = before

    def step(self, loss: torch.Tensor | float) -> None:
        """Record one step: call it once an update, after ``optimizer.step()``, with the batch's loss, one number."""
        if self._applied is None:  # no optimizer of torch.optim has stepped: the gradients are what they are now
            if all(parameter.grad is None for parameter in self.parameters):
                self._warner.warn(NOTHING, caller())
            self._settle()
        if self._applied is not None:
            self._rows.append((loss.detach() if isinstance(loss, torch.Tensor) else float(loss), self._applied))
        self._applied = None
        if len(self._rows) >= self.every:
            self.flush()

    def flush(self) -> None:
        """Bring what is recorded from the device and append it to the curves; this waits for the device."""
        rows, self._rows = self._rows, []
        if not rows:
            return
        figures = torch.stack([torch.stack([seen.before, seen.after, seen.share]) for _, seen in rows]).tolist()
        tensors = [loss.reshape(()) for loss, _ in rows if isinstance(loss, torch.Tensor)]
        losses = iter(torch.stack(tensors).tolist() if tensors else [])
        found = [next(losses) if isinstance(loss, torch.Tensor) else loss for loss, _ in rows]
        self.curves.add((loss, *figure) for loss, figure in zip(found, figures, strict=True))
        for (_, seen), (before, _, _) in zip(rows, figures, strict=True):
            if seen.line is not None and before == 0:
                self._warner.warn(ZERO, seen.line)

    def close(self) -> Path | None:
        """Write what is left and the row, stop watching the parameters; return the row's path, None without steps."""
        for hook in self._hooks:
            hook.remove()
        self.flush()
        return self.curves.close()

    def __enter__(self) -> Self:
        """Return the recorder."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, also where the loop was interrupted: what was recorded until then is kept."""
        self.close()

    def _watched(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(parameters: Any, *arguments: Any, **named: Any) -> Any:
            given = [parameters] if isinstance(parameters, torch.Tensor) else [*parameters]
            if given and not any(id(parameter) in self._ours for parameter in given):
                return function(given, *arguments, **named)
            name = {"norm": "max_norm", "value": "clip_value"}[kind]
            limit, *rest = arguments or [named.pop(name)]
            return self._clip(function, kind, given, limit, *rest, **named)

        return watched

    def _clip(
        self,
        function: Callable[..., Any],
        kind: str,
        given: list[torch.Tensor],
        threshold: float,
        *rest: Any,
        **named: Any,
    ) -> Any:
        """Clip by torch's own function, and keep what it did if it came at its time."""
        line = caller()
        present = [parameter.grad for parameter in given if parameter.grad is not None]
        ours = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        whole = len(present) >= len(ours)
        if self.curves.clips("variable" if kind == "norm" and not whole else kind, float(threshold)):
            self._warner.warn(SEVERAL, line, ClipWarning)
        if not present or self._used:
            self._warner.warn(USED if present else NONE, line)
            return function(given, threshold, *rest, **named)
        if self._pending is None or self._fresh:
            before = norm_of(ours, self.parameters[0])
            self._pending = Clipped(before, before, torch.zeros_like(before), line)
        with torch.no_grad():
            touched = [(grad.abs() > threshold).sum() for grad in present] if kind == "value" else []
            total = function(given, threshold, *rest, **named)
            count = sum(grad.numel() for grad in ours)
            if kind == "value":
                share = torch.stack([one.to(touched[0].device) for one in touched]).sum() / count
            else:  # the condition under which torch scales: its factor is threshold / (norm + 1e-6)
                share = (total + 1e-6 > threshold) * (sum(grad.numel() for grad in present) / count)
            pending = self._pending
            pending.share = (pending.share + share.to(pending.share)).clamp(max=1.0)
            pending.after = norm_of(ours, self.parameters[0])
        pending.line, self._fresh = line, False
        return total

    def _settle(self) -> None:
        """Keep what the optimizer is about to use: the clip's figures, or the norm as it is where none came in time."""
        pending, self._pending = self._pending, None
        if pending is not None and self._fresh and pending.line is not None:
            self._warner.warn(LATE, pending.line)
            pending = None
        if pending is None:
            norm = norm_of([p.grad for p in self.parameters if p.grad is not None], self.parameters[0])
            pending = Clipped(norm, norm, torch.zeros_like(norm), None)
        self._applied, self._used, self._fresh = pending, self._seen, False

    def _on_gradient(self, _: torch.Tensor) -> None:
        self._seen, self._fresh, self._used = True, True, False

    def _on_update(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if any(id(parameter) in self._ours for group in optimizer.param_groups for parameter in group["params"]):
            self._settle()


@torch.no_grad()
def norm_of(gradients: list[torch.Tensor], like: torch.Tensor) -> torch.Tensor:
    """Return the L2 norm over all gradients together, 0-d, on their device; 0 where there are none.

    Half precision is summed in float32; a sparse gradient counts by its values.
    """
    if not gradients:
        return torch.zeros((), device=like.device, dtype=torch.promote_types(like.dtype, torch.float32))
    parts = [grad.coalesce().values() if grad.is_sparse else grad for grad in gradients]
    parts = [part.to(torch.promote_types(part.dtype, torch.float32)) for part in parts]
    return torch.nn.utils.get_total_norm(parts)
