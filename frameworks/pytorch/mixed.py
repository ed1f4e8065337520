"""Mixed precision in PyTorch: `torch.autocast` around the network, the loss scaled as `torch.amp.GradScaler` does.

The scaler itself is not used: it asks the device at every step whether to skip. Here the update is done and taken back
where the gradient was not finite, so that a CUDA graph can hold it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from farreach.frameworks import base, scaling
from farreach.frameworks.base import Array, Model, Training, Weights
from farreach.frameworks.layouts import LAYOUTS
from farreach.frameworks.pytorch import Framework as PlainFramework
from farreach.frameworks.pytorch.loss import compute_loss
from farreach.frameworks.pytorch.paths import StepGraph, use_kernels
from farreach.frameworks.scaling import Half

DTYPES: dict[str, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Framework(PlainFramework):
    """One model in training in mixed precision; see `farreach.frameworks.scaling`.

    Attributes:
        precision: what its products are of, as it was measured.
        half: what was asked for.
        scaler: the scale, the good steps since it last changed, and the updates left out; nothing without a scale.

    """

    def __init__(
        self,
        model: Model,
        training: Training,
        weights: Weights,
        *,
        device: base.Device,
        dtype: Half,
        threads: int,
        path: str,
    ) -> None:
        scaling.require_whole(training, dtype)
        self.half, self.scaler = dtype, list[torch.Tensor]()
        super().__init__(model, training, weights, device=device, dtype="float32", threads=threads, path=path)
        self.extra = scaling.list_extra(dtype)
        self.places = [*self.trained, *(part for slot in self.slots for part in slot), *self.steps, self.history]
        if isinstance(self.step, StepGraph):
            self.step.state = [*self.step.state, *self.scaler]
        self.precision = measure_precision(self)

    def predict(self, inputs: Array) -> Array:
        """Return the scores [batch, S, outputs] of inputs [batch, time, ...], in float32."""
        with use_kernels(self.path), torch.inference_mode():
            scores = self._score(self.make_tensor(inputs).transpose(0, 1).contiguous())
        return np.asarray(scores.transpose(0, 1).cpu().numpy())

    def state(self) -> base.State:
        """Return weights, slots and the number of updates, and the scale."""
        plain = super().state()
        if not self.scaler:
            return plain
        scale, good, skipped = (float(part) for part in self.scaler)
        done = self.updates - int(skipped)
        return scaling.ScaledState(plain.weights, plain.slots, done, plain.history, scale, int(good), int(skipped))

    def restore(self, state: base.State) -> None:
        """Go on from this state instead of the current one, at its scale or the first one."""
        super().restore(state)
        if self.half not in scaling.SCALED:
            return
        self.scaler = self.scaler or [torch.zeros((), device=self.device) for _ in range(3)]
        found = scaling.scale_state(state)
        for tensor, value in zip(self.scaler, (found.scale, found.good, found.skipped), strict=True):
            tensor.fill_(value)
        self.updates += found.skipped

    @property
    def kernel(self) -> str:
        """The recurrent kernel that runs, and in what."""
        return f"{super().kernel}, {self.half}"

    def _step(self, *batch: Any) -> torch.Tensor:
        """Do one update in place, or none; return loss, norms, share clipped, whether it was left out and the scale."""
        if not self.scaler:
            return super()._step(*batch)
        with torch.no_grad():
            before = [place.clone() for place in self.places]
        row = super()._step(*batch)
        with torch.no_grad():
            for place, value in zip(self.places, before, strict=True):
                place.copy_(torch.where(self.finite, place, value))
            scale, good, skipped = self.scaler
            told = torch.stack([row.new_ones(()) - self.finite.to(row.dtype), scale.clone()])
            following = torch.where(self.finite, good + 1, torch.zeros_like(good))
            grown = scale * scaling.GROWTH
            is_due = (following >= scaling.GOOD_STEPS) & grown.isfinite()
            kept = torch.where(is_due, grown, scale)
            scale.copy_(torch.where(self.finite, kept, scale * scaling.BACKOFF))
            good.copy_(torch.where(following >= scaling.GOOD_STEPS, torch.zeros_like(good), following))
            skipped.add_(told[0])
        return torch.cat([row, told])

    def _score(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the scores in float32, from products in half precision."""
        with torch.autocast(self.device.type, DTYPES[self.half]):
            scores = self.network(inputs)
        return scores.float()  # type: ignore[no-any-return]

    def _compute_loss(self, inputs: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return compute_loss(self.model, self._score(inputs), targets, mask)

    def _compute_gradients(self, inputs: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor) -> Any:
        """Return the loss and its gradient, which is no longer scaled."""
        loss = self.loss(inputs, targets, mask)
        if not self.scaler:
            return loss.detach(), self._differentiate(loss)
        scale = self.scaler[0]
        gradients = self._differentiate(loss * scale)
        self.finite = torch.stack([gradient.isfinite().all() for gradient in gradients]).all()
        back = scale.double().reciprocal().float()
        return loss.detach(), [gradient * back for gradient in gradients]


def measure_precision(framework: Framework) -> str:
    """Return the precision of a model's products, from real calls forward and back; refuse what stays float32."""
    network, before = framework.network, framework.state()
    returned: list[torch.dtype] = []

    def remember_input(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        returned.append(inputs[0].dtype)

    def remember_output(_: Any, __: Any, outputs: Any) -> None:
        returned.append((outputs[0] if isinstance(outputs, tuple) else outputs).dtype)

    def differentiate(weights: Weights) -> list[Array]:
        framework.restore(dataclasses.replace(before, weights=weights))
        batch = (part[0] for part in framework.stack_batches([scaling.make_probe(framework.model)]))
        gradients = framework._differentiate(framework._compute_loss(*batch))  # noqa: SLF001
        return [gradient.cpu().numpy() for gradient in gradients]

    def round_values(values: Array) -> Array:
        return np.asarray(torch.from_numpy(values).to(DTYPES[framework.half]).float().numpy())

    def measure() -> tuple[set[str], list[Array], list[Array]]:
        # Autocast casts what goes into a linear layer, so that recurrent layers are asked themselves. A transformer has
        # layer norms between its products, which autocast leaves in float32: there the linear layers are asked.
        is_recurrent = LAYOUTS[framework.model.cell].family != "transformer"
        kind = torch.nn.RNNBase if is_recurrent else torch.nn.Linear
        asked = [module for module in network.modules() if isinstance(module, kind)]
        hooks = [module.register_forward_hook(remember_output) for module in asked]
        if is_recurrent:
            hooks.append(network.output.register_forward_pre_hook(remember_input))
        try:
            with use_kernels(framework.path):
                plain = differentiate(before.weights)
                rounded = differentiate(scaling.round_kernels(before.weights, round_values))
        finally:
            framework.restore(before)
            for hook in hooks:
                hook.remove()
        return {str(dtype).removeprefix("torch.") for dtype in returned}, plain, rounded

    return scaling.require_precision(framework, "PyTorch", measure)
