"""What this machine can do at best: products of matrices and copies of arrays, measured; its facts beside them.

``python -m farreach.benchmarks.speed.machine`` measures with the threads that NumPy's environment sets, and prints
JSON. A run calls `measure_machine`, which starts that as a process of its own: OpenBLAS reads its threads once, when
it is imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from farreach import granted
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.matrix.registry import HOME, UsageError
from farreach.benchmarks.running import environment
from farreach.benchmarks.running.worker_client import NUMPY_THREADS, CaseFailedError, Live, StartError
from farreach.benchmarks.speed.messages import Device, Limits

SQUARES = (500, 1_000, 2_000)
"""Sides n of the square products [n, n] @ [n, n]."""

STEPS = {"rnn": (32, 64, 64), "lstm": (32, 64, 256), "gru": (32, 64, 192)}
"""m, k, n of one recurrent product [m, k] @ [k, n] at the default sizes: what products that small reach."""

DTYPES = ("float32", "float64")
BUDGET = 0.25
"""Seconds of repeats for each product and for the copy; a slow one is still run `FEWEST` times."""

FEWEST = 3
WARM_UP = 0.3
"""Seconds of products before the first measurement, in which the clock of an idle core rises."""

SMALLEST_COPY = 256 * 2**20
CACHES = 4
"""A copied array holds this many times the last cache, and `SMALLEST_COPY` bytes at the least."""

MEMORY_SHARE = 8
"""And at most this part of the memory that is granted: there are two of them."""

CACHE = Path("/sys/devices/system/cpu/cpu0/cache")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


class MachineError(RuntimeError):
    """A measurement that gave nothing; the message is one line."""


def measure_machine(threads: int, *, device: dict[str, Any] | None = None) -> dict[str, Any]:
    """Measure the host in a process of its own, seconds long; nothing else should run meanwhile.

    ``gflops``: the peak for float32 and float64, the best rate of any product in 10^9 floating-point operations a
    second, 2 m k n of them in [m, k] @ [k, n], and ``at`` which [m, k, n]. ``products``: the rate at every size of
    `SQUARES` and `STEPS`. ``copy_gb_per_s``: 10^9 bytes a second, the bytes read and the bytes written both counted
    (twice the array), over arrays far larger than the caches. Every rate is that of the fastest repeat: what disturbs
    a measurement only makes it slower. ``load`` is the system's load average of the minute before: where it is not
    near 0, others were at work, and the rates are lower bounds. The facts name neither the host nor a path.

    Args:
        threads: what NumPy's OpenBLAS gets, and how many threads copy.
        device: what `farreach.benchmarks.speed.device.measure_device` found of a GPU, kept beside it; None without one.

    """
    done = subprocess.run(
        [sys.executable, "-m", "farreach.benchmarks.speed.machine"],
        cwd=HOME,
        env=os.environ | dict.fromkeys(NUMPY_THREADS, str(threads)),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip() or "no message").splitlines()[-1]
        message = f"the machine could not be measured: {reason}"
        raise MachineError(message)
    limits: dict[str, Any] = json.loads(done.stdout)
    return limits | {"device": device}


def measure_gpu(case: Case, log: Path) -> dict[str, Any]:
    """Measure the GPU through the framework of a case; which that was, and the GPU's facts, stand beside the rates."""
    live = Live(case.framework, case.device, case.threads, log / f"{case.framework}.log")
    try:
        limits = live.ask(Device(), Limits).limits
    except (CaseFailedError, StartError) as error:
        message = f"--device {case.device}: it could not be measured: {error}"
        raise UsageError(message) from error
    finally:
        live.stop()
    return limits | live.facts | {"framework": case.framework}


def measure_here(threads: int, *, budget: float = BUDGET) -> dict[str, Any]:
    """Measure within this process, whose NumPy must have been given its threads before it was imported."""
    load = os.getloadavg()[0]
    memory = granted.find_memory()
    random = np.random.default_rng(0)
    _measure_product(random, (500, 500, 500), "float32", WARM_UP if budget else 0)
    sizes = [(n, n, n) for n in SQUARES] + list(STEPS.values())
    products = [_measure_product(random, size, dtype, budget) for dtype in DTYPES for size in sizes]
    best = {
        dtype: max((one for one in products if one["dtype"] == dtype), key=lambda one: float(one["gflops"]))
        for dtype in DTYPES
    }
    size = min(max(SMALLEST_COPY, CACHES * (read_last_cache() or 0)), memory // MEMORY_SHARE)
    return {
        "threads": threads,
        "load": load,
        "gflops": {dtype: one["gflops"] for dtype, one in best.items()},
        "at": {dtype: [one["m"], one["k"], one["n"]] for dtype, one in best.items()},
        "products": products,
        "copy_gb_per_s": measure_copy_rate(size, threads, budget=budget),
        "copied_bytes": size,
        "processor": environment.read_processor(),
        "cores": os.cpu_count() or 1,
        "cores_granted": granted.count_cores(),
        "memory_bytes": memory,
        "last_cache_bytes": read_last_cache(),
        "numpy": np.__version__,
        "blas": name_blas(),
    }


def measure_copy_rate(size: int, threads: int, *, budget: float = BUDGET) -> float:
    """Return the best rate of a copy of `size` bytes in 10^9 bytes a second, reads and writes both counted.

    What a write first reads into the cache, where the processor does that, is not counted.
    """
    source, target = (
        np.full(size // 8, value) for value in (1.0, 0.0)
    )  # full touches every page before the clock runs
    parts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:

        def copy() -> None:
            for one in [pool.submit(np.copyto, into, out_of) for out_of, into in parts]:
                one.result()

        return _measure_rate(copy, 2e-9 * source.nbytes, budget)


def read_last_cache() -> int | None:
    """Return the bytes of the largest cache that the first core sees, or None where the system does not say."""
    sizes = []
    for path in CACHE.glob("index*/size"):
        text = path.read_text("utf-8").strip()
        digits, unit = text.rstrip("KMG"), text[-1:]
        if digits.isdigit():
            sizes.append(int(digits) * UNITS.get(unit, 1))
    return max(sizes, default=None)


def name_blas() -> str:
    """Return the name and version of the library that multiplies NumPy's matrices."""
    built: Any = np.show_config(mode="dicts")
    library = (built or {}).get("Build Dependencies", {}).get("blas", {})
    return f"{library.get('name', 'unknown')} {library.get('version', '')}".strip()


def _measure_product(
    random: np.random.Generator, size: tuple[int, int, int], dtype: str, budget: float
) -> dict[str, Any]:
    """Return the rate of one product [m, k] @ [k, n] in 10^9 operations a second, NumPy's call included."""
    m, k, n = size
    left, right, out = (np.asarray(random.random(shape), dtype) for shape in ((m, k), (k, n), (m, n)))
    gflops = _measure_rate(lambda: np.matmul(left, right, out=out), 2e-9 * m * k * n, budget)
    return {"dtype": dtype, "m": m, "k": k, "n": n, "gflops": gflops}


def _measure_rate(do: Callable[[], object], amount: float, budget: float) -> float:
    """Return `amount` over the shortest time that `do` took, once warm, within the budget of seconds."""
    do()
    best, count, end = float("inf"), 0, time.perf_counter() + budget
    while count < FEWEST or time.perf_counter() < end:
        start = time.perf_counter()
        do()
        best = min(best, time.perf_counter() - start)
        count += 1
    return amount / best


if __name__ == "__main__":
    print(json.dumps(measure_here(int(os.environ[NUMPY_THREADS[0]]))))  # noqa: T201 - the process that started this one reads it
