"""One update of a PyTorch loop: what the clips did to its gradients, and what its optimizers then used.

Everything here is one norm for each parameter, a tensor on the device; `settle_rows` turns many updates into figures at
once, which is when the device is waited for.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import torch

from farreach.curves import Step
from farreach.warned import Line

SAME, UNIFORM = 1e-3, 1e-2
"""How far norms at the clip and at the update may differ that are of one gradient, and their ratios of one scale."""

LATE, SCALED, ZERO, UNSEEN = "late", "scaled", "zero", "unseen"
"""What figures may show: backward() added after the clip; a loss scale stood on the gradient; there was no gradient at
all; without a clip that was seen, the gradient changed between backward() and the update."""


@dataclasses.dataclass(eq=False)
class Clip:
    """What one call of a clip function did.

    Attributes:
        kind: norm, value, or a norm of another order.
        threshold: its threshold.
        line: of the user's code.
        at: the places of its parameters that have a gradient.
        before: the norm of each of these gradients before it, [K].
        after: after it, [K]; None where it follows from the norm by which it decided.
        size: how many elements these gradients have together.
        total: the norm by which it decided, 0-d; of a clip by value, how many elements it changed.

    """

    kind: str
    threshold: float
    line: Line
    at: list[int]
    before: torch.Tensor
    after: torch.Tensor | None
    size: int
    total: torch.Tensor

    def find_after(self) -> torch.Tensor:
        """Return the norms after it, [K]."""
        return self.before * _find_scales(self.total, self.threshold) if self.after is None else self.after


def _find_scales(totals: torch.Tensor, thresholds: torch.Tensor | float) -> torch.Tensor:
    """Return what torch's clip by norm multiplies gradients by, without its sign: a threshold may be below 0."""
    return (thresholds / (totals + 1e-6)).clamp(max=1.0).abs()


@dataclasses.dataclass(eq=False)
class Use:
    """What one optimizer used.

    Attributes:
        at: the places of its parameters that have a gradient.
        norms: the norm of each, [K].
        sizes: how many elements these gradients have together.
        scale: what the optimizer divides them by, 0-d; None for nothing.
        found_inf: above 0 where the optimizer leaves its update out, 0-d; None where it never does.
        raw: the norms as the backward pass left them, [K]; None where that is not known.
        scaled: whether a loss scaler stepped it.

    """

    at: list[int]
    norms: torch.Tensor
    sizes: int
    scale: torch.Tensor | None = None
    found_inf: torch.Tensor | None = None
    raw: torch.Tensor | None = None
    scaled: bool = False


@dataclasses.dataclass(eq=False)
class Row:
    """A whole update: per parameter used, before, at the clip and at the update; [K] each.

    Attributes:
        loss: of the batch; None where nobody said it.
        at: the places of the parameters.
        before: norms before the first clip.
        clipped: norms after the last one; None where they follow from `before` and the one clip.
        used: norms of what the optimizers used.
        clips: those of it.
        size: how many elements the gradients have together.
        line: of the last clip; None without one.
        scaled: whether a loss scaler was at work.
        skip: above 0 where the update was left out; None where it was done.

    """

    loss: torch.Tensor | float | None
    at: list[int]
    before: torch.Tensor
    clipped: torch.Tensor | None
    used: torch.Tensor
    clips: Sequence[Clip]
    size: int
    line: Line | None
    scaled: bool
    skip: torch.Tensor | None


def compose_row(clips: Sequence[Clip], uses: Sequence[Use], loss: torch.Tensor | float | None) -> Row:
    """Put one update together; a parameter that no clip was given had the same gradient before and after."""
    first = uses[0]
    device, floats = first.norms.device, first.norms.dtype
    at = [place for use in uses for place in use.at]
    used = _join([_divide(use) for use in uses], device, floats)
    scaled = any(use.scaled for use in uses)
    scales = any(use.scale is not None for use in uses)
    size = max(sum(use.sizes for use in uses), 1)
    skips = [use.found_inf.reshape(()).to(device) for use in uses if use.found_inf is not None]
    skip = torch.stack(skips).max() if skips else None
    if len(clips) == 1 and clips[0].at == at and clips[0].after is None:
        return Row(loss, at, clips[0].before, None, used, clips, size, clips[0].line, scaled, skip)
    before = clipped = _join([use.norms for use in uses], device, floats) if clips and scales else used
    raw = [use.raw for use in uses if use.raw is not None]
    if not clips and not scaled and len(raw) == len(uses):
        before = clipped = _join(raw, device, floats)
    seen: set[int] = set()
    for clip in clips:
        if clip.at == at:
            before, clipped = (before if seen else clip.before), clip.find_after()
        else:
            places = {place: number for number, place in enumerate(at)}
            pairs = [(places[place], number) for number, place in enumerate(clip.at) if place in places]
            new = [(here, there) for here, there in pairs if at[here] not in seen]
            before, clipped = _put(before, clip.before, new), _put(clipped, clip.find_after(), pairs)
        seen |= {*clip.at}
    line = clips[-1].line if clips else None
    return Row(loss, at, before, clipped, used, clips, size, line, scaled, skip)


def name_clips(clips: Sequence[Clip], used: set[int]) -> list[tuple[str, float]]:
    """Return kind and threshold of an update's clips, each once.

    A clip by norm that leaves out a parameter that was updated is one of a part; where every parameter has one of its
    own, they are a clip of each variable alone.
    """
    by_norm = [clip for clip in clips if clip.kind != "value"]
    alone = len(by_norm) > 1 and len(used) > 1 and all(len(clip.at) == 1 for clip in by_norm)
    alone = alone and {clip.at[0] for clip in by_norm} >= used and all(clip.kind == "norm" for clip in by_norm)
    names = []
    for clip in clips:
        if not math.isfinite(clip.threshold):
            continue
        whole = clip.kind == "value" or used <= {*clip.at}
        kind = clip.kind if whole else "variable" if alone else "part"
        names.append((kind, clip.threshold))
    return [*dict.fromkeys(names)]


def settle_rows(rows: Sequence[Row]) -> list[tuple[Step, str | None]]:
    """Bring updates from the device; with each step stands what its figures show, one of those above, or nothing.

    Where the gradient at the update is not the one that the clip left, what the optimizer used is recorded. After a
    loss scale, which is one factor for all of them, the norm before the clip is that of the unscaled gradient; else the
    clip counts as none.
    """
    alike = itertools.groupby(rows, key=lambda row: (len(row.used), row.used.device, row.used.dtype))
    figures = [line for _, group in alike for line in _reduce([*group]).tolist()]
    losses, shares = read_losses([row.loss for row in rows]), _find_shares(rows)
    return [_settle(*one) for one in zip(rows, losses, shares, figures, strict=True)]


def _find_shares(rows: Sequence[Row]) -> list[float]:
    """Return the share of the elements that the clips of each update changed, those of all brought together."""
    shares = [0.0] * len(rows)
    groups: dict[tuple[torch.device, torch.dtype], list[tuple[int, Clip]]] = {}
    for number, row in enumerate(rows):
        for clip in row.clips:
            groups.setdefault((clip.total.device, clip.total.dtype), []).append((number, clip))
    for (device, kind), several in groups.items():
        found = torch.stack([clip.total.reshape(()) for _, clip in several])
        if (
            kind.is_floating_point
        ):  # torch scales by threshold / (norm + 1e-6) where that is below 1, in this arithmetic
            found = found + 1e-6 > torch.tensor([clip.threshold for _, clip in several], dtype=kind, device=device)
        for (number, clip), figure in zip(several, found.tolist(), strict=True):
            changed = figure if clip.kind == "value" else clip.size * figure
            shares[number] += changed / rows[number].size
    return [min(share, 1.0) for share in shares]


def _settle(row: Row, loss: float | None, share: float, figures: list[float]) -> tuple[Step, str | None]:
    before, clipped, used, low, high, skip = figures
    step = Step(loss, before, used, share, bool(skip))
    if skip or not (math.isfinite(before) and math.isfinite(used)):
        return step, None
    if max(abs(low - 1), abs(high - 1)) <= SAME and (clipped == 0) == (used == 0):
        return step, ZERO if before == 0 and row.line is not None else None
    if row.line is None:
        return step, UNSEEN
    if row.scaled and low > 0 and high / low - 1 <= UNIFORM:
        return step._replace(before=before * used / clipped), SCALED
    return step._replace(before=used, clipped=0.0), LATE


def read_losses(losses: Sequence[torch.Tensor | float | None]) -> list[float | None]:
    """Return losses as numbers, those on one device brought together."""
    tensors = [one for one in losses if isinstance(one, torch.Tensor)]
    if len({one.device for one in tensors}) > 1:
        tensors = [one.cpu() for one in tensors]
    tensors = [one.to(torch.float64) if _fits(one) else one for one in tensors]
    found = iter(torch.stack(tensors).tolist() if tensors else [])
    return [next(found) if isinstance(one, torch.Tensor) else one for one in losses]


def _fits(tensor: torch.Tensor) -> bool:
    return tensor.device.type != "mps"  # which has no float64


def _reduce(rows: Sequence[Row]) -> torch.Tensor:
    """Return [rows, 6]: norms before, at the clip and at the update; their least and largest ratio; skip."""
    before, used = (torch.stack([getattr(row, name) for row in rows]) for name in ("before", "used"))
    found = torch.stack([row.before if row.clipped is None else row.clipped for row in rows])
    nothing = torch.zeros((), device=used.device, dtype=used.dtype)
    totals = torch.stack([row.clips[0].total.to(nothing) if row.clipped is None else nothing for row in rows])
    thresholds = [row.clips[0].threshold if row.clipped is None else math.inf for row in rows]
    clipped = found * _find_scales(totals, torch.tensor(thresholds, device=used.device, dtype=used.dtype))[:, None]
    ratios = torch.where(clipped > 0, used / clipped, torch.ones_like(used))
    none = torch.zeros((), device=used.device)
    skip = torch.stack([none if row.skip is None else (row.skip > 0).to(none) for row in rows])
    norms = [torch.linalg.vector_norm(one, dim=1) for one in (before, clipped, used)]
    parts = [*norms, ratios.amin(dim=1), ratios.amax(dim=1), skip]
    kind = torch.float64 if _fits(used) else torch.float32
    return torch.stack([part.to(used.device, kind) for part in parts], dim=1)


def _divide(use: Use) -> torch.Tensor:
    return use.norms if use.scale is None else use.norms / use.scale.to(use.norms)


def _join(parts: list[torch.Tensor], device: torch.device, floats: torch.dtype) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat([part.to(device, floats) for part in parts])


def _put(into: torch.Tensor, values: torch.Tensor, pairs: list[tuple[int, int]]) -> torch.Tensor:
    """Return `into` with some places taken from `values`; pairs are (place, place in values)."""
    if not pairs:
        return into
    whole = torch.cat([into, values.to(into)])
    order = [*range(len(into))]
    for here, there in pairs:
        order[here] = len(into) + there
    return whole[torch.tensor(order).to(into.device, non_blocking=True)]
