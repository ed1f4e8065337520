"""Sweeps: nothing finished is lost, a case that fails costs that case, the command line says so."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from farreach.benchmarks.matrix import registry, suite
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import environment, sweep
from farreach.results.storage.result_set import Store
from tests.support.commands import run_command
from tests.support.sweeps import Listener

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


def test_the_clip_of_a_row_is_the_clip_that_ran(tiny: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    run_here(suite.load_suite(tiny).list_cases(), store)
    for row in store.rows().to_dict("records"):
        curves = store.curves(row["key"])
        if row["clip"] == "none":
            assert row["clip_fraction"] == 0
            pd.testing.assert_series_equal(curves["norm_before"], curves["norm_after"], check_names=False)
        else:
            assert row["clip_fraction"] == (curves["norm_before"] > row["threshold"]).mean()
            assert curves["norm_after"].max() <= row["threshold"] * (1 + 1e-5)
            assert row["clip_fraction"] > 0 or row["threshold"] == 1.0


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


def test_a_case_that_fails_is_named_and_the_run_exits_1(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(TINY + '[[block]]\ntask = "speech"\nparameters = { source = "hub:no/such" }\nsteps = 100\n')
    out = tmp_path / "out"
    done = run_command("run", str(path), "--out", str(out), HF_HUB_OFFLINE="1")
    assert done.returncode == 1, done.stderr
    assert "failed speech" in done.stdout
    assert "no/such" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert len(Store(out).rows()) == 3
    assert "no/such" in (out / "report.md").read_text()


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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fly"], "No such command 'fly'"),
        (["list", "dishes"], "unknown list 'dishes'; allowed: tasks, frameworks, suites"),
        (["run"], "Missing argument"),
        (["run", "quik"], "unknown suite 'quik'; allowed: "),
        (["run", "quick", "--speed", "1"], "No such option: --speed"),
        (["run", "quick", "--threads", "0"], "--threads"),
        (["run", "quick", "--device", "abacus"], "'abacus' is not one of 'cpu', 'cuda'"),
        (["run", "quick", "--only", "task=foo"], "unknown task 'foo'; allowed: adding, copy"),
        (["run", "quick", "--only", "framework=foo"], "unknown framework 'foo'; allowed: jax, pytorch"),
        (["run", "quick", "--only", "cell=foo"], "suite quick has no case with cell=foo; it has: gru, rnn"),
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
