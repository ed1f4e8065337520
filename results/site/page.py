"""The page of a result set: reads one result folder and writes report.html and the folder report/ into it.

The page works from the disk and loads nothing from elsewhere; its policy forbids it to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from farreach.results.analysis import overview, run_times, tables
from farreach.results.analysis.labels import join_words
from farreach.results.analysis.staleness import Versions
from farreach.results.figures import captions, palette
from farreach.results.report import contents, own_runs, result_set, timing_contents
from farreach.results.report.answers import Answer
from farreach.results.report.glances import Glance
from farreach.results.report.glances.base import SHOWN as SHOWN_ROWS
from farreach.results.report.phrases import write_cores, write_count
from farreach.results.report.speed_sentences import name_steps, write_stale
from farreach.results.site import bundle, charts, claim_table, encoding, glance_charts, row_dialog, timing_tables
from farreach.results.site import tables as lines
from farreach.results.site.charts import Chart
from farreach.results.site.tables import Table
from farreach.results.storage.files import list_files, write_text
from farreach.results.storage.staging import replace_files
from farreach.results.timing import interleaved

PAGE = "report.html"
FOLDER = "report"
"""What lies beside the page: scripts and Parquet files. All of it is written anew each time."""

SHOWN = 1_000
"""Lines of failures and machines that the page lists."""


GLANCED = {"success-length": "lengths", "gaps": "agreement"}
"""The pictures that stand beside an answer, and the name of that answer."""

SENTENCES = 2_000
"""Rows of a set above which the page leaves out further findings: they would be too many to read."""


def write(folder: Path, now: Versions | None = None) -> list[Path]:
    """Write the page of a result folder, after its report; return the paths, report.html first.

    Rows that another version than `now` made are left out. Raises `StoreError` where there is no such folder, where a
    file in it is damaged, or where it cannot be written.
    """
    return write_page(contents.read_results(folder, now=now))


def write_page(results: contents.Results) -> list[Path]:
    """Write the page of what was read; return and raise as `write` does."""
    folder = results.store.folder
    with replace_files(folder, {FOLDER: bundle.BESIDE}) as stage:
        beside = stage / FOLDER
        bundle.write_plotly(beside)
        each = lines.tabulate_runs(results.rows, results.timed.step_times)
        opened = each if len(each) <= lines.MOST else each.head(min(lines.MOST, row_dialog.MOST))
        row_dialog.write_curves(beside, results.store, opened)
        shown = _list_tables(results, each)
        encoding.write_tables(beside, shown)
        pictures = _draw_charts(results)
        data = _collect_data(shown, pictures, [str(key) for key in opened["key"]])
        write_text(stage / PAGE, bundle.render("report.html.j2", _collect_context(results, shown, pictures), data))
    return [folder / PAGE, *list_files(folder / FOLDER, bundle.BESIDE)]


def _list_tables(results: contents.Results, each: pd.DataFrame) -> list[Table]:
    """Return the tables that have lines."""
    rows, timed = results.rows, results.timed
    listed: list[Table | None] = [claim_table.make_claims(results.verdicts)]
    if len(rows.as_drawn):
        summed = lines.tabulate_lines(rows, timed.step_times)
        listed += [lines.make_accuracy(summed), lines.make_gradients(summed)]
    listed.append(timing_tables.make_steps(rows, timed.groups, timed.machine))
    listed.append(timing_tables.make_ratios(timed.pairs, timed.groups))
    listed.append(lines.make_cases(each))
    return [table for table in listed if table is not None and len(table.frame)]


def _draw_charts(results: contents.Results) -> list[Chart]:
    """Return the pictures that have something to show."""
    timed = results.timed
    beside = [glance_charts.draw_success(results.rows), glance_charts.draw_gaps(results.rows)]
    pictures = [chart for chart in beside if chart is not None]
    pictures += charts.draw_atlas(overview.tabulate_atlas(results.rows))
    pictures += [charts.draw_forest(name_steps(timed.pairs))] if len(timed.pairs) else []
    far = overview.tabulate_reach(results.rows)
    pictures += [charts.draw_reach(far)] if len(far) else []
    grown = interleaved.list_growth(timed.groups)
    return pictures + (charts.draw_growth(grown) if len(grown) else [])


def _collect_data(shown: list[Table], pictures: list[Chart], keys: list[str]) -> dict[str, Any]:
    """Return what the scripts of the page read; `keys` are those of the cases whose curves lie beside it."""
    known = {key: at for at, key in enumerate(keys)}
    opens = {
        table.source: [[known[key] for key in line if key in known] for line in table.head["keys"]]
        for table in shown
        if table.opens == "runs"
    }
    return encoding.encode_tables(shown) | {
        "beside": FOLDER,
        "opens": opens,
        "keys": keys,
        "shard": row_dialog.CASES,
        "charts": {chart.name: chart.figure for chart in pictures},
        "colours": {name: look.colour for name, look in palette.LOOKS.items()},
    }


def _collect_context(results: contents.Results, shown: list[Table], pictures: list[Chart]) -> dict[str, Any]:
    """Return what the page shows."""
    rows, groups, folder = results.rows, results.timed.groups, results.store.folder
    commands = {*map(str, rows.frame["command"].unique()), *(str(group["facts"]["command"]) for group in groups)}
    return {
        "title": contents.name_report(results),
        "facts": _write_facts(results),
        "warnings": own_runs.write_warnings(rows),
        "glances": _list_glances(results, pictures),
        "shown": SHOWN_ROWS,
        "colours": {name: look.colour for name, look in palette.LOOKS.items()},
        "findings": results.findings if len(rows) <= SENTENCES else [],
        "trouble": [*results.trouble, *write_stale(groups)],
        "tables": shown,
        "beside": FOLDER,
        "failures": run_times.list_failures(results.runs).head(SHOWN),
        "machines": tables.tabulate_machines(rows).head(SHOWN),
        "commands": [result_set.write_command(folder), *sorted(commands)],
        "most": lines.MOST,
        "twins": [name for name in (contents.PAGE, timing_contents.PAGE) if (folder / name).exists()],
        "charts": [(chart, _link_files(folder, chart.name)) for chart in pictures if chart.name not in GLANCED],
        "gallery": _list_gallery(folder, {chart.name for chart in pictures}),
    }


def _list_glances(results: contents.Results, pictures: list[Chart]) -> list[tuple[Glance, Answer, Chart | None]]:
    """Return each answer at a glance, with all that is behind it and the picture that stands beside it."""
    charts_by_name = {chart.name: chart for chart in pictures}
    places = {place: charts_by_name.get(name) for name, place in GLANCED.items()}
    return [
        (glance, answer, places.get(glance.name))
        for glance, answer in zip(results.glances, results.answers, strict=True)
    ]


def _write_facts(results: contents.Results) -> list[str]:
    """Return what the head of the page says of the set: cases, versions, machine."""
    rows = results.rows.frame
    if rows.empty:
        return _write_timed_facts(results.timed.groups)
    versions = rows[["framework", "framework_version"]].drop_duplicates().astype(str).agg(" ".join, axis="columns")
    machines = rows[["processor", "cores", "cores_granted"]].drop_duplicates()
    named = (f"{row['processor']}, {write_cores(row['cores'], row['cores_granted'])}" for _, row in machines.iterrows())
    places = [*dict.fromkeys(named)]
    places[2:] = [f"{len(places) - 2} further machines"] if len(places) > 2 else []  # noqa: PLR2004
    commits = sorted(map(str, rows["commit"].unique()))
    return [
        f"{len(rows):,} case{'s' if len(rows) > 1 else ''}",
        join_words(sorted(versions)),
        *places,
        _write_commits(commits),
        f"schema {join_words(sorted(str(one) for one in rows['schema'].unique()))}",
    ]


def _write_timed_facts(groups: list[dict[str, Any]]) -> list[str]:
    """Return what the head of a page of timings says: steps, versions, machines, commits."""
    if not groups:
        return ["no case has finished"]
    ran = [
        (one["framework"], one.get("facts", {}).get("framework_version", ""))
        for group in groups
        for one in group["contenders"]
    ]
    versions = sorted({f"{framework} {version}".strip() for framework, version in ran})
    made = [group["facts"] for group in groups]
    known = [one for one in made if one.get("processor") and one.get("cores")]
    machines = [f"{one['processor']}, {write_cores(one['cores'], one.get('cores_granted'))}" for one in known]
    commits = sorted({str(one["commit"]) for one in made})
    return [
        write_count(len(groups), "timed step"),
        join_words(versions),
        *dict.fromkeys(machines),
        _write_commits(commits),
    ]


def _write_commits(commits: list[str]) -> str:
    return f"commit {join_words(commits[:3])}{' and others' if len(commits) > 3 else ''}"  # noqa: PLR2004


def _link_files(folder: Path, name: str) -> list[str]:
    """Return the files of a picture for a paper, as the page links to them."""
    paths = [folder / "figures" / f"{name}{suffix}" for suffix in (".png", ".svg")]
    return [f"figures/{path.name}" for path in paths if path.exists()]


def _list_gallery(folder: Path, drawn: set[str]) -> list[tuple[str, str, list[tuple[str, list[str]]]]]:
    """Return heading, caption, and name and files of each picture that the page does not draw itself."""
    there = sorted(path.stem for path in (folder / "figures").glob("*.png")) if (folder / "figures").is_dir() else []
    found, left = [], [name for name in there if name not in drawn]
    for name, (heading, caption) in captions.CAPTIONS.items():
        names = [one for one in left if one == name or one.startswith(f"{name}-")]
        left = [one for one in left if one not in names]
        found += [(heading, caption, [(one, _link_files(folder, one)) for one in names])] if names else []
    return [*found, ("Further figures", "", [(one, _link_files(folder, one)) for one in left])] if left else found
