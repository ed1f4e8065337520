"""What recording costs per step: ``python -m farreach.cost [pytorch|jax|keras ...]``.

The same small training, an LSTM or as small a network, runs in blocks of steps with and without a recorder, in turn; a
figure is the median over blocks of the difference. It hardly grows with the model: what is added is a few norms. On a
busy machine both figures are larger: processor seconds are too, where other work takes the caches.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

BLOCKS, STEPS = 30, 50

Step = Callable[[], Any]


class Cost(NamedTuple):
    """Processor seconds of a step: what recording adds, flushes included, and the step without it; medians."""

    added: float
    plain: float


def measure_cost(framework: str, *, blocks: int = BLOCKS) -> Cost:
    """Return what recording adds to a step of a small training.

    Args:
        framework: pytorch, jax or keras.
        blocks: pairs of blocks of `STEPS` steps.

    """
    with tempfile.TemporaryDirectory() as folder:
        plain, recorded, close = MAKE[framework](folder)
        for step in (plain, recorded):
            _time_block(step)
        pairs = [(_time_block(plain), _time_block(recorded)) for _ in range(blocks)]
        close()
    added = statistics.median(after - before for before, after in pairs)
    return Cost(added / STEPS, statistics.median(before for before, _ in pairs) / STEPS)


def _time_block(step: Step) -> float:
    began = time.process_time()  # which a busy machine lengthens little
    for _ in range(STEPS):
        step()
    return time.process_time() - began


def _make_pytorch(folder: str) -> tuple[Step, Step, Step]:
    import torch  # noqa: PLC0415 - one framework of three

    torch.set_num_threads(1)
    from farreach.pytorch import Recorder  # noqa: PLC0415 - the same

    def make(recorder: Any, model: Any) -> Step:
        optimizer = torch.optim.Adam(model.parameters())
        inputs = torch.ones(8, 10, 4)

        def step() -> None:
            optimizer.zero_grad()
            loss = model(inputs)[0].square().mean()
            loss.backward()
            if recorder is None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            else:
                recorder.clip_norm(0.01)
            optimizer.step()
            if recorder is not None:
                recorder.step(loss)

        return step

    first, second = (torch.nn.LSTM(4, 16, num_layers=2) for _ in range(2))
    recorder = Recorder(second, folder, "cost")
    return make(None, first), make(recorder, second), recorder.close


def _make_jax(folder: str) -> tuple[Step, Step, Step]:
    import jax  # noqa: PLC0415 - one framework of three
    import jax.numpy as jnp  # noqa: PLC0415 - the same
    import optax  # noqa: PLC0415 - the same

    from farreach.jax import Recorder, clip_norm  # noqa: PLC0415 - the same

    def make(clip: Any, recorder: Any) -> Step:
        optimizer = optax.chain(clip, optax.adam(1e-3))
        params = {"a": jnp.ones((32, 64)), "b": jnp.ones((64, 1))}

        @jax.jit
        def update(params: Any, state: Any) -> Any:
            loss, grads = jax.value_and_grad(
                lambda p: jnp.square(jnp.tanh(jnp.ones((8, 32)) @ p["a"]) @ p["b"]).mean()
            )(params)
            updates, state = optimizer.update(grads, state, params)
            return optax.apply_updates(params, updates), state, loss

        held = [params, optimizer.init(params)]

        def step() -> None:
            *held[:], loss = update(*held)
            loss.block_until_ready()
            if recorder is not None:
                recorder.step(loss, held[1])

        return step

    recorder = Recorder(folder, "cost")
    return make(optax.clip_by_global_norm(0.01), None), make(clip_norm(0.01), recorder), recorder.close


def _make_keras(folder: str) -> tuple[Step, Step, Step]:
    import keras  # noqa: PLC0415 - one framework of three
    import numpy as np  # noqa: PLC0415 - the same

    from farreach.keras import Recorder, recorded  # noqa: PLC0415 - the same

    def make(wrap: Callable[[Any], Any]) -> Any:
        model = keras.Sequential([keras.Input((10, 4)), keras.layers.LSTM(16), keras.layers.Dense(1)])
        model.compile(wrap(keras.optimizers.Adam(1e-3, global_clipnorm=0.01)), loss="mse", jit_compile=False)
        return model

    inputs, targets = np.ones((8, 10, 4), "float32"), np.ones((8, 1), "float32")
    first, second = make(lambda optimizer: optimizer), make(recorded)
    recorder = Recorder(folder, "cost")
    recorder.set_model(second)
    recorder.on_train_begin()

    def step() -> None:
        second.train_on_batch(inputs, targets)
        recorder.on_train_batch_end(0)

    return lambda: first.train_on_batch(inputs, targets), step, recorder.close


MAKE = {"pytorch": _make_pytorch, "jax": _make_jax, "keras": _make_keras}
NEEDS = {"pytorch": "torch", "jax": "optax", "keras": "keras"}


def main(names: list[str]) -> None:
    """Print the cost of recording in each of these frameworks that is installed."""
    for name in names or [*MAKE]:
        if name not in MAKE:
            sys.exit(f"error: unknown framework {name!r}; allowed: {', '.join(MAKE)}")
        if importlib.util.find_spec(NEEDS[name]) is not None:
            added, plain = (1e3 * seconds for seconds in measure_cost(name))
            sys.stdout.write(
                f"{name}: {added:.2f} ms per step, {10 * added:.1f} % of one of 10 ms; the step measured takes "
                f"{plain:.2f} ms\n"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
