"""What is said of timed training steps: who is faster by how much, what that costs, and what qualifies it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from farreach.results.analysis.labels import format_parameters, label_learner, label_side, label_step
from farreach.results.timing import interleaved
from farreach.results.timing.aa_check import AATest
from farreach.results.timing.ratios import FASTER, STEP, USUAL

METHOD = "timed in alternating blocks"
"""How steps were timed."""

WORDS = {"layers": "{} layers", "hidden": "{} hidden units", "batch": "batch {}", "threads": "{} threads"}
WORDS |= {name: f"{name} {{}}" for name in USUAL}
WITHIN = {interleaved.KEPT: "within {:g}", interleaved.MISSED: "beyond {:g}"}


def describe_step(row: Mapping[Any, Any], names: Iterable[str]) -> str:
    """Return some of a step's facts in words: ``adding T=200, 64 hidden units, batch 32, cpu, 1 thread``."""
    names = list(names)
    head = _name_task({name: row[name] for name in ("task", "parameters") if name in names})
    rest = [WORDS.get(name, "{}").format(row[name]) for name in names if name not in {"task", "parameters"}]
    rest = [text[:-1] if text in {"1 layers", "1 threads"} else text for text in rest]
    return ", ".join([*([head] if head else []), *rest])


def name_steps(pairs: pd.DataFrame) -> pd.DataFrame:
    """Add ``setting``, the step in words: its cell, its task, and whatever differs between the steps."""
    sizes = [name for name in STEP if name in pairs and name != "cell"]
    differing = [name for name in sizes if name in {"task", "parameters"} or len(pairs[name].unique()) > 1]
    settings = [f"{row['cell']} · {describe_step(row, differing)}" for row in pairs.to_dict("records")]
    return pairs.assign(setting=settings).reset_index(drop=True)


def write_interval(row: Mapping[Any, Any]) -> str:
    """Return a ratio's interval in words."""
    return "too few rounds" if math.isnan(row["low"]) else f"95 % interval {row['low']:.3g} to {row['high']:.3g}"


def write_ratio(row: Mapping[Any, Any]) -> str:
    """Say of a pair which implementation is how many times as fast as the other, or that this is inconclusive."""
    faster, slower = label_side(row, "faster"), label_side(row, "slower")
    if row["verdict"] == FASTER:
        return f"{faster} is {row['times as fast']:.3g} times as fast as {slower} ({write_interval(row)})"
    return f"{faster} against {slower} is inconclusive (ratio {row['times as fast']:.3g}, {write_interval(row)})"


def write_overhead(row: Mapping[Any, Any]) -> str:
    """Say how long our step takes in terms of a hand-written loop, and whether that is within what is wanted."""
    verdict = WITHIN.get(row["verdict"], row["verdict"]).format(row["at most"])
    ours = f"{label_learner(row)} takes {row['ours / loop']:.3f} times as long as {row['loop']}"
    return f"{ours} ({write_interval(row)}; {verdict})"


def write_pairs(pairs: pd.DataFrame) -> list[str]:
    """Return a sentence per step: every pair that was timed there."""
    return [
        f"One training step of {step}: {'; '.join(map(write_ratio, rows))}." for step, rows in _group_by_step(pairs)
    ]


def write_overheads(overheads: pd.DataFrame) -> list[str]:
    """Return a sentence per step: our step over each hand-written loop."""
    return [f"Our step of {step}: {'; '.join(map(write_overhead, rows))}." for step, rows in _group_by_step(overheads)]


def write_costs(costs: pd.DataFrame) -> list[str]:
    """Return a sentence per step: what it takes of each implementation, where no two of them were timed."""
    return [
        f"One training step of {step}: " + "; ".join(map(_write_cost, rows)) + "."
        for step, rows in _group_by_step(costs)
    ]


def _write_cost(row: Mapping[Any, Any]) -> str:
    interval = f"95 % interval in this launch {row['low ms']:.3g} to {row['high ms']:.3g}"
    return f"{row.get('loop') or label_learner(row)} takes {row['ms a step']:.3g} ms ({interval})"


def title_steps(frame: pd.DataFrame) -> pd.DataFrame:
    """Add ``setting``, the step as a heading has it, with what differs between the steps, where it is not there."""
    if "setting" in frame:
        return frame
    sizes = ("layers", "hidden", "batch", "dtype", "device", "threads")
    apart = [name for name in (*USUAL, *sizes) if name in frame and len(set(frame[name])) > 1]
    named = [
        f"{_name_task(row)} {row['cell']}" + "".join(f", {name} {row[name]}" for name in apart)
        for row in frame.to_dict("records")
    ]
    return frame.assign(setting=named)


def write_test(test: AATest) -> list[str]:
    """Say what a reader of a speed table must know of the method: false positives, power, how launches spread."""
    count, rate = len(test.equals), test.false_positive_rate
    first = (
        "A/A test, identical code in two processes: the 95 % interval, with what launches differ by, excluded 1 in "
        f"{test.false_positives} of {count} launches, a false positive rate of {_write_percent(rate.value)} "
        f"({_write_percent(rate.low)} to {_write_percent(rate.high)}); without that, in {test.false_positives_within}."
    )
    sentences = [first]
    if len(test.slowed):
        ratio = test.slowed_ratio
        sentences.append(
            f"An injected slowdown of {_write_percent(test.slowed['injected'].max())} was detected in {test.detected} "
            f"of {len(test.slowed)} launches; together they give {_write_percent(ratio.value - 1)} "
            + (
                "(too few launches for an interval)."
                if math.isnan(ratio.low)
                else f"(95 % interval {_write_percent(ratio.low - 1)} to {_write_percent(ratio.high - 1)})."
            )
        )
    if test.equals.empty:
        return sentences
    sentences += [
        f"The minimum detectable effect at 95 % power is a slowdown of {_write_percent(test.minimum_effect)}.",
        (
            "From launch to launch the step time of identical code had a standard deviation of "
            f"{_write_percent(test.time_spread)}; the ratio of two in alternation, {_write_percent(test.ratio_spread)} "
            "about 1."
        ),
    ]
    order = test.order_ratio
    if not math.isnan(order.low):
        sentences.append(
            f"Of two processes of identical code the one started second took {order.value:.3f} times as long as the "
            f"first (95 % interval {order.low:.3f} to {order.high:.3f})."
        )
    return sentences


def write_stale(groups: list[dict[str, Any]]) -> list[str]:
    """Say how many timings are of an older version of the step; nothing where none is."""
    older = interleaved.count_older(groups)
    if not older:
        return []
    of = f"{sum(older.values())} of {len(groups)} timings are of version {' and '.join(map(str, older))}"
    version = interleaved.STEP_VERSION
    return [f"Stale: {of} of our step, which is {version} now; the same command times them again."]


def write_trouble(groups: list[dict[str, Any]]) -> list[str]:
    """Return a sentence for each thing that happened while timing and that a reader should know."""
    sentences = []
    for group in groups:
        where = f"{label_step(group['step'])}: "
        sentences += [f"{where}{failure['contender']} failed: {failure['reason']}." for failure in group["failed"]]
        if group.get("rounds", 0) < group.get("rounds_wanted", 0):
            sentences.append(
                f"{where}the time limit of {group['plan']['limit']:g} s was reached: {group['rounds']} rounds of the "
                f"{group['rounds_wanted']} that the pilot asked for."
            )
        if group.get("waiting", 0) > interleaved.SPINNING:
            share = f"{group['waiting']:.0%}"
            sentences.append(f"{where}the waiting processes took {share} of a processor during the blocks.")
        if abs(group.get("clock_step", 0)) > interleaved.CLOCK:
            moved = f"{group['clock_step']:.1f} s"
            sentences.append(f"{where}the clock of the day moved by {moved}; blocks are timed by another.")
        busy = [one["name"] for one in group["contenders"] if interleaved.was_disturbed(one, group["step"])]
        if busy:
            sentences.append(f"{where}the machine was busy with something else while {', '.join(busy)} ran.")
    return sentences


def label_timed_steps(groups: list[dict[str, Any]]) -> pd.DataFrame:
    """Return `interleaved.list_costs` of our own steps with a setting and a learner, for the figure of step times."""
    table = interleaved.list_costs(groups).rename(columns={"ms a step": "step ms"})
    table = table[table["loop"] == ""].reset_index(drop=True) if "loop" in table else table
    names = [*(name for name in STEP if name in table), "framework"]
    several = table.groupby(names, observed=True)["path"].transform("nunique") > 1
    with_path = set(table.loc[several, "framework"])
    sizes = (*(name for name in USUAL if name in table), "hidden", "batch", "device", "threads")
    shared = [name for name in sizes if len(table[name].unique()) > 1]
    rows = table.to_dict("records")
    table["learner"] = [
        label_learner({"framework": row["framework"], "path": row["path"] if row["framework"] in with_path else None})
        for row in rows
    ]
    table["setting"] = [", ".join([_name_task(row), *(f"{name} {row[name]}" for name in shared)]) for row in rows]
    return table


def _name_task(row: Mapping[Any, Any]) -> str:
    """Return what a row has of its task and the parameters."""
    parts = [str(row["task"])] if "task" in row else []
    return " ".join([*parts, *([format_parameters(row["parameters"], " ")] if "parameters" in row else [])])


def _group_by_step(frame: pd.DataFrame) -> list[tuple[str, list[dict[str, Any]]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in title_steps(frame).to_dict("records"):
        groups.setdefault(str(row["setting"]), []).append({str(name): value for name, value in row.items()})
    return list(groups.items())


def _write_percent(share: float) -> str:
    return f"{100 * share:.1f} %"
