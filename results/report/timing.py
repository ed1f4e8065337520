"""The page of a set of timings: reads one result folder and writes speed.md, its tables and its figures into it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from farreach.results.analysis.tables import show_parameters
from farreach.results.figures import scaling as scaling_figures
from farreach.results.figures import style, timing
from farreach.results.report.markdown import code, escape, table
from farreach.results.report.phrases import write_cores
from farreach.results.report.speed_sentences import title_steps, write_stale
from farreach.results.report.timing_contents import PAGE, TimingSet, write_findings
from farreach.results.storage.csv_files import write_csv
from farreach.results.storage.files import write_text
from farreach.results.storage.staging import replace_files
from farreach.results.timing import interleaved, scaling

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # the room of figures imports it, without the settings of the user

MADE = {
    "tables": re.compile(r"(pairs|overheads|costs|growth|paths|launches)\.(csv|md)"),
    "figures": re.compile(r"(ratios|overheads|growth-\w+)\.(png|svg)"),
}
"""What is written beside speed.md; that of an earlier page is removed first."""


def write_page(folder: Path, timed: TimingSet) -> list[Path]:
    """Write speed.md, its tables and figures, in place of older ones; return their paths, speed.md first.

    Raises `StoreError` where the folder cannot be written.
    """
    sentences = [*write_findings(timed), *write_stale(timed.groups)]
    groups, pairs, overheads = timed.groups, timed.pairs, timed.overheads
    facts, grown = timed.machine, interleaved.list_growth(groups)
    exponents = scaling.fit_exponents(grown) if len(grown) else pd.DataFrame()
    tables = [
        ("pairs", "Who is faster: ratio of two frameworks' step times", pairs),
        ("overheads", "Our step over hand-written loops", overheads),
        ("costs", "What a step takes", interleaved.list_costs(groups, facts)),
        ("growth", "How cost grows: exponents of a power law, and of its last octave", exponents),
        ("paths", "Each framework's own paths, by a short calibration", interleaved.list_paths(groups)),
        ("launches", "The launches of the A/A test", timed.test.launches if timed.test else pd.DataFrame()),
    ]
    shown = [(name, heading, show_parameters(frame)) for name, heading, frame in tables if len(frame)]
    figures: dict[str, Figure] = {}
    if timing.fits(titled := title_steps(pairs)):
        figures["ratios"] = timing.draw_ratios(titled)
    if timing.fits(titled := title_steps(overheads)):
        figures["overheads"] = timing.draw_overheads(titled)
    if len(grown):
        figures |= {f"growth-{axis}": figure for axis, figure in scaling_figures.draw_growth(grown).items()}
    with replace_files(folder, MADE) as stage:
        made = [_write_table(stage, name, title, frame) for name, title, frame in shown]
        for name, figure in figures.items():
            made += style.save_figure(figure, stage / "figures" / f"{name}.png", vector=True)
        made.insert(0, stage / PAGE)
        write_text(made[0], _write_text(groups, facts, sentences=sentences, tables=shown, figures=list(figures)))
    return [folder / path.relative_to(stage) for path in made]


def _write_text(
    groups: list[dict[str, Any]],
    facts: dict[str, Any] | None,
    *,
    sentences: list[str],
    tables: list[tuple[str, str, pd.DataFrame]],
    figures: list[str],
) -> str:
    sentences = sentences or ["No pair was timed."]
    parts = ["# Speed\n", "".join(f"- {escape(sentence)}\n" for sentence in sentences)]
    parts += [f"![{name}](figures/{name}.png)\n" for name in figures]
    parts += [
        f"## {title}\n\n" + (f"[All {len(frame)}](tables/{name}.csv)\n" if name == "launches" else table(frame))
        for name, title, frame in tables
    ]
    machines = [facts] if facts else []
    machines += [group["machine"] for group in groups if group.get("machine")]  # where a cluster did it
    for one in {one["processor"]: one for one in machines}.values():
        rates = escape(", ".join(f"{dtype} {rate:.0f} GFLOP/s" for dtype, rate in one["gflops"].items()))
        cores = write_cores(one["cores"], one.get("cores_granted"))
        parts.append(
            f"## The machine\n\n{escape(one['processor'])}, {cores}; square matrix products with "
            f"{one['threads']} thread(s): {rates} ({escape(one['blas'])}); copies: "
            f"{one['copy_gb_per_s']:.1f} GB/s, bytes read and bytes written both counted.\n"
        )
        parts += [_describe_device(one["device"])] if one.get("device") else []
    commands = dict.fromkeys(group["facts"]["command"] for group in groups)
    commits = dict.fromkeys(group["facts"]["commit"] for group in groups)
    if commands:
        listed = "".join(f"- {code(command)}\n" for command in commands)
        parts.append(f"## The commands\n\n{listed}\nat commit {escape(', '.join(commits))}.\n")
    return "\n".join(parts)


def _describe_device(device: dict[str, Any]) -> str:
    rates = escape(", ".join(f"{kind} {rate / 1e3:.1f} TFLOP/s" for kind, rate in device["gflops"].items()))
    return (
        f"{escape(device['device_name'])} ({escape(device['device_software'])}; {escape(device['device_settings'])}): "
        f"matrix products through {escape(device['framework'])}: {rates}; copies: {device['copy_gb_per_s']:.0f} GB/s, "
        "read and written both counted. Steps ran in "
        f"{escape(device['precision'])}; their share of peak is that of the same precision.\n"
    )


def _write_table(folder: Path, name: str, heading: str, frame: pd.DataFrame) -> Path:
    path = folder / "tables" / name
    write_csv(path.with_suffix(".csv"), frame)
    write_text(path.with_suffix(".md"), f"# {heading}\n\n{table(frame)}")
    return path.with_suffix(".md")
