"""What a GPU can do at best, measured through a framework in the process that holds it; `machine` measures the host."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from farreach.benchmarks.speed.machine import FEWEST, STEPS

SQUARES = (2_000, 4_000, 8_000)
"""Sides n of the square products [n, n] @ [n, n]."""

KINDS = {"float32": ("float32", False), "float32 TF32": ("float32", True), "float64": ("float64", False)}
"""What is multiplied: the dtype, and whether TF32 is allowed."""

COPIED = 2**30
"""Bytes of the array that is read, and of the one that is written: far more than any cache of a GPU holds."""

SHORTEST = 0.02
"""Seconds that one measurement takes at least: so many products are queued before the GPU is waited for."""

BUDGET = 0.25
"""Seconds of repeats for each product and for the copy."""


def load_device(framework: str, device: str) -> ModuleType | None:
    """Return the file ``device.py`` of a framework, which asks the GPU through it; None on the CPU."""
    return None if device == "cpu" else importlib.import_module(f"farreach.frameworks.{framework}.device")


def measure_device(asked: Any, *, copied: int = COPIED, budget: float = BUDGET) -> dict[str, Any]:
    """Measure the GPU; nothing else should run on it meanwhile. Raises `ValueError` on the CPU.

    ``gflops``: the peak of each of `KINDS`, the best rate of any product in 10^9 floating-point operations a second,
    and ``at`` which [m, k, n]. ``products``: the rate at every size of `SQUARES` and of `machine.STEPS`, queued one
    after another and waited for at the end, so that for the small ones it is the rate at which the framework queues.
    ``copy_gb_per_s``: 10^9 bytes a second of an addition of 1 to a float32 array, bytes read and bytes written both
    counted. Every rate is that of the fastest repeat.
    """
    if asked is None:
        message = "the CPU is measured by farreach.benchmarks.speed.machine"
        raise ValueError(message)
    sizes = [(n, n, n) for n in SQUARES] + list(STEPS.values())
    products: list[dict[str, Any]] = [
        {"kind": kind, "m": m, "k": k, "n": n, "gflops": 2e-9 * m * k * n * rate}
        for kind, (dtype, tf32) in KINDS.items()
        for m, k, n in sizes
        for rate in (_measure_rate(asked.prepare_product((m, k, n), dtype, tf32=tf32), budget),)
    ]
    best = {
        kind: max((one for one in products if one["kind"] == kind), key=lambda one: float(one["gflops"]))
        for kind in KINDS
    }
    return {
        "gflops": {kind: one["gflops"] for kind, one in best.items()},
        "at": {kind: [one["m"], one["k"], one["n"]] for kind, one in best.items()},
        "products": products,
        "copy_gb_per_s": 2e-9 * copied * _measure_rate(asked.prepare_copy(copied), budget),
        "copied_bytes": copied,
    }


def _measure_rate(queue: Callable[[int], None], budget: float) -> float:
    """Return how many a second: the best of several measurements, each of so many that it is not too short."""
    queue(1)
    count = 1
    while (seconds := _time_queue(queue, count)) < SHORTEST:
        count *= 2
    best, done, end = seconds, 1, time.perf_counter() + budget
    while done < FEWEST or time.perf_counter() < end:
        best = min(best, _time_queue(queue, count))
        done += 1
    return count / best


def _time_queue(queue: Callable[[int], None], count: int) -> float:
    start = time.perf_counter()
    queue(count)
    return time.perf_counter() - start
