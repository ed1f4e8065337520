"""What benchmarks of the suite itself print and keep."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from farreach.benchmarks.__main__ import app
from farreach.benchmarks.commands import COMMANDS
from farreach.benchmarks.matrix import registry
from farreach.benchmarks.running import environment
from farreach.benchmarks.studies import live_check, measurement, own_cost
from farreach.results.storage.sets import open_set
from tests.support import gpu


def test_a_measured_table_is_printed_and_kept_with_its_command_and_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.DataFrame([["a | case", "1.50", "kept"]], columns=["what", "seconds", "verdict"])
    page = tmp_path / "cost.md"
    measurement.write_table(
        frame, title="what it costs", command="python -m benchmarks cost", sentence="One was kept.", out=page
    )
    printed, kept = capsys.readouterr().out, page.read_text()
    for text in ("1.50", "kept", "One was kept."):
        assert text in printed
        assert text in kept
    assert kept.startswith("# What it costs\n\nMade by `python -m benchmarks cost` on ")
    assert str(environment.collect_facts()["processor"]) in kept
    assert "a \\| case" in kept


STUDIES = {"own-cost": (own_cost, "measure_costs"), "live-check": (live_check, "measure_pairs")}


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_is_a_command_whose_page_names_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, measure = STUDIES[name]
    frame = pd.DataFrame({"step": ["a step"], "injected": [0.1], "speed": ["worse"]})
    monkeypatch.setattr(module, measure, lambda *_: frame)
    page = tmp_path / "page.md"
    done = CliRunner().invoke(app, [name, "--out", str(page)])
    assert done.exit_code == 0, done.output
    assert f"Made by `python -m benchmarks {name}" in page.read_text()


def test_the_many_rows_whose_report_is_timed_are_rows_that_a_run_could_have_made(tmp_path: Path) -> None:
    own_cost.write_rows(tmp_path, 400)
    rows = open_set(tmp_path).rows()
    assert len(rows) == rows["key"].nunique() == 400


def test_a_cluster_without_dask_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_version", lambda _: None)
    done = CliRunner().invoke(app, ["cluster-cost"])
    assert isinstance(done.exception, registry.UsageError)
    assert "needs the package distributed" in str(done.exception)


def test_every_study_that_a_published_page_names_is_a_command() -> None:
    pages = [path.read_text() for path in (registry.ROOT / "results" / "published").glob("*.md")]
    named = set(re.findall(r"python -m benchmarks([. ][\w.-]+)", "".join(pages)))
    assert {name.removeprefix(" ") for name in named} <= set(COMMANDS)


def test_pairs_of_each_kind_that_were_flagged_are_counted() -> None:
    pairs = [(0.0, "same"), (0.0, "worse"), (0.0, "inconclusive"), (0.1, "worse"), (0.1, "inconclusive")]
    said = live_check.summarize_pairs(pd.DataFrame(pairs, columns=["injected", "speed"]))
    assert said.startswith("1 of 3 live comparisons of the same environment were flagged; an injected slowdown of 10%")
    assert "was flagged in 1 of 2." in said


def test_a_gpu_is_seen_where_the_drivers_library_is_not_on_the_loaders_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_nothing(_name: str) -> None:
        message = "cannot open shared object file"
        raise OSError(message)

    monkeypatch.setattr(gpu.ctypes, "CDLL", find_nothing)
    monkeypatch.setattr(gpu, "DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu.count.__wrapped__() == 0
    for name in ("nvidia0", "nvidia1", "nvidiactl"):
        (tmp_path / name).touch()
    assert gpu.count.__wrapped__() == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert gpu.count.__wrapped__() == 0
