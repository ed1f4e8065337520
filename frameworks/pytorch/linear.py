"""Recurrences that are linear in their state, in PyTorch: mingru, minlstm and lru, by a loop or by a parallel scan.

The equations and their sources are in ``reference/linear.py``. The scan doubles: after its k-th round every state
counts the 2^k steps before it. There is no logarithm and no product over all steps in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from farreach.frameworks.base import Model, Weights
from farreach.frameworks.layouts import Weight, count_kept, list_weights
from farreach.frameworks.pytorch.recurrent import CutLayers


class Network(torch.nn.Module):
    """An embedding for tokens, linear recurrences, a linear output on the last S steps."""

    by_hand = True

    def __init__(self, model: Model, path: str = "loop", *, by_hand: bool = True) -> None:
        super().__init__()
        del by_hand  # PyTorch has no such layers of its own
        self.model = model
        self.embedding = torch.nn.Embedding(model.features, model.hidden) if model.tokens else None
        self.recurrent = LinearLayers(model, path)
        self.output = torch.nn.Linear(model.hidden, model.outputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs [time, batch, ...] to scores [S, batch, outputs]."""
        return self.run_shifted(None, inputs)

    def run_shifted(self, shifts: Sequence[torch.Tensor] | None, inputs: torch.Tensor) -> torch.Tensor:
        """Add shifts to the first layer's inputs and to every layer's states, where given; return the scores."""
        below = inputs if self.embedding is None else self.embedding(inputs)
        below = below if shifts is None else below + shifts[0]
        self.recurrent.derivatives.clear()
        for layer in range(self.model.layers):
            below = self.recurrent.run_layer(layer, below, None if shifts is None else shifts[layer + 1])
        scores: torch.Tensor = self.output(below)
        return scores


class LinearLayers(CutLayers, torch.nn.Module):
    """The layers' weights, under the names of `name_native`, and their runs."""

    def __init__(self, model: Model, path: str) -> None:
        super().__init__()
        self.model, self.path, self.derivatives = model, path, []
        register_weights(self, model)

    def run_layer(self, layer: int, inputs: torch.Tensor, shift: torch.Tensor | None) -> torch.Tensor:
        """Run one layer on inputs [time, batch, width]; return its outputs [time, batch, H], S of the last layer's."""
        run = self._run_lru if self.model.cell == "lru" else self._run_gated
        return run(layer, inputs, shift, last=count_kept(self.model, layer, len(inputs)))

    def _run_gated(self, layer: int, inputs: torch.Tensor, shift: torch.Tensor | None, *, last: int) -> torch.Tensor:
        total = functional.linear(
            inputs, self.get_parameter(f"weight_input_l{layer}"), self.get_parameter(f"bias_l{layer}")
        )
        *gates, candidate = total.chunk(2 if self.model.cell == "mingru" else 3, dim=-1)
        first, *others = (torch.sigmoid(self._cut(gate)) for gate in gates)
        if others:
            whole = first + others[0]
            kept, added = first / whole, others[0] / whole * candidate
        else:
            kept, added = 1 - first, first * candidate
        added = added if shift is None else added + shift
        return (scan_states if self.path == "scan" else loop_states)(kept, added, last=last)

    def _run_lru(self, layer: int, inputs: torch.Tensor, shift: torch.Tensor | None, *, last: int) -> torch.Tensor:
        nu, theta, gamma = (self.get_parameter(f"{name}_l{layer}") for name in ("nu", "theta", "gamma"))
        size, angle, scale = torch.exp(-torch.exp(nu)), torch.exp(theta), torch.exp(gamma)
        sides = ("real", "imaginary")
        real, imaginary = (
            scale * functional.linear(inputs, self.get_parameter(f"weight_{side}_input_l{layer}")) for side in sides
        )
        if shift is not None:
            real, imaginary = (part + by for part, by in zip((real, imaginary), shift.chunk(2, dim=-1), strict=True))
        # A scan of one step would do nothing with the eigenvalues, whose gradient would then be missing.
        run = scan_turning if self.path == "scan" and inputs.shape[0] > 1 else loop_turning
        real, imaginary = run(size * torch.cos(angle), size * torch.sin(angle), real, imaginary, last=last)
        left, right = (self.get_parameter(f"weight_{side}_kernel_l{layer}") for side in sides)
        skipped = functional.linear(inputs[-last:], self.get_parameter(f"weight_skip_kernel_l{layer}"))
        y = functional.linear(real, left) - functional.linear(imaginary, right) + skipped
        gate = functional.linear(
            y, self.get_parameter(f"weight_gate_kernel_l{layer}"), self.get_parameter(f"bias_l{layer}")
        )
        return y * torch.sigmoid(gate)


def loop_states(kept: torch.Tensor, added: torch.Tensor, *, last: int) -> torch.Tensor:
    """Return the last of h_t = kept_t h_{t-1} + added_t from h_0 = 0, [last, batch, H], step by step."""
    h, states = torch.zeros_like(added[0]), []
    for now, new in zip(kept.unbind(), added.unbind(), strict=True):
        h = torch.addcmul(new, now, h)
        states.append(h)
    return torch.stack(states[-last:])


def scan_states(kept: torch.Tensor, added: torch.Tensor, *, last: int) -> torch.Tensor:
    """Return what `loop_states` does, by doubling."""
    reach = 1
    while reach < len(added):
        later = kept[reach:]
        added = torch.cat([added[:reach], torch.addcmul(added[reach:], later, added[:-reach])])
        kept = torch.cat([kept[:reach], later * kept[:-reach]])
        reach *= 2
    return added[-last:]


def loop_turning(
    a_real: torch.Tensor, a_imaginary: torch.Tensor, real: torch.Tensor, imaginary: torch.Tensor, *, last: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the last of h_t = a h_{t-1} + added_t, complex, in two parts each, [last, batch, H], step by step."""
    h_real, h_imaginary = torch.zeros_like(real[0]), torch.zeros_like(real[0])
    reals, imaginaries = [], []
    for new_real, new_imaginary in zip(real.unbind(), imaginary.unbind(), strict=True):
        h_real, h_imaginary = (
            a_real * h_real - a_imaginary * h_imaginary + new_real,
            a_real * h_imaginary + a_imaginary * h_real + new_imaginary,
        )
        reals.append(h_real)
        imaginaries.append(h_imaginary)
    return torch.stack(reals[-last:]), torch.stack(imaginaries[-last:])


def scan_turning(
    a_real: torch.Tensor, a_imaginary: torch.Tensor, real: torch.Tensor, imaginary: torch.Tensor, *, last: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what `loop_turning` does, by doubling."""
    reach = 1
    while reach < len(real):
        before, beside = real[:-reach], imaginary[:-reach]
        real, imaginary = (
            torch.cat([real[:reach], real[reach:] + a_real * before - a_imaginary * beside]),
            torch.cat([imaginary[:reach], imaginary[reach:] + a_real * beside + a_imaginary * before]),
        )
        a_real, a_imaginary = a_real * a_real - a_imaginary * a_imaginary, 2 * a_real * a_imaginary
        reach *= 2
    return real[-last:], imaginary[-last:]


def register_weights(layers: torch.nn.Module, model: Model) -> None:
    """Give a module parameters for all weights of a model's layers, under the names of `name_native`."""
    for weight in list_weights(model):
        module, _, name = name_native(weight).partition(".")
        if module == "recurrent":
            shape = weight.shape[::-1] if weight.is_kernel else weight.shape
            layers.register_parameter(name, torch.nn.Parameter(torch.empty(shape)))


def name_native(weight: Weight) -> str:
    """Return the name of a weight in PyTorch: ``layer0.real.input`` is ``recurrent.weight_real_input_l0``."""
    if not weight.name.startswith("layer"):
        return {"embedding": "embedding.weight", "output.kernel": "output.weight"}.get(weight.name, weight.name)
    layer, *parts = weight.name.removeprefix("layer").split(".")
    return f"recurrent.{'_'.join([*['weight'] * weight.is_kernel, *parts])}_l{layer}"


def to_native(model: Model, weights: Weights) -> Weights:
    """Name and shape shared weights as PyTorch does: transposed kernels."""
    return {
        name_native(weight): weights[weight.name].T.copy() if weight.is_kernel else weights[weight.name]
        for weight in list_weights(model)
    }


def to_shared(model: Model, native: Weights) -> Weights:
    """Bring PyTorch's weights back to the shared layout."""
    return {
        weight.name: native[name_native(weight)].T.copy() if weight.is_kernel else native[name_native(weight)].copy()
        for weight in list_weights(model)
    }
