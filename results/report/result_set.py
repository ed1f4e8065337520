"""The report: reads one result folder and writes its tables, its figures and report.md into it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from farreach.results.analysis import agreement, certificates, matched_native, observatory, run_times, splits, tables
from farreach.results.analysis.labels import format_percent
from farreach.results.analysis.precision import judge_precision, tabulate_precision
from farreach.results.analysis.rows import SETTINGS, Rows, limit_curves, limit_settings
from farreach.results.analysis.staleness import Versions
from farreach.results.analysis.tables import show_labels, tabulate_accuracy, tabulate_gradients
from farreach.results.figures.captions import CAPTIONS, NO_TIMINGS, OPTIONAL, TIMINGS
from farreach.results.record import SPECTRA
from farreach.results.report import own_runs
from farreach.results.report.answers import Answer
from farreach.results.report.contents import PAGE, Results, name_report, read_results, tolerate_damage
from farreach.results.report.diagnosis import write_diagnoses
from farreach.results.report.glances.base import Field, Glance
from farreach.results.report.gradient_reach import write_reach
from farreach.results.report.markdown import code, escape, table
from farreach.results.report.phrases import write_time
from farreach.results.report.splits import HEADING, show_splits, write_splits
from farreach.results.storage.csv_files import write_csv
from farreach.results.storage.files import list_files, write_text
from farreach.results.storage.staging import replace_files
from farreach.results.timing import interleaved, time_to_solve
from farreach.results.vocabulary import PROGRAM

TABLES = (
    *("summary", "accuracy", "metrics", "gradients", "reach", "spectra", "diagnoses", "divergence", "agreement"),
    *("certificates", "step-times", "time-shares", "speed-ratios", "speed", "matched-native", "matched-native-gaps"),
    *("precision", "splits"),
)
"""The tables that a report may have."""

MADE = {
    "tables": re.compile(rf"({'|'.join(TABLES)})\.(csv|md)"),
    "figures": re.compile(rf"({'|'.join(CAPTIONS)})(-[\w.-]+)?\.(png|svg)"),
}
"""What the report writes besides report.md; files of an earlier report are removed first, and no others."""


def write(folder: Path, now: Versions | None = None) -> list[Path]:
    """Write tables, figures and report.md into a result folder and return their paths, report.md first.

    Rows that another version than `now` made are stale: left out and said. A case whose files turn out to be damaged
    is set aside, left out and named. Raises `StoreError` where there is no such folder, or where it cannot be written.
    """
    return write_results(read_results(folder, now=now), now)[0]


def write_results(results: Results, now: Versions | None = None) -> tuple[list[Path], Results]:
    """Write what `write` does of what was read; return the paths, and what the set holds without what was damaged."""
    while True:
        known = len(results.store.damaged)
        paths = _write_files(results)
        if len(results.store.damaged) == known:
            return paths, results
        results = read_results(results.store.folder, store=results.store, now=now)


def _write_files(results: Results) -> list[Path]:
    from farreach.results.report import gallery  # noqa: PLC0415 - loads what draws, which takes a second

    folder = results.store.folder
    with replace_files(folder, MADE) as stage:
        sections = [*_write_tables(results, stage / "tables")]
        write_text(stage / PAGE, write_page(results, sections, [*gallery.draw_figures(results, stage / "figures")]))
    return [folder / PAGE, *(one for part, ours in MADE.items() for one in list_files(folder / part, ours))]


def write_page(results: Results, sections: list[tuple[str, str]], figures: list[tuple[str, Path]]) -> str:
    """Return report.md: what recorders warned of, answers, findings, tables, figures, failures, times, commands.

    Args:
        results: what the folder holds.
        sections: heading and Markdown of each table.
        figures: name (a key of `CAPTIONS`) and path of each figure.

    """
    rows, runs = results.rows, results.runs
    parts = [f"# {escape(name_report(results))}\n"]
    parts += ["".join(f"- {escape(sentence)}\n" for sentence in own_runs.write_warnings(rows))]
    parts += [write_answer(*pair) for pair in zip(results.glances, results.answers, strict=True)]
    sentences = [*results.findings, *results.trouble]
    parts += ["## Findings\n", "".join(f"- {escape(sentence)}\n" for sentence in sentences)]
    parts += ["## Tables\n", *(f"### {escape(heading)}\n\n{body}" for heading, body in sections)]
    parts.append("## Figures\n")
    parts += [f"{note}\n" for note in _write_limits(rows)]
    for name, (heading, caption) in CAPTIONS.items():
        paths = [path for which, path in figures if which == name]
        if name in OPTIONAL and not paths:
            continue
        if name == "step-time":
            caption = f"{TIMINGS if results.timed.groups else NO_TIMINGS}."  # noqa: PLW2901
        links = "".join(_write_link(heading, path) for path in paths)
        parts.append(f"### {heading}\n\n{caption}\n\n{links}" if paths else f"### {heading}\n\nNothing to draw.\n")
    parts += ["## Failures\n", table(run_times.list_failures(runs), empty="No case failed.")]
    parts += ["## Where the wall time went\n", _write_shares(runs)]
    parts += [
        "## Versions and machines\n",
        table(tables.tabulate_machines(rows), empty="No rows, so no machine is known."),
    ]
    if len(rows.ours.frame["commit"].drop_duplicates()) > 1:
        parts.append("The rows come from different commits: compare them with care.\n")
    parts += ["## The commands\n", _write_commands(results)]
    return "\n".join(parts)


def write_answer(glance: Glance, answer: Answer) -> str:
    """Return an answer as Markdown: its sentence, its grid, and folded away all that is behind them."""
    listed = "".join(f"- {escape(line)}\n" for line in answer.lines())
    full = f"<details><summary>In full</summary>\n\n{listed}\n</details>\n"
    return f"{write_glance(glance)}\n{full}"


def write_glance(glance: Glance) -> str:
    """Return the question, the sentence and the grid as Markdown."""
    head = f"**{glance.question}** {escape(glance.sentence)}\n"
    if glance.grid is None:
        return head
    lines = [
        {glance.grid.corner: row} | dict(zip(glance.grid.columns, map(_write_field, fields), strict=True))
        for row, fields in glance.grid.rows
    ]
    return f"{head}\n{table(pd.DataFrame(lines))}\n{escape(glance.note)}\n"


def _write_field(field: Field) -> str:
    return f"{field.text} ({field.detail})" if field.detail else field.text


def _write_limits(rows: Rows) -> Iterator[str]:
    """Say which rows the figures leave out."""
    pictured = limit_settings(rows)
    if pictured is not rows:
        yield f"The first {SETTINGS} settings of a task; the tables have all."
    read = limit_curves(pictured)
    if read is not pictured:
        yield f"Of the {len(pictured):,} cases the first seeds of every line, {len(read):,} in all."


def _write_link(heading: str, path: Path) -> str:
    vector = path.with_suffix(".svg")
    also = f" [as SVG](figures/{vector.name})" if vector.exists() else ""
    return f"![{heading}, {path.stem}](figures/{path.name}){also}\n"


def write_command(folder: Path) -> str:
    """Return the command that makes the report of a folder again; it names no folder of the machine that made it."""
    try:
        place = folder.resolve().relative_to(Path.cwd())
    except ValueError:
        place = Path("DIR")
    return f"{PROGRAM} report {place}"


def _write_tables(results: Results, folder: Path) -> Iterator[tuple[str, str]]:
    """Write each table as CSV and as Markdown; yield the heading and Markdown of those with lines."""
    rows = results.rows

    def sections(parts: Iterator[tuple[str, pd.DataFrame]]) -> str:
        return "\n".join(f"**{escape(heading)}**\n\n{table(frame)}" for heading, frame in parts)

    facts = ("task", "parameters", "optimizer", "learning_rate")
    accuracy = time_to_solve.add_times(tabulate_accuracy(rows), rows, results.timed.step_times)
    reached, norms = (show_labels(one, facts=facts) for one in (accuracy, tabulate_gradients(rows)))
    if results.timed.step_times:
        accuracy = accuracy.assign(**{tables.TIME: [write_time(line) for line in accuracy.to_dict("records")]})
    times_seen = show_labels(tables.tabulate_step_times(rows), facts=("path",))
    metrics, held = tables.tabulate_metrics(rows), certificates.list_standing(rows.frame)
    torn, gaps = show_labels(tables.tabulate_divergence(rows)), show_labels(agreement.measure_gaps(rows))
    shares = run_times.tabulate_shares(results.runs)
    far, found = observatory.measure_reach(rows), show_labels(write_diagnoses(rows))
    spectra = observatory.summarise_spectra(limit_curves(rows), tolerate_damage(results.store.spectra, SPECTRA))
    matrices = show_labels(spectra)
    by_task = (
        (str(task), show_labels(part).dropna(axis="columns", how="all"))
        for task, part in metrics.groupby("task", sort=False, observed=True)
    )
    compact = tables.tabulate_summary(rows)
    made: list[tuple[str, str, pd.DataFrame, str]] = [
        ("summary", "In short: skill, seeds that solved it, share of steps clipped", compact, table(compact)),
        (
            "accuracy",
            "Accuracy (mean over seeds; in brackets their range)",
            reached,
            sections(tables.tabulate_wide(accuracy)),
        ),
        (
            "metrics",
            "Every metric of the tasks (mean over seeds)",
            show_labels(metrics, facts=facts),
            sections(by_task),
        ),
        ("gradients", "Gradients and clipping", norms, table(show_labels(tabulate_gradients(rows)))),
        (
            "reach",
            "Reach: how far back the gradient keeps 1 % of its norm",
            show_labels(far),
            table(show_labels(write_reach(far))),
        ),
        ("spectra", "Spectral radius and largest singular value of the recurrent matrices", matrices, table(matrices)),
        ("diagnoses", "Diagnoses", found, table(show_labels(observatory.count_diagnoses(rows)))),
        ("divergence", "Divergence", torn, table(torn)),
        ("agreement", "Agreement of the frameworks, beside permuted replicates of one", gaps, table(gaps)),
        ("certificates", "Certificates", held, table(held)),
        ("step-times", "Step times inside the training runs (not a comparison)", times_seen, table(times_seen)),
        ("time-shares", "Wall time by kind", shares, _write_shares(results.runs)),
    ]
    if results.timed.groups:
        ratios = tables.show_parameters(results.timed.pairs)
        steps = tables.show_parameters(interleaved.list_costs(results.timed.groups, results.timed.machine))
        made.insert(6, ("speed-ratios", "Speed: how many times as fast", ratios, table(ratios)))
        made.insert(7, ("speed", "Speed: one training step", steps, table(steps)))
    own, apart = (show_labels(make(rows)) for make in (matched_native.compare_modes, matched_native.compare_gaps))
    if len(own):
        made.insert(6, ("matched-native", "Matched and native: each framework with its own defaults", own, table(own)))
        made.insert(7, ("matched-native-gaps", "Matched and native: two frameworks' gap in skill", apart, table(apart)))
    mixed = tables.show_parameters(tabulate_precision(judge_precision(rows)))
    if len(mixed):
        made.insert(6, ("precision", "Precision: mixed beside float32", mixed, table(mixed)))
    divided = splits.tabulate_splits(results.divided, limit_curves(rows))
    if len(divided):
        made.insert(5, ("splits", HEADING, show_splits(divided), write_splits(divided)))
    for name, heading, frame, body in made:
        path = folder / name
        write_csv(path.with_suffix(".csv"), frame)
        shown = body if len(frame) else "Nothing to show.\n"
        write_text(path.with_suffix(".md"), f"# {heading}\n\n{shown}")
        if len(frame) and name != "time-shares":
            yield heading, shown


def _write_shares(runs: list[dict[str, Any]]) -> str:
    """Return the wall time by kind as Markdown, with the shares in percent."""
    frame = run_times.tabulate_shares(runs)
    for name in map(str, frame):
        if name.endswith("share"):
            frame[name] = frame[name].map(format_percent)
        elif name.endswith(" s"):
            frame[name] = frame[name].map(lambda seconds: f"{seconds:.1f}")
    return table(frame, empty="No run that finished cases was logged.")


def _write_commands(results: Results) -> str:
    """Return the commands that made the rows, and the one that makes this report again."""
    made = sorted(map(str, results.rows.frame["command"].unique()))
    report = f"This report, its tables and its figures: {code(write_command(results.store.folder))}\n"
    rows = "".join(f"- {code(command)}\n" for command in made)
    return f"{report}\nThe rows:\n\n{rows}" if rows else report
