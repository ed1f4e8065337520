"""What a worker is asked and answers in studies."""

from __future__ import annotations

import dataclasses
from typing import Any

from farreach.benchmarks.running.messages import Message
from farreach.benchmarks.studies.certification import Check
from farreach.frameworks.base import Cell, Device


@dataclasses.dataclass(frozen=True)
class Certify(Message):
    """Compare the framework with the reference in one check, over `steps` steps; the answer is `Differences`."""

    check: Check
    steps: int


@dataclasses.dataclass(frozen=True)
class Differences(Message):
    """The worst relative differences of one check, by what was compared."""

    values: dict[str, float]


@dataclasses.dataclass(frozen=True)
class FindHorizon(Message):
    """Find the step at which float32 curves part; the answer is a `Horizon`."""

    framework: str
    cell: Cell
    device: Device


@dataclasses.dataclass(frozen=True)
class Horizon(Message):
    """The steps at which the curves of a cell part, as `certification.find_horizon` returns them."""

    steps: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ProbeClips(Message):
    """Call the framework's own clip functions; the answer is `Clips`."""

    framework: str


@dataclasses.dataclass(frozen=True)
class Clips(Message):
    """What each clip function did, a row each."""

    rows: list[dict[str, Any]]
