"""Runs whose parent, worker or both are hit by a signal at a random moment, again and again; then carried on."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil

from tests.campaign.runs import (
    count_rows,
    finish_command,
    hash_results,
    hash_rows,
    list_workers,
    require,
    send_signal,
    start_run,
    wait_for_rows,
    write_suite,
)

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGSTOP)
TARGETS = ("parent", "worker", "both")

PATIENCE = 10.0
"""Seconds within which the workers of a parent that has ended are gone."""

AT_MOST = 3
"""Cases that a run may finish before it is hit."""


def attack_runs(folder: Path, count: int) -> Counter[str]:
    """Hit a run `count` times, carry it on to its end, and hold it against one that was left alone; return the tally.

    No row that was there may be gone or changed after a hit, no process may outlive its parent, and what all cases gave
    in the end has the same bits.
    """
    dice, tally = random.Random(18), Counter[str]()  # noqa: S311
    suite, out = write_suite(folder, max(2, count)), folder / "out"
    seen: dict[str, str] = {}
    for at in range(count):
        number, target = SIGNALS[at % len(SIGNALS)], TARGETS[at // len(SIGNALS) % len(TARGETS)]
        _hit_run(suite, out, number, target, early=at % 4 == 3, dice=dice)
        now = hash_rows(out) if out.exists() else {}
        require(seen.items() <= now.items(), f"{number.name} to {target}: a row is gone or was written again")
        seen = now
        tally[f"{number.name} to the {target}"] += 1
    finish_command("run", str(suite), "--out", str(out))
    require(seen.items() <= hash_rows(out).items(), "a row is gone after the last run")
    require(not [*out.rglob("*.part")], "something half written is left")
    require(not [*(out / "locks").iterdir()], "a claim is left")
    finish_command("run", str(suite), "--out", str(folder / "alone"))
    require(hash_results(out) == hash_results(folder / "alone"), "the bits differ from those of a run left alone")
    tally["rows kept over all hits"] = len(seen)
    return tally


def _hit_run(suite: Path, out: Path, number: signal.Signals, target: str, *, early: bool, dice: random.Random) -> None:
    """Start a run, hit it while it starts or after it has finished a case, let it go on a little, and end it."""
    before = count_rows(out) if out.exists() else 0
    process = start_run(suite, out)
    if early:
        time.sleep(dice.uniform(0, 3))
    else:
        wait_for_rows(process, out, before + 1)
        time.sleep(dice.uniform(0, 0.3))
    workers = list_workers(process)
    pids = [process.pid] if target != "worker" else []
    pids += [worker.pid for worker in workers] if target != "parent" else []
    send_signal(pids, number)
    start = time.monotonic()
    while process.poll() is None and time.monotonic() < start + 0.5 and count_rows(out) < before + AT_MOST:
        time.sleep(0.01)
    _end_run(process, [*workers, *list_workers(process)])


def _end_run(process: subprocess.Popen[str], workers: list[psutil.Process]) -> None:
    """End a run that is still there, stopped perhaps; its workers, stopped or not, must end with it."""
    send_signal([process.pid] if process.poll() is None else [], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    starting = errors.rstrip().endswith("KeyboardInterrupt")  # Ctrl-C while Python still loads the command itself
    require(starting or "Traceback" not in errors, f"a traceback: {errors[-2_000:]}")
    _, alive = psutil.wait_procs(workers, timeout=PATIENCE)
    send_signal([worker.pid for worker in alive], signal.SIGKILL)
    require(not alive, f"{len(alive)} workers outlived their parent")
