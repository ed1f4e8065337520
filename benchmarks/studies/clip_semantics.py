"""What "clip at threshold c" does in each framework's own functions, asked of the functions themselves.

Each probe is one call on a small gradient, float32, at threshold 1. Matched mode uses none of these
functions: its clip is written out, the same in every framework. Native code does use them.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from farreach.frameworks.base import Array, Weights
from farreach.frameworks.reference.clip import clip_gradients

Clip = Callable[[list[Array | None], float], list[Array | None]]


def probe_clips(framework: str) -> list[dict[str, Any]]:
    """Return a row for each clip function of a framework: what it did with each probe."""
    own = importlib.import_module(f"farreach.frameworks.{framework}.own_clips")
    return [
        {
            "framework": framework,
            "function": name,
            "scope": find_scope(clip),
            "excess": measure_excess(clip),
            "at the threshold": describe_change(clip, [0.6, 0.8]),
            "zero gradient": format_result(clip, [0.0, 0.0, 0.0]),
            "one NaN": format_result(clip, [np.nan, 1.0, 1.0]),
            "one +Inf": format_result(clip, [np.inf, 1.0, 1.0]),
            "squares overflow": format_result(clip, [3e38, 3e38, 1.0]),
            "no gradient yet": describe_missing(clip, [None]),
            "one of two missing": describe_missing(clip, [None, _make_gradient([3.0, 4.0])]),
        }
        for name, clip in own.CLIPS.items()
    ]


VARIABLES: dict[str, tuple[str, tuple[int, ...]]] = {
    "kernel": ("layer0.input", (3, 8)),
    "kernel of one input": ("layer1.input", (1, 8)),
    "embedding": ("embedding", (5, 4)),
    "bias": ("layer0.bias", (8,)),
    "the gru's two biases": ("layer1.bias", (2, 12)),
    "output layer": ("output.kernel", (4, 3)),
}
"""The variables that `compare_counterparts` draws: what they are called; name and shape in the shared layout."""


def compare_counterparts(framework: str) -> list[dict[str, Any]]:
    """Return a row for each function that is meant to be one of our clips: where it does what ours does, threshold .1.

    Weights and gradients are normal; the weights of ``zero weights`` are those of a kernel that is all zeros.
    """
    own = importlib.import_module(f"farreach.frameworks.{framework}.own_clips")
    random = np.random.default_rng(0)
    weights = {name: random.standard_normal(shape, dtype=np.float32) for name, shape in VARIABLES.values()}
    gradients = {name: random.standard_normal(weight.shape, dtype=np.float32) for name, weight in weights.items()}
    zeros = {name: np.zeros_like(weight) for name, weight in weights.items()}
    rows = []
    for function, (kind, clip) in own.COUNTERPARTS.items():
        ours, theirs = (_clip_ours(kind, gradients, weights), clip(gradients, weights, 0.1))
        row = {title: describe_difference(theirs[name], ours[name]) for title, (name, _) in VARIABLES.items()}
        kernel, _ = VARIABLES["kernel"]
        still = clip(gradients, zeros, 0.1)[kernel], _clip_ours(kind, gradients, zeros)[kernel]
        row["zero weights"] = describe_difference(*still)
        rows.append({"framework": framework, "function": function, "our clip": kind} | row)
    return rows


def _clip_ours(kind: str, gradients: Weights, weights: Weights) -> Weights:
    exact = {name: gradient.astype(np.float64) for name, gradient in gradients.items()}
    return clip_gradients(kind, exact, 0.1, weights=weights, names=[*weights], history=np.zeros(0))[0]


def describe_difference(theirs: Array, ours: Array) -> str:
    """Say whether two clipped gradients are the same but for rounding in float32, else how far apart they are."""
    if np.allclose(theirs, ours, rtol=1e-5, atol=1e-9):
        return "the same"
    return f"{np.linalg.norm(theirs - ours) / np.linalg.norm(ours):.2g} of our norm apart"


def find_scope(clip: Clip) -> str:
    """Return over what the clip is taken, from two variables [3, 4] and [0.3, 0.4]."""
    large, small = _clip_all(clip, [3.0, 4.0], [0.3, 0.4])
    if np.allclose(large, [1.0, 1.0]):
        return "per element"
    if not np.allclose(large[0] / large[1], 3 / 4):
        return "other"
    return "per variable" if np.allclose(small, [0.3, 0.4]) else "global"


def measure_excess(clip: Clip) -> str:
    """Return the norm after a clip of [1.2, 1.6] (norm 2), relative to the threshold 1, minus 1."""
    (clipped,) = _clip_all(clip, [1.2, 1.6])
    return f"{np.linalg.norm(clipped.astype(np.float64)) - 1:+.1e}"


def describe_change(clip: Clip, values: list[float]) -> str:
    """Say whether a gradient whose norm is the threshold is left alone, or by how much it shrinks."""
    (clipped,) = _clip_all(clip, values)
    change = np.abs(clipped / _make_gradient(values) - 1).max()
    return "left alone" if change == 0 else f"changed by {change:.1e}"


def format_result(clip: Clip, values: list[float]) -> str:
    """Return one gradient after the clip, as text."""
    with np.errstate(all="ignore"):
        return _format_values(_clip_all(clip, values)[0])


def describe_missing(clip: Clip, gradients: list[Array | None]) -> str:
    """Say what a clip does with gradients of which some were never computed: what it gives, or what it raises."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            clipped = clip(gradients, 1.0)
        except Exception as error:  # noqa: BLE001 - whatever it raises is the answer
            return f"raises {type(error).__name__}"
    given = ", ".join("None" if one is None else _format_values(one) for one in clipped)
    return f"gives {given}, {'and warns' if heard else 'and says nothing'}"


def _clip_all(clip: Clip, *gradients: list[float]) -> list[Array]:
    """Return gradients that are all there, clipped at 1."""
    return [one for one in clip([_make_gradient(values) for values in gradients], 1.0) if one is not None]


def _format_values(values: Array) -> str:
    return "[" + ", ".join(f"{value + 0:.3g}" for value in np.atleast_1d(values)) + "]"  # + 0: a minus zero is a zero


def _make_gradient(values: list[float]) -> Array:
    return np.array(values, np.float32)
