"""What every test of a framework ends with: programs that were compiled are forgotten before they fill the memory."""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MOST = 2_000_000_000
"""Bytes of this process beyond which programs are forgotten; no test process is to have more than 3 GB."""

ROOM = 400_000_000
"""Bytes of new programs that are worth forgetting: all libraries loaded may be more than `MOST` by themselves, and
then every test would forget what the next one compiles again."""

PROGRAMS = (
    ("paths", "compile_program"),
    ("replicas", "_compile_chunk"),
    *(("mixed", name) for name in ("compile_program", "_compile_probe")),
    *(("gradient_flow", name) for name in ("_compile_probe", "_compile_shifted")),
)
"""What a folder keeps of compiled programs: file and function."""

STATUS = Path("/proc/self/statm")


def measure_memory() -> int:
    """Return the bytes that this process holds now; 0 where the system does not say."""
    return int(STATUS.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if STATUS.exists() else 0


def forget_programs() -> None:
    """Forget every compiled program: those that the frameworks' folders keep, and what JAX and Keras keep of them."""
    for framework in ("jax", "tensorflow"):
        for part, function in PROGRAMS:
            module = sys.modules.get(f"farreach.frameworks.{framework}.{part}")
            if module is not None:
                getattr(module, function).cache_clear()
    if "jax" in sys.modules:
        importlib.import_module("jax").clear_caches()
    if "keras" in sys.modules:
        importlib.import_module("keras").backend.clear_session()
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # what is freed goes back to the system


class Memory:
    """The limit of this process: `MOST`, or what was left after programs were forgotten and `ROOM` more."""

    limit = MOST


@pytest.fixture(autouse=True)
def limit_memory() -> Iterator[None]:
    yield
    if measure_memory() > Memory.limit:
        forget_programs()
        Memory.limit = max(MOST, measure_memory() + ROOM)
