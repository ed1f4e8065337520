"""The page of a comparison: comparison.md and its tables, and the sentences that the terminal shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from farreach.results.analysis import statistics
from farreach.results.analysis.comparison import (
    ALL,
    BETTER,
    CHANGED,
    IDENTICAL,
    RUNS,
    SAME,
    SEEDS,
    STARTS,
    WORSE,
    Comparison,
    Flag,
)
from farreach.results.analysis.selection import GROUP
from farreach.results.analysis.tables import show_labels
from farreach.results.report.markdown import code, escape, table
from farreach.results.report.phrases import write_count, write_list
from farreach.results.storage.csv_files import write_csv
from farreach.results.storage.files import write_text
from farreach.results.storage.staging import replace_files

PAGE = "comparison.md"


def write_findings(found: Comparison) -> list[str]:
    """Say the verdict over all pairs, how many rows got each, and which are worse, changed or better."""
    said = [_write_together(found.whole.iloc[0])] if len(found.whole) else []
    for kind, frame in (("quality", found.quality), ("speed", found.speed)):
        if frame.empty:
            continue
        counts = frame[kind].value_counts()
        parts = [f"{counts.get(verdict, 0)} {verdict}" for verdict in (SAME, BETTER, WORSE, statistics.INCONCLUSIVE)]
        said.append(f"{kind.capitalize()} of {write_count(len(frame), 'row')}: {', '.join(parts)}.")
    bits = found.quality["bits"].value_counts()
    if len(found.quality):
        there = f"{bits.get(IDENTICAL, 0)} identical, {bits.get(CHANGED, 0)} changed"
        said.append(f"Bit for bit, where the environment is the same: {there}.")
    for verdict in (WORSE, CHANGED, BETTER):
        said += _write_rows(verdict.capitalize(), [write_flag(one) for one in found.list_flags(verdict)])
    untold = len(found.speed) and (found.speed["speed"] == statistics.INCONCLUSIVE).all()
    if untold and (found.speed[["runs old", "runs new"]].min(axis=1) < RUNS).any():
        said.append(
            f"Nothing is said about speed: that takes {RUNS} runs a side, or both versions side by side "
            "(compare --live)."
        )
    unclear = found.quality["quality"] == statistics.INCONCLUSIVE
    few = unclear & (found.quality["seeds"] < SEEDS) & (found.quality["seeds identical"] < found.quality["seeds"])
    if few.any():
        said.append(f"{few.sum()} rows have fewer than {SEEDS} shared seeds, too few to tell their quality apart.")
    for side in ("old", "new"):
        rows = found.quality[found.quality[f"{side} alone"] > 0]
        said += _write_rows(f"Seeds of the {side} set alone, not compared", _write_alone(rows, side))
    return said + _write_rows(
        "Not compared", [f"{' '.join(one.row)} is in the {one.side} set alone" for one in found.alone]
    )


def write_page(folder: Path, found: Comparison, *, title: str, command: str) -> list[Path]:
    """Write comparison.md and a CSV of each table; return their paths. Raises `StoreError` where that cannot be."""
    tables = [("whole", found.whole), ("quality", found.quality), ("speed", found.speed)]
    said = "".join(f"- {escape(one)}\n" for one in write_findings(found))
    parts = [f"# {escape(title)}\n", f"Made by {code(command)}.\n", said]
    parts += [f"## {name.capitalize()}\n\n{table(_show_table(frame))}" for name, frame in tables if len(frame)]
    with replace_files(folder, {}) as stage:
        write_text(stage / PAGE, "\n".join(parts))
        for name, frame in tables:
            write_csv(stage / f"comparison-{name}.csv", show_labels(frame))
    return [folder / PAGE, *(folder / f"comparison-{name}.csv" for name, _ in tables)]


def _write_together(line: pd.Series[Any]) -> str:
    """Say what all pairs say together, and what that rests on."""
    pairs = write_count(line["pairs"], "pair")
    said = (
        f"Over all {pairs} of one case and seed: {line['skill']}; mean skill {line['skill old']:.2f} old and "
        f"{line['skill new']:.2f} new, solved {line['solved old']} and {line['solved new']}"
    )
    if line["starts"] < STARTS:
        few = f"a verdict over all takes {STARTS} starts (setting, cell and seed), and these have {line['starts']}"
        return f"{said}; {few}." if line["skill"] == statistics.INCONCLUSIVE else f"{said}."
    typical = f"{line['typical']:.2g} at the median (95 % interval {line['low']:.2g} to {line['high']:.2g})"
    starts = f"over {line['starts']} starts, sign-flip test p = {line['p']:.2g}"
    return f"{said}, a difference of {line['difference']:.2g} in the mean and {typical}, {starts}."


def _write_alone(rows: pd.DataFrame, side: str) -> list[str]:
    """Say how the seeds that one side alone has ended, beside those that both have."""
    lines = []
    for line in rows.to_dict("records"):
        alone = f"{write_count(line[f'{side} alone'], 'seed')} of mean skill {line[f'skill {side} alone']:.2f}"
        shared = f"{line[f'skill {side}']:.2f} over the {write_count(line['seeds'], 'shared seed')}"
        lines.append(f"{' '.join(str(line[name]) for name in GROUP)} ({alone}{f', {shared}' if line['seeds'] else ''})")
    return lines


def _show_table(frame: pd.DataFrame) -> pd.DataFrame:
    return show_labels(frame).dropna(axis="columns", how="all")


def write_flag(one: Flag) -> str:
    """Return what got a verdict, in words."""
    of = " ".join(one.row)
    if one.kind == "skill":
        return f"skill over all {one.pairs} pairs" if of == ALL else f"skill over the {one.pairs} pairs of {of}"
    return f"{one.kind} of {of}"


def _write_rows(what: str, rows: list[str]) -> list[str]:
    return [f"{what}: {write_list(rows)}."] if rows else []
