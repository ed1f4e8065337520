"""The gradient through time of a Keras model's own recurrent layers, on a batch that the user gives.

For the time of the measurement the layers run their cells step by step: the same function, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from farreach.flow import Flow


def measure_flow(
    model: Any, find_loss: Callable[[Any], Any], inputs: Any, *, scored: int = 1, time_axis: int = 1
) -> Flow:
    """Return the gradient of a loss through time: of every ``keras.layers.RNN``, and of the input.

    Args:
        model: the model.
        find_loss: returns the loss for these inputs, one number, such as
            ``lambda inputs: keras.ops.mean((model(inputs) - targets) ** 2)``. It is to count the last steps of the
            sequence alone.
        inputs: a batch; of whole numbers, the tokens of the model's first ``Embedding``, whose vectors then stand for
            x_t.
        scored: how many steps at the end the loss counts.
        time_axis: the axis of the inputs that is time.

    Raises:
        ValueError: the JAX backend, whose gradients are functions; a loss that does not depend on the model; fewer
            steps than `scored`.

    """
    inputs = ops.convert_to_tensor(inputs)
    length = int(inputs.shape[time_axis])
    if not 1 <= scored <= length:
        message = f"scored must lie between 1 and the {length} steps of the inputs, not {scored}"
        raise ValueError(message)
    if keras.backend.backend() == "jax":
        message = "the gradient through time is measured on TensorFlow or PyTorch, not on JAX"
        raise ValueError(message)
    parts = model._flatten_layers()  # noqa: SLF001 - as the recorder's callback lists them
    layers = [part for part in parts if isinstance(part, keras.layers.RNN)]
    states: dict[str, list[list[Any]]] = {layer.name: [] for layer in layers}
    tokens = "int" in keras.backend.standardize_dtype(inputs.dtype)
    embedding = next((part for part in parts if isinstance(part, keras.layers.Embedding)), None) if tokens else None
    vectors: list[Any] = []
    with _replaced(layers, states, embedding, vectors):
        differentiate = _differentiate_tf if keras.backend.backend() == "tensorflow" else _differentiate_torch
        wanted, gradients = differentiate(find_loss, inputs, tokens=tokens, vectors=vectors, states=states)
    norms = iter([0.0 if one is None else float(_measure(one)) for one in gradients[wanted:]])
    h, c = {}, {}
    for layer in layers:
        columns = list(zip(*states[layer.name], strict=True))  # of each state, its steps
        for number, column in enumerate(columns):
            lines = [next(norms) for _ in column]
            if number == 0:
                h[layer.name] = lines
            elif number == 1 and "lstm" in type(layer.cell).__name__.lower():
                c[layer.name] = lines
    x = []
    if wanted and gradients[0] is not None:
        first = ops.moveaxis(ops.convert_to_tensor(gradients[0]), time_axis, 0)
        x = [float(_measure(step)) for step in ops.unstack(first, length)]
    return Flow(length - scored, h, c, x)


def _measure(gradient: Any) -> Any:
    return ops.convert_to_numpy(ops.sqrt(ops.sum(ops.square(gradient))))


def _list_wanted(inputs: Any, *, vectors: list[Any], states: dict[str, list[list[Any]]]) -> tuple[list[Any], ...]:
    """Return the vectors of tokens, or else the input; and the states of all layers: of each state its steps."""
    columns = [column for steps in states.values() for column in zip(*steps, strict=True)]
    return vectors[:1] or [inputs], [one for column in columns for one in column]


def _differentiate_tf(
    find_loss: Callable[[Any], Any], inputs: Any, *, tokens: bool, vectors: list[Any], states: Any
) -> tuple[int, list[Any]]:
    import tensorflow as tf  # noqa: PLC0415 - Keras runs on it

    with tf.GradientTape() as tape:
        if not tokens:
            tape.watch(inputs)
        loss = find_loss(inputs)
    first, rest = _list_wanted(inputs, vectors=vectors, states=states)
    gradients = [None if one is None else tf.convert_to_tensor(one) for one in tape.gradient(loss, [*first, *rest])]
    _check(depends=any(one is not None for one in gradients))
    return len(first), gradients


def _differentiate_torch(
    find_loss: Callable[[Any], Any], inputs: Any, *, tokens: bool, vectors: list[Any], states: Any
) -> tuple[int, list[Any]]:
    import torch  # noqa: PLC0415 - Keras runs on it

    given = inputs if tokens else inputs.detach().clone().requires_grad_()
    loss = find_loss(given)
    _check(depends=isinstance(loss, torch.Tensor) and loss.requires_grad)
    first, rest = _list_wanted(given, vectors=vectors, states=states)
    return len(first), [*torch.autograd.grad(loss.sum(), [*first, *rest], allow_unused=True)]


def _check(*, depends: bool) -> None:
    if not depends:
        message = "find_loss(inputs) must return one number that depends on the model"
        raise ValueError(message)


@contextmanager
def _replaced(
    layers: list[Any], states: dict[str, list[list[Any]]], embedding: Any, vectors: list[Any]
) -> Iterator[None]:
    """Let recurrent layers run step by step and keep their states, and an embedding keep what it returns."""
    before = [(layer, layer.call) for layer in [*layers, *([embedding] if embedding is not None else [])]]
    for layer in layers:
        object.__setattr__(layer, "call", _make_call(layer, states[layer.name]))
    if embedding is not None:
        plain = embedding.call

        def look_up(*arguments: Any, **named: Any) -> Any:
            vectors.append(plain(*arguments, **named))
            return vectors[-1]

        object.__setattr__(embedding, "call", look_up)
    try:
        yield
    finally:
        for layer, call in before:
            object.__setattr__(layer, "call", call)


def _make_call(layer: Any, kept: list[list[Any]]) -> Callable[..., Any]:
    def call(sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:  # noqa: FBT001, FBT002
        sequences = ops.convert_to_tensor(sequences)
        state = initial_state if initial_state is not None else layer.get_initial_state(ops.shape(sequences)[0])
        state = [*state] if isinstance(state, list | tuple) else [state]
        times = range(int(sequences.shape[1]))
        outputs = []
        for time in reversed(times) if layer.go_backwards else times:
            output, new = layer.cell(sequences[:, time], state, training=training)
            new = [*new] if isinstance(new, list | tuple) else [new]
            if mask is not None:
                alive = ops.expand_dims(ops.cast(mask[:, time], "bool"), -1)
                new = [ops.where(alive, one, old) for one, old in zip(new, state, strict=True)]
                output = new[0]
            state = new
            outputs.append(output)
            kept.append(state)
        if layer.go_backwards:
            kept.reverse()
        result = ops.stack(outputs, axis=1) if layer.return_sequences else outputs[-1]
        return (result, *state) if layer.return_state else result

    return call
