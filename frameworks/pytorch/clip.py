"""The clips in PyTorch; the definitions are those of `farreach.frameworks.base.Clip`."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from farreach.frameworks import base


def clip_gradients(
    kind: str,
    gradients: Sequence[torch.Tensor],
    threshold: float,
    *,
    weights: Sequence[torch.Tensor],
    names: Sequence[str],
    history: torch.Tensor,
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor, torch.Tensor]:
    """Clip the gradient; return it with the norm before, the norm after and the share of elements clipped.

    A norm that is not finite turns every gradient NaN, whether there is a clip or not. The threshold of ``autoclip`` is
    a percentile, and the history is updated in place.
    """
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    before = flat.square().sum().sqrt()
    poison = torch.where(before.isfinite(), 1.0, torch.nan).to(flat.dtype)
    if kind in {"variable", "agc"}:
        if kind == "variable":
            parts = _measure_variables(gradients, threshold, names)
        else:
            parts = _measure_units(gradients, threshold, weights, names)
        changed = torch.stack([(norm > limit).sum() * size for norm, limit, size in parts]).sum().to(flat.dtype)
        scales = [(limit / norm).clamp(max=1.0) * poison for norm, limit, _ in parts]
        scaled = [gradient * scale for gradient, scale in zip(gradients, scales, strict=True)]
        return scaled, before, compute_norm(scaled), changed / flat.numel()
    if kind == "value":
        clipped = (flat.abs() > threshold).to(flat.dtype).mean()
        flat = flat.clamp(-threshold, threshold) * poison
        after = flat.square().sum().sqrt()
    else:
        limit: torch.Tensor | float = torch.inf if kind == "backprop" else threshold  # the cuts of backprop are past
        if kind == "autoclip":
            limit = _remember_norm(history, before, threshold)
        scale = (limit / before).clamp(max=1.0) * poison
        clipped = (before > limit).to(flat.dtype)
        flat = flat * scale
        after = before * scale
    split = torch.split(flat, [gradient.numel() for gradient in gradients])
    return [part.view_as(like) for part, like in zip(split, gradients, strict=True)], before, after, clipped


def compute_norm(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the global norm: the root of the plain sum of squares over all gradients."""
    return torch.cat([gradient.flatten() for gradient in gradients]).square().sum().sqrt()


_Parts = list[tuple[torch.Tensor, torch.Tensor | float, int]]
"""For each gradient the norms of its parts that are clipped by themselves, their limits, and a part's elements."""


def _measure_variables(gradients: Sequence[torch.Tensor], threshold: float, names: Sequence[str]) -> _Parts:
    """Return norm and limit of every variable of the shared layout: there the gru's two biases are one."""
    norms = {name: torch.linalg.vector_norm(gradient) for name, gradient in zip(names, gradients, strict=True)}
    for name in names:
        if (twin := name.replace("bias_hh", "bias_ih")) != name:
            norms[name] = norms[twin] = torch.hypot(norms[name], norms[twin])
    return [(norms[name], threshold, gradient.numel()) for name, gradient in zip(names, gradients, strict=True)]


def _measure_units(
    gradients: Sequence[torch.Tensor], threshold: float, weights: Sequence[torch.Tensor], names: Sequence[str]
) -> _Parts:
    """Return norm and limit of every unit: a row of a kernel, which PyTorch keeps transposed, or a whole bias."""
    parts: _Parts = []
    for name, gradient, weight in zip(names, gradients, weights, strict=True):
        axis = 0 if name.startswith(("embedding", "positions")) else -1
        norm, size = (torch.linalg.vector_norm(tensor, dim=axis, keepdim=True) for tensor in (gradient, weight))
        limit = torch.inf if name.startswith("output") else threshold * size.clamp(min=base.LEAST_NORM)
        parts.append((norm, limit, gradient.shape[axis]))
    return parts


def _remember_norm(history: torch.Tensor, norm: torch.Tensor, percentile: float) -> torch.Tensor:
    """Add a norm to the history, in place; return the percentile of its norms, which are finite and ascending.

    What there is room for still is infinite. Each place keeps its norm, or takes the new one, or that of the place
    before: so the order stays without sorting.
    """
    fresh = torch.where(norm.isfinite(), norm, torch.inf)
    later = torch.maximum(history[:-1], history[1:].minimum(fresh))
    history.copy_(torch.cat([history[:1].minimum(fresh), later]))
    last = (history < torch.inf).sum() - 1
    at = last.double() * (percentile / base.WHOLE)
    low = at.floor().clamp(min=0)
    first, second = history.index_select(0, torch.stack([low, (low + 1).minimum(last)]).long().clamp(min=0))
    return torch.lerp(first, second, (at - low).to(history.dtype))
