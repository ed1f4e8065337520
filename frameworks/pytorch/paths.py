"""What PyTorch's paths need beside the step itself.

That is cuDNN or not, subnormal numbers or not, `torch.compile`, and the step as a CUDA graph.
"""

from __future__ import annotations

import functools
import gc
import os
import shutil
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from farreach.frameworks import base
from farreach.frameworks.layouts import LAYOUTS

WITHOUT_CUDNN = ("eager",)
"""The paths on which PyTorch's own kernels run on a GPU, too."""

FLUSHED = ("flushed",)
"""The paths on which numbers below 1.2e-38 (float32) are zero, as they are in TensorFlow and in XLA on the CPU.

PyTorch keeps such subnormal numbers unless it is told not to, and a processor computes with them many times slower: a
gradient that vanishes slows it down. Only the thread that asks flushes them: with one thread, which runs everything.
"""

COMPILERS = {"cpu": ("CXX", "c++", "g++"), "cuda": ("CC", "gcc", "clang")}
"""What `torch.compile` needs, and on a GPU Triton: a variable that names a compiler, else programs to look for."""

HEADER = Path(sysconfig.get_path("include")) / "Python.h"
"""What Triton's compiler needs besides."""

WARM_UP = 3
"""Steps before a step is recorded: libraries start, and allocate, within the first."""

Step = Callable[..., torch.Tensor]


@contextmanager
def use_kernels(path: str) -> Iterator[None]:
    """Have the recurrent layers run by cuDNN or not, and subnormals flushed or not, as the path says; then as before.

    Args:
        path: one of `PATHS`.

    Raises:
        UnsupportedError: where the processor cannot flush them.

    """
    if path in FLUSHED and not torch.set_flush_denormal(True):
        message = f"path {path} needs a processor that can flush subnormal numbers"
        raise base.UnsupportedError(message)
    before = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = path not in WITHOUT_CUDNN
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = before
        if path in FLUSHED:
            torch.set_flush_denormal(False)


def name_kernel(path: str, cell: str, weight: torch.Tensor, *, by_hand: bool) -> str:
    """Return whose kernel runs on a path: cuDNN's or oneDNN's where PyTorch has them take such a weight."""
    graph = ", in a CUDA graph" if path == "cudagraph" else ""
    if by_hand:
        return f"hand-written {'scan' if path == 'scan' else 'loop'}{graph}"
    rest = {"compiled": ", the rest Inductor", "flushed": ", subnormals flushed"}.get(path, "") + graph
    if LAYOUTS[cell].family == "transformer":  # no recurrent layer for a library of its own
        return f"ATen{rest}"
    with use_kernels(path):
        if torch.backends.cudnn.is_acceptable(weight):  # type: ignore[no-untyped-call]
            return f"cuDNN{rest}"
    has_onednn = torch.backends.mkldnn.is_available() and weight.device.type == "cpu"  # type: ignore[no-untyped-call]
    return ("oneDNN" if has_onednn and (cell, weight.dtype) == ("lstm", torch.float32) else "ATen") + rest


def compile_step(function: Step, device: str) -> Step:
    """Return the function as `torch.compile` makes it; a recurrent layer in it stays the native one.

    What was compiled for other models is forgotten: beyond a number of them PyTorch would silently stop compiling.

    Raises:
        UnsupportedError: where the compiler is not installed that `torch.compile` itself needs.

    """
    named, *usual = COMPILERS[device]
    if not any(shutil.which(name) for name in (os.environ.get(named, usual[0]), *usual)):
        language = {"cpu": "C++", "cuda": "C"}[device]
        message = f"path compiled needs a {language} compiler, and PyTorch finds none on this machine"
        raise base.UnsupportedError(message)
    if device == "cuda" and not HEADER.exists():
        message = f"path compiled needs {HEADER.name}, which comes with the development files of Python"
        raise base.UnsupportedError(message)
    torch.compiler.reset()
    compiled: Step = torch.compile(function, dynamic=False)
    return compiled


@functools.cache
def find_stream() -> torch.cuda.Stream:
    """Return the stream on which graphs are recorded, one a process: cuBLAS keeps memory for each that it meets."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


class StepGraph:
    """A training step recorded once as a CUDA graph and then replayed: one launch a step in place of hundreds.

    A graph reads and writes the memory that it was recorded with. So the step must update its `state` in place, every
    batch is copied to where the first one lay, and so is a learning rate that changes, the last part of a batch; the
    numbers of the recipe (a constant rate, the threshold) are fixed in it.
    """

    def __init__(self, step: Step, state: Sequence[torch.Tensor]) -> None:
        self.step, self.state = step, state
        self.batch: list[torch.Tensor] = []

    def __call__(self, *batch: torch.Tensor) -> torch.Tensor:
        """Do one update, queued and not waited for; return what the step returns."""
        if [part.shape for part in batch] != [part.shape for part in self.batch]:
            self.record(*batch)
        for fixed, part in zip(self.batch, batch, strict=True):
            fixed.copy_(part)
        self.graph.replay()
        return self.row.clone()

    def record(self, *batch: torch.Tensor) -> None:
        """Record the step for batches of these shapes; the state stays as it is."""
        self.batch = [part.clone() for part in batch]
        values = [tensor.detach().clone() for tensor in self.state]
        # One stream for warm-up and recording: what a library allocates for a stream it must not while recording.
        stream, before = find_stream(), torch.cuda.current_stream()
        stream.wait_stream(before)
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.step(*self.batch)
        before.wait_stream(stream)
        with torch.no_grad():
            for tensor, value in zip(self.state, values, strict=True):
                tensor.copy_(value)
        gc.collect()  # a graph of a case before this one goes now, and not while this one is recorded
        self.graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(self.graph, stream=stream):
                self.row = self.step(*self.batch)
        finally:
            torch.cuda.set_stream(before)  # which PyTorch leaves undone where a recording fails
