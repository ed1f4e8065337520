"""Runs on a disk that is full, and on one that turns read-only, in small file systems in memory.

Only who may mount can try that. A file that is open keeps a file system from turning read-only, so the logs and the
locks lie in one of their own.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.campaign.runs import (
    finish_command,
    hash_results,
    hash_rows,
    require,
    start_run,
    wait_for_rows,
    write_suite,
)


def can_mount(folder: Path) -> bool:
    """Return whether this process may mount a file system."""
    try:
        with _mount_memory(folder / "tried", "1m"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def attack_disks(folder: Path, count: int) -> Counter[str]:
    """Fill the disk of a run `count` times, and turn it read-only as often; return the tally.

    A run ends with one line and status 1, has every row that it had, and carries on when the disk takes files again,
    to the bits of a run that was left alone.
    """
    suite = write_suite(folder, 6)
    finish_command("run", str(suite), "--out", str(folder / "alone"))
    bits = hash_results(folder / "alone")
    tally = Counter[str]()
    for at in range(count):
        with _mount_memory(folder / "full", f"{150 + 40 * at}k"):
            _meet_full_disk(suite, folder / "full", bits)
        tally["full disks"] += 1
        with _mount_memory(folder / "frozen", "64m"):
            _meet_frozen_disk(suite, folder / "frozen" / "out", at + 1, bits)
        tally["disks turned read-only"] += 1
    return tally


def _meet_full_disk(suite: Path, disk: Path, bits: dict[str, str]) -> None:
    out = disk / "out"
    process = start_run(suite, out)
    _, errors = process.communicate(timeout=300)
    _require_one_line(process, errors, "No space left")
    before = hash_rows(out) if out.exists() else {}
    _call("mount", "-o", "remount,size=64m", str(disk))
    finish_command("run", str(suite), "--out", str(out))
    require(before.items() <= hash_rows(out).items(), "a row is gone")
    require(hash_results(out) == bits, "the bits differ from those of a run left alone")


def _meet_frozen_disk(suite: Path, out: Path, rows: int, bits: dict[str, str]) -> None:
    with _mount_memory(out / "logs", "8m"), _mount_memory(out / "locks", "8m"):
        process = start_run(suite, out)
        wait_for_rows(process, out, rows)
        while process.poll() is None and not _freeze_disk(out.parent):
            time.sleep(0.002)
        _, errors = process.communicate(timeout=120)
        _require_one_line(process, errors, "Read-only file system")
        before = hash_rows(out)
        _call("mount", "-o", "remount,rw", str(out.parent))
        finish_command("run", str(suite), "--out", str(out))
        require(before.items() <= hash_rows(out).items(), "a row is gone")
        require(hash_results(out) == bits, "the bits differ from those of a run left alone")


def _freeze_disk(disk: Path) -> bool:
    """Turn a file system read-only; return whether that could be, which it cannot while a file is being written."""
    done = subprocess.run(["mount", "-o", "remount,ro", str(disk)], capture_output=True, check=False)  # noqa: S603, S607
    return done.returncode == 0


def _require_one_line(process: subprocess.Popen[str], errors: str, reason: str) -> None:
    lines = [line for line in errors.splitlines() if line.strip()]
    require(process.returncode in {1, 2}, f"status {process.returncode} where the disk took no more: {errors[-500:]}")
    require(len(lines) == 1 and reason in lines[0], f"not one line: {errors[-2_000:]}")


@contextmanager
def _mount_memory(place: Path, size: str) -> Iterator[None]:
    place.mkdir(parents=True, exist_ok=True)
    _call("mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place))
    try:
        yield
    finally:
        _call("umount", "-l", str(place))


def _call(*words: str) -> None:
    subprocess.run([*words], check=True, capture_output=True)  # noqa: S603
