"""What the suite itself costs: how long its commands take, and the start of a case beyond the framework's compilation.

A benchmark, not a test: on a busy machine the figures are larger, and nothing fails. ``python -m benchmarks own-cost``
runs it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running.messages import Outcome, Run
from farreach.benchmarks.running.worker_client import Live
from farreach.results.analysis import run_times
from farreach.results.analysis.labels import format_percent
from farreach.results.publishing import chromium, packing
from farreach.results.record import hash_facts, render_fact
from farreach.results.storage.files import StoreError
from farreach.results.storage.parts import PARTS
from farreach.results.storage.row_check import render_facts
from farreach.results.storage.sets import open_set

MANY, FULL = 100_000, 10_000
QUICK = "results/published/quick"

SUITE = """
description = "many short cases of the reference"
[[block]]
task = "adding"
parameters = { T = 5 }
framework = "reference"
cell = ["rnn", "lstm", "gru"]
hidden = 4
steps = 100
dtype = "float64"
seed = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
"""


SHORT = """
description = "many short cases of two frameworks"
[[block]]
task = "adding"
parameters = { T = 30 }
framework = ["pytorch", "tensorflow"]
cell = ["rnn", "lstm", "gru"]
clip = [{ kind = "none" }, { kind = "norm", threshold = 1.0 }]
steps = 600
seed = [0, 1]
"""


@dataclasses.dataclass(frozen=True)
class Cost:
    """One figure: seconds, and the seconds that it should stay within."""

    what: str
    seconds: float
    within: float


def time_commands(repeats: int) -> list[Cost]:
    """Time `list` and ``--help``, their process included."""
    return [
        Cost(" ".join(arguments), _time_median(functools.partial(_run_command, *arguments), repeats), 0.5)
        for arguments in (["list"], ["--help"], ["run", "--help"])
    ]


def time_finished_run(repeats: int) -> Cost:
    """Time a suite that is run again when all of its cases are done."""
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder) / "finished.toml"
        suite.write_text(SUITE)
        again = ["run", str(suite), "--out", str(Path(folder) / "out")]
        _run_command(*again)
        return Cost(
            "a finished suite of 30 cases, run again",
            _time_median(functools.partial(_run_command, *again), repeats),
            3.0,
        )


def time_short_run(repeats: int) -> list[Cost]:
    """Time 24 short cases with their report, and name the share of the workers' time that trained and evaluated."""
    if not all(map(registry.find_framework_version, ("pytorch", "tensorflow"))):
        return []
    seconds, shares = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            suite, out = Path(folder) / "short.toml", Path(folder) / "out"
            suite.write_text(SHORT)
            seconds.append(_time_median(lambda: _run_command("run", str(suite), "--out", str(out)), 1))  # noqa: B023
            shares.append(run_times.sum_useful(run_times.tabulate_shares(open_set(out).runs()), "newest"))
    share = format_percent(statistics.median(shares))
    what = f"24 short cases of two frameworks and their report; {share} of the workers' time is training and evaluation"
    return [Cost(what, statistics.median(seconds), 31.0)]


def time_large_reports() -> list[Cost]:
    """Time the reading of a packed set of `MANY` rows, and the report over it."""
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder), MANY)
        began = time.perf_counter()
        open_set(Path(folder)).rows()
        read = time.perf_counter() - began
        began = time.perf_counter()
        _run_command("report", folder)
        seconds = time.perf_counter() - began
    what = f"{MANY:,} packed rows"
    return [Cost(f"{what}, read and checked", read, 2.0), Cost(f"{what}, the report", seconds, 5.0)]


def time_page(repeats: int) -> list[Cost]:
    """Time a browser until the page of `FULL` rows is drawn and can be used; nothing without a browser."""
    try:
        from playwright import sync_api  # noqa: PLC0415 - nothing else here needs it
    except ImportError:
        return []
    with tempfile.TemporaryDirectory() as folder, sync_api.sync_playwright() as play:
        try:
            browser = chromium.launch(play)
        except StoreError:
            return []
        write_rows(Path(folder), FULL)
        _run_command("report", folder)
        seconds = []
        for _ in range(repeats):
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            page.goto((Path(folder) / "report.html").as_uri())
            page.wait_for_selector("html[data-ready]")
            seconds.append(page.evaluate("performance.getEntriesByType('navigation')[0].domComplete") / 1e3)
        browser.close()
    return [Cost(f"a page of {FULL:,} rows, until it can be used", statistics.median(seconds), 2.0)]


def write_rows(folder: Path, count: int) -> None:
    """Write so many packed rows: those of the published `quick` set with other seeds, without curves."""
    models = open_set(registry.HERE / QUICK).read_table()
    each = np.arange(count)
    table = models.take(pa.array(each % len(models)))
    seeds = table["seed"].to_numpy() + each // len(models) * (1 + pc.max(models["seed"]).as_py())
    facts = [render_facts(row) for row in models.to_pylist()]
    keys = [
        hash_facts((facts[at % len(models)] | {"seed": render_fact("seed", seed)}).values())
        for at, seed in enumerate(seeds.tolist())
    ]
    higher = {name: pc.add(table[name], pa.array(each / MANY)) for name in ("norm_before_median", "norm_before_max")}
    changes = {"key": pa.array(keys).dictionary_encode(), "seed": pa.array(seeds)} | higher
    for name, column in changes.items():
        table = table.set_column(table.column_names.index(name), name, column)
    table = table.take(np.argsort(keys))
    shapes = [json.dumps(table.column_names)] * count
    packing.write_rows(folder, table, shapes, {part: [None] * count for part in PARTS})
    packing.write_manifest(folder, {})


def time_case_starts(log: Path, repeats: int) -> list[Cost]:
    """Time, for each framework, a case in a live process beyond compiling, training and evaluating."""
    costs = []
    for framework in registry.list_compared():
        if registry.find_framework_version(framework) is None:
            continue
        live = Live(framework, "cpu", 1, log / f"{framework}.log")
        seconds = []
        try:
            for seed in range(repeats + 1):  # the first pays for what is loaded and compiled once
                case = Case(
                    task="adding",
                    parameters=(("T", 10),),
                    framework=framework,
                    cell="lstm",
                    steps=100,
                    seed=seed,
                    path=registry.list_paths(framework, "cpu", "lstm")[0],
                )
                began = time.perf_counter()
                outcome = live.ask(Run(case), Outcome)
                elapsed = time.perf_counter() - began
                named = outcome.times.by_kind()
                seconds.append(elapsed - sum(value for kind, value in named.items() if kind not in {"data", "other"}))
        finally:
            live.stop()
        costs.append(Cost(f"start of a case in a live process, {framework}", statistics.median(seconds[1:]), 0.05))
    return costs


def measure_costs(repeats: int) -> pd.DataFrame:
    """Measure every figure, the median of `repeats` runs; columns: what, seconds, within and the verdict."""
    with tempfile.TemporaryDirectory() as log:
        costs = [*time_commands(repeats), time_finished_run(repeats), *time_case_starts(Path(log), repeats)]
        costs += [*time_short_run(repeats), *time_page(repeats), *time_large_reports()]
    lines = [
        [cost.what, f"{cost.seconds:.2f}", f"{cost.within:g}", "kept" if cost.seconds <= cost.within else "missed"]
        for cost in costs
    ]
    return pd.DataFrame(lines, columns=["what", "seconds", "within", "verdict"])


def _run_command(*arguments: str) -> None:
    subprocess.run(  # noqa: S603
        [sys.executable, "-m", "farreach.benchmarks", *arguments], cwd=registry.HOME, check=True, capture_output=True
    )


def _time_median(do: Callable[[], None], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        do()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
