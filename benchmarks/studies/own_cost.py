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

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running.messages import Outcome, Run
from farreach.benchmarks.running.worker_client import Live
from farreach.results.publishing import chromium, packing
from farreach.results.storage.files import StoreError
from farreach.results.storage.parts import PARTS
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


def time_large_reports() -> list[Cost]:
    """Time the reading of a packed set of `MANY` rows, and the report over it."""
    with tempfile.TemporaryDirectory() as folder:
        _write_rows(Path(folder), MANY)
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
        _write_rows(Path(folder), FULL)
        _run_command("report", folder)
        seconds = []
        for _ in range(repeats):
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            page.goto((Path(folder) / "report.html").as_uri())
            page.wait_for_selector("html[data-ready]")
            seconds.append(page.evaluate("performance.getEntriesByType('navigation')[0].domComplete") / 1e3)
        browser.close()
    return [Cost(f"a page of {FULL:,} rows, until it can be used", statistics.median(seconds), 2.0)]


def _write_rows(folder: Path, count: int) -> None:
    """Write so many packed rows: those of the published `quick` set again and again, no two alike, without curves."""
    models = open_set(registry.ROOT / QUICK).read_table()
    each = np.arange(count)
    table = models.take(pa.array(each % len(models)))
    changes = {
        "key": pa.array([f"{at:016x}" for at in each]).dictionary_encode(),
        "seed": pa.array(each // len(models)),
        "scale_median": pa.array(1 + each / MANY),
        "norm_before_median": pa.array(1 + each / MANY),
    }
    for name, column in changes.items():
        table = table.set_column(table.column_names.index(name), name, column)
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
        costs += [*time_page(repeats), *time_large_reports()]
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
