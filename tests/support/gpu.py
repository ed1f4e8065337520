"""Whether a framework can use a GPU here: asked once, and of the driver before any framework is imported."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import sys
from pathlib import Path

from farreach.benchmarks.matrix import registry

DRIVERS = ("libnvidia-ml.so.1", "nvml.dll")
"""The library of the driver that counts the GPUs, by system."""

DEVICES = Path("/dev")
"""Where the driver shows each GPU as a file, on Linux."""

BUILT = {
    "pytorch": "import torch; print(torch.version.cuda is not None)",
    "tensorflow": "import tensorflow as tf; print(bool(tf.config.list_physical_devices('GPU')))",
    "jax": "import importlib.util as at; print(any(at.find_spec(f'jax_cuda{n}_plugin') for n in (12, 13, 14)))",
}
"""Programs that say whether what is installed is a build for CUDA; TensorFlow's own comes with CUDA or without it."""


@functools.cache
def count() -> int:
    """Return how many NVIDIA GPUs the driver tells of; 0 without a driver, or where they are hidden."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in {"", "-1"}:
        return 0
    for name in DRIVERS:
        try:
            driver = ctypes.CDLL(name)
        except OSError:
            continue
        found = ctypes.c_uint(0)
        if driver.nvmlInit_v2() == 0 and driver.nvmlDeviceGetCount_v2(ctypes.byref(found)) == 0:
            return found.value
    return len([*DEVICES.glob("nvidia[0-9]*")])  # the library is not on the loader's path, as in many containers


@functools.cache
def missing(framework: str) -> str:
    """Return why tests of a framework on a GPU cannot run here; empty where they can."""
    if not count():
        return "no NVIDIA GPU on this machine"
    if registry.find_framework_version(framework) is None:
        return f"{registry.name_package(framework)} is not installed"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", BUILT[framework]], capture_output=True, text=True, check=False
    )
    return (
        "" if done.stdout.strip() == "True" else f"the {registry.name_package(framework)} that is installed has no CUDA"
    )
