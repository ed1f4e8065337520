"""Certificates for tests: of all checks of a framework, each as good as can be unless told otherwise."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from farreach.benchmarks.studies import certification
from farreach.benchmarks.studies.certification import Check
from farreach.results.analysis.certificates import BOUNDS
from farreach.results.storage import certificates
from farreach.results.storage.certificates import CheckResult


def make_check(check: Check, differences: dict[str, float] | None = None, **changes: Any) -> CheckResult:
    """Return a check's result as a certificate has it; without `differences` there are none at all."""
    none = dict.fromkeys(BOUNDS[check.dtype], 0.0)
    made: Any = dataclasses.asdict(check) | {"differences": none if differences is None else differences, "fault": None}
    return made | changes


def publish_certificate(
    folder: Path, monkeypatch: pytest.MonkeyPatch, digest: str, framework: str = "pytorch", **changes: Any
) -> None:
    """Publish the certificate of a digest in a folder of the test: all checks passed, but for the changes."""
    monkeypatch.setattr(certificates, "PUBLISHED", folder)
    whole = {
        "digest": digest,
        "framework": framework,
        "framework_version": "2.13.0",
        "kernel": "native",
        "processor": "Some Processor @ 2.00GHz",
        "commit": "0123456789ab",
        "checks": [make_check(check) for check in certification.list_checks(framework)],
    }
    certificates.write_certificate(folder, whole | changes)
