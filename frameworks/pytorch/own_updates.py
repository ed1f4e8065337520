"""Updates in parts as PyTorch's users write them: DDP, FSDP2, accumulation, a scaled loss."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from farreach.frameworks.base import Array
from farreach.frameworks.own_updates import (
    ACCUMULATION,
    COUNTS,
    INPUTS,
    LOSS_SCALE,
    MASKS,
    REPLICAS,
    SCALE,
    THRESHOLD,
    UNEVEN,
    OwnUpdate,
    Place,
)

_Clip = Callable[[Any], Any]


def _clip_norm(parameters: Any) -> None:
    """Clip the global norm at the threshold."""
    clip_grad_norm_(parameters, THRESHOLD)


def _clip_value(parameters: Any) -> None:
    """Clip each element at the threshold."""
    clip_grad_value_(parameters, THRESHOLD)


def _clip_nothing(parameters: Any) -> None:
    """Leave the gradient as it is."""


def _make_layer() -> nn.Linear:
    """Return the layer, all zeros."""
    layer = nn.Linear(2, 1)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _make_optimizer(model: nn.Module, *, fused: bool = False) -> torch.optim.Optimizer:
    """Return plain gradient descent at rate 1."""
    return torch.optim.SGD(model.parameters(), lr=1.0, fused=fused)


def _compute_loss(model: nn.Module, inputs: Array) -> torch.Tensor:
    """Return twice the mean of the outputs."""
    loss: torch.Tensor = 2 * model(torch.from_numpy(inputs)).mean()
    return loss


def _read_update(layer: nn.Module) -> Array:
    """Return minus the weights: the gradient that reached the optimizer."""
    whole = [getattr(parameter, "full_tensor", lambda one=parameter: one)() for parameter in layer.parameters()]
    return -np.concatenate([parameter.detach().numpy().ravel() for parameter in whole])


def _join_group(place: Place) -> None:
    """Meet the other processes."""
    torch.set_num_threads(1)
    count = len(place.addresses)
    distributed.init_process_group("gloo", init_method=f"tcp://{place.addresses[0]}", rank=place.rank, world_size=count)


def _clip_after_reduction(place: Place, clip: _Clip) -> Array:
    """``loss.backward(); clip_grad_...(model.parameters()); optimizer.step()`` on a DistributedDataParallel model."""
    _join_group(place)
    layer = _make_layer()
    model = DistributedDataParallel(layer)
    optimizer = _make_optimizer(model)
    _compute_loss(model, INPUTS[place.rank : place.rank + 1]).backward()  # type: ignore[no-untyped-call]
    clip(model.parameters())
    optimizer.step()
    return _read_update(layer)


def _clip_before_reduction(place: Place, clip: _Clip) -> Array:
    """Clip each replica's own gradient, then take their mean by ``all_reduce``."""
    _join_group(place)
    layer = _make_layer()
    optimizer = _make_optimizer(layer)
    _compute_loss(layer, INPUTS[place.rank : place.rank + 1]).backward()  # type: ignore[no-untyped-call]
    clip(layer.parameters())
    for parameter in layer.parameters():
        gradient: Any = parameter.grad
        distributed.all_reduce(gradient)
        gradient /= len(place.addresses)
    optimizer.step()
    return _read_update(layer)


def _clip_shards(place: Place, clip: _Clip, *, local: bool = False) -> Array:
    """``clip_grad_...(model.parameters())`` on a ``fully_shard`` model, or the local parts of its gradients alone."""
    _join_group(place)
    layer = nn.Linear(2, 1)
    mesh = init_device_mesh("cpu", (len(place.addresses),))
    # By its first axis, FSDP2's default, one process would hold all of a layer with one output.
    fully_shard(layer, mesh=mesh, shard_placement_fn=lambda one: Shard(one.ndim - 1))
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    optimizer = _make_optimizer(layer)
    _compute_loss(layer, INPUTS[place.rank : place.rank + 1]).backward()  # type: ignore[no-untyped-call]
    if local:
        shards = []
        whole: Any
        for whole in layer.parameters():
            shard = nn.Parameter(whole.to_local().detach())
            shard.grad = whole.grad.to_local()
            shards.append(shard)
        clip(shards)
    else:
        clip(layer.parameters())
    optimizer.step()
    return _read_update(layer)


def _accumulate(place: Place, clip: _Clip, *, divided: bool = True, each: bool = False) -> Array:
    """Call ``backward`` for each microbatch, and step once; the clip comes once, or after each."""
    del place
    layer = _make_layer()
    optimizer = _make_optimizer(layer)
    for part in INPUTS:
        loss = _compute_loss(layer, part[None])
        (loss / len(INPUTS) if divided else loss).backward()  # type: ignore[no-untyped-call]
        if each:
            clip(layer.parameters())
    if not each:
        clip(layer.parameters())
    optimizer.step()
    return _read_update(layer)


def _accumulate_by_lightning(place: Place, **arguments: Any) -> Array:
    """``lightning.Trainer(accumulate_grad_batches=2, gradient_clip_val=...)``."""
    del place
    import lightning  # noqa: PLC0415 - two more seconds, for this alone

    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = _make_layer()

        def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
            loss: torch.Tensor = 2 * self.layer(batch[0]).mean()
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return _make_optimizer(self)

    module = Module()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.from_numpy(INPUTS)), batch_size=1)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    with tempfile.TemporaryDirectory() as folder:
        quiet |= {"enable_model_summary": False, "barebones": False, "default_root_dir": folder}
        lightning.Trainer(max_epochs=1, accumulate_grad_batches=2, devices=1, **quiet, **arguments).fit(module, loader)
    return _read_update(module.layer)


def _accumulate_by_accelerate(place: Place, *, guarded: bool) -> Array:
    """``accelerator.clip_grad_norm_`` inside ``accelerator.accumulate``, with or without ``if sync_gradients``."""
    del place
    import accelerate  # noqa: PLC0415 - two more seconds, for this alone

    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    layer = _make_layer()
    model, optimizer = accelerator.prepare(layer, _make_optimizer(layer))
    for part in INPUTS:
        with accelerator.accumulate(model):
            accelerator.backward(_compute_loss(model, part[None]))
            if accelerator.sync_gradients or not guarded:
                accelerator.clip_grad_norm_(model.parameters(), THRESHOLD)
            optimizer.step()
            if accelerator.sync_gradients:
                break
            optimizer.zero_grad()
    return _read_update(layer)


def _scale_loss(place: Place, *, unscaled: bool, fused: bool) -> Array:
    """``GradScaler``: the clip comes after ``scaler.unscale_(optimizer)``, or that call is forgotten."""
    del place
    layer = _make_layer()
    optimizer = _make_optimizer(layer, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=LOSS_SCALE)
    scaler.scale(_compute_loss(layer, INPUTS)).backward()  # type: ignore[no-untyped-call]
    if unscaled:
        scaler.unscale_(optimizer)
    _clip_norm(layer.parameters())
    scaler.step(optimizer)
    scaler.update()
    return _read_update(layer)


def _sum_counted(model: nn.Module, part: int) -> torch.Tensor:
    """Return twice the sum of the outputs that count."""
    outputs = model(torch.from_numpy(UNEVEN[part]))[:, 0]
    counted: torch.Tensor = 2 * (outputs * torch.from_numpy(MASKS[part])).sum()
    return counted


def _reduce_counts(place: Place, *, weighted: bool) -> Array:
    """Take each replica's mean over its own counted rows, or its sum times replicas over the count of all."""
    _join_group(place)
    layer = _make_layer()
    model = DistributedDataParallel(layer)
    optimizer = _make_optimizer(model)
    count = torch.tensor(MASKS[place.rank].sum())
    if weighted:
        distributed.all_reduce(count)
        count /= len(place.addresses)
    (_sum_counted(model, place.rank) / count).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return _read_update(layer)


def _accumulate_counts(place: Place, *, weighted: bool) -> Array:
    """Take each microbatch's mean over its own counted rows, or its sum over the count of all."""
    del place
    layer = _make_layer()
    optimizer = _make_optimizer(layer)
    for part, mask in enumerate(MASKS):
        count = MASKS.sum() if weighted else len(MASKS) * mask.sum()
        (_sum_counted(layer, part) / count).backward()
    optimizer.step()
    return _read_update(layer)


_DDP, _SHARDED = "DistributedDataParallel", "fully_shard (FSDP2)"

UPDATES: tuple[OwnUpdate, ...] = (
    *(
        OwnUpdate(
            REPLICAS, f"{_DDP}: `backward`, `{name}`", kind, functools.partial(_clip_after_reduction, clip=clip), 2
        )
        for name, kind, clip in (("clip_grad_norm_", "norm", _clip_norm), ("clip_grad_value_", "value", _clip_value))
    ),
    *(
        OwnUpdate(
            REPLICAS,
            f"by hand: `backward`, `{name}`, then `all_reduce`",
            kind,
            functools.partial(_clip_before_reduction, clip=clip),
            2,
        )
        for name, kind, clip in (("clip_grad_norm_", "norm", _clip_norm), ("clip_grad_value_", "value", _clip_value))
    ),
    *(
        OwnUpdate(REPLICAS, f"{_SHARDED}: `backward`, `{name}`", kind, functools.partial(_clip_shards, clip=clip), 2)
        for name, kind, clip in (("clip_grad_norm_", "norm", _clip_norm), ("clip_grad_value_", "value", _clip_value))
    ),
    OwnUpdate(
        REPLICAS,
        f"{_SHARDED}: `clip_grad_norm_` of each process's own shards (`to_local()`)",
        "norm",
        functools.partial(_clip_shards, clip=_clip_norm, local=True),
        2,
    ),
    OwnUpdate(
        ACCUMULATION,
        "`(loss / 2).backward()` twice, then `clip_grad_norm_`",
        "norm",
        functools.partial(_accumulate, clip=_clip_norm),
    ),
    OwnUpdate(
        ACCUMULATION,
        "`(loss / 2).backward()` and `clip_grad_norm_`, twice",
        "norm",
        functools.partial(_accumulate, clip=_clip_norm, each=True),
    ),
    OwnUpdate(
        ACCUMULATION,
        "`loss.backward()` twice, not divided",
        "none",
        functools.partial(_accumulate, clip=_clip_nothing, divided=False),
    ),
    OwnUpdate(
        ACCUMULATION,
        "`lightning.Trainer(accumulate_grad_batches=2, gradient_clip_val=1)`",
        "norm",
        functools.partial(_accumulate_by_lightning, gradient_clip_val=THRESHOLD),
        needs=("lightning",),
    ),
    OwnUpdate(
        ACCUMULATION,
        '`lightning.Trainer(..., gradient_clip_algorithm="value")`',
        "value",
        functools.partial(_accumulate_by_lightning, gradient_clip_val=THRESHOLD, gradient_clip_algorithm="value"),
        needs=("lightning",),
    ),
    OwnUpdate(
        ACCUMULATION,
        "accelerate: `if accelerator.sync_gradients: accelerator.clip_grad_norm_`",
        "norm",
        functools.partial(_accumulate_by_accelerate, guarded=True),
        needs=("accelerate",),
    ),
    OwnUpdate(
        ACCUMULATION,
        "accelerate: `accelerator.clip_grad_norm_` on every microbatch",
        "norm",
        functools.partial(_accumulate_by_accelerate, guarded=False),
        needs=("accelerate",),
    ),
    *(
        OwnUpdate(
            SCALE,
            f"GradScaler{', fused optimizer' * fused}: {'`unscale_`, ' * unscaled}`clip_grad_norm_`, `scaler.step`",
            "norm",
            functools.partial(_scale_loss, unscaled=unscaled, fused=fused),
        )
        for fused in (False, True)
        for unscaled in (True, False)
    ),
    OwnUpdate(
        COUNTS,
        f"{_DDP}: each replica's mean over its own counted positions",
        "none",
        functools.partial(_reduce_counts, weighted=False),
        2,
    ),
    OwnUpdate(
        COUNTS,
        f"{_DDP}: each replica's sum, times replicas over the count of all",
        "none",
        functools.partial(_reduce_counts, weighted=True),
        2,
    ),
    OwnUpdate(
        COUNTS,
        "accumulation: each microbatch's mean over its own counted positions",
        "none",
        functools.partial(_accumulate_counts, weighted=False),
    ),
    OwnUpdate(
        COUNTS,
        "accumulation: each microbatch's sum over the count of all",
        "none",
        functools.partial(_accumulate_counts, weighted=True),
    ),
)
