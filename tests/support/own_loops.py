"""A small model for loops of every shape in PyTorch, and its norms, measured apart from the recorder."""

from __future__ import annotations

import math
from typing import Any

import torch

CLOSE = {"rel": 1e-6, "abs": 0}


def make_model(scale: float = 1.0) -> Any:
    """Return a small model of three parameters whose outputs are scaled."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1, bias=False))
    model.register_forward_hook(lambda *call: scale * call[-1])
    return model


def find_loss(model: Any, scale: float = 1.0) -> Any:
    """Return the loss of a model on a batch that is drawn."""
    return scale * (model(torch.rand(8, 3)) - 5).square().mean()


def measure(*models: Any) -> float:
    """Return the norm of all gradients of some models, apart from the recorder, in float64."""
    grads = [p.grad.double() for model in models for p in model.parameters() if p.grad is not None]
    return math.sqrt(sum(float((grad**2).sum()) for grad in grads))
