"""What a worker is asked and answers in studies."""

from __future__ import annotations

import dataclasses
from typing import Any

from farreach.benchmarks.running.messages import Message
from farreach.benchmarks.studies.certification import Check


@dataclasses.dataclass(frozen=True)
class Certify(Message):
    """Compare the framework with the reference in one check, over `steps` steps; the answer is `Differences`."""

    check: Check
    steps: int


@dataclasses.dataclass(frozen=True)
class Differences(Message):
    """What one check found.

    Attributes:
        values: the worst relative differences, by what was compared.
        kernel: the recurrent kernel that ran.
        digest: of the code and the settings that ran.

    """

    values: dict[str, float]
    kernel: str
    digest: str


@dataclasses.dataclass(frozen=True)
class ProbeClips(Message):
    """Call the framework's own clip functions; the answer is `Clips`."""

    framework: str


@dataclasses.dataclass(frozen=True)
class Clips(Message):
    """What each clip function did, a row each, and what those did that are meant to be a clip of ours."""

    rows: list[dict[str, Any]]
    counterparts: list[dict[str, Any]]
