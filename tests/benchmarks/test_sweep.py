"""Sweeps: nothing finished is lost, a case that fails costs that case, the command line says so."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from farreach.benchmarks.matrix import registry, suite
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import digest, environment, progress, sweep, training
from farreach.benchmarks.running.messages import Outcome, Run
from farreach.benchmarks.running.worker_client import STARTS, CaseFailedError, Live, StartError
from farreach.results.storage.result_set import Store
from tests.support.commands import call_command, run_command
from tests.support.sweeps import Listener, format_suite

INSTALLED = [name for name in ("pytorch", *registry.list_compared()) if registry.find_framework_version(name)]
FRAMEWORK = INSTALLED[0]

TINY = f"""
description = "seconds"
[defaults]
framework = "{FRAMEWORK}"
cell = "rnn"
hidden = 8
steps = 200
[[block]]
task = "adding"
parameters = {{ T = 10 }}
clip = [{{ kind = "none" }}, {{ kind = "norm", threshold = [0.1, 1.0] }}]
"""


def slow_down(text: str) -> str:
    """The same suite on the reference, seconds a case: time to interrupt it in the middle of one."""
    return text.replace(f'framework = "{FRAMEWORK}"', 'framework = "reference"').replace("steps = 200", "steps = 3_000")


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return str(path)


def run_here(cases: list[Case], store: Store, listener: Listener | None = None, jobs: int = 2) -> sweep.RunSummary:
    store.create()
    listener = listener or Listener()
    facts = {"suite": "tiny", "command": "a test", "jobs": jobs}
    listener.sweep = sweep.Sweep(sweep.plan_run(cases, store), store, listener=listener, facts=facts)
    return listener.sweep.run()


def test_a_run_writes_rows_curves_tables_figures_and_a_report_and_resumes(tiny: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run_command("run", tiny, "--out", str(out))
    assert first.returncode == 0, first.stderr
    assert "3 cases, 0 already done, 3 to run" in first.stdout
    store = Store(out)
    rows = store.rows()
    assert len(rows) == 3
    assert set(rows["threshold"].dropna()) == {0.1, 1.0}
    for key in rows["key"]:
        assert list(store.curves(key)["step"]) == list(range(1, 201))
        assert list(store.evaluations(key)["step"]) == [100, 200]
    assert (out / "report.md").stat().st_size > 500
    assert list((out / "figures").glob("*.png"))
    assert list((out / "tables").glob("*.csv"))
    for name in ("processor", "threads", "commit", "command", "framework_version", "python", "numpy", "platform"):
        assert rows[name].notna().all(), name
    assert rows["command"][0] == f"python -m benchmarks run {Path(tiny).name} --out {out.name}"  # no path of a machine
    stamps = {path: path.stat().st_mtime_ns for path in (out / "rows").iterdir()}
    second = run_command("run", tiny, "--out", str(out))
    assert second.returncode == 0
    assert "3 cases, 3 already done, 0 to run" in second.stdout
    assert "report.md, which was left as it is" in second.stdout
    assert {path: path.stat().st_mtime_ns for path in (out / "rows").iterdir()} == stamps


@pytest.mark.parametrize(("jobs", "workers", "often"), [(2, 1, 1), (2, 2, 1), (1, 1, 0)])
def test_an_idle_core_is_used_once_while_other_lanes_run(jobs: int, workers: int, often: int, tmp_path: Path) -> None:
    suite_path = tmp_path / "short.toml"
    suite_path.write_text(format_suite(seed=[0, 1, 2]))
    store = Store(tmp_path / "out")
    store.create()
    facts = {"suite": "short", "command": "a test", "jobs": jobs}
    heard: list[int] = []
    plan = sweep.plan_run(suite.load_suite(str(suite_path)).list_cases(), store)
    run = sweep.Sweep(
        plan, store, listener=Listener(), facts=facts, workers=workers, meanwhile=lambda: heard.append(run.finished)
    )
    assert run.run().finished == 3
    assert len(heard) <= often
    if workers < jobs:  # one lane for two cores: idle from the first
        assert heard == [0]


def test_the_clip_of_a_row_is_the_clip_that_ran_and_its_digest_that_of_the_code(tiny: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    run_here(suite.load_suite(tiny).list_cases(), store)
    for row in store.rows().to_dict("records"):
        curves = store.curves(row["key"])
        assert row["digest"] == digest.predict_digest(Case.from_row(row), row)
        if row["clip"] == "none":
            assert row["clip_fraction"] == 0
            pd.testing.assert_series_equal(curves["norm_before"], curves["norm_after"], check_names=False)
        else:
            assert row["clip_fraction"] == (curves["norm_before"] > row["threshold"]).mean()
            assert curves["norm_after"].max() <= row["threshold"] * (1 + 1e-5)
            assert row["clip_fraction"] > 0 or row["threshold"] == 1.0


def test_a_case_that_another_run_finished_meanwhile_is_not_counted_as_finished_here(tiny: str, tmp_path: Path) -> None:
    made = {
        "device_name": "a",
        "framework_version": "1",
        "precision": "float32",
        "started": "2026-01-01T00:00:00+00:00",
    }

    class Twice(sweep.Keeper):
        def _run_missing(self) -> None:
            for key, case in [*self.plan.missing.items()] * 2:
                version = {"framework_version": registry.find_framework_version(case.framework)}
                self._keep(key, case, training.train(case, lambda _: None), made | version)

    cases = suite.load_suite(tiny).list_cases()[:1]
    store, listener = Store(tmp_path / "out"), Listener()
    store.create()
    facts = {"suite": "tiny", "command": "a test", "jobs": 1}
    summary = Twice(sweep.plan_run(cases, store), store, listener=listener, facts=facts).run()
    assert (summary.finished, store.runs()[-1]["finished"], len(store.rows())) == (1, 1, 1)


def test_wall_time_is_accounted_for_by_kind(tiny: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    ended = run_here(suite.load_suite(tiny).list_cases(), store, jobs=1)
    seconds = store.runs()[-1]["seconds"]
    assert sum(seconds.values()) == pytest.approx(ended.wall_seconds, rel=0.1)
    assert seconds["training"] > 0
    assert seconds["imports"] > 0


def test_a_killed_worker_costs_its_case_only(tiny: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    killed: list[Case] = []

    def kill_once(running: sweep.Sweep, case: Case) -> None:
        if case.threshold == 0.1 and not killed:
            killed.append(case)
            running.workers[0].process.kill()

    Path(tiny).write_text(slow_down(TINY))
    cases = suite.load_suite(tiny).list_cases()
    ended = run_here(cases, store, Listener(kill_once))
    assert [failure.case for failure in ended.failed] == killed
    assert "killed by SIGKILL" in ended.failed[0].reason
    assert ended.finished == 2
    assert store.runs()[-1]["failed"][0]["case"] == killed[0].label()
    again = run_here(cases, store)
    assert (again.done_before, again.finished, again.failed) == (2, 1, [])


@pytest.mark.slow
def test_a_case_that_fails_is_named_and_the_run_exits_1(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(TINY + '[[block]]\ntask = "speech"\nparameters = { source = "hub:no/such" }\nsteps = 100\n')
    out = tmp_path / "out"
    done = run_command("run", str(path), "--out", str(out), "--allow-hub", HF_HUB_OFFLINE="1")
    assert done.returncode == 1, done.stderr
    assert "failed speech" in done.stdout
    assert "no/such" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert len(Store(out).rows()) == 3
    assert "no/such" in (out / "report.md").read_text()


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_finished_and_the_same_command_carries_on(tiny: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    Path(tiny).write_text(slow_down(TINY))
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "benchmarks", "run", tiny, "--out", str(out)],
        cwd=registry.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list((out / "rows").glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "interrupted: what was finished is kept, the same command carries on"
    kept = Store(out).list_finished()
    assert 1 <= len(kept) < 3
    finished = run_command("run", tiny, "--out", str(out))
    assert f"3 cases, {len(kept)} already done" in finished.stdout
    assert finished.returncode == 0


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fly"], "No such command 'fly'"),
        (["list", "dishes"], "unknown list 'dishes'; allowed: tasks, frameworks, architectures, suites"),
        (["run"], "Missing argument"),
        (["run", "quik"], "unknown suite 'quik'; allowed: "),
        (["run", "quick", "--speed", "1"], "No such option: --speed"),
        (["run", "quick", "--threads", "0"], "--threads"),
        (["run", "quick", "--device", "abacus"], "'abacus' is not one of 'cpu', 'cuda'"),
        (["run", "quick", "--only", "task=foo"], "unknown task 'foo'; allowed: adding, copy"),
        (["run", "quick", "--only", "framework=foo"], "unknown framework 'foo'; allowed: jax, pytorch"),
        (["run", "quick", "--only", "cell=foo"], "suite quick has no case with cell=foo; it has: gru, lstm, rnn"),
        (["run", "quick", "--only", "colour=red"], "unknown key 'colour'; allowed: "),
        (["run", "quick", "--only", "threshold=-1"], "threshold must be a positive finite number, not -1"),
        (["run", "quick", "--only", "clip=none", "--only", "threshold=1"], "contradict each other"),
        (["run", "quick", "--out", "/proc/nowhere"], "cannot write to /proc/nowhere"),
        (["report", "/nowhere"], "no results in /nowhere"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(arguments: list[str], said: str) -> None:
    done = run_command(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_cuda_without_a_gpu_is_said_plainly(tiny: str, tmp_path: Path) -> None:
    done = run_command("run", tiny, "--device", "cuda", "--out", str(tmp_path / "out"), CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "finds no CUDA GPU on this machine" in done.stderr


def test_a_framework_that_is_not_installed_is_refused(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_framework_version", lambda _: None)
    with pytest.raises(registry.UsageError, match=f"{FRAMEWORK} is not installed: it needs the package"):
        sweep.require_frameworks(suite.load_suite(tiny).list_cases())


def test_list_names_every_plugin() -> None:
    done = run_command("list")
    assert done.returncode == 0
    for name in (*registry.list_tasks(), *registry.list_frameworks(), *registry.list_suites()):
        assert name in done.stdout


def test_a_row_is_valid_json_without_nan(tiny: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    run_here(suite.load_suite(tiny).list_cases()[:1], store)
    for path in (store.folder / "rows").iterdir():
        json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in a row"))


def test_the_environment_is_known() -> None:
    facts = environment.collect_facts()
    assert all(facts.values())


def test_a_run_ends_by_counting_the_rows_that_it_was_to_give(tiny: str, tmp_path: Path) -> None:
    """Somebody clears rows/ in the middle: the cases are named, those of before too."""
    store = Store(tmp_path / "out")
    cases = suite.load_suite(tiny).list_cases(["reference"])
    cases = [dataclasses.replace(case, framework="reference", path="numpy", steps=100) for case in cases]
    run_here(cases[:1], store)

    def clear_rows(_sweep: sweep.Sweep, case: Case) -> None:
        if case is cases[2]:
            for path in (tmp_path / "out" / "rows").iterdir():
                path.unlink()

    ended = run_here(cases, store, Listener(clear_rows), jobs=1)
    assert {failure.case for failure in ended.failed} == {*cases[:2]}
    assert {failure.reason for failure in ended.failed} == {sweep.GONE}
    assert len(store.runs()[-1]["failed"]) == 2
    assert len(store.rows()) == 1
    assert run_here(cases, store).failed == []


def make_worker(folder: Path, script: str) -> Live:
    """Return a worker whose process is a script of ours."""
    (folder / "python").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "python").chmod(0o755)
    return Live("reference", "cpu", 1, folder / "logs" / "reference.log", python=str(folder / "python"))


READY = "echo 'Ready {\"facts\": {}}'"


def test_a_worker_that_is_killed_while_it_starts_is_started_again(tmp_path: Path) -> None:
    worker = make_worker(
        tmp_path, f"echo . >> {tmp_path}/starts\n[ $(wc -l < {tmp_path}/starts) -gt 2 ] || kill -9 $$\n{READY}\ncat"
    )
    worker.start()
    assert (tmp_path / "starts").read_text().count(".") == 3
    worker.stop()


def test_a_worker_that_is_killed_at_each_start_is_given_up_and_tried_with_the_next_case(tmp_path: Path) -> None:
    worker = make_worker(tmp_path, f"echo . >> {tmp_path}/starts\nkill -9 $$")
    for count in (STARTS, 2 * STARTS):
        with pytest.raises(StartError, match=r"killed by SIGKILL; see logs/reference\.log"):
            worker.start()
        assert (tmp_path / "starts").read_text().count(".") == count


def test_a_worker_without_its_framework_is_not_started_again(tmp_path: Path) -> None:
    worker = make_worker(tmp_path, f"echo . >> {tmp_path}/starts\nexit 1")
    for _ in range(2):
        with pytest.raises(StartError, match="ended with status 1"):
            worker.start()
    assert (tmp_path / "starts").read_text().count(".") == 1


@pytest.mark.parametrize("half", ["Outc", 'Outcome {"result": {"task_ve', "\\303", ""])
def test_half_an_answer_is_a_death_like_any_other(tmp_path: Path, half: str) -> None:
    worker = make_worker(tmp_path, f"{READY}\nread line\nprintf '{half}'\nkill -9 $$")
    (case, *_) = suite.load_suite("quick").list_cases(["reference"])
    with pytest.raises(CaseFailedError, match="was killed by SIGKILL"):
        worker.ask(Run(case), Outcome)


def test_a_worker_that_is_stopped_ends_with_its_parent(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from farreach.benchmarks.running.worker_client import Live
worker = Live("reference", "cpu", 1, Path(sys.argv[1]) / "reference.log")
worker.start()
print(worker.process.pid, flush=True)
input()
"""
    parent = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=registry.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout
    worker = psutil.Process(int(parent.stdout.readline()))
    worker.suspend()
    parent.kill()
    parent.communicate()
    assert psutil.wait_procs([worker], timeout=5)[1] == []


def test_a_disk_that_turns_read_only_ends_the_run_with_one_line(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clean-up is refused too: claims are let go of, and nothing else is said."""
    Path(tiny).write_text(TINY.replace(f'"{FRAMEWORK}"', '"reference"').replace("steps = 200", "steps = 100"))
    out = tmp_path / "out"
    real, frozen = os.open, threading.Event()

    def open_file(path: str, flags: int, *more: Any, **named: Any) -> int:
        if frozen.is_set() and flags & os.O_CREAT and str(path).startswith(str(out)):
            raise OSError(errno.EROFS, "Read-only file system", path)
        return real(path, flags, *more, **named)

    def refuse_removal(path: Path, **_: object) -> None:
        if frozen.is_set():
            raise OSError(errno.EROFS, "Read-only file system", str(path))

    def freeze(*_: object) -> None:
        frozen.set()

    monkeypatch.setattr(os, "open", open_file)
    monkeypatch.setattr(Path, "unlink", refuse_removal)
    monkeypatch.setattr(progress.Progress, "hear_progress", freeze)
    status, _, errors = call_command("run", tiny, "--out", str(out), "--jobs", "1")
    assert status == 1
    assert errors.count("\n") == 1
    assert "Read-only file system; what was finished is kept" in errors
