"""Short runs in processes of their own: how they are started, watched, hit and held against an undisturbed one."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from farreach.benchmarks.matrix import registry
from farreach.results.storage.parts import PARTS
from farreach.results.storage.result_set import Store
from tests.support.sweeps import format_suite


class FaultError(Exception):
    """What the campaign is to find."""


def require(fact: object, what: str) -> None:
    """Raise `FaultError` where something is not as it must be."""
    if not fact:
        raise FaultError(what)


def write_suite(folder: Path, seeds: int) -> Path:
    """Write a suite of three short cases a seed; return its path."""
    path = folder / "short.toml"
    path.write_text(format_suite(cell=["rnn", "lstm", "gru"], dtype="float64", seed=[*range(seeds)]))
    return path


def start_command(*words: str) -> subprocess.Popen[str]:
    """Start a command in a session of its own."""
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "benchmarks", *words],
        cwd=registry.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def start_run(suite: Path, out: Path) -> subprocess.Popen[str]:
    """Start a run with one worker."""
    return start_command("run", str(suite), "--out", str(out), "--jobs", "1")


def finish_command(*words: str, status: int = 0) -> str:
    """Run a command to its end, which must be of this status and without a traceback; return what it said."""
    process = start_command(*words)
    out, errors = process.communicate(timeout=600)
    require("Traceback" not in errors, f"{' '.join(words)}: a traceback: {errors[-2_000:]}")
    require(process.returncode == status, f"{' '.join(words)}: status {process.returncode}: {errors[-500:]}")
    return out + errors


def list_workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the worker processes of a run."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def send_signal(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to processes that may have ended meanwhile."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def count_rows(out: Path) -> int:
    """Return how many rows there are, which takes no time beside the run that is being watched."""
    return len([*(out / "rows").glob("*.json")])


def wait_for_rows(process: subprocess.Popen[str], out: Path, count: int) -> None:
    """Wait until there are so many rows, or the run has ended."""
    start = time.monotonic()
    while count_rows(out) < count and process.poll() is None and time.monotonic() < start + 120:
        time.sleep(0.005)


def hash_rows(out: Path) -> dict[str, str]:
    """Return the digest of each row's file."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (out / "rows").glob("*.json")}


def hash_results(out: Path) -> dict[str, str]:
    """Return a digest of what each case gave, in every bit: curves, evaluations, gradients and final weights."""
    store, found = Store(out), {}
    rows = store.rows().set_index("key")
    for key in sorted(map(str, rows.index)):
        digest = hashlib.sha256(str(rows.loc[key, "weights_sha256"]).encode())
        for part in PARTS:
            table: Any = store.read_part(part, key)
            digest.update(table.to_pandas().to_csv(float_format="%.17g").encode())
        found[key] = digest.hexdigest()
    require(not store.damaged, f"damaged: {store.damaged}")
    return found
