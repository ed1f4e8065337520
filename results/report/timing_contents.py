"""What a folder's timings and their A/A test say, before anything is drawn or written."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import pandas as pd

from farreach.results.report import speed_sentences
from farreach.results.storage import files
from farreach.results.storage.interface import ResultSet
from farreach.results.timing import aa_check, interleaved
from farreach.results.timing import files as timing_files
from farreach.results.timing.time_to_solve import StepTimes, list_step_times

PAGE = "speed.md"
"""What `farreach.results.report.timing` writes into the folder."""


def has_timings(store: ResultSet) -> bool:
    """Return whether a result set holds timings or an A/A test of them."""
    return any(store.list_documents(part) for part in (interleaved.FOLDER, aa_check.FOLDER))


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

    @functools.cached_property
    def step_times(self) -> StepTimes:
        """The seconds of each step that was timed."""
        return list_step_times(self.groups, self.test.factor if self.test else None)


def write_findings(timed: TimingSet) -> list[str]:
    """Say who is faster by how much, then what qualifies that."""
    sentences = [*speed_sentences.write_pairs(timed.pairs), *speed_sentences.write_overheads(timed.overheads)]
    if timed.groups and not sentences:
        sentences = speed_sentences.write_costs(interleaved.list_costs(timed.groups))
    sentences += speed_sentences.write_test(timed.test) if timed.test else []
    return [*sentences, *speed_sentences.write_trouble(timed.groups), *timed.damaged]


def read_timings(store: ResultSet) -> TimingSet:
    """Return what a result set's timings say; a file that is damaged is left out, and said."""
    parts = (interleaved.FOLDER, aa_check.FOLDER)
    damages = [line for part in parts for line in files.list_set_aside(store.folder, part)]

    def damaged(path: Path, damage: files.DamagedError) -> None:
        damages.append(store.leave_out(path, damage))

    groups, test = interleaved.read_groups(store, damaged), aa_check.read_test(store, damaged)
    launches = test.factor if test else None
    pairs, overheads = interleaved.compare_pairs(groups, launches), interleaved.compare_overheads(groups)
    return TimingSet(groups, test, pairs, overheads, read_machine(store, damaged), damages)


def read_machine(store: ResultSet, damaged: timing_files.Damage | None = None) -> dict[str, Any] | None:
    """Return what the machine can do at best, None where it was not measured.

    Where the file is damaged, `damaged` hears of it; without it `DamagedError` is raised.
    """
    contents = timing_files.read_each(store, interleaved.MACHINE, timing_files.Machine, schema=None, damaged=damaged)
    return contents[0] if contents else None
