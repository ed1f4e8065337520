"""The gradient through time of a PyTorch model's own recurrent layers, on a batch that the user gives.

PyTorch's layers run a whole sequence in one operation, inside which no dL/dh_t can be had. So for the time of the
measurement they run step by step, by their own weights: the same function, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from farreach.flow import Flow

States = list[list[list[torch.Tensor]]]
"""Of each recurrent layer: of h, and of an lstm's c, the states of its steps."""


def measure_flow(
    model: torch.nn.Module,
    find_loss: Callable[[torch.Tensor], torch.Tensor],
    inputs: torch.Tensor,
    *,
    scored: int = 1,
    time_axis: int = 1,
) -> Flow:
    """Return the gradient of a loss through time: of every ``nn.RNN``, ``nn.LSTM`` and ``nn.GRU``, and of the input.

    The model is in evaluation mode for it, and neither its gradients nor its random numbers are touched. Of a layer in
    both directions the states of the forward one are measured.

    Args:
        model: the model.
        find_loss: returns the loss for these inputs, one number, such as
            ``lambda inputs: criterion(model(inputs), targets)``. It is to count the last steps of the sequence alone:
            otherwise what is near the end of a sequence is no measure of what comes from far.
        inputs: a batch; of whole numbers, the tokens of the model's first ``nn.Embedding``, whose vectors then stand
            for x_t.
        scored: how many steps at the end the loss counts.
        time_axis: the axis of the inputs that is time.

    Raises:
        ValueError: a loss that is not one number or does not depend on the model; fewer steps than `scored`.

    """
    length = inputs.shape[time_axis]
    if not 1 <= scored <= length:
        message = f"scored must lie between 1 and the {length} steps of the inputs, not {scored}"
        raise ValueError(message)
    layers = {name: part for name, part in model.named_modules() if isinstance(part, torch.nn.RNNBase)}
    states: dict[str, States] = {name: [] for name in layers}
    tokens = not inputs.is_floating_point()
    vectors: list[torch.Tensor] = []
    modes = [(part, part.training) for part in model.modules()]
    devices = [inputs.device] if inputs.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.enable_grad(), _step_by_step(layers, states), _catch(model, vectors):
        model.eval()
        try:
            given = inputs if tokens else inputs.detach().clone().requires_grad_()
            loss = find_loss(given)
        finally:
            for part, mode in modes:
                part.training = mode
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or not loss.requires_grad:
        message = "find_loss(inputs) must return one number that depends on the model"
        raise ValueError(message)
    wanted = vectors[:1] if tokens else [given]
    flat = [state for layer in states.values() for cells in layer for part in cells for state in part]
    gradients = torch.autograd.grad(loss.sum(), [*wanted, *flat], allow_unused=True)
    return _arrange(length - scored, states, gradients, wanted=len(wanted), time_axis=time_axis)


def _arrange(
    before: int, states: dict[str, States], gradients: tuple[Any, ...], *, wanted: int, time_axis: int
) -> Flow:
    """Return a flow of gradients: of the inputs first, then of the states in their order."""
    norms = iter([0.0 if one is None else float(torch.linalg.vector_norm(one)) for one in gradients[wanted:]])
    h: dict[str, list[float]] = {}
    c: dict[str, list[float]] = {}
    for name, layers in states.items():
        for number, cells in enumerate(layers):
            for into, part in zip((h, c), cells, strict=False):
                into[f"{name or 'model'}.{number}"] = [next(norms) for _ in part]
    x: list[float] = []
    if wanted and gradients[0] is not None:
        away = [axis for axis in range(gradients[0].ndim) if axis != time_axis]
        x = torch.linalg.vector_norm(gradients[0], dim=away).tolist()
    return Flow(before, h, c, x)


@contextmanager
def _catch(model: torch.nn.Module, vectors: list[torch.Tensor]) -> Iterator[None]:
    """Keep what the embeddings of a model return, in the order of their calls."""
    hooks = [
        part.register_forward_hook(lambda _, __, output: vectors.append(output))
        for part in model.modules()
        if isinstance(part, torch.nn.Embedding)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _step_by_step(layers: dict[str, torch.nn.RNNBase], states: dict[str, States]) -> Iterator[None]:
    """Let recurrent layers run step by step, and keep their states."""
    for name, layer in layers.items():
        layer.forward = _make_forward(layer, states[name])
    try:
        yield
    finally:
        for layer in layers.values():
            del layer.forward


def _make_forward(layer: torch.nn.RNNBase, states: States) -> Callable[..., Any]:
    def forward(inputs: Any, hx: Any = None) -> tuple[Any, Any]:
        packed = inputs if isinstance(inputs, PackedSequence) else None
        lengths: Any = None
        outputs: Any
        if packed is not None:
            inputs, lengths = pad_packed_sequence(packed)
            lengths = lengths.to(inputs.device)
        alone = inputs.ndim == 2  # noqa: PLR2004 - [time, features], without a batch
        inputs = inputs.unsqueeze(1) if alone else inputs
        if layer.batch_first and not alone and packed is None:
            inputs = inputs.transpose(0, 1)
        parts = None if hx is None else [hx] if isinstance(hx, torch.Tensor) else [*hx]
        parts = [part.unsqueeze(1) for part in parts] if parts and alone else parts
        outputs, last = _run_layers(layer, inputs, first=parts, lengths=lengths, states=states)
        if alone:
            outputs, last = outputs.squeeze(1), [part.squeeze(1) for part in last]
        elif packed is not None:
            outputs = pack_padded_sequence(outputs, lengths.cpu(), enforce_sorted=packed.sorted_indices is None)
        elif layer.batch_first:
            outputs = outputs.transpose(0, 1)
        return outputs, tuple(last) if layer.mode == "LSTM" else last[0]

    return forward


def _run_layers(
    layer: torch.nn.RNNBase, inputs: torch.Tensor, *, first: Any, lengths: Any, states: States
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Run inputs [time, batch, features] through all layers and directions; return outputs and last states."""
    ends: list[list[torch.Tensor]] = []
    ways = 2 if layer.bidirectional else 1
    for number in range(layer.num_layers):
        outputs = []
        for way in range(ways):
            start = [part[number * ways + way] for part in first] if first else _make_zeros(layer, inputs)
            suffix = f"l{number}{'_reverse' if way else ''}"
            run = _run_layer(layer, suffix, inputs, state=start, lengths=lengths, backwards=bool(way))
            if not way:
                states.append(run)
            outputs.append(torch.stack(run[0]))
            ends.append([part[0 if way else -1] for part in run])
        inputs = torch.cat(outputs, dim=-1)
        if layer.dropout and number < layer.num_layers - 1:
            inputs = functional.dropout(inputs, layer.dropout, training=layer.training)
    return inputs, [torch.stack([end[part] for end in ends]) for part in range(len(ends[0]))]


def _make_zeros(layer: torch.nn.RNNBase, inputs: torch.Tensor) -> list[torch.Tensor]:
    sizes = [layer.proj_size or layer.hidden_size, layer.hidden_size][: 2 if layer.mode == "LSTM" else 1]
    return [inputs.new_zeros(inputs.shape[1], size) for size in sizes]


def _run_layer(
    layer: torch.nn.RNNBase,
    suffix: str,
    inputs: torch.Tensor,
    *,
    state: list[torch.Tensor],
    lengths: Any,
    backwards: bool,
) -> list[list[torch.Tensor]]:
    """Return the states of one layer at every step, in the order of time; a sequence that has ended keeps its last."""
    weights = [getattr(layer, f"{name}_{suffix}", None) for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")]
    project = getattr(layer, f"weight_hr_{suffix}", None)
    run: list[list[torch.Tensor]] = [[] for _ in state]
    times = range(len(inputs))
    for time in reversed(times) if backwards else times:
        new = _step(layer.mode, inputs[time], state, weights=weights, project=project)
        if lengths is not None:
            alive = (time < lengths).unsqueeze(1)
            new = [torch.where(alive, one, old) for one, old in zip(new, state, strict=True)]
        state = new
        for kept, one in zip(run, state, strict=True):
            kept.append(one)
    return [kept[::-1] for kept in run] if backwards else run


def _step(
    mode: str, x: torch.Tensor, state: list[torch.Tensor], *, weights: list[Any], project: Any
) -> list[torch.Tensor]:
    """Return the state after one step, as PyTorch's documentation of the layers defines it: h, and c of an lstm."""
    below, above = functional.linear(x, *weights[:2]), functional.linear(state[0], *weights[2:])
    if mode == "LSTM":
        i, f, g, o = (below + above).chunk(4, dim=-1)
        c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return [h if project is None else functional.linear(h, project), c]
    if mode == "GRU":
        (r, z, n), (r_h, z_h, n_h) = below.chunk(3, dim=-1), above.chunk(3, dim=-1)
        z = (z + z_h).sigmoid()
        n = (n + (r + r_h).sigmoid() * n_h).tanh()
        return [(1 - z) * n + z * state[0]]
    return [(below + above).relu() if mode == "RNN_RELU" else (below + above).tanh()]
