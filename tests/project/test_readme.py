"""What the README shows works, and is what was published."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from farreach.benchmarks.matrix import registry, suite
from farreach.results.analysis import calibration, threshold_advice
from farreach.results.report.markdown import table
from farreach.results.storage.result_set import Store
from farreach.tasks import base

README = (registry.ROOT / "README.md").read_text()
PUBLISHED = registry.ROOT / "results" / "published" / "quick"


def test_the_example_task_keeps_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code
    module = types.ModuleType("farreach.tasks.parity")
    monkeypatch.setitem(sys.modules, "farreach.tasks.parity", module)
    exec(compile(code[1], "README.md", "exec"), module.__dict__)  # noqa: S102 - our own README
    task: base.Task = module.Task(T=6)
    batch = next(task.batches(0, 4))
    assert batch.inputs.shape == (4, task.length, task.features)
    assert batch.targets.shape == batch.mask.shape == (4, task.scored)
    even = task.evaluate(lambda inputs: np.zeros((len(inputs), 1, 2)))
    assert even["loss"] == pytest.approx(task.floor)
    odd = task.evaluate(lambda inputs: np.eye(2)[inputs.sum(axis=1).astype(int) % 2] * 100)
    assert odd == {"loss": pytest.approx(0), "accuracy": 1}
    assert task.solved(odd)
    with pytest.raises(base.TaskError):
        module.Task(T=1)


def test_the_commands_name_environments_that_exist() -> None:
    tox = configparser.ConfigParser()
    tox.read(registry.ROOT / "tox.ini")
    named = set(re.findall(r"tox -e ([a-z,-]+)", README))
    assert {"bench", "tests", "bench-pytorch", "bench-tensorflow", "bench-jax"} <= named
    for name in named:
        assert f"testenv:{name}" in tox


def test_ci_runs_the_test_command_of_the_readme() -> None:
    ci = (registry.ROOT / ".ci" / "run").read_text()
    command = next(line for line in README.splitlines() if line.strip().endswith("tox -e tests"))
    for part in command.strip().split(" && "):
        assert part in ci


def test_suites_and_tasks_that_the_readme_names_are_there() -> None:
    for name in registry.suites():
        assert f"`{name}`" in README
        assert suite.load(name).description
    for name in registry.tasks():
        assert f"| `{name}` |" in README


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "tasks/data/README.md", "CHANGELOG.md"])
def test_links_lead_somewhere(document: str) -> None:
    path = registry.ROOT / document
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


def test_the_table_in_the_readme_is_the_published_one() -> None:
    summary = (PUBLISHED / "tables" / "summary.md").read_text()
    assert summary[summary.index("|") :].strip() in README


def test_no_file_names_an_index_or_a_place_on_a_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=registry.ROOT, check=True, capture_output=True, text=True)  # noqa: S607
    for name in listed.stdout.splitlines():
        path = registry.ROOT / name
        if path.suffix in {".parquet", ".png"} or path == Path(__file__) or not path.exists():
            continue
        text = path.read_text()
        for place in ("index-url", "pypi.org", "/tmp/", "/home/", "/root/", "/opt/", "/work/"):  # noqa: S108
            assert place not in text, (name, place)


@pytest.mark.parametrize(
    ("name", "frameworks"),
    [
        ("quick", ["pytorch", "tensorflow"]),
        ("native", ["pytorch", "tensorflow", "jax"]),
        ("reach", ["pytorch"]),
        ("pascanu", ["jax"]),
    ],
)
def test_every_published_row_is_certified_and_from_a_commit(name: str, frameworks: list[str]) -> None:
    rows = Store(PUBLISHED.parent / name).rows()
    assert rows.loc[rows["mode"] == "matched", "certificate"].notna().all()
    assert not rows["commit"].str.contains("changes").any()
    seeds = sorted(set(rows["seed"]))
    wanted = {case.label() for case in suite.load(name).cases(frameworks) if case.seed in seeds}
    assert len(rows) == len(wanted)


def test_the_published_calibration_is_right_as_often_as_the_readme_says() -> None:
    found = calibration.calibrated(Store(PUBLISHED.parent / "calibration"))
    assert found.cases >= 200
    assert found.right / found.cases >= 0.95
    assert found.sentence().rstrip(".") in README
    assert table(found.confusion).strip() in README


def test_the_published_table_of_the_temporal_order_problem_is_in_the_readme() -> None:
    rows = Store(PUBLISHED.parent / "pascanu").rows()
    solved = rows[rows["parameters"].str.contains("40") & (rows["learning_rate"] == 0.01)].fillna({"strength": 0})
    counts = solved.groupby(["clip", "strength"])["solved"].sum()
    line = re.search(r"\| T=40, learning rate 0.01 \|(.*)\|", README)
    assert line
    assert [int(cell.strip().partition("/")[0]) for cell in line[1].split("|")] == [
        counts[("none", 0)],
        *(counts[("norm", strength)] for strength in (0, 0.1, 2)),
    ]


def test_the_published_advice_follows_from_its_cases_and_is_what_the_readme_says() -> None:
    folder = PUBLISHED.parent / "advice" / "adding-lstm"
    rows = Store(folder).rows()
    cases, points = (pd.read_csv(folder / name) for name in ("cases.csv", "points.csv"))
    assert len(rows) == len(cases) == 81
    assert rows["certificate"].notna().all()
    assert not rows["commit"].str.contains("changes").any()
    cases["solved"] = cases["solved"].astype("boolean")
    judged = {one.learning_rate: one for one in threshold_advice.judge(cases)}
    for rate, one in judged.items():
        marked = points.loc[(points["learning_rate"] == rate) & points["recommended"], "threshold"]
        assert marked.tolist() == [one.recommended]
    named = judged[0.003]
    there = named.line(named.recommended)
    assert there["solved"] == there["judged"] == 3
    said = f"At adam 0.003 the recommended threshold is norm {named.recommended:g}"
    assert said in README
    assert said in (folder / "advice.md").read_text()


def test_the_example_task_keeps_the_rules_of_style(tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code
    if shutil.which("ruff") is None:
        pytest.skip("ruff is not installed")
    (tmp_path / "parity.py").write_text(code[1])
    config = str(registry.ROOT / "pyproject.toml")
    found = subprocess.run(  # noqa: S603
        ["ruff", "check", "--config", config, "--ignore", "INP001", str(tmp_path)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout
