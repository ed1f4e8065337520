"""What reaches the optimizer where an update is made in parts, of live calls: each set-up in processes of its own."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.registry import HOME
from farreach.benchmarks.running.replica_group import find_addresses
from farreach.benchmarks.running.worker_client import NUMPY_THREADS
from farreach.frameworks.base import Array
from farreach.frameworks.environment import merge_environment
from farreach.frameworks.own_updates import ACCUMULATION, COUNTS, REPLICAS, SCALE, THRESHOLD, OwnUpdate, list_gradients
from farreach.frameworks.reference.clip import clip_gradients
from farreach.results.storage.files import open_log

PATIENCE = 60.0
"""Seconds that the processes of one update have, their imports included."""

TRIES = 3
"""How often an update is made whose ports were taken in the meantime."""

TAKEN = ("address already in use", "address in use", "eaddrinuse")
"""What a library says of a port that is taken, in small letters."""

TOPICS = {
    REPLICAS: "Two replicas, a sequence each",
    ACCUMULATION: "Two microbatches, a sequence each, one update",
    SCALE: "A loss that is scaled by 65,536",
    COUNTS: "Two parts of which one counts three positions and the other one",
}
"""The heading of each topic's table."""


class UpdateError(Exception):
    """An update that gave nothing; the message is one line."""


def list_updates(framework: str) -> tuple[OwnUpdate, ...]:
    """Return the set-ups of a framework; none where its folder has no ``own_updates.py``."""
    if not registry.has_part(framework, "own_updates"):
        return ()
    updates: tuple[OwnUpdate, ...] = importlib.import_module(f"farreach.frameworks.{framework}.own_updates").UPDATES
    return updates


def compute_expected(update: OwnUpdate) -> Array:
    """Return what one process gives the optimizer for the whole batch: its gradient, clipped by the reference, [3]."""
    kernel, bias = np.split(list_gradients(update.topic).astype(np.float64), [2])
    if update.clip == "none":
        return np.concatenate([kernel, bias])
    gradients = {"kernel": kernel, "bias": bias}
    clipped = clip_gradients(
        update.clip, gradients, THRESHOLD, weights=gradients, names=[*gradients], history=np.zeros(0)
    )[0]
    return np.concatenate([clipped["kernel"], clipped["bias"]])


def measure_updates(frameworks: list[str], logs: Path) -> pd.DataFrame:
    """Make every set-up's update.

    Args:
        frameworks: their names.
        logs: folder of what the processes print.

    Returns:
        A row for each: topic, framework, name, clip, processes, then ``one process`` and ``reached``, [3] or None where
        a package that it needs is not installed, and ``failure``, why there is none, else empty.

    """
    rows = []
    for framework in frameworks:
        for number, update in enumerate(list_updates(framework)):
            reached, failure = None, ""
            missing = [name for name in update.needs if importlib.util.find_spec(name) is None]
            if missing:
                failure = f"{' and '.join(missing)} not installed"
            else:
                try:
                    reached = run_update(framework, number, update, logs / f"{framework}-update-{number}.log")
                except UpdateError as error:
                    failure = str(error)
            facts = (update.topic, framework, update.name, update.clip, update.processes)
            rows.append([*facts, compute_expected(update), reached, failure])
    columns = ["topic", "framework", "set-up", "clip", "processes", "one process", "reached", "failure"]
    return pd.DataFrame(rows, columns=columns)


def run_update(framework: str, number: int, update: OwnUpdate, log: Path, *, patience: float = PATIENCE) -> Array:
    """Return the gradient that reached the optimizer, [3], the same in every process.

    Raises:
        UpdateError: a process died or gave another answer than the first, or time is up; none is left behind.

    """
    for left in reversed(range(TRIES)):
        with open_log(log) as opened, start_processes(framework, number, update, opened.fileno()) as processes:
            answers, failure = wait_for_answers(processes, patience)
        if not failure:
            break
        if not left or not any(words in log.read_text("utf-8", errors="replace").lower() for words in TAKEN):
            message = f"{failure}; see {log.name}"
            raise UpdateError(message)
    reached = [np.array(answer) for answer in answers]
    if any(not np.array_equal(one, reached[0]) for one in reached):
        message = f"its processes hold other weights: {', '.join(format_gradient(one) for one in reached)}"
        raise UpdateError(message)
    return reached[0]


@contextlib.contextmanager
def start_processes(framework: str, number: int, update: OwnUpdate, log: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Start the processes of an update, each with the addresses of all; end those that still run."""
    addresses = find_addresses(update.processes)
    environment = os.environ | dict.fromkeys(NUMPY_THREADS, "1")
    environment |= merge_environment(registry.read_environment(framework, "cpu"), os.environ)
    command = [sys.executable, "-m", "farreach.benchmarks.studies.update_process", framework, str(number)]
    processes: list[subprocess.Popen[str]] = []
    try:
        for rank in range(update.processes):
            processes.append(  # noqa: PERF401 - each that was started is ended, where a later one cannot be
                subprocess.Popen(  # noqa: S603
                    [*command, str(rank), *addresses],
                    cwd=HOME,
                    env=_add_flags(environment, update.environment),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    encoding="utf-8",
                    errors="replace",
                )
            )
        yield processes
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
            if process.stdout:
                process.stdout.close()


def wait_for_answers(processes: list[subprocess.Popen[str]], patience: float) -> tuple[list[list[float]], str]:
    """Return the answers of all processes, or none and why: the first that ends without one ends the waiting."""
    end = time.monotonic() + patience
    while None in (codes := [process.poll() for process in processes]) and not any(codes):
        if time.monotonic() > end:
            return [], f"no answer within {patience:g} s"
        time.sleep(0.05)
    for rank, process in enumerate(processes):
        if process.returncode:
            return [], f"process {rank} ended with {process.returncode}"
    answers = [process.communicate()[0].strip().rpartition("\n")[2] for process in processes]
    try:
        return [json.loads(answer) for answer in answers], ""
    except ValueError:
        return [], "an answer is no list of numbers"


def _add_flags(environment: Mapping[str, str], own: tuple[tuple[str, str], ...]) -> dict[str, str]:
    added = {name: f"{environment.get(name, '')} {value}".strip() for name, value in own}
    return {**environment, **added}


def describe_update(expected: Array, reached: Array) -> str:
    """Say in words how what reached the optimizer differs from what one process gives it."""
    if np.allclose(reached, expected, rtol=1e-5):
        return "the same"
    norms = float(np.linalg.norm(reached)), float(np.linalg.norm(expected))
    cosine = float(reached @ expected) / (norms[0] * norms[1])
    angle = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    times = f"{norms[0] / norms[1]:.3g} times as long"
    return times if angle < 0.1 else f"{times}, {angle:.0f}° off"  # noqa: PLR2004 - below a rounded degree


def format_gradient(gradient: Array | None) -> str:
    """Return a gradient as text."""
    return "" if gradient is None else "(" + ", ".join(f"{value:.3g}" for value in gradient) + ")"


def make_tables(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return a table for each topic, by its heading: what reached the optimizer, and how it differs."""
    tables: dict[str, pd.DataFrame] = {}
    for topic, heading in TOPICS.items():
        lines: list[dict[str, Any]] = []
        for row in rows[rows["topic"] == topic].to_dict("records"):
            verdict = row["failure"] or describe_update(row["one process"], row["reached"])
            lines.append(
                {name: row[name] for name in ("framework", "set-up", "clip", "processes")}
                | {"set-up": row["set-up"].replace("`", "")}  # a cell of a table shows marks of code as they are
                | {"reached the optimizer": format_gradient(row["reached"])}
                | {"one process": format_gradient(row["one process"]), "difference": verdict}
            )
        if lines:
            tables[heading] = pd.DataFrame(lines)
    return tables
