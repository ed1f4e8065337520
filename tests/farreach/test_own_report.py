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

from farreach.benchmarks.matrix import registry
from farreach.curves import Curves
from farreach.results.analysis import tables
from farreach.results.analysis.rows import label_rows
from farreach.results.figures import curves as curve_figures
from farreach.results.figures import style, training
from farreach.results.report import findings, result_set
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
    assert "1 of 1 run diverged" in " ".join(findings.write_own_runs(label_rows(rows).own))
    assert tables.tabulate_divergence(label_rows(rows))["diverged at"].tolist() == [41]
    result_set.write(tmp_path)


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
    assert axes.get_xlabel() == "clip threshold (variable)"


def test_an_absolute_path_on_the_command_line_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "train.py"), str(tmp_path), "--fast"])
    write(tmp_path)
    assert Store(tmp_path).rows()["command"].tolist() == ["python train.py DIR --fast"]


# The examples


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize(
    ("script", "package", "environment"),
    [
        ("own_pytorch", "torch", {}),
        ("own_keras", "tensorflow", {"KERAS_BACKEND": "tensorflow"}),
        ("own_keras", "torch", {"KERAS_BACKEND": "torch"}),
    ],
    ids=["pytorch", "keras on tensorflow", "keras on torch"],
)
def test_an_example_runs_and_its_folder_becomes_a_report(
    tmp_path: Path, script: str, package: str, environment: dict[str, str]
) -> None:
    for needed in {package, script.removeprefix("own_").replace("py", "")}:
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
    assert "textbook lstm" in told.stdout
    assert (tmp_path / "figures" / "gradient-norm-own.png").exists()


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
    assert path.read_text().startswith("step,loss,norm_before,norm_after,clipped\n1,1.0,2.0,1.0,1.0\n")
    assert len(pd.read_csv(path)) == 60
