"""The page of a set of timings: reads one result folder and writes speed.md, its tables and its figures into it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from results import check, panels, scaling, scaling_figures, timing_figures, timings
from results.files import StoreError
from results.markdown import code, escape, table

PAGE = "speed.md"

MADE = {
    "tables": ("pairs", "overheads", "costs", "growth", "paths", "trials"),
    "figures": ("ratios", "overheads", "growth-*"),
}
"""What is written beside speed.md; that of an earlier page is removed first."""


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


def write(folder: Path, timed: Timed) -> list[Path]:
    """Write speed.md, its tables and figures, in place of older ones; return their paths, speed.md first.

    Raises `StoreError` where the folder cannot be written.
    """
    groups, checked, pairs, overheads = timed.groups, timed.checked, timed.pairs, timed.overheads
    facts, grown = machine(folder), timings.growth(groups)
    exponents = scaling.exponents(grown) if len(grown) else pd.DataFrame()
    tables = [
        ("pairs", "Who is faster: ratio of two frameworks' step times", pairs),
        ("overheads", "Our step over hand-written loops", overheads),
        ("costs", "What a step takes", timings.costs(groups, facts)),
        ("growth", "How cost grows: exponents of a power law, and of its last octave", exponents),
        ("paths", "Each framework's own paths, by a short calibration", timings.paths(groups)),
        ("trials", "The check: identical code against itself", checked.trials if checked else pd.DataFrame()),
    ]
    shown = [(name, heading, frame) for name, heading, frame in tables if len(frame)]
    figures: dict[str, Figure] = {}
    heading = "ratio of the times of a training step, median and 95 % interval"
    if len(pairs):
        figures["ratios"] = timing_figures.forest(
            _titled(pairs), ratio="times as fast", names=("slower", "faster"), heading=heading
        )
    if len(overheads):
        figures["overheads"] = timing_figures.forest(
            _titled(overheads), ratio="ours / loop", names=("ours", "loop"), heading=heading, mark="at most"
        )
    if len(grown):
        figures |= {f"growth-{axis}": figure for axis, figure in scaling_figures.figures(grown).items()}
    try:
        for part, names in MADE.items():
            (folder / part).mkdir(exist_ok=True)
            for old in (path for name in names for path in (folder / part).glob(f"{name}.*")):
                old.unlink()
        made = [_table(folder, name, title, frame) for name, title, frame in shown]
        for name, figure in figures.items():
            made += panels.save(figure, folder / "figures" / f"{name}.png", vector=True)
        page = folder / PAGE
        page.write_text(
            _text(groups, facts, said=timed.sentences(), tables=shown, figures=list(figures)),
            encoding="utf-8",
        )
    except OSError as error:
        message = f"cannot write to {folder}: {error.strerror or error}"
        raise StoreError(message) from error
    return [page, *made]


def _text(
    groups: list[dict[str, Any]],
    facts: dict[str, Any] | None,
    *,
    said: list[str],
    tables: list[tuple[str, str, pd.DataFrame]],
    figures: list[str],
) -> str:
    said = said or ["No pair was timed."]
    parts = ["# Speed\n", "".join(f"- {escape(one)}\n" for one in said)]
    parts += [f"![{name}](figures/{name}.png)\n" for name in figures]
    parts += [
        f"## {title}\n\n" + (table(frame) if name != "trials" else f"[All {len(frame)} trials](tables/trials.csv)\n")
        for name, title, frame in tables
    ]
    machines = [facts] if facts else []
    machines += [group["machine"] for group in groups if group.get("machine")]  # where a cluster did it
    for one in {one["processor"]: one for one in machines}.values():
        rates = ", ".join(f"{dtype} {rate:.0f} GFLOP/s" for dtype, rate in one["gflops"].items())
        parts.append(
            f"## The machine\n\n{escape(one['processor'])}, {one['cores']} cores; square matrix products with "
            f"{one['threads']} thread(s): {rates} ({escape(one['blas'])}); copies: "
            f"{one['copy_gb_per_s']:.1f} GB/s, bytes read and bytes written both counted.\n"
        )
        parts += [_device(one["device"])] if one.get("device") else []
    commands = dict.fromkeys(group["facts"]["command"] for group in groups)
    commits = dict.fromkeys(group["facts"]["commit"] for group in groups)
    if commands:
        listed = "".join(f"- {code(command)}\n" for command in commands)
        parts.append(f"## The commands\n\n{listed}\nat commit {', '.join(commits)}.\n")
    return "\n".join(parts)


def _device(device: dict[str, Any]) -> str:
    rates = ", ".join(f"{kind} {rate / 1e3:.1f} TFLOP/s" for kind, rate in device["gflops"].items())
    return (
        f"{escape(device['device_name'])} ({escape(device['device_software'])}; {escape(device['device_settings'])}): "
        f"matrix products through {device['framework']}: {rates}; copies: {device['copy_gb_per_s']:.0f} GB/s, read and "
        "written both counted. Steps ran in "
        f"{escape(device['precision'])}; their share of peak is that of the same precision.\n"
    )


def machine(folder: Path) -> dict[str, Any] | None:
    """Return what the machine can do at best, None where it was not measured; raise `StoreError` on a damaged file."""
    path = folder / timings.MACHINE
    try:
        found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    except ValueError as error:
        message = f"{path.name} cannot be read: {error}"
        raise StoreError(message) from error
    return found


def _titled(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the column ``setting``: the step in words, with what differs between the steps."""
    apart = [name for name in ("layers", "hidden", "batch", "dtype", "device", "threads") if len(set(frame[name])) > 1]
    named = [
        f"{row['task']} {row['parameters']} {row['cell']}" + "".join(f", {name} {row[name]}" for name in apart)
        for _, row in frame.iterrows()
    ]
    return frame.assign(setting=named)


def _by_setting(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    titled = _titled(frame)
    return [(str(name), part) for name, part in titled.groupby("setting", sort=False)] if len(titled) else []


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


def _table(folder: Path, name: str, heading: str, frame: pd.DataFrame) -> Path:
    path = folder / "tables" / name
    frame.to_csv(path.with_suffix(".csv"), index=False)
    path.with_suffix(".md").write_text(f"# {heading}\n\n{table(frame)}", encoding="utf-8")
    return path.with_suffix(".md")
