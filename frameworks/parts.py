"""The parts of a framework's folder that are welcome and not needed, each a file of its own.

    native.py         class ``Native``, see `NativeLearner`: mode native
    gradient_flow.py  ``measure_flow``, see `MeasureFlow`: the gradient through time
    own_clips.py      see `OwnClips`: what the framework's own clip functions do
    replicas.py       ``join_group`` and a class ``Framework``: a batch in parts, see `farreach.frameworks.split`
    own_updates.py    ``UPDATES``, see `farreach.frameworks.own_updates`: updates in parts, by the framework's own tools
    device.py         see `DeviceProbe`: needed where ``PATHS`` offers ``cuda``
    mixed.py          class ``Framework`` of the dtypes of `farreach.frameworks.scaling`: mixed precision

Where a file is not there, what it is for is not offered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from farreach.frameworks.base import Array, Device, Flow, Learner, Model, Precision, Training, Weights
from farreach.tasks.base import Batch


class NativeLearner(Learner, Protocol):
    """One model in training as the framework's own documentation has it, with every default of its own.

    ``native.py`` has one class ``Native`` with these methods, and declares ``NEEDS`` and ``PATHS`` as ``__init__.py``
    does, and ``ACTIVATIONS``, those that its own rnn takes, as literals.
    """

    def __init__(
        self,
        model: Model,
        training: Training,
        seed: int,
        *,
        device: Device,
        dtype: Precision,
        threads: int,
        path: str,
    ) -> None:
        """Draw the first weights from the seed as the framework does; the rest as for `Framework`."""
        ...


class MeasureFlow(Protocol):
    """``measure_flow`` of ``gradient_flow.py``; a framework without that file has no gradient through time."""

    def __call__(self, framework: Any, batch: Batch) -> Flow:
        """Measure the gradient of one batch's loss with respect to every state; training goes on as if it had not.

        Args:
            framework: the `Framework` of the same folder, on its current weights.
            batch: as for training, of any shape.

        Returns:
            The norms for each layer and time step.

        """
        ...


class OwnClips(Protocol):
    """``own_clips.py``: the clip functions that the framework's documentation names, asked on NumPy arrays."""

    CLIPS: Mapping[str, Callable[[list[Array | None], float], list[Array | None]]]
    """Maps the name of each to a call of it: the gradients of some variables and a threshold give those clipped.

    None is a gradient that was never computed, and goes to the framework's function as the framework has it.
    """

    COUNTERPARTS: Mapping[str, tuple[str, Callable[[Weights, Weights, float], Weights]]]
    """Maps the name of a function to the kind of our clip that it is meant to be, and a call of it.

    The gradients, the weights and a threshold, by the names of the shared layout, give the gradients clipped.
    """


class DeviceProbe(Protocol):
    """``device.py``: what benchmarks of speed ask of an accelerator through the framework that holds it."""

    Stopwatch: Any
    """A ``with`` block that leaves the device idle; ``seconds`` is its own time, or None where it tells none."""

    def read_facts(self, settings: str) -> dict[str, str]:
        """Return device_name, precision, device_software and device_settings; `settings` are the environment's."""
        ...

    def synchronise(self) -> None:
        """Wait until all that was queued is done."""
        ...

    def measure_peak(self, run: Callable[[], None]) -> tuple[int | None, str]:
        """Return the peak of the device's memory over a call, in bytes where it is told, and how it was measured."""
        ...

    def prepare_product(self, size: tuple[int, int, int], dtype: str, *, tf32: bool) -> Callable[[int], None]:
        """Return a function that multiplies [m, k] by [k, n] so many times and waits."""
        ...

    def prepare_copy(self, size: int) -> Callable[[int], None]:
        """Return a function that reads an array of `size` bytes and writes another, so many times, and waits."""
        ...
