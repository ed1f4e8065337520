"""Runs of one's own in the suite's report, the examples that make them, and what `pip install .` installs."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import farreach
from farreach.benchmarks.matrix import registry
from farreach.curves import Curves, Step
from farreach.results.analysis import tables
from farreach.results.analysis.rows import label_rows
from farreach.results.figures import curves as curve_figures
from farreach.results.figures import style, training
from farreach.results.report import findings, own_runs, result_set
from farreach.results.storage.result_set import Store
from farreach.results.storage.rows import REQUIRED
from tests.support import synthetic

WRONG = """\
import sys, torch
from torch.nn.utils import clip_grad_norm_
from farreach.pytorch import Recorder
model = torch.nn.LSTM(2, 3)
optimizer = torch.optim.Adam(model.parameters())
with Recorder(model, sys.argv[1], "wrong") as recorder, recorder.watching():
    for _ in range(5):
        optimizer.zero_grad()
        clip_grad_norm_(model.parameters(), 0.01)
        loss = model(torch.ones(4, 2, 2))[0].square().mean()
        loss.backward()
        optimizer.step()
        recorder.step(loss)
"""
FACTS = {"framework": "pytorch", "framework_version": "2.13.0", "path": "eager", "device": "cpu", "dtype": "float32"}


def run(*arguments: object, cwd: Path = registry.ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, with this checkout on its path."""
    paths = os.environ | {"PYTHONPATH": str(registry.ROOT), "MPLBACKEND": "Agg"} | environment
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=paths, capture_output=True, text=True, check=False)  # noqa: S603


def write(folder: Path, *, limit: float = 1.0, name: str = "mine", torn: bool = False, **settings: Any) -> Curves:
    """Write a run of one's own of 60 steps, clipped by norm in every third of them."""
    curves = Curves(folder, name, settings, FACTS | {"threads": None})  # type: ignore[arg-type]
    curves.clips("norm", limit)
    norms = [2 * limit if step % 3 == 0 else 0.5 * limit for step in range(60)]
    losses = [1 / (1 + step) for step in range(60)]
    if torn:
        losses[40] = math.nan
    curves.add((loss, n, min(n, limit), float(n > limit)) for loss, n in zip(losses, norms, strict=True))
    curves.close()
    return curves


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw few pixels: they cost time and no test looks at them."""
    monkeypatch.setattr(style, "DPI", 50)


# Beside the suite's rows


def test_curves_written_as_text_are_read_back_exactly(tmp_path: Path) -> None:
    key = write(tmp_path, limit=0.1).key
    curves = Store(tmp_path).curves(key)
    assert curves["loss"].tolist() == [1 / (1 + step) for step in range(60)]
    assert curves["clipped"].mean() == pytest.approx(1 / 3)
    assert set(json.loads((tmp_path / "rows" / f"{key}.json").read_text())) >= REQUIRED


def test_a_folder_of_own_runs_alone_gets_a_report_with_its_figures(tmp_path: Path) -> None:
    write(tmp_path, limit=1.0, cell="lstm", optimizer="adam", learning_rate=0.001)
    write(tmp_path, limit=5.0, cell="lstm", optimizer="adam", learning_rate=0.001)
    made = {path.name for path in result_set.write(tmp_path)}
    assert {"gradient-norm-own.png", "clip-fraction-own.png", "training-loss-own.png"} <= made
    assert not any(name.startswith(("skill", "learning")) for name in made)
    text = (tmp_path / "report.md").read_text()
    assert "own name=mine (adam 0.001, own), lstm: pytorch with norm 1 (33 % of steps clipped): " in text
    assert "gradient norm before the clip 0.5, at most 2, training loss at the end 0.078" in text
    assert "they have no floor and no skill" in text
    assert "NO CERTIFICATE" not in text
    assert "No case ran in mode matched" not in text
    assert not re.search(r"\b(nan|None)\b", text)


def test_a_run_that_says_nothing_of_itself_is_reported_too(tmp_path: Path) -> None:
    write(tmp_path)
    result_set.write(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "own name=mine (own), unknown: pytorch with norm 1" in text
    assert not re.search(r"\b(nan|None)\b", text)


def test_a_diverged_run_is_said_and_counted(tmp_path: Path) -> None:
    write(tmp_path, torn=True)
    rows = Store(tmp_path).rows()
    assert rows[["status", "diverged_at", "steps_done"]].to_numpy().tolist() == [["diverged", 41, 60]]
    assert "1 of 1 run diverged" in " ".join(own_runs.write_own_runs(label_rows(rows).own))
    assert tables.tabulate_divergence(label_rows(rows))["diverged at"].tolist() == [41]
    result_set.write(tmp_path)


@pytest.mark.slow
def test_own_runs_beside_a_suite_change_nothing_that_is_said_of_the_suite(tmp_path: Path) -> None:
    suite = synthetic.write(tmp_path, [one for one in synthetic.quick() if one.case.task == "adding"])
    alone = findings.write_findings(label_rows(suite.rows()), [])
    write(tmp_path, cell="lstm", seed=0)
    both = findings.write_findings(label_rows(suite.rows()), [])
    assert [one for one in alone[1:] if one not in both] == []
    assert len(both) == len(alone) + 2
    whole = label_rows(suite.rows())
    assert len(whole.counted) == len(whole.ours.counted)
    result_set.write(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert not re.search(r"\b(nan|None)\b", text)
    assert "different commits" not in text


def test_own_runs_of_one_name_stand_side_by_side_by_clip_and_seed(tmp_path: Path) -> None:
    for limit in (1.0, 5.0):
        for seed in (0, 1):
            write(tmp_path, limit=limit, seed=seed)
    write(tmp_path, name="other")
    table = tables.tabulate_gradients(label_rows(Store(tmp_path).rows()))
    assert table[["clip_label", "seeds"]].to_numpy().tolist() == [["norm 1", 2], ["norm 5", 2], ["norm 1", 1]]


def test_a_clip_of_each_variable_draws_no_line_of_a_global_norm(tmp_path: Path) -> None:
    curves = Curves(tmp_path, "mine", {}, FACTS | {"threads": None})
    curves.clips("variable", 0.5)
    curves.add([(1.0, 2.0, 0.9, 1.0)] * 20)
    curves.close()
    store = Store(tmp_path)
    (axes,) = curve_figures.draw_gradient_norm(label_rows(store.rows()).frame, store.curves)["own"].axes
    assert [one for one in axes.lines if list(one.get_ydata()) == [0.5, 0.5]] == []
    (axes,) = training.draw_clip_fraction(label_rows(store.rows()).frame)["own"].axes
    assert axes.get_xlabel() == "clip threshold (variable: norm of each variable)"


def test_an_absolute_path_on_the_command_line_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "train.py"), str(tmp_path), "--fast"])
    write(tmp_path)
    assert Store(tmp_path).rows()["command"].tolist() == ["python train.py DIR --fast"]


# The examples


@pytest.mark.slow
@pytest.mark.sampled(every=3)
@pytest.mark.parametrize(
    ("script", "package", "environment"),
    [
        ("own_pytorch", "torch", {}),
        ("own_jax", "optax", {}),
        ("own_accelerate", "accelerate", {}),
        ("own_lightning", "lightning", {}),
        ("own_keras", "tensorflow", {"KERAS_BACKEND": "tensorflow"}),
        ("own_keras", "torch", {"KERAS_BACKEND": "torch"}),
        ("own_tensorflow", "tensorflow", {"KERAS_BACKEND": "tensorflow"}),
        ("own_transformers", "transformers", {}),
        ("own_nnx", "flax", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value.values()),
)
def test_an_example_runs_and_its_folder_becomes_a_report(
    tmp_path: Path, script: str, package: str, environment: dict[str, str]
) -> None:
    for needed in {package, "keras" if "KERAS_BACKEND" in environment else package}:
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    done = run(registry.ROOT / "examples" / f"{script}.py", tmp_path, cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert not re.search("ClipWarning|NoGradientWarning", done.stderr)
    store = Store(tmp_path)
    row = store.rows().iloc[0]
    curves = store.curves(row["key"])
    assert len(curves) == row["steps_done"] > 100
    assert 0 < row["clip_fraction"] < 1
    assert (curves["norm_after"] <= 0.5 * (1 + 1e-5)).all()
    assert curves["loss"].tail(30).mean() < curves["loss"].head(10).mean()
    told = run("-m", "benchmarks", "report", tmp_path)
    assert told.returncode == 0, told.stderr
    assert "textbook" in told.stdout
    assert "Warning in" not in told.stdout
    assert (tmp_path / "figures" / "gradient-norm-own.png").exists()


@pytest.mark.slow  # two processes, each of which loads torch
@pytest.mark.parametrize("how", ["fsdp", "ddp"])
def test_two_processes_write_one_run_of_the_whole_gradient(tmp_path: Path, how: str) -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    script = registry.ROOT / "examples" / "own_distributed.py"
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
    done = run(*launch, script, tmp_path, how, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = Store(tmp_path).rows().to_dict("records")
    curves = Store(tmp_path).curves(row["key"])
    assert (len(curves), row["steps_done"], row["clip"], row["warnings"]) == (150, 150, "norm", None)
    clipped = curves[curves["clipped"] > 0]
    assert 0 < len(clipped) < 150
    assert clipped["norm_after"].to_numpy() == pytest.approx(0.5, rel=1e-4)  # of the whole: a shard's alone is less
    assert (curves["norm_before"] >= curves["norm_after"] * (1 - 1e-6)).all()


def test_a_report_begins_with_what_the_recorder_warned_of(tmp_path: Path) -> None:
    curves = Curves(tmp_path, "mine", {}, FACTS | {"threads": None})
    curves.warner.texts.append("train.py:7: this clip changes nothing")
    curves.add([(1.0, 2.0, 2.0, 0.0)] * 5)
    curves.close()
    write(tmp_path)
    result_set.write(tmp_path)
    text = (tmp_path / "report.md").read_text()
    line = "Warning in own name=mine (own), unknown, pytorch without clipping: train.py:7: this clip changes nothing."
    assert text.index(line) < text.index("## ")
    told = run("-m", "benchmarks", "report", tmp_path)
    assert line in " ".join(told.stdout.split())
    assert line in (tmp_path / "report.html").read_text()


def test_the_tail_shows_the_last_steps_of_a_run_that_trains(tmp_path: Path) -> None:
    curves = Curves(tmp_path, "mine", {}, FACTS | {"threads": None})
    curves.add([(1.0, 2.0, 2.0, 0.0), (0.5, 3.0, 3.0, 0.0), Step(None, math.inf, math.inf, 0.0, skipped=True)])
    told = run("-m", "benchmarks", "tail", tmp_path, "--steps", 1)
    assert told.returncode == 0, told.stderr
    said = " ".join(told.stdout.split())
    assert "this run has not ended, or was killed: these are its first 3 steps" in said
    assert "3 steps, median norm 2.5, 1 step skipped" in said
    assert "step 2: loss 0.5, norm 3 before the clip and 3 after it" in said
    assert "step 1:" not in said


def test_a_line_says_at_once_that_a_run_explodes_or_diverges(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curves = Curves(tmp_path, "mine", {}, FACTS | {"threads": None})
    curves.add([(1.0, 2.0, 2.0, 0.0)] * 150 + [(1.0, 1e5, 1e5, 0.0), (math.nan, 2.0, 2.0, 0.0)] * 2)
    assert capsys.readouterr().err.splitlines() == [
        "farreach: mine: step 151: the gradient norm is 1e+05, its median before 2",
        "farreach: mine: step 152: the loss is not finite",
    ]


def test_every_step_goes_to_a_writer_as_well(tmp_path: Path) -> None:
    found: list[tuple[str, float, int]] = []

    class Writer:
        def add_scalar(self, name: str, value: float, step: int) -> None:
            found.append((name, value, step))

    curves = Curves(tmp_path, "mine", {}, FACTS | {"threads": None})
    curves.writers.append(Writer())
    curves.add([(1.0, 2.0, 0.5, 1.0)])
    values = {"loss": 1.0, "norm_before": 2.0, "norm_after": 0.5, "clipped": 1.0}
    assert found == [(f"farreach/{name}", value, 1) for name, value in values.items()]


def test_recorded_norms_suggest_thresholds_and_what_each_would_clip(tmp_path: Path) -> None:
    curves = Curves(tmp_path, "mine", {}, FACTS | {"threads": None})
    norms = [float(step) for step in range(1, 101)]
    curves.add((1.0, norm, norm, 0.0) for norm in norms)
    curves.close()
    told = run("-m", "benchmarks", "advise", tmp_path)
    assert told.returncode == 0, told.stderr
    said = " ".join(told.stdout.split())
    assert "over 100 steps of 1 run the average norm before the clip is 50.5" in said
    assert "is 25.2, which would have clipped 75 % of the steps, to 505, 0 %" in said
    assert re.search(r"50.5 +. 50 % quantile +. 50 %", told.stdout)


@pytest.mark.parametrize("solved", [None, 0.1])
def test_thresholds_are_tried_in_a_function_of_ones_own_and_resumed(tmp_path: Path, solved: float | None) -> None:
    calls: list[tuple[float | None, int]] = []

    def make_run(threshold: float | None, seed: int, folder: Path) -> list[float]:
        calls.append((threshold, seed))
        if len(calls) == 5:
            raise KeyboardInterrupt
        curves = Curves(folder, "mine", {}, FACTS | {"threads": None})
        if threshold is not None:
            curves.clips("norm", threshold)
        torn = threshold is None
        limit = threshold or math.inf
        norms = [0.5 + step % 3 for step in range(30)]
        losses = [math.nan if torn and step == 20 else 1.0 for step in range(30)]
        curves.add((loss, n, min(n, limit), float(n > limit)) for loss, n in zip(losses, norms, strict=True))
        curves.close()
        return [math.nan] if torn else [0.5, 0.05 if threshold == 1.0 else 0.4]

    about: dict[str, Any] = {"folder": tmp_path, "floor": 1.0, "learning_rate": 0.1, "seeds": (0, 1), "solved": solved}
    with pytest.raises(KeyboardInterrupt):
        farreach.advise(make_run, thresholds=[3.0, 1.0], **about)
    found = farreach.advise(make_run, thresholds=[3.0, 1.0], **about)
    assert calls == [(None, 0), (None, 1), (1.0, 0), (1.0, 1), (3.0, 0), (3.0, 0), (3.0, 1)]
    assert (found.recommended, found.plateau) == (1.0, (1.0,))
    assert "the recommended threshold is norm 1" in " ".join(found.sentences)
    assert "2 of 2 diverged" in " ".join(found.sentences)
    again = farreach.advise(make_run, thresholds=[3.0, 1.0], **about)
    assert len(calls) == 7
    assert again.sentences == found.sentences
    for wrong, name in (({"thresholds": []}, "thresholds"), ({"thresholds": [1], "seeds": [0, 0]}, "seeds")):
        with pytest.raises(ValueError, match=name):
            farreach.advise(make_run, **(about | wrong))


def test_the_wrong_order_is_named_by_file_and_line(tmp_path: Path) -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    script = tmp_path / "wrong.py"
    script.write_text(WRONG)
    line = 1 + WRONG.splitlines().index("        clip_grad_norm_(model.parameters(), 0.01)")
    done = run(script, tmp_path / "mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("NoGradientWarning") == 1
    assert f"{script}:{line}: NoGradientWarning: {script}:{line}: this clip changes nothing" in done.stderr
    assert Store(tmp_path / "mine").rows()["clip_fraction"].tolist() == [0.0]


def test_the_curves_are_plain_text(tmp_path: Path) -> None:
    path = write(tmp_path).path
    assert path.read_text().startswith("step,loss,norm_before,norm_after,clipped,skipped\n1,1.0,2.0,1.0,1.0,0\n")
    assert len(pd.read_csv(path)) == 60
