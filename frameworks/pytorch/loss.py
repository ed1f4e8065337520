"""The loss of a batch in PyTorch."""

from __future__ import annotations

import torch
from torch.nn import functional

from farreach.frameworks.base import Model


def compute_loss(model: Model, scores: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average the loss over the positions that count; scores [S, batch, outputs], mask [S, batch]."""
    if model.loss == "cross_entropy":
        each = functional.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="none").view_as(mask)
    else:
        each = (scores - targets).square().mean(dim=-1)
    return (each * mask).sum() / mask.sum()
