"""What a folder's timings and their check say, before anything is drawn or written."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd

from farreach.results.storage import files
from farreach.results.timing import aa_check, interleaved
from farreach.results.timing import files as timing_files


def there(folder: Path) -> bool:
    """Return whether a folder holds timings or a check of them."""
    return any((folder / part).is_dir() for part in (interleaved.FOLDER, aa_check.FOLDER))


@dataclasses.dataclass(frozen=True)
class Timed:
    """What a folder's timings and its check say.

    Attributes:
        groups: the timing files.
        checked: the check of the method, None where the folder has none.
        pairs: `timings.pairs`, judged by what the check saw from launch to launch.
        overheads: `timings.overheads`.
        machine: what the machine can do at best, None where it was not measured.
        damaged: a sentence for each file that was damaged and has not been made again since.

    """

    groups: list[dict[str, Any]]
    checked: aa_check.Check | None
    pairs: pd.DataFrame
    overheads: pd.DataFrame
    machine: dict[str, Any] | None = None
    damaged: list[str] = dataclasses.field(default_factory=list)

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
        said += self.checked.sentences() if self.checked else []
        return [*said, *interleaved.trouble(self.groups), *self.damaged]


def read(folder: Path) -> Timed:
    """Return what a folder's timings say; a file that is damaged is set aside, and said."""
    said = [one for part in (interleaved.FOLDER, aa_check.FOLDER) for one in files.put_aside(folder, part)]

    def damaged(path: Path, damage: files.DamagedError) -> None:
        said.append(files.set_aside(path, folder, damage))

    groups, checked = interleaved.read(folder, damaged), aa_check.read(folder, damaged)
    launches = checked.launches if checked else None
    pairs, overheads = interleaved.pairs(groups, launches), interleaved.overheads(groups)
    return Timed(groups, checked, pairs, overheads, machine(folder, damaged), said)


def machine(folder: Path, damaged: timing_files.Damage | None = None) -> dict[str, Any] | None:
    """Return what the machine can do at best, None where it was not measured.

    Where the file is damaged, `damaged` hears of it; without it `DamagedError` is raised.
    """
    path = folder / interleaved.MACHINE
    try:
        return timing_files.read(path, timing_files.Machine)
    except FileNotFoundError:
        return None
    except files.DamagedError as damage:
        if damaged is None:
            raise
        damaged(path, damage)
        return None


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
    if row["verdict"] == interleaved.TELLS:
        return f"{row['faster']} is {row['times as fast']:.3g} times as fast as {row['slower']} ({_interval(row)})"
    return f"cannot tell {row['faster']} from {row['slower']} (ratio {row['times as fast']:.3g}, {_interval(row)})"


def _overhead(row: pd.Series[Any]) -> str:
    verdict = {"kept": f"within {row['at most']:g}", "missed": f"beyond {row['at most']:g}"}.get(row["verdict"])
    said = f"{row['ours']} takes {row['ours / loop']:.3f} times as long as {row['loop']} ({_interval(row)}"
    return f"{said}; {verdict or 'cannot tell'})"
