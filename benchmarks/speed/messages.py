"""What a worker is asked and answers where training steps are timed."""

from __future__ import annotations

import dataclasses
from typing import Any

from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running.messages import Message


@dataclasses.dataclass(frozen=True)
class Load(Message):
    """Make one way to train a case ready to be timed, `count` steps a call, under the name `slot`."""

    slot: str
    case: Case
    count: int
    loop: str = ""
    slowed: float = 0.0


@dataclasses.dataclass(frozen=True)
class Loaded(Message):
    """It is ready: the seconds that compiling took, and the kernel that will run."""

    compile_seconds: float
    kernel: str


@dataclasses.dataclass(frozen=True)
class Steps(Message):
    """Time one chunk of what was loaded, from idle device to idle device; the answer is a `Chunk`."""

    slot: str


@dataclasses.dataclass(frozen=True)
class Chunk(Message):
    """Seconds of one chunk: of wall time, of the processor (all threads), and the GPU's own where it tells them."""

    wall: float
    cpu: float
    device: float | None = None


@dataclasses.dataclass(frozen=True)
class Memory(Message):
    """Measure the peak memory of the process, and of the GPU, over one chunk; the answer is a `Peak`."""

    slot: str


@dataclasses.dataclass(frozen=True)
class Peak(Message):
    """Peaks of memory in bytes, how each was measured, and what the process held when nothing was loaded."""

    peak_bytes: int
    peak_kind: str
    device_peak_bytes: int | None = None
    device_peak_kind: str | None = None
    idle_bytes: int = 0


@dataclasses.dataclass(frozen=True)
class Energy(Message):
    """Estimate the energy of a step over many chunks of `count` steps; the answer is `Joules`."""

    slot: str
    count: int


@dataclasses.dataclass(frozen=True)
class Joules(Message):
    """The energy of a step.

    Attributes:
        joules: of processor, memory and accelerator together; None where codecarbon could not tell.
        cpu_joules: the processor's part.
        energy_method: ``measured`` where the processor's part and the accelerator's come from meters; ``estimated``
            where the processor's is its thermal design power times its load, as on virtual machines, which show no
            meter: then it tells two frameworks apart by time and load alone; ``none`` without figures.
        energy_reason: why there are no figures, else empty.

    """

    joules: float | None = None
    cpu_joules: float | None = None
    energy_method: str = "none"
    energy_reason: str = ""


@dataclasses.dataclass(frozen=True)
class Device(Message):
    """Measure what the GPU can do at best; the answer is `Limits`."""


@dataclasses.dataclass(frozen=True)
class Limits(Message):
    """What the GPU can do at best, as `farreach.benchmarks.speed.device.measure_device` has it."""

    limits: dict[str, Any]


def list_known(message: Message) -> dict[str, Any]:
    """Return the fields of an answer that are known, as files of timings have them."""
    return {name: value for name, value in dataclasses.asdict(message).items() if value is not None}  # type: ignore[call-overload]
