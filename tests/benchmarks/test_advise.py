"""The command that advises: what it asks to be trained, that it carries on, and what it refuses."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import sweep
from farreach.benchmarks.running.messages import Progress
from farreach.benchmarks.studies import threshold_search
from farreach.results.report import result_set
from farreach.results.storage.result_set import Store
from tests.support.commands import run_command

TINY = [
    *("--task", "adding", "--parameter", "T=8", "--cell", "rnn", "--framework", "reference"),
    *("--hidden", "4", "--steps", "100", "--seeds", "2"),
]


def question(**changes: Any) -> threshold_search.Question:
    fields = {"task": "adding", "parameters": (("T", 8),), "framework": "reference", "cell": "lstm", "device": "cpu"}
    fields |= {"hidden": 4, "optimizer": "adam", "learning_rate": 0.003, "steps": 100, "threads": 1}
    asked: dict[str, Any] = {"clip": "norm", "seeds": 2, "thresholds": None} | changes
    return threshold_search.make_question(fields, **asked)


def test_a_third_once_and_three_times_the_learning_rate_are_tried_without_clipping_first() -> None:
    cases = question().list_unclipped()
    assert {case.learning_rate for case in cases} == {0.001, 0.003, 0.009}
    assert {(case.clip, case.threshold) for case in cases} == {("none", None)}
    assert {case.seed for case in cases} == {0, 1}
    assert len({case.key() for case in cases}) == len(cases) == 6


def test_thresholds_are_tried_from_small_to_large() -> None:
    asked = question(thresholds=threshold_search.parse_thresholds("1,0.1,10,0.1"), clip="value")
    assert asked.thresholds == (0.1, 1.0, 10.0)
    cases = asked.list_clipped(asked.thresholds)
    assert [case.threshold for case in cases] == [0.1] * 6 + [1.0] * 6 + [10.0] * 6
    assert {case.clip for case in cases} == {"value"}


@pytest.mark.parametrize(
    ("clip", "grid"),
    [
        ("norm", (0.1, 0.3, 1.0, 3.0, 10.0)),
        ("variable", (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)),
        ("agc", (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)),
        ("autoclip", (1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0)),
        ("backprop", (3.1e-6, 3.1e-5, 3.1e-4, 3.1e-3, 3.1e-2)),
    ],
)
def test_each_kind_of_clip_has_its_grid(clip: Any, grid: tuple[float, ...]) -> None:
    """Those of norms span the norms that were seen, .1 to 10; a batch of 32 examples divides the bound of one."""
    asked = question(clip=clip)

    class Seen:
        def list_finished(self) -> set[str]:
            return {case.key() for case in asked.list_unclipped()}

        def curves(self, _: str) -> pd.DataFrame:
            return pd.DataFrame({"norm_before": np.geomspace(0.1, 10, 100), "loss": 1.0})

    store: Any = Seen()
    search = threshold_search.ThresholdSearch(asked, store, Console(), {})
    assert search.propose_grid() == pytest.approx(grid)
    assert {case.clip for case in asked.list_clipped(grid)} == {clip}


def test_the_cases_of_one_framework_are_dealt_among_workers_each_once(tmp_path: Path) -> None:
    class Deaf:
        def hear_progress(self, case: Case, heard: Progress) -> None:
            del case, heard

        def hear_end(self, case: Case, said: str, ending: str = "") -> None:
            del case, said, ending

    store = Store(tmp_path)
    store.create()
    plan = sweep.plan_run(question().list_unclipped(), store)
    facts = {"suite": "advise", "command": "a test", "jobs": 2}
    running = sweep.Sweep(plan, store, listener=Deaf(), facts=facts, workers=2)
    assert running.run().finished == len(store.rows()) == 6
    assert len(running.workers) == 2


def test_parameters_are_read_as_what_they_are() -> None:
    assert threshold_search.parse_parameters(["T=50", "source=shipped", "flag=true", "x=[1]"]) == (
        *(("T", 50), ("flag", True), ("source", "shipped"), ("x", "[1]")),
    )


@pytest.mark.slow
def test_advice_is_written_the_rows_serve_a_report_and_the_same_command_trains_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run_command("advise", *TINY, "--out", str(out))
    assert first.returncode == 0, first.stderr
    assert "6 cases without clipping (3 learning rates, 2 seeds), then at most 9 thresholds of 6 cases" in first.stdout
    assert "without clipping: 6 cases, 0 already done, 6 to run" in first.stdout
    assert "about " in first.stdout.split("norm ", 1)[1]
    assert "At adam 0.003 " in first.stdout
    rows = Store(out).rows()
    tried = sorted(rows["threshold"].dropna().unique())
    assert 4 <= len(tried) <= 9
    assert len(rows) == 6 * (1 + len(tried))
    seen = pd.concat(Store(out).curves(key) for key in rows.loc[rows["clip"] == "none", "key"])["norm_before"]
    assert tried[0] <= seen.quantile(0.01)
    assert tried[-1] >= seen.quantile(0.999)
    for name in ("advice.md", "advice.png", "points.csv", "cases.csv", "norms.csv"):
        assert (out / name).stat().st_size > 0
    stamps = {path: path.stat().st_mtime_ns for path in (out / "rows").iterdir()}
    said = (out / "advice.md").read_text()
    second = run_command("advise", *TINY, "--out", str(out))
    assert second.returncode == 0
    assert second.stdout.count(" 0 to run") == 2
    assert {path: path.stat().st_mtime_ns for path in (out / "rows").iterdir()} == stamps
    assert (out / "advice.md").read_text() == said
    assert result_set.write(out)
    assert (out / "advice.png").exists()


@pytest.mark.slow
def test_a_grid_of_one_threshold_is_called_what_it_is(tmp_path: Path) -> None:
    done = run_command("advise", *TINY, "--seeds", "1", "--thresholds", "0.1", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "then 1 threshold of 3 cases each" in done.stdout
    assert "the grid has one threshold: it can only be compared with no clipping" in done.stdout
    assert "recommended" not in done.stdout


def test_a_case_that_fails_is_named_and_the_command_exits_1(tmp_path: Path) -> None:
    speech = ["--task", "speech", "--parameter", "source=hub:no/such", "--framework", "reference", "--steps", "100"]
    done = run_command("advise", *speech, "--seeds", "1", "--allow-hub", "--out", str(tmp_path), HF_HUB_OFFLINE="1")
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("failed speech") == 3
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "advice.md").exists()


def test_ctrl_c_keeps_what_was_finished(tmp_path: Path) -> None:
    slow = [*TINY, "--steps", "2000", "--seeds", "1", "--jobs", "1", "--out", str(tmp_path)]
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "benchmarks", "advise", *slow],
        cwd=registry.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "rows").glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "interrupted: what was finished is kept, the same command carries on"
    assert Store(tmp_path).list_finished()
    assert not (tmp_path / "advice.md").exists()


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "advise needs --task TASK, or a RUN whose norms were recorded"),
        (["--task", "foo"], "unknown task 'foo'; allowed: adding, copy, digits, multiplication, order"),
        (["--task", "adding", "--cell", "elman"], "has no cell elman on cpu; it has: rnn, lstm, gru"),
        (["--task", "adding", "--framework", "caffe"], "unknown framework 'caffe'; allowed: "),
        (["--task", "adding", "--optimizer", "lbfgs"], "'lbfgs' is not one of"),
        (["--task", "adding", "--clip", "none"], "'none' is not one of 'norm', 'value'"),
        (["--task", "adding", "--parameter", "T"], "--parameter takes NAME=VALUE, not 'T'"),
        (["--task", "adding", "--parameter", "T=1"], "T is 1; it must be a whole number from 2"),
        (["--task", "adding", "--parameter", "T=many"], "T is 'many'; it must be a whole number from 2"),
        (["--task", "adding", "--parameter", "delay=1"], "unknown parameter of task adding 'delay'; allowed: T"),
        (["--task", "adding", "--parameter", "T=9", "--parameter", "T=10"], "--parameter T is given twice"),
        (["--task", "adding", "--learning-rate", "0"], "learning rate must be a positive finite number, not 0.0"),
        (["--task", "adding", "--learning-rate", "nan"], "learning rate must be a positive finite number, not nan"),
        (
            ["--task", "adding", "--thresholds", "0.1,big"],
            "--thresholds takes positive finite numbers, separated by commas",
        ),
        (["--task", "adding", "--thresholds", "0.1,-1"], "commas, not '-1'"),
        (["--task", "adding", "--thresholds", "inf"], "commas, not 'inf'"),
        (["--task", "adding", "--thresholds", ""], "commas, not ''"),
        (["--task", "adding", "--steps", "250"], "steps must be a multiple of evaluate_every (100), not 250"),
        (["--task", "adding", "--seeds", "0"], "--seeds"),
        (["--task", "adding", "--activation", "relu"], "activation relu is for cell rnn"),
        (["--task", "adding", "--out", "/proc/nowhere"], "cannot write to /proc/nowhere"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(arguments: list[str], said: str) -> None:
    done = run_command("advise", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
