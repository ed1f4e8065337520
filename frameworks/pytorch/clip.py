"""The clip in PyTorch, by norm or by value; the definitions are those of `farreach.frameworks.base.Clip`."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def clip_gradients(
    kind: str, gradients: Sequence[torch.Tensor], threshold: float
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor, torch.Tensor]:
    """Clip the gradient; return it with the norm before, the norm after and the share of elements clipped.

    A norm that is not finite turns every gradient NaN, whether there is a clip or not.
    """
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    before = flat.square().sum().sqrt()
    poison = torch.where(before.isfinite(), 1.0, torch.nan).to(flat.dtype)
    if kind == "value":
        clipped = (flat.abs() > threshold).to(flat.dtype).mean()
        flat = flat.clamp(-threshold, threshold) * poison
        after = flat.square().sum().sqrt()
    else:
        scale = (threshold / before).clamp(max=1.0) * poison
        clipped = (before > threshold).to(flat.dtype)
        flat = flat * scale
        after = before * scale
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    return [part.view_as(like) for part, like in zip(parts, gradients, strict=True)], before, after, clipped


def compute_norm(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the global norm: the root of the plain sum of squares over all gradients."""
    return torch.cat([gradient.flatten() for gradient in gradients]).square().sum().sqrt()
