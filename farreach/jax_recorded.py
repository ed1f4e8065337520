"""Transformations of Optax that keep, inside the compiled step, the norms before and after another one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

MISSING = (
    "the optimizer's state holds nothing recorded: build it as optax.chain(farreach.jax.clip_norm(5.0), "
    "optax.adam(1e-3)) and give recorder.step(loss, state) the state after the update"
)
FIGURES = ("count", "before", "after", "changed", "elements")
"""What is kept of an update: their number, the norms, how many elements the transformation changed, and of how many."""

OPTIMIZERS = {"mu", "nu", "trace", "sum_of_squares", "e_g", "e_x"}
"""Fields of the states of transformations that make an update of a gradient."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Recorded:
    """The state of a transformation that is recorded.

    Attributes:
        figures: of the last update, [5]: see `FIGURES`.
        inner: the transformation's own state.
        kind: of the clip, none for no clip.
        threshold: of the clip.

    """

    figures: jax.Array
    inner: Any
    kind: str = dataclasses.field(metadata={"static": True})
    threshold: float = dataclasses.field(metadata={"static": True})


def recorded(clip: optax.GradientTransformation, kind: str, threshold: float) -> optax.GradientTransformation:
    """Return a transformation that does what this one does, and keeps the norms before and after it.

    Args:
        clip: the transformation.
        kind: what it is, one word: norm (the norm of all together), value (each element), or a name of your own.
        threshold: its threshold.

    """
    if not threshold > 0:
        message = f"the threshold must be above 0, not {threshold}"
        raise ValueError(message)
    wide = optax.with_extra_args_support(clip)

    def init(params: Any) -> Recorded:
        return Recorded(jnp.zeros(len(FIGURES), _find_floats(params)), wide.init(params), kind, float(threshold))

    def update(updates: Any, state: Recorded, params: Any = None, **extra: Any) -> tuple[Any, Recorded]:
        after, inner = wide.update(updates, state.inner, params, **extra)
        leaves = [jax.tree.leaves(tree) for tree in (updates, after)]
        floats = state.figures.dtype
        norms = [_measure_norm(tree, floats) for tree in leaves]
        changed = sum(jnp.sum(a != b) for a, b in zip(*leaves, strict=True))
        size = sum(leaf.size for leaf in leaves[0])
        if kind == "norm":  # a zero that is scaled is clipped as well
            changed = jnp.where(changed > 0, size, 0)
        figures = jnp.stack([jnp.asarray(one, floats) for one in (state.figures[0] + 1, *norms, changed, size)])
        return after, Recorded(figures, inner, kind, float(threshold))

    return optax.GradientTransformationExtraArgs(init, update)


def record() -> optax.GradientTransformation:
    """Return a transformation that changes nothing and keeps the norm of the gradient."""
    return recorded(optax.identity(), "none", math.inf)


def clip_norm(max_norm: float) -> optax.GradientTransformation:
    """Return ``optax.clip_by_global_norm``, recorded."""
    return recorded(optax.clip_by_global_norm(max_norm), "norm", max_norm)


def clip_value(max_delta: float) -> optax.GradientTransformation:
    """Return ``optax.clip``, the clip of each element, recorded."""
    return recorded(optax.clip(max_delta), "value", max_delta)


class Place(NamedTuple):
    """Where a recorded state lies in that of the optimizer.

    Attributes:
        state: the recorded state.
        group: its way through groups of parameters, each with a chain of its own; empty for all parameters.
        late: whether it lies behind a transformation that makes an update of the gradient.
        many: whether the updates of several batches are added up, and not inside of it.

    """

    state: Recorded
    group: tuple[str, ...]
    late: bool
    many: bool


def find_figures(state: Any) -> jax.Array:
    """Return the figures of the last update in an optimizer's state, [transformations, 5], a copy.

    Raises:
        ValueError: there is nothing recorded in it.

    """
    places = list_places(state)
    if not places:
        raise ValueError(MISSING)
    return jnp.stack([unwrap(place.state.figures) for place in places])


def unwrap(value: Any) -> Any:
    """Return the array that a variable of Flax holds; an array as it is."""
    return value if isinstance(value, jax.Array | np.ndarray) else value[...]


def _find_floats(params: Any) -> Any:
    """Return in what precision norms are kept: float32, or float64 where a parameter is."""
    kinds = [leaf.dtype for leaf in jax.tree.leaves(params)]
    return jnp.float64 if jnp.float64 in kinds else jnp.float32


def _measure_norm(leaves: Sequence[jax.Array], floats: Any) -> jax.Array:
    return jnp.sqrt(sum(jnp.sum(jnp.square(jnp.abs(leaf).astype(floats))) for leaf in leaves))


def list_parts(state: Any) -> Iterator[Any]:
    """Yield an optimizer's state and every part of it, from the outside in."""
    yield state
    for part in _list_inner(state):
        yield from list_parts(part)


def _list_inner(state: Any) -> Iterable[Any]:
    if isinstance(state, Recorded):
        return [state.inner]
    if isinstance(state, dict):
        return state.values()
    return state if isinstance(state, tuple | list) else []


def list_places(state: Any, group: tuple[str, ...] = (), *, late: bool = False, many: bool = False) -> list[Place]:
    """Return where recorded states lie, in the order in which a gradient meets them."""
    if isinstance(state, Recorded):
        return [Place(state, group, late, many), *list_places(state.inner, group, late=late, many=many)]
    fields = {*getattr(state, "_fields", ())}
    if "inner_states" in fields:  # groups of parameters
        return [
            place
            for name, inner in state.inner_states.items()
            for place in list_places(inner, (*group, str(name)), late=late, many=many)
        ]
    inside = [place for part in _list_inner(state) for place in list_places(part, group)]
    if fields:  # of one transformation; what lies inside of MultiSteps is done once for all of its batches
        return [place._replace(late=late or place.late) for place in inside]
    found = []
    parts = [*_list_inner(state)]
    outside = many or any("mini_step" in getattr(part, "_fields", ()) for part in parts)
    for part in parts:
        of_many = outside and "mini_step" not in getattr(part, "_fields", ())
        found += list_places(part, group, late=late, many=of_many)
        late = late or any(OPTIMIZERS & {*getattr(one, "_fields", ())} for one in list_parts(part))
    return found
