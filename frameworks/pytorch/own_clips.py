"""PyTorch's own clips; they work in place on the ``grad`` of parameters."""

from __future__ import annotations

from collections.abc import Callable

import torch

from farreach.frameworks.base import Array, Weights


def _parameters(gradients: list[Array | None]) -> list[torch.nn.Parameter]:
    parameters = [torch.nn.Parameter(torch.zeros(() if gradient is None else gradient.shape)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = None if gradient is None else torch.from_numpy(gradient.copy())
    return parameters


def _read(parameters: list[torch.nn.Parameter]) -> list[Array | None]:
    return [None if parameter.grad is None else parameter.grad.numpy() for parameter in parameters]


def _clip_grad_norm(gradients: list[Array | None], threshold: float) -> list[Array | None]:
    """``torch.nn.utils.clip_grad_norm_(parameters, max_norm)``."""
    parameters = _parameters(gradients)
    torch.nn.utils.clip_grad_norm_(parameters, threshold)
    return _read(parameters)


def _clip_grad_value(gradients: list[Array | None], threshold: float) -> list[Array | None]:
    """``torch.nn.utils.clip_grad_value_(parameters, clip_value)``."""
    parameters = _parameters(gradients)
    torch.nn.utils.clip_grad_value_(parameters, threshold)
    return _read(parameters)


CLIPS: dict[str, Callable[[list[Array | None], float], list[Array | None]]] = {
    "torch.nn.utils.clip_grad_norm_": _clip_grad_norm,
    "torch.nn.utils.clip_grad_value_": _clip_grad_value,
}

COUNTERPARTS: dict[str, tuple[str, Callable[[Weights, Weights, float], Weights]]] = {}
