"""The gradient through time in PyTorch: its native layers, widened (`farreach.frameworks.gradient_flow`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch.nn import functional

from farreach.frameworks import gradient_flow
from farreach.frameworks.base import Flow, Model
from farreach.frameworks.pytorch import Framework, Network, loss_of, to_native
from farreach.tasks.base import Batch


def probe(framework: Framework, batch: Batch) -> Flow:
    """Measure the gradient through time of one batch, on the current weights."""
    model, shared = framework.model, framework.weights()
    wide = to_native(model, gradient_flow.widened(model, shared))
    stacked = [part[0] for part in framework.stacked([batch])]
    slopes = passed_through(model, {name: framework.tensor(value) for name, value in wide.items()}, stacked)
    passed = [gradient_flow.Passed(*(part.cpu().numpy() for part in layer)) for layer in slopes]
    return gradient_flow.measured(model, shared, passed)


def passed_through(
    model: Model, wide: dict[str, torch.Tensor], batch: Sequence[torch.Tensor]
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Run the widened layers one by one; return for each what `flow.Passed` holds."""
    inputs, targets, mask = batch
    below = functional.embedding(inputs, wide["embedding.weight"]) if model.tokens else inputs
    passed = []
    for layer in range(model.layers):
        narrow = dataclasses.replace(
            model, layers=1, tokens=False, features=below.shape[-1] + gradient_flow.columns(model), scored=len(below)
        )
        recurrent = Network(narrow).to(below).recurrent
        for name, weight in recurrent.named_parameters():
            weight.requires_grad_(requires_grad=False).copy_(wide[f"recurrent.{name[:-1]}{layer}"])
        zeros = below.new_zeros(*below.shape[:2], gradient_flow.columns(model), requires_grad=True)
        states, _ = recurrent(torch.cat([below, zeros], dim=-1))
        passed.append((below, states, zeros))
        below = states
    scores = functional.linear(below[-model.scored :], wide["output.weight"], wide["output.bias"])
    loss = loss_of(model, scores, targets, mask)
    states = [h for _, h, _ in passed]
    slopes = torch.autograd.grad(loss, [*states, *(zeros for _, _, zeros in passed)])
    above, back = slopes[: model.layers], slopes[model.layers :]
    return [(x.detach(), h.detach(), a, b) for (x, h, _), a, b in zip(passed, above, back, strict=True)]
