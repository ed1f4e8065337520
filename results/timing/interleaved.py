"""Interleaved timings: the ratio of any two implementations of one training step, and what a step takes.

A result set holds them in ``timings/``, one JSON file per step: the seconds per step of each implementation, round by
round. Each figure has its interval.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis import statistics
from farreach.results.analysis.selection import sort_words
from farreach.results.analysis.statistics import INCONCLUSIVE
from farreach.results.storage.interface import ResultSet
from farreach.results.timing import files, scaling
from farreach.results.timing.ratios import IMPLEMENTATION, LAUNCHES, RATIO, STEP, USUAL, describe_pair
from farreach.results.vocabulary import CELLS

SCHEMA = 1
"""Version of the timing files."""

STEP_VERSION = 2
"""Version of the step that is timed, raised when a change of ours makes one faster or slower: what was timed before is
stale. 2: chunks reach JAX and PyTorch in a tenth of the time. A file that names none is of version 1."""

FOLDER = "timings"

MACHINE = "machine.json"
"""What the machine can do at best, measured at the start of the run; beside the timing files."""

PAIRS = [*STEP, *RATIO]
OVERHEADS = [*STEP, *IMPLEMENTATION, "loop", "ours / loop", "low", "high", "rounds", "at most", "verdict"]
GROWTH = ["axis", "value", "cell", "fixed", "framework", "path", "ran", "seconds", "peak_memory_bytes"]
COSTS = [*STEP, *IMPLEMENTATION, "loop", "kernel", "ms a step", "low ms", "high ms", "sequences/s", "time steps/s"]
COSTS += ["GFLOP/s", "share of peak", "peak MiB", "above idle MiB", "compile s", "pays off after", "joules a step"]
ON_DEVICE = ["ms on the device", "peak device MiB"]
"""Columns of `costs` that rows on an accelerator alone have."""

ALLOWED = {"loop": 1.02, "fit": 1.0, "trainer": 1.0}
"""How long our step may take in terms of a hand-written loop, and of a trainer that a framework or a library brings."""

KEPT, MISSED = "kept", "missed"
"""The verdicts on an overhead: within what is allowed, or beyond; else `INCONCLUSIVE`."""

SPINNING = 0.02
"""Waiting processes that take more of a processor than this disturb the one that is timed."""

STARVED = 0.95
"""A single-threaded block that had less of a processor than this shared it with something."""

SPREAD = 0.1
"""An implementation was disturbed whose blocks spread by more (half the interquartile range over the median)."""

CLOCK = 0.5
"""Seconds by which the clock of the day may move against the monotonic one before it is said."""


FASTEST = "fastest"
"""The path of a curve whose points were each timed on the path that was the fastest there."""


def read_groups(store: ResultSet, damaged: files.Damage | None = None) -> list[dict[str, Any]]:
    """Return the timing files of a result set, sorted by their steps.

    Where one is damaged, `damaged` hears of it; without it `DamagedError` is raised. Of one step and the same
    implementations those of the newest version are kept.
    """
    groups = files.read_each(store, FOLDER, files.Group, schema=SCHEMA, damaged=damaged)
    newest: dict[str, int] = {}
    for group in groups:
        for implementation in group["contenders"]:
            implementation["seconds"] = np.asarray(implementation["seconds"], float)
        newest[_name_timing(group)] = max(get_version(group), newest.get(_name_timing(group), 1))
    return sorted((group for group in groups if get_version(group) == newest[_name_timing(group)]), key=_sort_group)


def get_version(group: dict[str, Any]) -> int:
    """Return the version of the step that a file is of."""
    return int(group.get("step_version", 1))


def count_older(groups: list[dict[str, Any]]) -> dict[int, int]:
    """Return how many timings are of an older version of the step, by their versions."""
    versions = sorted(get_version(group) for group in groups if get_version(group) < STEP_VERSION)
    return {version: versions.count(version) for version in versions}


def compare_pairs(groups: list[dict[str, Any]], launches: float | None = None) -> pd.DataFrame:
    """Return for each step and pair of implementations how many times as fast the faster one is.

    ``times as fast`` is the median over rounds of the slower one's seconds over the faster one's, low and high its
    95 % interval (`statistics.estimate_ratio`), widened by `launches`, the factor that two launches of identical code
    stay within on this machine; where that is not known, by `LAUNCHES`.
    """
    rows = []
    for group in groups:
        ours = [one for one in group["contenders"] if not one["loop"]]
        for fast, slow in itertools.combinations(ours, 2):
            ratio = statistics.estimate_ratio(slow["seconds"], fast["seconds"])
            if ratio.value < 1:
                fast, slow = slow, fast  # noqa: PLW2901
                ratio = statistics.Estimate(1 / ratio.value, 1 / ratio.high, 1 / ratio.low)
            ratio = statistics.widen_ratio(ratio, launches or LAUNCHES)
            rows.append(list_step(group) | describe_pair(fast, slow, ratio, len(fast["seconds"])))
    return _drop_usual(pd.DataFrame(rows, columns=PAIRS))


def compare_overheads(groups: list[dict[str, Any]]) -> pd.DataFrame:
    """Return how long our step takes in terms of each hand-written loop of the same framework.

    Both run in one process, so that the interval within the launch stands as it is. The verdict is `KEPT` where its
    upper end is within `ALLOWED`, `MISSED` where its lower end is beyond, else `INCONCLUSIVE`.
    """
    rows = []
    for group in groups:
        ours = next((one for one in group["contenders"] if not one["loop"]), None)
        for loop in group["contenders"]:
            if ours is None or not loop["loop"]:
                continue
            ratio = statistics.estimate_ratio(ours["seconds"], loop["seconds"])
            most = ALLOWED[get_kind(loop["loop"])]
            verdict = KEPT if ratio.high <= most else MISSED if ratio.interval.lies_above(most) else INCONCLUSIVE
            figures = [*(ours[name] for name in IMPLEMENTATION), loop["loop"], *ratio, len(ours["seconds"]), most]
            rows.append([*list_step(group).values(), *figures, verdict])
    return _drop_usual(pd.DataFrame(rows, columns=OVERHEADS))


def get_kind(loop: str) -> str:
    """Return what a file of ``handwritten/`` is, which its name begins with: a key of `ALLOWED`."""
    kind = loop.partition("_")[0]
    return kind if kind in ALLOWED else "loop"


def list_paths(groups: list[dict[str, Any]]) -> pd.DataFrame:
    """Return what the calibration found of each path that a framework offers, the one that was kept marked."""
    lines = [
        [
            *list_step(group).values(),
            *(one["framework"], way["path"], way["seconds"] * 1e3, way["compile_seconds"]),
            "kept" if way["path"] == one["path"] else "",
        ]
        for group in groups
        for one in group["contenders"]
        for way in (one.get("tried", []) if not one["loop"] else [])
    ]
    return _drop_usual(pd.DataFrame(lines, columns=[*STEP, "framework", "path", "ms a step", "compile s", "kept"]))


def list_growth(groups: list[dict[str, Any]]) -> pd.DataFrame:
    """Return what `scaling.fit_exponents` takes: steps that differ in T, hidden or batch alone, three values or more.

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
                memory = one.get("device_peak_bytes", one["peak_bytes"] - one["idle_bytes"])
                lines.append(line | facts | {"ran": one["path"], "peak_memory_bytes": memory})
    table = pd.DataFrame(lines, columns=GROWTH)
    curve = ["axis", "fixed", "framework"]
    each = table.groupby([*curve, "value"])["path"].transform("nunique")
    chosen = each.groupby([table[name] for name in curve]).transform("max") == 1
    varies = table.groupby(curve)["path"].transform("nunique") > 1
    table["path"] = table["path"].where(~(chosen & varies), FASTEST)
    several = table.groupby(["axis", "fixed", "framework", "path"])["value"].transform("nunique") >= scaling.FEWEST
    return table[several].reset_index(drop=True)


def list_costs(groups: list[dict[str, Any]], machine: dict[str, Any] | None = None) -> pd.DataFrame:
    """Return what a step takes of each implementation; rows on an accelerator have `ON_DEVICE` too.

    Its median time with its 95 % interval within this launch (`statistics.estimate_ratio`); the operations of its
    matrix products a second, and their share of the peak that was measured where the group ran, else of that of
    `machine`; the peak of its process's memory, and that above what the process held with the framework imported and
    nothing loaded; the seconds that compiling took, and the steps after which that has paid off against the framework's
    own path with the shortest compile time.
    """
    lines = []
    for group in groups:
        length, batch = group["length"], group["step"]["batch"]
        limits = group.get("machine") or machine
        limits = limits if group["step"]["device"] == "cpu" else (limits or {}).get("device")
        peak = (limits or {}).get("gflops", {}).get(group["step"]["dtype"])
        for one in group["contenders"]:
            seconds = float(np.median(one["seconds"]))
            low, high = statistics.estimate_ratio(one["seconds"], 1.0).interval
            rate = one["flops"] / seconds / 1e9
            lines.append(
                [
                    *list_step(group).values(),
                    *(one[name] for name in (*IMPLEMENTATION, "loop", "kernel")),
                    *(seconds * 1e3, low * 1e3, high * 1e3),
                    *(batch / seconds, batch * length / seconds),
                    *(
                        rate,
                        rate / peak if peak else None,
                        one["peak_bytes"] / 2**20,
                        (one["peak_bytes"] - one["idle_bytes"]) / 2**20,
                    ),
                    *(one["compile_seconds"], count_steps_to_pay_off(one), one.get("joules")),
                    *(_scale(one.get("device_seconds"), 1e3), _scale(one.get("device_peak_bytes"), 2**-20)),
                ]
            )
    table = pd.DataFrame(lines, columns=[*COSTS, *ON_DEVICE])
    table = _drop_usual(table if set(table["device"]) - {"cpu"} else table[COSTS])
    return table if table["loop"].any() else table.drop(columns="loop")


def _drop_usual(table: pd.DataFrame) -> pd.DataFrame:
    """Leave out each word of the recipe that is the usual one in every row."""
    return table.drop(columns=[name for name, word in USUAL.items() if (table[name] == word).all()])


def _scale(value: float | None, by: float) -> float | None:
    return None if value is None else value * by


def count_steps_to_pay_off(implementation: dict[str, Any]) -> float | None:
    """Return the steps after which compiling has paid off; infinity where it never does, None without another path."""
    others = [one for one in implementation.get("tried", []) if one["path"] != implementation["path"]]
    mine = next((one for one in implementation.get("tried", []) if one["path"] == implementation["path"]), None)
    if mine is None or not others:
        return None
    quick = min(others, key=lambda one: float(one["compile_seconds"]))
    longer = float(mine["compile_seconds"]) - float(quick["compile_seconds"])
    if longer <= 0:
        return 0.0
    gained = float(quick["seconds"]) - float(mine["seconds"])
    return float(np.ceil(longer / gained)) if gained > 0 else float("inf")


def _name_timing(group: dict[str, Any]) -> str:
    """Return what makes two files one timing at two times: the step, and who ran it."""
    return str((group["step"], sorted({(one["framework"], one["loop"]) for one in group["contenders"]})))


def _sort_group(group: dict[str, Any]) -> tuple[Any, ...]:
    """Return what groups are sorted by: task, sizes, parameters as numbers, then the cell as every table has it."""
    step = group["step"]
    numbers = [value for _, value in sorted(step["parameters"].items()) if isinstance(value, int | float)]
    return (
        step["task"],
        step["hidden"],
        step["batch"],
        numbers,
        sort_words([step["cell"], *CELLS], CELLS).index(step["cell"]),
        [str(list_step(group)[name]) for name in USUAL],
    )


def list_step(group: dict[str, Any]) -> dict[str, Any]:
    """Return the columns `STEP` of a group; the task's parameters are JSON, as in a row.

    A file from before a word of the recipe was there has the usual one.
    """
    facts = {name: group["step"].get(name, USUAL.get(name)) for name in STEP}
    return facts | {"parameters": json.dumps(facts["parameters"], sort_keys=True)}


def was_disturbed(implementation: dict[str, Any], step: dict[str, Any]) -> bool:
    """Return whether something else used the machine while an implementation ran."""
    low, middle, high = np.percentile(implementation["seconds"], [25, 50, 75])
    starved = step["device"] == "cpu" and step["threads"] == 1 and implementation["cpu_to_wall"] < STARVED
    return bool(starved or (high - low) / 2 / middle > SPREAD)
