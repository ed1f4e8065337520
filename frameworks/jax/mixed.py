"""Mixed precision in JAX: casts around the network, the loss scaled as `torch.amp.GradScaler` does.

JAX has no autocast. What is cast is what jmp's policy casts (``params=float32,compute=half,output=float32``): all
weights and the inputs on their way into the network, and the scores on their way out. All between is in half precision,
as far as XLA keeps to it: within a fused kernel it may carry a bfloat16 number as float32.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from farreach.frameworks import base, scaling
from farreach.frameworks.base import Array, Model, Optimizer, Training, Weights
from farreach.frameworks.jax import Framework as PlainFramework
from farreach.frameworks.jax.loss import compute_loss
from farreach.frameworks.jax.networks import find_family
from farreach.frameworks.jax.paths import make_chunk, make_step
from farreach.frameworks.scaling import Half

DTYPES: dict[str, Any] = {"bfloat16": jnp.bfloat16, "float16": jnp.float16}


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
        self.half: Half = dtype
        self.scaler: tuple[jax.Array, ...] = ()
        super().__init__(model, training, weights, device=device, dtype="float32", threads=threads, path=path)
        self.extra = scaling.list_extra(dtype)
        kind = training.clip.kind if training.clip else "norm"
        penalty = training.regulariser.kind if training.regulariser else "none"
        self.program, self.scores = compile_program(
            model, training.optimizer, kind=kind, penalty=penalty, half=dtype, path=path, decay=training.decay
        )
        self.chunk = self._run_chunk
        self.precision = measure_precision(self)

    def state(self) -> base.State:
        """Return weights, slots and the number of updates, and the scale."""
        plain = super().state()
        if not self.scaler:
            return plain
        scale, good, skipped = (float(part) for part in self.scaler)
        return scaling.ScaledState(
            plain.weights, plain.slots, plain.steps, plain.history, scale, int(good), int(skipped)
        )

    def restore(self, state: base.State) -> None:
        """Go on from this state instead of the current one, at its scale or the first one."""
        super().restore(state)
        if self.half not in scaling.SCALED:
            return
        found = scaling.scale_state(state)
        self.scaler = tuple(jnp.float32(value) for value in (found.scale, found.good, found.skipped))

    @property
    def kernel(self) -> str:
        """The recurrent kernel that runs, and in what."""
        return f"{super().kernel}, {self.half}"

    def _run_chunk(self, carried: Any, batches: Any, limits: Any, count: Any) -> Any:
        """Run a chunk of updates, the scale beside what is carried without one."""
        (carried, self.scaler), figures = self.program((carried, self.scaler), batches, limits, count)
        return carried, figures

    def _list_limits(self, count: int) -> tuple[Any, ...]:
        """Return the numbers of the next updates; an update that was left out has taken its learning rate with it."""
        if self.training.schedule is None:
            return self.limits
        threshold, _, *others = self.limits
        seen = int(self.carried[2]) + (int(self.scaler[2]) if self.scaler else 0)
        return threshold, self.make_tensor(self.training.list_rates(seen, count)), *others


@functools.cache
def compile_program(
    model: Model, optimizer: Optimizer, *, kind: str, penalty: str, half: Half, path: str, decay: float | None
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the compiled chunk and the compiled prediction, shared by every case of this kind.

    State is what is carried without a scale, and the scaler, of which nothing is there where nothing is scaled.
    """
    network = find_family(model).Network(model, path)
    score = _prepare_scores(network, half)

    def step(state: Any, batch: Any, limits: Any) -> Any:
        carried, scaler = state
        differentiate = _prepare_gradient(model, score, scaler)
        update = make_step(model, network, optimizer, differentiate, kind=kind, penalty=penalty, decay=decay)
        following, figures = update(carried, batch, limits)
        if not scaler:
            return (following, scaler), figures
        finite = figures[-2] == 0
        kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), following, carried)
        return (kept, _change_scale(scaler, finite)), figures

    extra = len(scaling.list_extra(half))
    chunk = jax.jit(make_chunk(step, extra), donate_argnums=0)
    return chunk, jax.jit(lambda weights, inputs: score(weights, inputs).astype(jnp.float32))


def _prepare_scores(network: Any, half: Half) -> Callable[..., Any]:
    """Return the network on weights and inputs that are cast to half precision; the scores are in what it returns."""

    def score(weights: Any, inputs: Any) -> Any:
        cast = {name: weight.astype(DTYPES[half]) for name, weight in weights.items()}
        is_number = jnp.issubdtype(inputs.dtype, jnp.floating)
        return network(cast, inputs.astype(DTYPES[half]) if is_number else inputs)

    return score


def _prepare_gradient(model: Model, score: Callable[..., Any], scaler: tuple[Any, ...]) -> Callable[..., Any]:
    """Return what gives the loss of a batch, its gradient, no longer scaled, and what a scaled step says beside."""

    def compute_scaled(weights: Any, inputs: Any, targets: Any, mask: Any) -> Any:
        loss = compute_loss(model, score(weights, inputs).astype(jnp.float32), targets, mask)
        return loss * scaler[0] if scaler else loss, loss

    def differentiate(weights: Any, _: Any, batch: Any) -> Any:
        gradients, loss = jax.grad(compute_scaled, has_aux=True)(weights, *batch)
        if not scaler:
            return loss, gradients, None, []
        finite = jnp.stack([jnp.isfinite(gradient).all() for gradient in gradients.values()]).all()
        back = (1 / scaler[0].astype(jnp.float64)).astype(jnp.float32)
        gradients = {name: gradient * back for name, gradient in gradients.items()}
        return loss, gradients, None, [jnp.where(finite, 0.0, 1.0).astype(jnp.float32), scaler[0]]

    return differentiate


def _change_scale(scaler: tuple[Any, ...], finite: Any) -> tuple[Any, ...]:
    """Return the scaler after a step whose gradient was finite or not."""
    scale, good, skipped = scaler
    following = jnp.where(finite, good + 1, 0)
    is_due, grown = following >= scaling.GOOD_STEPS, scale * scaling.GROWTH
    kept = jnp.where(is_due & jnp.isfinite(grown), grown, scale)
    scale = jnp.where(finite, kept, scale * scaling.BACKOFF)
    return scale, jnp.where(is_due, 0, following), skipped + jnp.where(finite, 0, 1).astype(skipped.dtype)


def measure_precision(framework: Framework) -> str:
    """Return the precision of a model's products, from real calls forward and back; refuse what stays float32."""
    model, before = framework.model, framework.weights()

    def measure() -> tuple[set[str], list[Array], list[Array]]:
        returned: set[str] = set()
        run = _compile_probe(model, framework.path, framework.half)
        batch = [part[0] for part in framework.stack_batches([scaling.make_probe(model)])]

        def differentiate(weights: Weights) -> list[Array]:
            native = {name: framework.make_tensor(w) for name, w in framework.family.to_native(model, weights).items()}
            scores, gradients = run(native, *batch)
            returned.add(scores.dtype.name)
            return [np.asarray(gradient) for gradient in gradients.values()]

        def round_values(values: Array) -> Array:
            return np.asarray(values.astype(DTYPES[framework.half]).astype(np.float32))

        plain = differentiate(before)
        return returned, plain, differentiate(scaling.round_kernels(before, round_values))

    return scaling.require_precision(framework, "JAX", measure)


@functools.cache
def _compile_probe(model: Model, path: str, half: Half) -> Callable[..., Any]:
    """Return what gives the scores as the network returns them, and the gradient of every weight."""
    score = _prepare_scores(find_family(model).Network(model, path), half)

    def run(weights: Any, inputs: Any, targets: Any, mask: Any) -> Any:
        scores = score(weights, inputs)
        return compute_loss(model, scores.astype(jnp.float32), targets, mask), scores

    def differentiate(weights: Any, *batch: Any) -> Any:
        gradients, scores = jax.grad(run, has_aux=True)(weights, *batch)
        return scores, gradients

    return jax.jit(differentiate)
