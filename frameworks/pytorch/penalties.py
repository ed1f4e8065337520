"""What a penalty adds to the gradient in PyTorch; definitions: `farreach.frameworks.base.Regulariser`."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from farreach.frameworks import base


def penalise_gradients(
    kind: str,
    weights: Sequence[torch.Tensor],
    gradients: Sequence[torch.Tensor],
    *,
    names: Sequence[str],
    strength: float,
) -> Sequence[torch.Tensor]:
    """Add the penalty's gradient to the gradients of the kernels; biases and embeddings are free."""
    if kind in {"none", *base.OMEGAS}:
        return gradients
    free = ("embedding", "norm")  # a layer norm's scale is a weight by PyTorch's names, and no kernel
    penalised = ["weight" in name and not any(part in name for part in free) for name in names]
    pairs = zip(weights, gradients, penalised, strict=True)
    if kind == "l1":
        return [g + strength * w.sign() if is_kernel else g for w, g, is_kernel in pairs]
    return [g + 2 * strength * w if is_kernel else g for w, g, is_kernel in pairs]


def differentiate_omega(
    activation: base.Activation, states: torch.Tensor, d_totals: torch.Tensor, recurrent: torch.Tensor
) -> torch.Tensor:
    """Return the immediate gradient of Omega with respect to U [H, H], see `base.Regulariser`.

    The states h_k and the gradients d_k with respect to the pre-activations are [time, batch, H].
    """
    h, following = states[:-1], d_totals[1:]
    d_activation = {"tanh": 1 - h * h, "relu": (h > 0).to(h.dtype), "sigmoid": h * (1 - h)}[activation]
    back = following @ recurrent.T * d_activation
    norms, whole = (part.square().sum(dim=-1).sqrt() for part in (back, following))
    there = (norms > 0) & (whole > 0)
    norms, whole = torch.where(there, norms, 1.0), torch.where(there, whole, 1.0)
    factor = torch.where(there, 2 * (norms / whole - 1) / (norms * whole), 0.0) / states.shape[1]
    return torch.einsum("tbi,tbj->ij", back * d_activation * factor.unsqueeze(-1), following)


def differentiate_omega2(
    activation: base.Activation, states: torch.Tensor, d_totals: torch.Tensor, recurrent: torch.Tensor
) -> torch.Tensor:
    """Return the immediate gradient of Omega2, the same with squared norms, with respect to U [H, H].

    Every gradient is divided by its norm first, since the square of a tiny one would be lost.
    """
    h, following = states[:-1], d_totals[1:]
    d_activation = {"tanh": 1 - h * h, "relu": (h > 0).to(h.dtype), "sigmoid": h * (1 - h)}[activation]
    whole = following.square().sum(dim=-1, keepdim=True).sqrt()
    unit = following / torch.where(whole > 0, whole, 1.0)
    back = unit @ recurrent.T * d_activation
    factor = 4 * (back.square().sum(dim=-1, keepdim=True) - 1) / states.shape[1]
    return torch.einsum("tbi,tbj->ij", back * d_activation * factor, unit)
