"""A made-up result set that looks like the quick suite, with known shares, gaps and ratios planted in it."""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis.reach import summarise_flow as flow_figures
from farreach.results.analysis.rows import Rows, label_rows
from farreach.results.record import (
    METRIC,
    SCHEMA,
    SPECTRA,
    Record,
    hash_facts,
)
from farreach.results.storage.columns import COLUMNS
from farreach.results.storage.result_set import Store
from farreach.results.storage.row_check import render_facts
from tests.support import timings

FLOORS = {"adding": 1 / 6, "copy": 10 * np.log(8) / 50, "speech": np.log(10), "translation": 4.09}
UNITS = {"adding": "squared units of the sum", "copy": "nats a step", "speech": "nats", "translation": "nats a token"}
METRICS = {"adding": "mse", "copy": "recall_accuracy", "speech": "accuracy", "translation": "source_gain"}
PARAMETERS = {
    "adding": '{"T": 50}',
    "copy": '{"T": 30}',
    "speech": '{"delay": 20, "source": "shipped"}',
    "translation": '{"longest": 20, "pairs": 4000, "source": "shipped", "vocabulary": 500}',
}
PATHS = {"pytorch": "eager", "tensorflow": "graph"}
SKILLS = {"rnn": 0.05, "lstm": 0.99, "gru": 0.97}


def stream(*words: object) -> np.random.Generator:
    """Return a random stream named by words, the same in every process."""
    return np.random.default_rng(zlib.crc32(repr(words).encode()))


def record(**changes: Any) -> Record:
    """Return a plausible record: adding, PyTorch, LSTM, no clip, solved; `changes` replace fields.

    One with a key of its own is of mode native, whose keys name versions that no row has.
    """
    task = str(changes.get("task", "adding"))
    torn, metric, median = changes.get("status") == "diverged", changes.get("metric", METRICS[task]), 0.3
    solved = changes.get("solved", not torn)
    loss = changes.get("loss", 0.005)
    score = changes.get("score", changes.get("metrics", {}).get(metric, loss))
    steps, every = changes.get("steps", 1000), changes.get("evaluate_every", 100)
    steps_done = changes.get("steps_done", every if torn else steps)
    fields: dict[str, Any] = {
        "suite": "quick",
        "task": task,
        "parameters": PARAMETERS[task],
        "task_version": 1,
        "metric_version": 1,
        "framework": "pytorch",
        "cell": "lstm",
        "activation": "tanh",
        "layers": 1,
        "hidden": 64,
        "clip": "none",
        "threshold": None,
        "optimizer": "adam",
        "learning_rate": 0.003,
        "batch": 32,
        "steps": steps,
        "evaluate_every": every,
        "seed": 0,
        "replicate": 0,
        "device": "cpu",
        "dtype": "float32",
        "mode": "native" if "key" in changes else "matched",
        "path": "eager",
        "threads": 1,
        "status": "finished",
        "diverged_at": None,
        "loss": loss,
        "floor": float(FLOORS[task]),
        "unit": UNITS[task],
        "metric": metric,
        "score": score,
        "solved": solved,
        "steps_to_solve": min(6 * every, max(steps - 2 * every, every)) if solved else None,
        "clip_fraction": 0.0,
        "clipped_elements": changes.get("clip_fraction", 0.0),
        "norm_before_median": median,
        "norm_before_max": max(4.0, changes.get("norm_before_median") or median),
        "steps_done": steps_done,
        "metrics": {metric: score},
        "weights_sha256": "0" * 64,
        "step_seconds": 0.002,
        "seconds_compile": 0.5,
        "seconds_data": 0.1,
        "seconds_training": changes.get("step_seconds", 0.002) * steps_done,
        "seconds_evaluation": 0.2,
        "seconds_other": 0.1,
        "cpu_to_wall": 0.99,
        "framework_version": "2.13.0",
        "kernel": "native",
        "precision": "float32",
        "device_name": "cpu",
        "processor": "Some Processor @ 2.00GHz",
        "cores": 2,
        "jobs": 2,
        "python": "3.11.9",
        "numpy": "2.4.6",
        "platform": "Linux",
        "commit": "abcdef123456",
        "command": "python -m benchmarks run quick",
        "started": "2026-01-01T10:00:00+00:00",
    }
    unknown = changes.keys() - COLUMNS.keys() - {"metrics"}
    assert not unknown, unknown
    fields |= changes
    fields |= {METRIC + name: value for name, value in fields.pop("metrics").items()}
    return Record.from_row({"key": make_key(fields)} | fields)


def make_key(row: Mapping[str, Any]) -> str:
    """Return the key of a row of mode matched; of another, a hash of the row."""
    if row["mode"] != "matched":
        return f"{zlib.crc32(json.dumps(dict(row), default=str).encode()):08x}"
    before = {name: column.before for name, column in COLUMNS.items()} | {"schema": SCHEMA}
    return hash_facts(render_facts(before | dict(row)).values())


def change(one: Record, **changes: Any) -> Record:
    """Return a record with other values of some columns."""
    row = one.to_row() | changes
    given = row["mode"] != "matched" or "key" in changes
    return Record.from_row(row if given else row | {"key": make_key(row)})


def diverged(**changes: Any) -> Record:
    """Return the record of a case that diverged at step 7, in its first chunk."""
    torn: dict[str, Any] = {"status": "diverged", "diverged_at": 7, "loss": None, "norm_before_max": 3e6}
    return record(**(torn | changes))


def curves(one: Record) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return per-step curves and evaluations that end at the record's loss; cases of one seed see the same batches."""
    random, case, result = stream(one.key), one.case, one.result
    step = np.arange(1, result.steps_done + 1)
    end = result.loss if result.loss is not None else 1e6
    shape = 1 / (1 + np.exp((step - case.steps / 3) / (case.steps / 15)))
    loss = (end + (result.floor - end) * shape) * stream(case.task, case.seed).lognormal(0, 0.2, len(step))
    before = random.lognormal(-1, 0.8, len(step)) * (1 + 2 * shape)
    if result.status == "diverged":
        lived = step < (result.diverged_at or 0)
        before = np.where(lived, 10.0 ** np.minimum(step - 1, 300), np.nan)
        loss = np.where(lived, loss, np.nan)
    after = before if case.threshold is None or case.clip != "norm" else np.minimum(before, case.threshold)
    steps = pd.DataFrame(
        {"step": step, "loss": loss, "norm_before": before, "norm_after": after, "clipped": (after < before) * 1.0}
    )
    at = steps[steps["step"] % case.evaluate_every == 0]
    return steps, pd.DataFrame({"step": at["step"], "loss": at["loss"], result.metric: at["loss"]})


def looked_at(one: Record) -> tuple[Record, dict[str, pd.DataFrame]]:
    """Return the record with a planted gradient through time, and everything that lies beside its row.

    Going back a step, the norm falls by a quarter in an rnn and by a hundredth in an lstm or a gru.
    """
    steps, evaluations = curves(one)
    times, rate = np.arange(30), {"rnn": 0.75}.get(one.case.cell, 0.99)
    done = range(0, one.result.steps_done + 1, one.case.evaluate_every)
    flows = [pd.DataFrame({"step": at, "layer": 0, "time": times, "h": 0.1 * rate ** (29.0 - times)}) for at in done]
    flow = pd.concat(flows, ignore_index=True)
    flow["c"] = flow["h"] if one.case.cell == "lstm" else np.nan
    gates = {"rnn": "h", "lstm": "ifgo", "gru": "rzn"}[one.case.cell]
    lines = [(at, 0, gate, 1 + at / 1e4, 1.1 + at / 1e4) for at in done for gate in gates]
    spectra = pd.DataFrame(lines, columns=list(SPECTRA))
    figures: dict[str, Any] = {"steps_before": 29} | flow_figures(flow, 29)
    parts = {"curves": steps, "evaluations": evaluations, "flow": flow, "spectra": spectra}
    return change(one, **figures), parts


def run_line(**changes: Any) -> dict[str, Any]:
    """Return what one run logged: 480 s with two workers, 87.5 % of it training and evaluation."""
    seconds = {"imports": 30, "compile": 50, "data": 20, "training": 760, "evaluation": 80, "other": 20}
    line = {"started": "2026-01-01T10:00:00+00:00", "command": "python -m benchmarks run quick"}
    counts = {"planned": 50, "done_before": 0, "finished": 49, "failed": [], "jobs": 2, "wall_seconds": 480.0}
    return line | counts | {"seconds": seconds} | changes


def quick() -> list[Record]:
    """Return the records of a set like the quick suite's."""
    return [*_base(), *_ladder(), *_sgd(), *_copies()]


def rows(*records: Record) -> pd.DataFrame:
    """Return records as the rows of a store."""
    return pd.DataFrame([one.to_row() for one in records])


def label(*records: Record) -> Rows:
    """Return records as the labelled rows of a set."""
    return label_rows(rows(*records))


def write(folder: Path, records: list[Record], *, runs: list[dict[str, Any]] | None = None) -> Store:
    """Write records with their curves into a result folder, and the runs' lines beside them."""
    store = Store(folder)
    store.create()
    for one in records:
        store.write(*looked_at(one))
    for run in runs or []:
        store.log(run)
    return store


def _case(task: str, framework: str, cell: str, threshold: float | None, **more: Any) -> Record:
    random = stream(task, framework, cell, threshold, *sorted(more.items()))
    scale = 0.2 if task == "translation" else 1.0
    skill = more.pop("skill", SKILLS[cell]) * scale + random.normal(0, 0.01)
    floor = float(FLOORS[task])
    loss = float(floor * (1 - min(skill, 0.999)))
    solved = None if task == "translation" else skill > 0.9
    gain = 0.4 * skill
    score = {"adding": loss, "copy": 0.125 + 0.87 * skill, "speech": 0.1 + 0.89 * skill, "translation": gain}[task]
    metrics = {METRICS[task]: score}
    if task == "translation":
        metrics |= {"source_gain_low": score - 0.02, "source_gain_high": score + 0.02, "chrf": 21.0}
    fraction = 0.0 if threshold is None else {0.01: 1.0, 0.1: 0.97, 1.0: 0.2, 10.0: 0.0}[threshold]
    where = {"path": PATHS[framework], "framework_version": "2.21.0" if framework == "tensorflow" else "2.13.0"}
    fields: dict[str, Any] = {
        "clip": "none" if threshold is None else "norm",
        "loss": loss,
        "score": score,
        "metrics": metrics,
        "solved": solved,
        "steps_to_solve": int(random.integers(3, 8)) * 100 if solved else None,
        "clip_fraction": fraction,
        "clipped_elements": fraction,
        "step_seconds": 0.002 * (1.5 if framework == "tensorflow" else 1) * random.normal(1, 0.05),
    }
    return record(task=task, framework=framework, cell=cell, threshold=threshold, **(fields | where | more))


def _base() -> list[Record]:
    return [
        _case(task, framework, cell, threshold)
        for task in METRICS
        for framework in ("pytorch", "tensorflow")
        for cell in SKILLS
        for threshold in (None, 1.0)
        if (task, cell) != ("adding", "lstm")
    ]


def _ladder() -> list[Record]:
    """Adding with LSTM: every seed solves it at 0.01 and 0.1, one of three at 1, none at 10 or without clip."""
    return [
        _case("adding", framework, "lstm", threshold, seed=seed, skill=0.96 if seed < good else 0.02)
        for framework in ("pytorch", "tensorflow")
        for threshold, good in ((None, 0), (0.01, 3), (0.1, 3), (1.0, 1), (10.0, 0))
        for seed in (0, 1, 2)
    ]


def _sgd() -> list[Record]:
    """Adding with a plain RNN under SGD: diverges without clipping, trains with norm 1."""
    sgd = {"cell": "rnn", "parameters": '{"T": 20}', "optimizer": "sgd", "learning_rate": 0.1}
    version = {"pytorch": "2.13.0", "tensorflow": "2.21.0"}
    return [
        one
        for framework in ("pytorch", "tensorflow")
        for one in (
            diverged(framework=framework, path=PATHS[framework], framework_version=version[framework], **sgd),
            _case("adding", framework, "rnn", 1.0, skill=0.63, **{k: v for k, v in sgd.items() if k != "cell"}),
        )
    ]


def _copies() -> list[Record]:
    return [
        _case(task, "pytorch", cell, threshold, replicate=1)
        for task in METRICS
        for cell in SKILLS
        for threshold in (None, 1.0)
        if (task, cell) != ("adding", "lstm")
    ]


def main(folder: Path) -> None:
    """Write the whole set with timings and two runs, for looking at the report."""
    failed = [{"case": "speech delay=20 gru tensorflow", "reason": "killed | by *signal* 9 <oom>"}]
    runs = [run_line(), run_line(started="2026-01-01T11:00:00+00:00", finished=3, failed=failed)]
    write(folder, quick(), runs=runs)
    times = {"rnn": (23.0, 13.0), "lstm": (40.0, 41.0), "gru": (57.0, 36.0)}
    groups = []
    for (cell, both), length in itertools.product(times.items(), (50, 200)):
        seconds = [timings.make_seconds(at * length / 2e5, seed=seed) for seed, at in enumerate(both)]
        names = ("pytorch (eager)", "tensorflow (graph)")
        step = timings.STEP | {"parameters": {"T": length}, "cell": cell}
        groups.append(timings.make_group(*map(timings.make_contender, names, seconds), step=step))
    timings.write_groups(folder, *groups)
