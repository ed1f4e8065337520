"""The files of certificates: one JSON file per digest, kept for ever, so that an old row stands under its own."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from farreach.results.storage.files import LARGEST_JSON, DamagedError, read_bytes, write_text
from farreach.results.storage.typed_json import parse_typed

PUBLISHED = Path(__file__).resolve().parents[1] / "published" / "certificates"

DIGEST = r"[0-9a-f]{16}"


class CheckResult(TypedDict):
    """One check: what was compared, and by how much it differed; `None` where that is not finite."""

    cell: str
    activation: str
    layers: int
    inputs: str
    scored: str
    optimizer: str
    clip: str
    regulariser: str
    initial: NotRequired[str]  # certificates of before have none but the default
    numbers: NotRequired[str]  # nor but the usual ones
    schedule: NotRequired[str]  # nor but a constant one
    replicas: NotRequired[int]  # nor but one
    microbatches: NotRequired[int]  # likewise
    clip_at: NotRequired[str]  # nor but after
    dtype: str
    path: str
    device: str
    differences: dict[str, float | None]
    fault: str | None


class Certificate(TypedDict):
    """What was certified: the code and the settings of a digest, by these checks, on this processor."""

    digest: Annotated[str, Field(pattern=f"^{DIGEST}$")]
    framework: str
    framework_version: str
    kernel: str
    processor: str
    commit: Annotated[str, Field(pattern="^[0-9a-f]{12,40}$")]  # from a checkout with changes none counts
    checks: list[CheckResult]


def write_certificate(folder: Path, certificate: dict[str, Any]) -> Path:
    """Write a certificate under its digest and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{certificate['digest']}.json"
    write_text(path, json.dumps(certificate, indent=1) + "\n")
    return path


def read_certificates() -> dict[str, Certificate]:
    """Return the published certificates by their digests; a file that is none of its name counts for nothing."""
    return _read_files(tuple((path, path.stat().st_mtime_ns) for path in sorted(PUBLISHED.glob("*.json"))))


@functools.lru_cache(maxsize=4)
def _read_files(files: tuple[tuple[Path, int], ...]) -> dict[str, Certificate]:
    found: dict[str, Certificate] = {}
    for path, _ in files:
        try:
            certificate: Any = parse_typed(read_bytes(path, LARGEST_JSON), path, Certificate)
        except (OSError, DamagedError):
            continue
        if certificate["digest"] == path.stem:
            found[path.stem] = certificate
    return found
