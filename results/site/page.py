"""The page of a result set: reads one result folder and writes report.html and the folder report/ into it.

The page works from the disk and loads nothing from elsewhere; its policy forbids it to.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd

from farreach.results.analysis import overview, run_times, tables
from farreach.results.analysis.labels import join_words
from farreach.results.analysis.staleness import Versions
from farreach.results.figures import captions, palette
from farreach.results.report import contents, findings, result_set, timing_contents
from farreach.results.report.answers import Answer, answer_all
from farreach.results.report.speed_sentences import name_steps, write_stale
from farreach.results.site import bundle, charts, encoding, row_dialog, timing_tables
from farreach.results.site import tables as lines
from farreach.results.site.charts import Chart
from farreach.results.site.tables import Table
from farreach.results.storage.files import list_files, report_unwritable, write_text
from farreach.results.timing import interleaved, speed
from farreach.results.timing.aa_check import AATest

PAGE = "report.html"
FOLDER = "report"
"""What lies beside the page: scripts and Parquet files. All of it is written anew each time."""

SHOWN = 1_000
"""Lines of failures and machines that the page lists."""


@dataclasses.dataclass(frozen=True)
class Set:
    """Everything that a page tells of.

    Attributes:
        results: what `contents.read_results` found.
        groups: the paired timings, none where there are none.
        test: the check of the timings, if there is one.
        machine: what the machine can do at best, where it was measured.
        asked: the five answers, where they are known already.

    """

    results: contents.Results
    groups: list[dict[str, Any]]
    test: AATest | None
    machine: dict[str, Any] | None
    asked: list[Answer] | None = None

    @property
    def launches(self) -> float | None:
        """The factor by which two launches of identical code differ, where that is known."""
        return self.test.launches if self.test else None


SENTENCES = 2_000
"""Rows of a set above which the page leaves out further findings: they would be too many to read."""


def write(folder: Path, now: Versions | None = None) -> list[Path]:
    """Write the page of a result folder, after its report; return the paths, report.html first.

    Rows that another version than `now` made are left out. Raises `StoreError` where there is no such folder, where a
    file in it is damaged, or where it cannot be written.
    """
    results = contents.read_results(folder, now=now)
    return put(folder, whole(results, timing_contents.read_timings(results.store)))


def whole(results: contents.Results, timed: timing_contents.TimingSet, asked: list[Answer] | None = None) -> Set:
    """Return everything that the page of these results tells of; `asked` are the answers, where they are known."""
    return Set(results, timed.groups, timed.test, timed.machine, asked)


@dataclasses.dataclass(frozen=True)
class Begun:
    """A page of which all is written but itself, which links to the figures.

    Attributes:
        folder: where it stands.
        context: what it shows besides figures.
        data: what its scripts read.
        drawn: the pictures that it draws itself.

    """

    folder: Path
    context: dict[str, Any]
    data: dict[str, Any]
    drawn: list[Chart]


def put(folder: Path, told: Set) -> list[Path]:
    """Write the page of what was read into a folder; return and raise as `write` does."""
    return finished(begun(folder, told))


def begun(folder: Path, told: Set) -> Begun:
    """Write what lies beside the page, for which no figure need be there yet."""
    beside = folder / FOLDER
    with report_unwritable(folder):
        bundle.prepare_folder(beside)
        each = lines.tabulate_runs(told.results.rows)
        shown = each if len(each) <= lines.MOST else each.head(min(lines.MOST, row_dialog.MOST))
        row_dialog.write(beside, told.results.store, shown)
        made = _tables(told, each)
        encoding.write_tables(beside, made)
        return _begun(told, made, [str(key) for key in shown["key"]])


def finished(page: Begun) -> list[Path]:
    """Write the page itself, and return its path and those of what lies beside it."""
    path = page.folder / PAGE
    figures = {
        "charts": [(one, _twins(page.folder, one.name)) for one in page.drawn],
        "gallery": _gallery(page.folder, {one.name for one in page.drawn}),
    }
    with report_unwritable(page.folder):
        write_text(path, bundle.render("report.html.j2", page.context | figures, page.data))
    return [path, *list_files(page.folder / FOLDER, bundle.BESIDE)]


def _tables(whole: Set, each: pd.DataFrame) -> list[Table]:
    """Return the tables that have lines."""
    found: list[Table | None] = []
    if len(whole.results.rows.as_drawn):
        summed = lines.tabulate_lines(whole.results.rows)
        found += [lines.make_accuracy(summed), lines.make_gradients(summed)]
    found.append(timing_tables.steps(whole.results.rows, whole.results.timings, whole.groups, whole.machine))
    found.append(timing_tables.ratios(whole.results.timings, whole.groups, whole.launches))
    found.append(lines.make_cases(each))
    return [one for one in found if one is not None and len(one.frame)]


def _charts(whole: Set) -> list[Chart]:
    """Return the pictures that have something to show."""
    found = charts.draw_atlas(overview.tabulate_atlas(whole.results.rows))
    pairs, _ = speed.compare_pairs(whole.results.timings, whole.groups, whole.launches)
    found += [charts.draw_forest(name_steps(pairs))] if len(pairs) else []
    far = overview.tabulate_reach(whole.results.rows)
    found += [charts.draw_reach(far)] if len(far) else []
    grown = interleaved.list_growth(whole.groups)
    return found + (charts.draw_growth(grown) if len(grown) else [])


def _begun(whole: Set, made: list[Table], keys: list[str]) -> Begun:
    """Return the page without figures; `keys` are those of the cases whose curves lie beside it."""
    results, groups = whole.results, whole.groups
    rows, folder, drawn = results.rows, results.store.folder, _charts(whole)
    known = {key: at for at, key in enumerate(keys)}
    data = encoding.encode_tables(made) | {
        "beside": FOLDER,
        "opens": {
            one.source: [[known[key] for key in keys if key in known] for keys in one.shown["keys"]]
            for one in made
            if one.opens == "runs"
        },
        "keys": keys,
        "shard": row_dialog.CASES,
        "charts": {one.name: one.figure for one in drawn},
        "colours": {name: look.colour for name, look in palette.LOOKS.items()},
    }
    commands = {str(command) for command in rows.frame["command"].unique()} | {
        str(one["facts"]["command"]) for one in groups
    }
    context = {
        "title": contents.name_report(results),
        "facts": _facts(results, groups),
        "answers": whole.asked or answer_all(rows, results.timings, groups, whole.test),
        "findings": findings.write_findings(rows, results.runs) if len(rows) <= SENTENCES else [],
        "trouble": [*results.trouble, *write_stale(groups)],
        "tables": made,
        "beside": FOLDER,
        "failures": run_times.list_failures(results.runs).head(SHOWN),
        "machines": tables.tabulate_machines(rows).head(SHOWN),
        "commands": [result_set.again(folder), *sorted(commands)],
        "most": lines.MOST,
    }
    return Begun(folder, context, data, drawn)


def _facts(results: contents.Results, groups: list[dict[str, Any]]) -> list[str]:
    """Return what the head of the page says of the set: cases, versions, machine."""
    rows = results.rows.frame
    if rows.empty:
        return [f"{len(groups)} timed steps" if groups else "no case has finished"]
    versions = rows[["framework", "framework_version"]].drop_duplicates().astype(str).agg(" ".join, axis="columns")
    machine = rows[["processor", "cores"]].drop_duplicates()
    places = [f"{row['processor']}, {row['cores']} cores" for _, row in machine.head(2).iterrows()]
    places += [f"{len(machine) - 2} further machines"] if len(machine) > 2 else []  # noqa: PLR2004
    commits = sorted(map(str, rows["commit"].unique()))
    return [
        f"{len(rows):,} case{'s' if len(rows) > 1 else ''}",
        join_words(sorted(versions)),
        *places,
        f"commit {join_words(commits[:3])}{' and others' if len(commits) > 3 else ''}",  # noqa: PLR2004
        f"schema {join_words(sorted(str(one) for one in rows['schema'].unique()))}",
    ]


def _twins(folder: Path, name: str) -> list[str]:
    """Return the files of a picture for a paper, as the page links to them."""
    paths = [folder / "figures" / f"{name}{suffix}" for suffix in (".png", ".svg")]
    return [f"figures/{path.name}" for path in paths if path.exists()]


def _gallery(folder: Path, drawn: set[str]) -> list[tuple[str, str, list[tuple[str, list[str]]]]]:
    """Return heading, caption, and name and files of each picture that the page does not draw itself."""
    there = sorted(path.stem for path in (folder / "figures").glob("*.png")) if (folder / "figures").is_dir() else []
    found, left = [], [name for name in there if name not in drawn]
    for name, (heading, caption) in captions.CAPTIONS.items():
        names = [one for one in left if one == name or one.startswith(f"{name}-")]
        left = [one for one in left if one not in names]
        found += [(heading, caption, [(one, _twins(folder, one)) for one in names])] if names else []
    return [*found, ("Further figures", "", [(one, _twins(folder, one)) for one in left])] if left else found
