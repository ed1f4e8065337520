"""An update in parts in PyTorch: replicas by DistributedDataParallel, microbatches one after another.

DistributedDataParallel reduces the gradient while it comes back, so that it serves where the clip comes after, in the
eager and in the compiled step. It cannot serve where the clip comes before: a part's gradient is complete only when its
reduction has begun. There one flat tensor of what the clip left is reduced by ``all_reduce``. On the path ``cudagraph``
there are microbatches alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from farreach.frameworks import base, pytorch
from farreach.frameworks.base import Array, Device, Model, Precision, Training, Weights
from farreach.frameworks.dividing import require_split, take_part
from farreach.frameworks.pytorch.clip import clip_gradients, compute_norm
from farreach.frameworks.pytorch.penalties import penalise_gradients
from farreach.frameworks.split import Split
from farreach.tasks.base import Batch

_Tensors = Sequence[torch.Tensor]

_BACKENDS: dict[str, str] = {"cpu": "gloo", "cuda": "nccl"}


def join_group(rank: int, addresses: tuple[str, ...], device: Device) -> None:
    """Meet the other replicas: they serve every `Framework` of this process, one after another.

    Args:
        rank: number of this process among the replicas, from 0.
        addresses: ``127.0.0.1:PORT`` of each replica, the same in all.
        device: ``cpu`` or ``cuda``.

    """
    if device == "cuda":
        torch.cuda.set_device(rank % torch.cuda.device_count())
    distributed.init_process_group(
        _BACKENDS[device], init_method=f"tcp://{addresses[0]}", rank=rank, world_size=len(addresses)
    )


class Framework(pytorch.Framework):
    """One model in training in parts; see `farreach.frameworks.base.Framework` and `Split`.

    What the figures are, `farreach.frameworks.reference.replicas.Framework` says. ``prepare`` and ``train`` are called
    by all replicas at once; what else there is asks no other.
    """

    def __init__(  # noqa: PLR0913 - as every framework, and which part of which split
        self,
        model: Model,
        training: Training,
        weights: Weights,
        *,
        device: Device,
        dtype: Precision,
        threads: int,
        path: str,
        split: Split,
        rank: int = 0,
    ) -> None:
        require_split(training, split, distributed.get_world_size() if distributed.is_initialized() else 1)
        if path == "cudagraph" and split.replicas > 1:
            message = "path cudagraph records the step of one process: it takes microbatches, and no replicas"
            raise base.UnsupportedError(message)
        self.split, self.rank, self.extra = split, rank, split.extra
        super().__init__(model, training, weights, device=device, dtype=dtype, threads=threads, path=path)
        self.parallel: DistributedDataParallel | None = None
        if split.replicas > 1 and split.clip_at == "after":
            # Every replica has the same first weights already, and no two models ask each other for their shapes.
            self.parallel = DistributedDataParallel(_Loss(self.network, self.loss), init_sync=False)

    def prepare(self, batches: Sequence[Batch], inputs: Array) -> float:
        """Run one gradient and one prediction, thrown away: kernels get loaded, the state stays."""
        return super().prepare([take_part(batch, self.split, self.rank) for batch in batches[:1]], inputs)

    def train(self, batches: Sequence[Batch]) -> base.Trace:
        """Do one update per batch; the device is waited for once, when the chunk's figures are read."""
        return super().train([take_part(batch, self.split, self.rank) for batch in batches])

    @property
    def kernel(self) -> str:
        """The recurrent kernel that runs, and what reduces the gradient."""
        if self.split.replicas == 1:
            return super().kernel
        return f"{super().kernel}, {'DistributedDataParallel' if self.parallel else 'all_reduce'}"

    def _compute_gradients(
        self, inputs: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, _Tensors]:
        """Return the weighted loss and the reduced gradient of the own rows of a batch, whose whole mask is given."""
        reduced = self._reduce_parts(inputs, targets, mask)
        return reduced.loss, reduced.left

    def _step(
        self,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        mask: torch.Tensor,
        rate: float | torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Do one update in place; return loss, norm before, norm after, the share clipped, and the others."""
        reduced = self._reduce_parts(inputs, targets, mask)
        is_past = self.split.clip_at == "before"
        with torch.no_grad():
            kind, threshold = ("backprop", float("inf")) if is_past else self.limit
            gradients, _, after, clipped = clip_gradients(
                kind, reduced.left, threshold, weights=self.trained, names=self.names, history=self.history
            )
            before = compute_norm(reduced.whole)
            cosine = _compute_cosine(reduced.whole, gradients)
            self._update(gradients, rate)
            clipped = reduced.changed if is_past else clipped
            return torch.cat([torch.stack([reduced.loss, before, after, clipped, before, cosine]), reduced.norms])

    def _reduce_parts(self, inputs: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor) -> _Reduced:
        """Return what all parts of a batch come to, of own rows and the whole mask, [S, batch]."""
        count, first = self.split.microbatches, self.rank * self.split.microbatches
        masks = mask.chunk(self.split.parts, dim=1)
        counted = torch.stack([part.sum() for part in masks])
        weights = counted / counted.sum()
        rows = zip(inputs.chunk(count, dim=1), targets.chunk(count, dim=1), strict=True)
        batches = [
            # A part that counts nothing weighs nothing, whatever its loss: it must be a number.
            (own.contiguous(), right.contiguous(), torch.where(weights[first + at] > 0, masks[first + at], 1.0))
            for at, (own, right) in enumerate(rows)
        ]
        share = weights[first : first + count]
        losses, parts, whole = self._differentiate_parts(batches, share)
        with torch.no_grad():
            norms = torch.zeros_like(weights)
            left: list[torch.Tensor] = []
            changed = torch.zeros_like(losses)
            for at, part in enumerate(parts):
                gradients = self._penalise(part, share[at])
                norms[first + at] = compute_norm(gradients)
                if self.split.clip_at == "before":
                    kind, threshold = self.limit
                    clipped, _, _, own = clip_gradients(
                        kind, gradients, threshold, weights=self.trained, names=self.names, history=self.history
                    )
                    changed = changed + own / self.split.parts
                    whole = _add(whole, gradients)
                    left = _add(left, clipped)
            if self.split.clip_at == "after":
                whole = left = list(self._penalise(whole, 1.0))
                loss, norms = self._sum(losses.reshape(1), norms)
                return _Reduced(loss.squeeze(0), whole, left, changed, norms)
            sums = self._sum(losses.reshape(1), changed.reshape(1), norms, *whole, *left)
            loss, changed, norms = sums[0].squeeze(0), sums[1].squeeze(0), sums[2]
            return _Reduced(loss, sums[3 : 3 + len(whole)], sums[3 + len(whole) :], changed, norms)

    def _differentiate_parts(
        self, batches: Sequence[_Tensors], share: torch.Tensor
    ) -> tuple[torch.Tensor, list[_Tensors], list[torch.Tensor]]:
        """Return the sum of the own weighted losses, each part's gradient, and under ``after`` all parts' sum."""
        losses: list[torch.Tensor] = []
        parts: list[_Tensors] = []
        whole: list[torch.Tensor] = []
        if self.parallel:
            # It takes the mean over replicas: times their number that is the sum.
            scale = self.split.replicas
            caught: dict[int, torch.Tensor] = {}
            hooks = [
                weight.register_hook(_catch(caught, at))  # type: ignore[no-untyped-call]
                for at, weight in enumerate(self.trained)
            ]
            for at, batch in enumerate(batches):
                is_last = at == len(batches) - 1
                with contextlib.nullcontext() if is_last else self.parallel.no_sync():
                    loss = self.parallel(*batch) * share[at]
                    (loss * scale).backward()
                losses.append(loss.detach())
                parts.append([caught[place] / scale for place in range(len(self.trained))])
            for hook in hooks:
                hook.remove()
            whole = [weight.grad for weight in self.trained if weight.grad is not None]
            for weight in self.trained:
                weight.grad = None
        else:
            for at, batch in enumerate(batches):
                loss = self.loss(*batch) * share[at]
                losses.append(loss.detach())
                parts.append(self._differentiate(loss))
                if self.split.clip_at == "after":
                    whole = _add(whole, parts[-1])
        return torch.stack(losses).sum(), parts, whole

    def _penalise(self, gradients: _Tensors, weight: torch.Tensor | float) -> _Tensors:
        """Add the share of the penalty's gradient that a part of this weight has."""
        strength: Any = self.strength * weight
        return penalise_gradients(self.penalty, self.trained, gradients, names=self.names, strength=strength)

    def _sum(self, *tensors: torch.Tensor) -> list[torch.Tensor]:
        """Return the sums over replicas, by one reduction of one flat tensor."""
        if self.split.replicas == 1:
            return list(tensors)
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        return [part.view_as(like) for part, like in zip(parts, tensors, strict=True)]


@dataclasses.dataclass(frozen=True, eq=False)
class _Reduced:
    """What all parts of a batch come to, the same in every replica.

    Attributes:
        loss: the weighted sum.
        whole: the sum of the parts' gradients.
        left: what is to be clipped: the same, or under ``before`` the sum of what the clip left of each.
        changed: under ``before`` the share of the elements of all parts that the clip changed.
        norms: of each part's gradient, [parts].

    """

    loss: torch.Tensor
    whole: _Tensors
    left: _Tensors
    changed: torch.Tensor
    norms: torch.Tensor


class _Loss(nn.Module):
    """A network's loss as a module, as DistributedDataParallel must have it to see a step begin."""

    def __init__(self, network: nn.Module, loss: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.network, self.loss = network, loss

    def forward(self, *batch: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch."""
        return self.loss(*batch)


def _catch(caught: dict[int, torch.Tensor], at: int) -> Callable[[torch.Tensor], None]:
    """Return a hook that keeps the gradient of a weight before it is added to others and reduced."""

    def catch(gradient: torch.Tensor) -> None:
        caught[at] = gradient.detach().clone()

    return catch


def _add(sums: _Tensors, others: _Tensors) -> list[torch.Tensor]:
    """Return the sums, of nothing at first, and the others added."""
    return [one + other for one, other in zip(sums, others, strict=True)] if sums else list(others)


def _compute_cosine(gradients: _Tensors, others: _Tensors) -> torch.Tensor:
    """Return the cosine of the angle between two gradients; 1 where one is zero."""
    flat, other = (torch.cat([part.flatten() for part in parts]).double() for parts in (gradients, others))
    norms = flat.square().sum().sqrt(), other.square().sum().sqrt()
    there = (norms[0] != 0) & (norms[1] != 0)
    units = flat / torch.where(there, norms[0], 1.0), other / torch.where(there, norms[1], 1.0)
    cosine = torch.where(there, (units[0] * units[1]).sum(), 1.0).clamp(max=1.0)
    return cosine.to(gradients[0].dtype)
