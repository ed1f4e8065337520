"""Nothing finished is lost: runs that are killed, run out of disk, meet each other or find damaged files."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from farreach.benchmarks.matrix import registry, suite
from farreach.results.report import result_set
from farreach.results.storage.files import DamagedError
from farreach.results.storage.parts import PARTS
from farreach.results.storage.result_set import Store
from tests.support import synthetic
from tests.support.rows import hash_rows
from tests.support.sweeps import format_suite

KILLS, AT_MOST = 50, 3

HOLDER = """
import pathlib, sys, time
from farreach.results.storage.result_set import Store
lock = Store(pathlib.Path(sys.argv[1])).claim(sys.argv[2])
print(lock, flush=True)
time.sleep(600)
"""


def write_suite(folder: Path, seeds: int, framework: str = registry.REFERENCE) -> str:
    """Write a suite of three short cases a seed; return its path."""
    path = folder / "short.toml"
    path.write_text(
        format_suite(framework=framework, cell=["rnn", "lstm", "gru"], dtype="float64", seed=[*range(seeds)])
    )
    return str(path)


def start_run(suite_path: str, out: Path, *more: str, limit: int | None = None) -> subprocess.Popen[str]:
    """Start a run; `limit` is the size in bytes beyond which the system lets it write no file."""

    def limit_files() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "benchmarks", "run", suite_path, "--out", str(out), "--jobs", "1", *more],
        cwd=registry.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=limit_files,  # noqa: PLW1509 - nothing else runs in this process
    )


def wait_for_end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for a run that is to succeed; return what it said."""
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return out, errors


def count_done(out: Path) -> int:
    """Return how many rows there are, which takes no time beside the run that is being watched."""
    return sum(path.suffix == ".json" for path in (out / "rows").iterdir()) if (out / "rows").is_dir() else 0


def check_whole(out: Path, keys: set[str]) -> None:
    """Hold each finished case's files against what they should hold."""
    store = Store(out)
    assert store.list_finished() <= keys
    if store.list_finished():
        rows = store.rows()
        assert not store.damaged
        assert rows["key"].is_unique
        for key in rows["key"]:
            assert store.curves(key)["step"].tolist() == [*range(1, 101)]
            assert store.evaluations(key)["step"].tolist() == [100]
            assert len(store.flow(key))
            assert len(store.spectra(key))


def kill_run(process: subprocess.Popen[str]) -> None:
    """Kill a run that is still at work, and its workers."""
    assert process.poll() is None, process.communicate()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def kill_while_working(suite_path: str, out: Path, dice: np.random.Generator) -> float:
    """Start a run, kill it and its workers at a random moment after it has finished a case; return that case's time.

    However fast the machine is, a run finishes at most about `AT_MOST` cases before it is killed.
    """
    before, start = count_done(out), time.monotonic()
    process = start_run(suite_path, out)
    while count_done(out) == before and process.poll() is None and time.monotonic() < start + 120:
        time.sleep(0.002)
    first = time.monotonic()
    moment = first + dice.uniform(0, 0.4)
    while time.monotonic() < moment and count_done(out) < before + AT_MOST:
        time.sleep(0.002)
    time.sleep(dice.uniform(0, 0.01))
    kill_run(process)
    return first - start


def kill_while_starting(suite_path: str, out: Path, seconds: float) -> None:
    """Start a run, kill it and its workers after some seconds, whatever it has come to."""
    process = start_run(suite_path, out)
    time.sleep(seconds)
    kill_run(process)


@pytest.mark.slow
def test_a_run_killed_at_fifty_random_moments_loses_nothing_and_carries_on(tmp_path: Path) -> None:
    path, out, dice = write_suite(tmp_path, 100), tmp_path / "out", np.random.default_rng(1)
    keys = {case.key() for case in suite.load_suite(path).list_cases()}
    seen: dict[str, str] = {}
    for number in range(KILLS):
        starting = kill_while_working(path, out, dice)
        if number % 5 == 0:  # ten more, before a launch's first case or around it
            kill_while_starting(path, out, dice.uniform(0, starting))
        now = hash_rows(out)
        assert seen.items() <= now.items()  # nothing that was finished is gone, or was written again
        seen = now
    check_whole(out, keys)
    assert KILLS <= len(seen) < len(keys)
    said, _ = wait_for_end(start_run(path, out))
    assert f"{len(keys)} cases, {len(seen)} already done, {len(keys) - len(seen)} to run" in said
    assert seen.items() <= hash_rows(out).items()
    assert Store(out).list_finished() == keys
    check_whole(out, keys)


@pytest.mark.slow
@pytest.mark.parametrize("framework", registry.list_compared())
def test_a_killed_run_of_each_framework_carries_on(tmp_path: Path, framework: str) -> None:
    path, out = write_suite(tmp_path, 2, framework), tmp_path / "out"
    kill_while_working(path, out, np.random.default_rng(2))
    kept = hash_rows(out)
    said, _ = wait_for_end(start_run(path, out))
    assert f"{len(kept)} already done" in said
    assert kept.items() <= hash_rows(out).items()
    check_whole(out, {case.key() for case in suite.load_suite(path).list_cases()})
    assert len(hash_rows(out)) == 6


@pytest.mark.slow
def test_two_runs_into_one_folder_share_the_work(tmp_path: Path) -> None:
    path, out = write_suite(tmp_path, 12), tmp_path / "out"
    both = [start_run(path, out), start_run(path, out)]
    for process in both:
        wait_for_end(process)
    runs = Store(out).runs()
    assert len(runs) == 2
    assert sum(run["finished"] for run in runs) == 36
    assert all(run["finished"] for run in runs)
    check_whole(out, {case.key() for case in suite.load_suite(path).list_cases()})
    assert not [*(out / "locks").iterdir()]


@pytest.mark.slow
def test_a_run_takes_over_what_a_killed_one_held(tmp_path: Path) -> None:
    path, out = write_suite(tmp_path, 1), tmp_path / "out"
    store = Store(out)
    store.create()
    key = suite.load_suite(path).list_cases()[0].key()
    holder = subprocess.Popen(  # noqa: S603
        [
            *(sys.executable, "-c", HOLDER, str(out), key),
        ],
        cwd=registry.ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout
    assert "FileLock" in holder.stdout.readline()
    assert store.claim(key) is None
    running = start_run(path, out)
    deadline = time.monotonic() + 120
    while len(store.list_finished()) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1.5)
    assert running.poll() is None  # it waits for the one case that another holds
    assert len(store.list_finished()) == 2
    holder.kill()
    wait_for_end(running)
    assert len(store.list_finished()) == 3


def test_the_workers_of_a_run_that_is_killed_alone_end_too(tmp_path: Path) -> None:
    path, out = tmp_path / "long.toml", tmp_path / "out"
    path.write_text(format_suite(framework="pytorch", cell=["rnn", "lstm", "gru"], dtype="float64", seed=[0]))
    text = path.read_text().replace("T = 5", "T = 500").replace("hidden = 4", "hidden = 256")
    path.write_text(text)  # so that a worker has long to compute before it has anything to say
    process = start_run(str(path), out)
    deadline = time.monotonic() + 120
    while not [*(out / "locks").glob("*.lock")] and time.monotonic() < deadline:
        time.sleep(0.1)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    time.sleep(2)
    assert all(worker.cpu_percent(0.5) > 0 for worker in workers)
    process.kill()  # the one process, not its group
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=3)
    for worker in alive:
        worker.kill()
    assert alive == []


@pytest.mark.slow
def test_a_full_disk_ends_the_run_with_one_line_and_loses_nothing(tmp_path: Path) -> None:
    path, out = write_suite(tmp_path, 3), tmp_path / "out"
    wait_for_end(start_run(path, out, "--only", "seed=0"))
    before = hash_rows(out)
    largest = max(file.stat().st_size for part in PARTS for file in (out / part).iterdir())
    process = start_run(path, out, limit=largest - 1)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert "cannot write" in line
    assert "what was finished is kept, the same command carries on" in line
    assert "Traceback" not in errors
    assert before.items() <= hash_rows(out).items()
    assert not [*out.rglob("*.part")]
    check_whole(out, {case.key() for case in suite.load_suite(path).list_cases()})
    wait_for_end(start_run(path, out))
    assert len(hash_rows(out)) == 9


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A finished set of three cases and its suite."""
    folder = tmp_path_factory.mktemp("three")
    path = write_suite(folder, 1)
    wait_for_end(start_run(path, folder / "out"))
    return path, folder / "out"


def flip_bits(path: Path) -> None:
    """Change one byte in the middle of a file, and neither its length nor its ends."""
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.sampled(every=5)
@pytest.mark.parametrize(
    ("part", "harm"),
    [
        ("rows", lambda path: path.write_text("{")),
        ("rows", lambda path: path.write_text("")),
        ("rows", lambda path: path.write_text(path.read_text().replace('"loss": ', '"loss": "x", "was": '))),
        ("curves", lambda path: path.write_bytes(path.read_bytes()[:-20])),
        ("curves", flip_bits),
        ("curves", lambda path: path.unlink()),
        ("evaluations", lambda path: path.write_bytes(b"")),
        ("flow", flip_bits),
    ],
)
def test_a_damaged_file_is_named_set_aside_and_run_again(
    three: tuple[str, Path], tmp_path: Path, part: str, harm: object
) -> None:
    suite_path, whole = three
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    (key, *_) = sorted(Store(out).list_finished())
    victim = next((out / part).glob(f"{key}.*"))
    harm(victim)  # type: ignore[operator]
    missing = not victim.exists()
    result_set.write(out)
    text = (out / "report.md").read_text()
    if not missing:  # a report does without curves; a run does not
        assert f"{victim.name} is damaged" in text.replace("\\_", "_")
        assert Store(out).list_finished() == Store(whole).list_finished() - {key}
        assert (out / "damaged" / key / "reason.txt").exists()
    said, _ = wait_for_end(start_run(suite_path, out))
    assert "2 already done, 1 to run" in said
    assert "is damaged" not in (out / "report.md").read_text()
    assert Store(out).rows()["weights_sha256"].tolist() == Store(whole).rows()["weights_sha256"].tolist()


@pytest.mark.slow
def test_sets_of_two_machines_merge_by_copying_folders_together(three: tuple[str, Path], tmp_path: Path) -> None:
    _, first = three
    other = write_suite(tmp_path, 2)
    wait_for_end(start_run(other, tmp_path / "second", "--only", "seed=1"))
    merged = tmp_path / "merged"
    for one in (first, tmp_path / "second"):
        shutil.copytree(one, merged, dirs_exist_ok=True)
    store = Store(merged)
    assert len(store.rows()) == 6
    assert len(store.runs()) == 2
    said, _ = wait_for_end(start_run(other, merged))
    assert "6 cases, 6 already done" in said


def test_a_case_is_written_once(three: tuple[str, Path], tmp_path: Path) -> None:
    shutil.copytree(three[1], tmp_path / "out")
    store = Store(tmp_path / "out")
    key = store.rows()["key"].iloc[0]
    before = hash_rows(store.folder)
    assert not store.write(*synthetic.looked_at(synthetic.record(key=key)))
    assert hash_rows(store.folder) == before


def test_the_files_are_the_truth_each_time_they_are_read(tmp_path: Path) -> None:
    store = synthetic.write(tmp_path, [synthetic.record(key=f"k{seed}", seed=seed) for seed in range(4)])
    first = store.rows()
    assert Store(tmp_path).rows().equals(first)
    path = tmp_path / "rows" / "k1.json"
    changed = json.loads(path.read_text()) | {"seed": 7}
    path.write_text(json.dumps(changed))
    (tmp_path / "rows" / "k2.json").unlink()
    assert Store(tmp_path).rows()["seed"].tolist() == [0, 7, 3]


def test_a_key_that_is_a_path_is_refused(three: tuple[str, Path]) -> None:
    for key in ("../rows/x", "/etc/passwd", "a/b", "", "x" * 65):
        with pytest.raises(Exception, match="not a valid key"):
            Store(three[1]).curves(key)


def test_a_link_is_not_followed(three: tuple[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(three[1], out)
    secret = tmp_path / "secret.parquet"
    key = min(Store(out).list_finished())
    (out / "curves" / f"{key}.parquet").replace(secret)
    (out / "curves" / f"{key}.parquet").symlink_to(secret)
    with pytest.raises(DamagedError, match="link"):
        Store(out).curves(key)
