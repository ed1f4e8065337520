"""The GPU in TensorFlow: what it is, its memory and its fastest products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import tensorflow as tf

Queue = Callable[[int], None]

GPU = "GPU:0"


def read_facts(settings: str) -> dict[str, str]:
    """Return name, software, precision and settings, as TensorFlow tells them; `settings` are the environment's."""
    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    built = tf.sysconfig.get_build_info()
    return {
        "device_name": details.get("device_name", "GPU"),
        "precision": f"float32, TF32 {'on' if tf32 else 'off'}",
        "device_software": f"CUDA {built.get('cuda_version')}, cuDNN {built.get('cudnn_version')}",
        "device_settings": f"op determinism, {settings}",
    }


def synchronise() -> None:
    """Wait until all that was queued is done."""
    tf.test.experimental.sync_devices()


class Stopwatch:
    """A ``with`` block that leaves the GPU idle; TensorFlow offers no events, so it has no time of its own."""

    def __init__(self) -> None:
        self.seconds: float | None = None

    def __enter__(self) -> Self:
        """Do nothing."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait."""
        synchronise()


def measure_peak(run: Callable[[], None]) -> tuple[int, str]:
    """Return the peak of allocated bytes over a call."""
    synchronise()
    tf.config.experimental.reset_memory_stats(GPU)
    run()
    synchronise()
    return int(tf.config.experimental.get_memory_info(GPU)["peak"]), "region"


def prepare_product(size: tuple[int, int, int], dtype: str, *, tf32: bool) -> Queue:
    """Return a function that multiplies [m, k] by [k, n] so many times."""
    m, k, n = size
    with tf.device(GPU):
        left, right = (tf.random.uniform(shape, dtype=dtype) for shape in ((m, k), (k, n)))

    def run(count: int) -> None:
        before = tf.config.experimental.tensor_float_32_execution_enabled()
        tf.config.experimental.enable_tensor_float_32_execution(tf32)
        try:
            for _ in range(count):
                tf.matmul(left, right)
        finally:
            tf.config.experimental.enable_tensor_float_32_execution(before)
        synchronise()

    return run


def prepare_copy(size: int) -> Queue:
    """Return a function that reads an array of so many bytes and writes another, so many times."""
    with tf.device(GPU):
        source, one = tf.zeros(size // 4, tf.float32), tf.constant(1, tf.float32)

    def run(count: int) -> None:
        for _ in range(count):
            tf.add(source, one)
        synchronise()

    return run
