"""What a folder's timings and their check say, before anything is drawn or written."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd

from results import check, timings
from results.files import StoreError


def there(folder: Path) -> bool:
    """Return whether a folder holds timings or a check of them."""
    return any((folder / part).is_dir() for part in (timings.FOLDER, check.FOLDER))


@dataclasses.dataclass(frozen=True)
class Timed:
    """What a folder's timings and its check say.

    Attributes:
        groups: the timing files.
        checked: the check of the method, None where the folder has none.
        pairs: `timings.pairs`, judged by what the check saw from launch to launch.
        overheads: `timings.overheads`.

    """

    groups: list[dict[str, Any]]
    checked: check.Check | None
    pairs: pd.DataFrame
    overheads: pd.DataFrame

    def sentences(self) -> list[str]:
        """Say who is faster by how much, then what qualifies that."""
        said = [
            f"One training step of {setting}: {'; '.join(_faster(row) for _, row in part.iterrows())}."
            for setting, part in _by_setting(self.pairs)
        ]
        said += [
            f"Our step of {setting}: {'; '.join(_overhead(row) for _, row in part.iterrows())}."
            for setting, part in _by_setting(self.overheads)
        ]
        return [*said, *(self.checked.sentences() if self.checked else []), *timings.trouble(self.groups)]


def read(folder: Path) -> Timed:
    """Return what a folder's timings say; raise `StoreError` where a file is damaged."""
    groups, checked = timings.read(folder), check.read(folder)
    launches = checked.launches if checked else None
    return Timed(groups, checked, timings.pairs(groups, launches), timings.overheads(groups))


def machine(folder: Path) -> dict[str, Any] | None:
    """Return what the machine can do at best, None where it was not measured; raise `StoreError` on a damaged file."""
    path = folder / timings.MACHINE
    try:
        found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    except ValueError as error:
        message = f"{path.name} cannot be read: {error}"
        raise StoreError(message) from error
    return found


def titled(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the column ``setting``: the step in words, with what differs between the steps."""
    apart = [name for name in ("layers", "hidden", "batch", "dtype", "device", "threads") if len(set(frame[name])) > 1]
    named = [
        f"{row['task']} {row['parameters']} {row['cell']}" + "".join(f", {name} {row[name]}" for name in apart)
        for _, row in frame.iterrows()
    ]
    return frame.assign(setting=named)


def _by_setting(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    named = titled(frame)
    return [(str(name), part) for name, part in named.groupby("setting", sort=False)] if len(named) else []


def _interval(row: pd.Series[Any]) -> str:
    return f"95 % interval {row['low']:.3g} to {row['high']:.3g}" if row["low"] == row["low"] else "too few rounds"


def _faster(row: pd.Series[Any]) -> str:
    if row["verdict"] == timings.TELLS:
        return f"{row['faster']} is {row['times as fast']:.3g} times as fast as {row['slower']} ({_interval(row)})"
    return f"cannot tell {row['faster']} from {row['slower']} (ratio {row['times as fast']:.3g}, {_interval(row)})"


def _overhead(row: pd.Series[Any]) -> str:
    verdict = {"kept": f"within {row['at most']:g}", "missed": f"beyond {row['at most']:g}"}.get(row["verdict"])
    said = f"{row['ours']} takes {row['ours / loop']:.3f} times as long as {row['loop']} ({_interval(row)}"
    return f"{said}; {verdict or 'cannot tell'})"
