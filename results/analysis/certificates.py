"""Certificates: which version of which framework was held against the judge, and how it came out.

One JSON file a certificate. A record names the certificate under which it is comparable, or none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from farreach.results.storage.files import write_text

PUBLISHED = Path(__file__).resolve().parents[1] / "published" / "certificates"

NAME, NONE, MATCHED = "certificate", "none", "matched"
WORST = "worst"
DIFFERENCES = ("loss", "norm_before", "norm_after", "weights")


def name(framework: str, version: str, numerics: int, device: str) -> str:
    """Return a certificate's name: everything that it holds for, but for the build behind the version's ``+``."""
    return f"{framework}-{version.partition('+')[0]}-{device}-n{numerics}"


def write(folder: Path, certificate: dict[str, Any]) -> Path:
    """Write a certificate under its name and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{certificate['name']}.json"
    write_text(path, json.dumps(certificate, indent=1) + "\n")
    return path


def find(identity: str, paths: set[str], folder: Path = PUBLISHED) -> str | None:
    """Return `identity` if a whole certificate of that name was passed and covers these paths, else None."""
    try:
        certificate = json.loads((folder / f"{identity}.json").read_text())
    except (OSError, ValueError):
        return None
    covered = {check["path"] for check in certificate["checks"]}
    whole = certificate["complete"] and certificate["passed"]
    return identity if whole and paths <= covered else None


def table(checks: list[dict[str, Any]]) -> pd.DataFrame:
    """Return a row a check, the worst first: what was checked, the differences, and whether it passed."""
    frame = pd.DataFrame(checks)
    frame[WORST] = frame[list(DIFFERENCES)].max(axis=1)
    return frame.sort_values([WORST, "drift"], ascending=False).reset_index(drop=True)


def standing(rows: pd.DataFrame) -> pd.DataFrame:
    """Return for each framework, version, device, path and mode in these rows the certificate it stands under."""
    keys = ["framework", "framework_version", "device", "path", "mode", NAME]
    frame = rows.reindex(columns=keys).astype({NAME: object}).fillna({NAME: NONE})
    return frame.groupby(keys, as_index=False, observed=True).size().rename(columns={"size": "cases"})


def sentences(rows: pd.DataFrame) -> list[str]:
    """Say which rows were proved to compute what the reference computes, and name those that were not."""
    stands = standing(rows)
    frame = stands[stands["mode"] == MATCHED]
    held = list(dict.fromkeys(frame.loc[frame[NAME] != NONE, NAME]))
    found = []
    if held:
        under, all_ = frame.loc[frame[NAME] != NONE, "cases"].sum(), frame["cases"].sum()
        found.append(
            f"Held against the NumPy reference step by step, and passed: {', '.join(held)}; "
            f"{under} of {all_} cases stand under these certificates."
        )
    found += [
        f"NO CERTIFICATE: {row['framework']} {row['framework_version']} ({row['device']}, {row['path']}, "
        f"{row['mode']}) was not held against the reference; its {row['cases']} cases may not be comparable."
        for row in frame[frame[NAME] == NONE].to_dict("records")
    ]
    own = int(stands.loc[stands["mode"] != MATCHED, "cases"].sum())
    if own:
        found.append(
            f"{own} case{'s' if own > 1 else ''} ran in mode native, with the frameworks' own defaults, and so under "
            "no certificate, by design: they are not meant to compute the same."
        )
    return found
