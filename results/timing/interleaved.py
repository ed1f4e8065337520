"""Paired timings: the ratio of any two contenders of one training step, and what a step takes, each with its interval.

A result set holds them in ``timings/``, one JSON a group of contenders: the seconds a step of each, round by round.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis import statistics
from farreach.results.analysis.labels import CELLS, ordered
from farreach.results.timing import files, scaling

SCHEMA = 1
"""Version of the timing files."""

STEP_VERSION = 2
"""Version of the step that is timed, raised when a change of ours makes one faster or slower: what was timed before is
stale. 2: chunks reach JAX and PyTorch in a tenth of the time. A file that names none is of version 1."""

FOLDER = "timings"

MACHINE = "machine.json"
"""What the machine can do at best, measured at the start of the run; beside the timing files."""

STEP = ["task", "parameters", "cell", "layers", "hidden", "batch", "dtype", "device", "threads"]
"""What makes the contenders' step, in the words of a case."""

PAIRS = [*STEP, "faster", "slower", "times as fast", "low", "high", "rounds", "verdict"]
OVERHEADS = [*STEP, "ours", "loop", "ours / loop", "low", "high", "rounds", "at most", "verdict"]
GROWTH = ["axis", "value", "cell", "fixed", "framework", "path", "ran", "seconds", "peak_memory_bytes"]
COSTS = [*STEP, "contender", "kernel", "ms a step", "low ms", "high ms", "sequences/s", "time steps/s"]
COSTS += ["GFLOP/s", "share of peak", "peak MiB", "above idle MiB", "compile s", "pays off after", "joules a step"]
ON_DEVICE = ["ms on the device", "peak device MiB"]
"""Columns of `costs` that rows on an accelerator alone have."""

ALLOWED = {"loop": 1.02, "fit": 1.0, "trainer": 1.0}
"""How long our step may take in terms of a hand-written loop, and of a trainer that a framework or a library brings."""

TELLS = "faster"

SPINNING = 0.02
"""Waiting processes that take more of a processor than this disturb the one that is timed."""

STARVED = 0.95
"""A single-threaded block that had less of a processor than this shared it with something."""

SPREAD = 0.1
"""A contender whose blocks spread by more than this (half the interquartile range over the median) was disturbed."""

CLOCK = 0.5
"""Seconds by which the clock of the day may move against the monotonic one before it is said."""


FASTEST = "fastest"
"""The path of a curve whose points were each timed on the path that was the fastest there."""


def read(folder: Path, damaged: files.Damage | None = None) -> list[dict[str, Any]]:
    """Return the timing files of a result set, sorted by their steps.

    Where one is damaged, `damaged` hears of it; without it `DamagedError` is raised. Of one step and the same
    contenders those of the newest version are kept.
    """
    found = files.each(folder / FOLDER, files.Group, SCHEMA, damaged)
    newest: dict[str, int] = {}
    for group in found:
        for one in group["contenders"]:
            one["seconds"] = np.asarray(one["seconds"], float)
        newest[_timed(group)] = max(version(group), newest.get(_timed(group), 1))
    return sorted((group for group in found if version(group) == newest[_timed(group)]), key=_order)


def version(group: dict[str, Any]) -> int:
    """Return the version of the step that a file is of."""
    return int(group.get("step_version", 1))


def older(groups: list[dict[str, Any]]) -> list[str]:
    """Say how many timings are of an older version of the step; nothing where none is."""
    versions = [version(group) for group in groups if version(group) < STEP_VERSION]
    if not versions:
        return []
    which = " and ".join(map(str, sorted(set(versions))))
    of = f"{len(versions)} of {len(groups)} timings are of version {which}"
    return [f"Stale: {of} of our step, which is {STEP_VERSION} now; the same command times them again."]


def pairs(groups: list[dict[str, Any]], launches: float | None = None) -> pd.DataFrame:
    """Return for each step and pair of contenders how many times as fast the faster one is.

    ``times as fast`` is the median over rounds of the slower one's seconds over the faster one's, low and high its
    95 % interval (`statistics.estimate_ratio`), widened by `launches`, the factor that two launches of identical code
    stay within on this machine, where that is known. The verdict is ``faster`` only where the interval excludes 1.
    """
    lines = []
    for group in groups:
        ours = [one for one in group["contenders"] if not one["loop"]]
        for a, b in itertools.combinations(ours, 2):
            ratio = statistics.estimate_ratio(b["seconds"], a["seconds"])
            if ratio.value < 1:
                a, b, ratio = b, a, statistics.Estimate(1 / ratio.value, 1 / ratio.high, 1 / ratio.low)  # noqa: PLW2901
            ratio = statistics.widen_ratio(ratio, launches or 1.0)
            verdict = TELLS if ratio.interval.lies_above(1) else statistics.INCONCLUSIVE
            lines.append([*_step(group), a["name"], b["name"], *ratio, len(a["seconds"]), verdict])
    return pd.DataFrame(lines, columns=PAIRS)


def overheads(groups: list[dict[str, Any]]) -> pd.DataFrame:
    """Return how long our step takes in terms of each hand-written loop of the same framework.

    The verdict is ``kept`` where the interval's upper end is within `ALLOWED`, ``missed`` where its lower end is
    beyond, else ``inconclusive``.
    """
    lines = []
    for group in groups:
        ours = next((one for one in group["contenders"] if not one["loop"]), None)
        for loop in group["contenders"]:
            if ours is None or not loop["loop"]:
                continue
            middle, low, high = statistics.estimate_ratio(ours["seconds"], loop["seconds"])
            most = ALLOWED.get(loop["loop"].partition("_")[0], ALLOWED["loop"])
            verdict = "kept" if high <= most else "missed" if low > most else statistics.INCONCLUSIVE
            names = [ours["name"], loop["loop"]]
            lines.append([*_step(group), *names, middle, low, high, len(ours["seconds"]), most, verdict])
    return pd.DataFrame(lines, columns=OVERHEADS)


def paths(groups: list[dict[str, Any]]) -> pd.DataFrame:
    """Return what the calibration found of each path that a framework offers, the one that was kept marked."""
    lines = [
        [
            *_step(group),
            *(one["framework"], way["path"], way["seconds"] * 1e3, way["compile_seconds"]),
            "kept" if way["path"] == one["path"] else "",
        ]
        for group in groups
        for one in group["contenders"]
        for way in (one.get("tried", []) if not one["loop"] else [])
    ]
    return pd.DataFrame(lines, columns=[*STEP, "framework", "path", "ms a step", "compile s", "kept"])


def growth(groups: list[dict[str, Any]]) -> pd.DataFrame:
    """Return what `scaling.exponents` takes: steps that differ in T, hidden or batch alone, three values or more.

    Where each value was timed on one path, and not all on the same, the paths are those that were the fastest for
    their value: they make one curve, whose path is `FASTEST`; ``ran`` is the path of each point.
    """
    lines = []
    for group in groups:
        step = group["step"]
        sizes = {"T": step["parameters"].get("T"), "hidden": step["hidden"], "batch": step["batch"]}
        rest = {name: value for name, value in step.items() if name not in {"parameters", "hidden", "batch"}}
        rest["parameters"] = {name: value for name, value in step["parameters"].items() if name != "T"}
        if group.get("machine"):  # which a cluster has several of
            rest["processor"] = group["machine"]["processor"]
        for one in group["contenders"]:
            if one["loop"] or type(sizes["T"]) is not int:
                continue
            facts = {name: one[name] for name in ("framework", "path", "seconds")}
            for axis, size in sizes.items():
                fixed = {name: other for name, other in sizes.items() if name != axis} | rest
                line = {"axis": axis, "value": size, "cell": step["cell"], "fixed": str(fixed)}
                held = one.get("device_peak_bytes", one["peak_bytes"] - one["idle_bytes"])
                lines.append(line | facts | {"ran": one["path"], "peak_memory_bytes": held})
    table = pd.DataFrame(lines, columns=GROWTH)
    curve = ["axis", "fixed", "framework"]
    each = table.groupby([*curve, "value"])["path"].transform("nunique")
    chosen = each.groupby([table[name] for name in curve]).transform("max") == 1
    varies = table.groupby(curve)["path"].transform("nunique") > 1
    table["path"] = table["path"].where(~(chosen & varies), FASTEST)
    several = table.groupby(["axis", "fixed", "framework", "path"])["value"].transform("nunique") >= scaling.FEWEST
    return table[several].reset_index(drop=True)


def costs(groups: list[dict[str, Any]], machine: dict[str, Any] | None = None) -> pd.DataFrame:
    """Return what a step takes of each contender; rows on an accelerator have `ON_DEVICE` too.

    Its median time with the 95 % order-statistic interval; the operations of its matrix products a second, and their
    share of the peak that was measured where the group ran, else of that of `machine`; the peak of its process's
    memory, and that above what the process held with the framework imported and nothing loaded; the seconds that
    compiling took, and the steps after which that has paid off against the framework's own path with the shortest
    compile time.
    """
    lines = []
    for group in groups:
        length, batch = group["length"], group["step"]["batch"]
        limits = group.get("machine") or machine
        limits = limits if group["step"]["device"] == "cpu" else (limits or {}).get("device")
        peak = (limits or {}).get("gflops", {}).get(group["step"]["dtype"])
        for one in group["contenders"]:
            seconds = float(np.median(one["seconds"]))
            low, high = statistics.bound_median(one["seconds"])
            rate = one["flops"] / seconds / 1e9
            lines.append(
                [
                    *_step(group),
                    *(one["name"], one["kernel"], seconds * 1e3, low * 1e3, high * 1e3),
                    *(batch / seconds, batch * length / seconds),
                    *(
                        rate,
                        rate / peak if peak else None,
                        one["peak_bytes"] / 2**20,
                        (one["peak_bytes"] - one["idle_bytes"]) / 2**20,
                    ),
                    *(one["compile_seconds"], pays_off(one), one.get("joules")),
                    *(_scaled(one.get("device_seconds"), 1e3), _scaled(one.get("device_peak_bytes"), 2**-20)),
                ]
            )
    table = pd.DataFrame(lines, columns=[*COSTS, *ON_DEVICE])
    return table if set(table["device"]) - {"cpu"} else table[COSTS]


def _scaled(value: float | None, by: float) -> float | None:
    return None if value is None else value * by


def pays_off(contender: dict[str, Any]) -> float | None:
    """Return the steps after which compiling has paid off; infinity where it never does, None without another path."""
    others = [one for one in contender.get("tried", []) if one["path"] != contender["path"]]
    mine = next((one for one in contender.get("tried", []) if one["path"] == contender["path"]), None)
    if mine is None or not others:
        return None
    quick = min(others, key=lambda one: float(one["compile_seconds"]))
    longer = float(mine["compile_seconds"]) - float(quick["compile_seconds"])
    if longer <= 0:
        return 0.0
    gained = float(quick["seconds"]) - float(mine["seconds"])
    return float(np.ceil(longer / gained)) if gained > 0 else float("inf")


def trouble(groups: list[dict[str, Any]]) -> list[str]:
    """Return a sentence for each thing that happened while timing and that a reader should know."""
    said = []
    for group in groups:
        where = f"{label(group)}: "
        said += [f"{where}{one['contender']} failed: {one['reason']}." for one in group["failed"]]
        if group.get("rounds", 0) < group.get("rounds_wanted", 0):
            said.append(
                f"{where}the time limit of {group['plan']['limit']:g} s was reached: {group['rounds']} rounds of the "
                f"{group['rounds_wanted']} that the pilot asked for."
            )
        if group.get("waiting", 0) > SPINNING:
            said.append(f"{where}the waiting processes took {group['waiting']:.0%} of a processor during the blocks.")
        if abs(group.get("clock_step", 0)) > CLOCK:
            said.append(
                f"{where}the clock of the day moved by {group['clock_step']:.1f} s; blocks are timed by another."
            )
        busy = [one["name"] for one in group["contenders"] if _disturbed(one, group["step"])]
        if busy:
            said.append(f"{where}the machine was busy with something else while {', '.join(busy)} ran.")
    return said


def label(group: dict[str, Any]) -> str:
    """Return a step in words."""
    step = dict(zip(STEP, _step(group), strict=True))
    return f"{step['task']} {step['parameters']} {step['cell']}, {step['hidden']} units, batch {step['batch']}"


def _timed(group: dict[str, Any]) -> str:
    """Return what makes two files one timing at two times: the step, and who ran it."""
    return str((group["step"], sorted({(one["framework"], one["loop"]) for one in group["contenders"]})))


def _order(group: dict[str, Any]) -> tuple[Any, ...]:
    """Return what groups are sorted by: task, sizes, parameters as numbers, then the cell as every table has it."""
    step = group["step"]
    numbers = [value for _, value in sorted(step["parameters"].items()) if isinstance(value, int | float)]
    return (
        step["task"],
        step["hidden"],
        step["batch"],
        numbers,
        ordered([step["cell"], *CELLS], CELLS).index(step["cell"]),
    )


def _step(group: dict[str, Any]) -> list[Any]:
    step = group["step"]
    parameters = " ".join(f"{name}={value}" for name, value in sorted(step["parameters"].items()))
    return [parameters if name == "parameters" else step[name] for name in STEP]


def _disturbed(contender: dict[str, Any], step: dict[str, Any]) -> bool:
    low, middle, high = np.percentile(contender["seconds"], [25, 50, 75])
    starved = step["device"] == "cpu" and step["threads"] == 1 and contender["cpu_to_wall"] < STARVED
    return bool(starved or (high - low) / 2 / middle > SPREAD)
