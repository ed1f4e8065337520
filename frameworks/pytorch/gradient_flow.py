"""The gradient through time in PyTorch.

Its native layers are widened (`farreach.frameworks.gradient_flow`). The other families add zeros to their states, whose
gradients those of the states are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional

from farreach.frameworks.base import Flow, Model
from farreach.frameworks.gradient_flow import WideRun, compute_flow, count_columns, make_flow, widen_weights
from farreach.frameworks.layouts import LAYOUTS, list_shift_widths
from farreach.frameworks.pytorch import Framework
from farreach.frameworks.pytorch.loss import compute_loss
from farreach.frameworks.pytorch.recurrent import Network, to_native
from farreach.tasks.base import Batch


def measure_flow(framework: Framework, batch: Batch) -> Flow:
    """Measure the gradient through time of one batch, on the current weights."""
    model, shared = framework.model, framework.weights()
    if LAYOUTS[model.cell].family != "recurrent":
        return make_flow([part.cpu().numpy() for part in differentiate_shifts(framework, batch)])
    wide = to_native(model, widen_weights(model, shared))
    stacks = [part[0] for part in framework.stack_batches([batch])]
    runs = _run_widened(model, {name: framework.make_tensor(value) for name, value in wide.items()}, stacks)
    found: list[list[Any]] = [[None if part is None else part.cpu().numpy() for part in run] for run in runs]
    return compute_flow(model, shared, [WideRun(*run) for run in found])


def differentiate_shifts(framework: Framework, batch: Batch) -> Sequence[torch.Tensor]:
    """Return dL/dx_t of the first layer's inputs, then dL/dh_t of every layer, [time, batch, width]."""
    model, network = framework.model, framework.network
    inputs, targets, mask = (part[0] for part in framework.stack_batches([batch]))
    shifts = [
        torch.zeros(*inputs.shape[:2], width, dtype=framework.dtype, device=framework.device, requires_grad=True)
        for width in list_shift_widths(model)
    ]
    with _without_cut(framework):
        loss = compute_loss(model, network.run_shifted(shifts, inputs), targets, mask)
    return torch.autograd.grad(loss, shifts)


@contextmanager
def _without_cut(framework: Framework) -> Iterator[None]:
    """Have nothing cut on the way back of a network of clip ``backprop``; then as before."""
    if not framework.is_cut:
        yield
        return
    layers = framework.network.recurrent
    bound, layers.bound = layers.bound, float("inf")
    try:
        yield
    finally:
        layers.bound = bound


def _run_widened(
    model: Model, wide: dict[str, torch.Tensor], batch: Sequence[torch.Tensor]
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]]:
    """Run the widened layers one by one; return for each what `WideRun` holds."""
    inputs, targets, mask = batch
    first = below = functional.embedding(inputs, wide["embedding.weight"]) if model.tokens else inputs.clone()
    first.requires_grad_()
    layers = []
    for layer in range(model.layers):
        narrow = dataclasses.replace(
            model, layers=1, tokens=False, features=below.shape[-1] + count_columns(model), scored=len(below)
        )
        recurrent = Network(narrow).to(below).recurrent
        for name, weight in recurrent.named_parameters():
            weight.requires_grad_(requires_grad=False).copy_(wide[f"recurrent.{name[:-1]}{layer}"])
        zeros = below.new_zeros(*below.shape[:2], count_columns(model), requires_grad=True)
        states, _ = recurrent(torch.cat([below, zeros], dim=-1))
        layers.append((below, states, zeros))
        below = states
    scores = functional.linear(below[-model.scored :], wide["output.weight"], wide["output.bias"])
    loss = compute_loss(model, scores, targets, mask)
    d_first, *gradients = torch.autograd.grad(
        loss, [first, *(states for _, states, _ in layers), *(zeros for _, _, zeros in layers)]
    )
    d_inputs = [d_first, *[None] * (model.layers - 1)]
    parts = zip(layers, gradients[: model.layers], gradients[model.layers :], d_inputs, strict=True)
    return [(x.detach(), h.detach(), *others) for (x, h, _), *others in parts]
