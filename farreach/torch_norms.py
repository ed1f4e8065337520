"""Norms of PyTorch gradients, one for each parameter, on their device and without waiting for it."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch

SAMPLE = 1_024
"""Weights of each parameter whose way is followed."""

WHOLE = frozenset((torch.float32, torch.float64))
"""The types in which norms and the factor of a clip are as precise as the gradients are compared."""

Mark = tuple[weakref.ref[torch.Tensor], int]
"""A gradient as it was at a moment: the tensor and the count of its changes in place."""


def measure_norms(gradients: list[torch.Tensor]) -> torch.Tensor:
    """Return the L2 norm of each gradient, [K], on the device of the first.

    Half precision is summed in float32; a sparse gradient counts by its values; one that is sharded over processes
    counts whole, for which these processes exchange K numbers, so that all of them must be here.
    """
    if are_alike(gradients):  # which most are, and this is called several times a step
        if gradients[0].dtype in WHOLE:
            return torch.stack(torch._foreach_norm(gradients, 2.0))  # noqa: SLF001 - what torch's own clip calls
        return torch.stack(tuple(_measure_each(gradients)))
    return _measure_unlike(gradients)


def are_alike(gradients: Sequence[torch.Tensor]) -> bool:
    """Return whether these are dense tensors of one device and one type, outside of any graph."""
    first = gradients[0]
    device, floats = first.device, first.dtype
    for one in gradients:
        if type(one) is not torch.Tensor or one.dtype is not floats or one.requires_grad:
            return False
        if one.layout is not torch.strided or one.device != device:
            return False
    return True


@torch.no_grad()
def _measure_unlike(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    first = gradients[0]
    sharded = [at for at, one in enumerate(gradients) if hasattr(one, "full_tensor")]
    norms: list[Any] = [None] * len(gradients)
    if sharded:
        whole: Any = torch.stack([torch.linalg.vector_norm(gradients[at]) for at in sharded])
        for at, norm in zip(sharded, whole.full_tensor().unbind(), strict=True):
            norms[at] = norm
    for at, one in enumerate(gradients):
        if norms[at] is None:
            norms[at] = _measure_each([one.coalesce().values() if one.is_sparse else one])[0]
    floats = max((norm.dtype for norm in norms), key=lambda kind: torch.finfo(kind).bits)
    device = getattr(first, "device", None)
    return torch.stack([norm.to(device, floats) for norm in norms])


def measure_weights(parameters: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return a copy of at most `SAMPLE` weights of each parameter, evenly spread, in one line in float64 on the CPU."""
    parts = []
    for parameter in parameters:
        local: Any = getattr(parameter, "_local_tensor", parameter)
        flat = local.detach().reshape(-1)
        parts.append(flat[:: max(1, flat.numel() // SAMPLE)][:SAMPLE].to("cpu", torch.float64))
    return torch.cat(parts)


def mark_gradient(gradient: torch.Tensor) -> Mark:
    """Return what tells whether a gradient has changed since."""
    return weakref.ref(gradient), _count_changes(gradient)


def is_unchanged(gradient: torch.Tensor, mark: Mark | None) -> bool:
    """Return whether this is the gradient of then, and nothing has changed it in place."""
    return mark is not None and mark[0]() is gradient and mark[1] == _count_changes(gradient)


def is_added_to(gradient: torch.Tensor, mark: Mark | None) -> bool:
    """Return whether this is the gradient of then, changed in place: a further backward pass adds to it."""
    return mark is not None and mark[0]() is gradient and mark[1] != _count_changes(gradient)


def _count_changes(gradient: torch.Tensor) -> int:
    # To ask a tensor for what it has not takes as long as the rest.
    local = gradient if type(gradient) is torch.Tensor else getattr(gradient, "_local_tensor", gradient)
    return int(local._version)  # noqa: SLF001 - torch's count of changes in place has no public name


def _measure_each(gradients: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    low = gradients[0].dtype in {torch.float16, torch.bfloat16}
    norms: Sequence[torch.Tensor] = torch._foreach_norm(  # noqa: SLF001 - what torch's own clip calls
        list(gradients), 2.0, dtype=torch.float32 if low else None
    )
    return norms
