"""What a folder's timings and their A/A test say, before anything is drawn or written."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd

from farreach.results.report import speed_sentences
from farreach.results.storage import files
from farreach.results.timing import aa_check, interleaved
from farreach.results.timing import files as timing_files


def has_timings(folder: Path) -> bool:
    """Return whether a folder holds timings or an A/A test of them."""
    return any((folder / part).is_dir() for part in (interleaved.FOLDER, aa_check.FOLDER))


@dataclasses.dataclass(frozen=True)
class TimingSet:
    """What a folder's timings and its A/A test say.

    Attributes:
        groups: the timing files.
        test: the A/A test of the method, None where the folder has none.
        pairs: `interleaved.compare_pairs`, judged by what the test saw from launch to launch.
        overheads: `interleaved.compare_overheads`.
        machine: what the machine can do at best, None where it was not measured.
        damaged: a sentence for each file that was damaged and has not been made again since.

    """

    groups: list[dict[str, Any]]
    test: aa_check.AATest | None
    pairs: pd.DataFrame
    overheads: pd.DataFrame
    machine: dict[str, Any] | None = None
    damaged: list[str] = dataclasses.field(default_factory=list)


def write_findings(timed: TimingSet) -> list[str]:
    """Say who is faster by how much, then what qualifies that."""
    sentences = [*speed_sentences.write_pairs(timed.pairs), *speed_sentences.write_overheads(timed.overheads)]
    sentences += speed_sentences.write_test(timed.test) if timed.test else []
    return [*sentences, *speed_sentences.write_trouble(timed.groups), *timed.damaged]


def read_timings(folder: Path) -> TimingSet:
    """Return what a folder's timings say; a file that is damaged is set aside, and said."""
    damages = [line for part in (interleaved.FOLDER, aa_check.FOLDER) for line in files.put_aside(folder, part)]

    def damaged(path: Path, damage: files.DamagedError) -> None:
        damages.append(files.set_aside(path, folder, damage))

    groups, test = interleaved.read_groups(folder, damaged), aa_check.read_test(folder, damaged)
    launches = test.launches if test else None
    pairs, overheads = interleaved.compare_pairs(groups, launches), interleaved.compare_overheads(groups)
    return TimingSet(groups, test, pairs, overheads, read_machine(folder, damaged), damages)


def read_machine(folder: Path, damaged: timing_files.Damage | None = None) -> dict[str, Any] | None:
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
