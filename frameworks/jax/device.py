"""The GPU in JAX: what it is, its memory and its fastest products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import jax
import jax.extend
import numpy as np
from jax import lax

Queue = Callable[[int], None]

plus_one = jax.jit(lambda x: x + 1)


def read_facts(settings: str) -> dict[str, str]:
    """Return name, software, precision and settings, as JAX tells them; `settings` are the environment's."""
    settled: Any = jax.config
    tf32 = settled.jax_default_matmul_precision != "highest"
    return {
        "device_name": jax.devices()[0].device_kind,
        "precision": f"float32, TF32 {'on' if tf32 else 'off'}",
        "device_software": " ".join(jax.extend.backend.get_backend().platform_version.split()),
        "device_settings": settings,
    }


def synchronise() -> None:
    """Wait until all that was queued is done."""
    jax.block_until_ready(jax.live_arrays())  # type: ignore[no-untyped-call]
    plus_one(np.float32(0)).block_until_ready()  # programs run in turn: this one after those whose results nobody kept


class Stopwatch:
    """A ``with`` block that leaves the GPU idle; JAX offers no events, so it has no time of its own."""

    def __init__(self) -> None:
        self.seconds: float | None = None

    def __enter__(self) -> Self:
        """Do nothing."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait."""
        synchronise()


def measure_peak(run: Callable[[], None]) -> tuple[int | None, str]:
    """Return the peak of allocated bytes since the process began, which JAX cannot set back; None where it has none."""
    run()
    synchronise()
    peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")  # another allocator tells nothing
    return None if peak is None else int(peak), "lifetime"


def prepare_product(size: tuple[int, int, int], dtype: str, *, tf32: bool) -> Queue:
    """Return a function that multiplies [m, k] by [k, n] so many times."""
    m, k, n = size
    random = np.random.default_rng(0)
    left, right = (jax.device_put(random.random(shape).astype(dtype)) for shape in ((m, k), (k, n)))
    precision: Any = lax.DotAlgorithmPreset.TF32_TF32_F32 if tf32 else lax.Precision.HIGHEST
    multiply = jax.jit(lambda a, b: lax.dot(a, b, precision=precision))

    def run(count: int) -> None:
        for _ in range(count):
            out = multiply(left, right)
        out.block_until_ready()

    return run


def prepare_copy(size: int) -> Queue:
    """Return a function that reads an array of so many bytes and writes another, so many times."""
    source = jax.numpy.zeros(size // 4, "float32")

    def run(count: int) -> None:
        for _ in range(count):
            out = plus_one(source)
        out.block_until_ready()

    return run
