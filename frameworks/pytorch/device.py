"""The GPU in PyTorch: what it is, its clock, its memory and its fastest products."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Self

import torch

Queue = Callable[[int], None]


def read_facts(settings: str) -> dict[str, str]:
    """Return name, software, precision and settings, each read back from PyTorch; `settings` are the environment's."""
    tf32 = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
    is_deterministic = torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.deterministic
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return {
        "device_name": torch.cuda.get_device_name(),
        "precision": f"float32, TF32 {'on' if tf32 else 'off'}",
        "device_software": f"CUDA {torch.version.cuda}, cuDNN {cudnn}",
        "device_settings": f"deterministic algorithms {'on' if is_deterministic else 'off'}, {settings}",
    }


def synchronise() -> None:
    """Wait until all that was queued is done."""
    torch.cuda.synchronize()


class Stopwatch:
    """The GPU's own time of a ``with`` block, by CUDA events."""

    def __init__(self) -> None:
        self.seconds: float | None = None
        self.begin, self.end = (
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(2)
        )

    def __enter__(self) -> Self:
        """Mark the begin in the queue."""
        self.begin.record()
        return self

    def __exit__(self, *_: object) -> None:
        """Mark the end and wait for it."""
        self.end.record()
        torch.cuda.synchronize()
        self.seconds = self.begin.elapsed_time(self.end) / 1e3  # it tells milliseconds


def measure_peak(run: Callable[[], None]) -> tuple[int, str]:
    """Return the peak of allocated bytes over a call; what a CUDA graph keeps for itself is in it."""
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    # A replay allocates nothing: it works in a pool of its own, most of which counts as free.
    segments = torch.cuda.memory_snapshot()  # type: ignore[no-untyped-call]
    pools = [segment for segment in segments if tuple(segment["segment_pool_id"]) != (0, 0)]
    reserved = sum(segment["total_size"] - segment["allocated_size"] for segment in pools)
    return torch.cuda.max_memory_allocated() + reserved, "region"


def prepare_product(size: tuple[int, int, int], dtype: str, *, tf32: bool) -> Queue:
    """Return a function that multiplies [m, k] by [k, n] so many times."""
    m, k, n = size
    kind = getattr(torch, dtype)
    left, right, out = (torch.rand(shape, dtype=kind, device="cuda") for shape in ((m, k), (k, n), (m, n)))

    def run(count: int) -> None:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        try:
            for _ in range(count):
                torch.mm(left, right, out=out)
        finally:
            torch.set_float32_matmul_precision(before)
        torch.cuda.synchronize()

    return run


def prepare_copy(size: int) -> Queue:
    """Return a function that reads an array of so many bytes and writes another, so many times."""
    source, target = (torch.zeros(size // 4, dtype=torch.float32, device="cuda") for _ in range(2))

    def run(count: int) -> None:
        for _ in range(count):
            torch.add(source, 1, out=target)
        torch.cuda.synchronize()

    return run
