"""PyTorch's own clips; they work in place on the ``grad`` of parameters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from farreach.frameworks.base import Array


def _parameters(gradients: list[Array]) -> list[torch.nn.Parameter]:
    parameters = [torch.nn.Parameter(torch.zeros(gradient.shape)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.from_numpy(gradient.copy())
    return parameters


def _read(parameters: list[torch.nn.Parameter]) -> list[Array]:
    return [parameter.grad.numpy() for parameter in parameters if parameter.grad is not None]


def _clip_grad_norm(gradients: list[Array], threshold: float) -> list[Array]:
    """``torch.nn.utils.clip_grad_norm_(parameters, max_norm)``."""
    parameters = _parameters(gradients)
    torch.nn.utils.clip_grad_norm_(parameters, threshold)
    return _read(parameters)


def _clip_grad_value(gradients: list[Array], threshold: float) -> list[Array]:
    """``torch.nn.utils.clip_grad_value_(parameters, clip_value)``."""
    parameters = _parameters(gradients)
    torch.nn.utils.clip_grad_value_(parameters, threshold)
    return _read(parameters)


CLIPS: dict[str, Callable[[list[Array], float], list[Array]]] = {
    "torch.nn.utils.clip_grad_norm_": _clip_grad_norm,
    "torch.nn.utils.clip_grad_value_": _clip_grad_value,
}


def clip_missing_gradient() -> str:
    """Clip a parameter whose gradient was never computed."""
    parameter = torch.nn.Parameter(torch.ones(3))
    norm = torch.nn.utils.clip_grad_norm_([parameter], 1.0)
    return f"clip_grad_norm_ before backward() returns {np.float32(norm):.1f} and says nothing"
