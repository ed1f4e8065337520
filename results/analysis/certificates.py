"""Certificates: which version of which framework was compared with the reference implementation.

One JSON file a certificate. A record names the certificate under which it is comparable, or none.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd

from farreach.results.storage.files import write_text

PUBLISHED = Path(__file__).resolve().parents[1] / "published" / "certificates"

NAME, NONE, MATCHED = "certificate", "none", "matched"
WORST = "worst"
DIFFERENCES = ("loss", "norm_before", "norm_after", "weights")


def name_certificate(framework: str, version: str, numerics: int, device: str) -> str:
    """Return a certificate's name: everything that it holds for, but for the build behind the version's ``+``."""
    return f"{framework}-{version.partition('+')[0]}-{device}-n{numerics}"


def write_certificate(folder: Path, certificate: dict[str, Any]) -> Path:
    """Write a certificate under its name and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{certificate['name']}.json"
    write_text(path, json.dumps(certificate, indent=1) + "\n")
    return path


def find_certificate(identity: str, paths: set[str], folder: Path = PUBLISHED) -> str | None:
    """Return `identity` if a whole certificate of that name was passed and covers these paths, else None."""
    try:
        certificate = json.loads((folder / f"{identity}.json").read_text())
    except (OSError, ValueError):
        return None
    covered = {check["path"] for check in certificate["checks"]}
    whole = certificate["complete"] and certificate["passed"]
    return identity if whole and paths <= covered else None


def list_checks(checks: list[dict[str, Any]]) -> pd.DataFrame:
    """Return a row a check, the worst first: what was checked, the differences, and whether it passed."""
    frame = pd.DataFrame(checks)
    frame[WORST] = frame[list(DIFFERENCES)].max(axis=1)
    return frame.sort_values([WORST, "drift"], ascending=False).reset_index(drop=True)


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How many rows stand under a certificate.

    Attributes:
        matched: cases in mode matched.
        certified: those of them that stand under a certificate.
        names: the certificates.
        bare: framework and version of those without one.
        native: cases in mode native, which no certificate is for.

    """

    matched: int
    certified: int
    names: tuple[str, ...]
    bare: tuple[tuple[str, str], ...]
    native: int


def list_standing(rows: pd.DataFrame) -> pd.DataFrame:
    """Return for each framework, version, device, path and mode in these rows the certificate it stands under."""
    keys = ["framework", "framework_version", "device", "path", "mode", NAME]
    frame = rows.reindex(columns=keys).astype({NAME: object}).fillna({NAME: NONE})
    return frame.groupby(keys, as_index=False, observed=True).size().rename(columns={"size": "cases"})


def count_certified(rows: pd.DataFrame) -> Coverage:
    """Return how many rows were proved to compute what the reference implementation computes."""
    standing = list_standing(rows)
    matched = standing[standing["mode"] == MATCHED]
    certified, bare = matched[matched[NAME] != NONE], matched[matched[NAME] == NONE]
    versions = bare[["framework", "framework_version"]].astype(str).itertuples(index=False, name=None)
    return Coverage(
        matched=int(matched["cases"].sum()),
        certified=int(certified["cases"].sum()),
        names=tuple(dict.fromkeys(map(str, certified[NAME]))),
        bare=tuple(dict.fromkeys((framework, version) for framework, version in versions)),
        native=int(standing.loc[standing["mode"] != MATCHED, "cases"].sum()),
    )
