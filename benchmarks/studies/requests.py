"""What a live worker is asked by a study, and how it answers; a worker that only trains does not load it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from farreach.benchmarks.running.digest import make_digest
from farreach.benchmarks.running.messages import Message
from farreach.benchmarks.studies import certification, clip_semantics
from farreach.benchmarks.studies.messages import Certify, Clips, Differences, ProbeClips


def certify(check: certification.Check, steps: int) -> Differences:
    """Return what a check finds, and the digest of what it is about."""
    found = certification.measure_differences(check, steps)
    return Differences(found.differences, found.kernel, make_digest(check, found.kernel))


ANSWERS: dict[type[Message], Callable[[Any], Message]] = {
    Certify: lambda request: certify(request.check, request.steps),
    ProbeClips: lambda request: Clips(
        clip_semantics.probe_clips(request.framework), clip_semantics.compare_counterparts(request.framework)
    ),
}
"""For each kind of request the function that answers it."""
