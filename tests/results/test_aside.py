"""Work in another process: what it returns and raises comes back, and where there is none the work is done here."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pandas as pd
import pytest

from farreach.benchmarks.commands.shared import reports
from farreach.results.figures import style
from farreach.results.report import result_set
from farreach.results.storage import aside, row_index
from farreach.results.storage.files import DamagedError
from farreach.results.storage.result_set import Store
from tests.support import synthetic


@pytest.fixture(params=[1, 2])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """One core and two, whatever the machine has."""
    if request.param > 1 and not hasattr(os, "fork"):
        pytest.skip("no process can be copied here")
    monkeypatch.setattr(aside, "cores", lambda: request.param)
    number: int = request.param
    return number


def test_what_the_work_returns_comes_back(cores: int) -> None:
    value, where = aside.Aside(lambda: ({"a": 1}, os.getpid())).result()
    assert value == {"a": 1}
    assert (where == os.getpid()) == (cores == 1)


@pytest.mark.usefixtures("cores")
def test_what_the_work_raises_is_raised_here() -> None:
    def broken() -> None:
        raise DamagedError(Path("rows/k.json"), "it is cut off")

    with pytest.raises(DamagedError, match=r"^rows/k.json is damaged: it is cut off$") as fault:
        aside.Aside(broken).result()
    assert fault.value.path == Path("rows/k.json")


@pytest.mark.usefixtures("cores")
def test_work_whose_process_is_killed_is_done_here() -> None:
    here = os.getpid()

    def killed() -> str:
        if os.getpid() != here:
            os._exit(1)
        return "done"

    assert aside.Aside(killed).result() == "done"


def test_beside_another_thread_no_process_is_copied() -> None:
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        assert aside.cores() == 1
    finally:
        done.set()
        other.join()


@pytest.mark.usefixtures("cores")
def test_a_set_read_on_every_core_is_the_same_set_and_names_what_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [synthetic.record(key=f"k{at:02}", seed=at, solved=None if at % 3 else True) for at in range(20)]
    store = synthetic.write(tmp_path, whole)
    at_once = store.rows()
    monkeypatch.setattr(row_index, "AT_ONCE", 3)
    monkeypatch.setattr(row_index, "FEWEST", 2)
    pd.testing.assert_frame_equal(Store(tmp_path).rows(), at_once)
    pd.testing.assert_frame_equal(Store(tmp_path).rows(), at_once)  # out of the index
    (tmp_path / row_index.FILE).unlink()
    for key in ("k04", "k17"):
        (tmp_path / "rows" / f"{key}.json").write_text("{")
    damaged = Store(tmp_path)
    assert set(damaged.rows()["key"]) == {f"k{at:02}" for at in range(20)} - {"k04", "k17"}
    assert [*damaged.damaged] == ["k04", "k17"]
    assert all("is damaged" in reason for reason in damaged.damaged.values())


def test_rows_with_columns_of_their_own_and_metrics_of_every_kind_fit_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_index, "AT_ONCE", 1)
    monkeypatch.setattr(row_index, "FEWEST", 2)
    metrics = [{"x": 1}, {"x": 0.5, "y": None}, {"x": True}, {"y": 2**70}, {}]
    row = synthetic.record(key="k").row()
    (tmp_path / "rows").mkdir()
    for at, values in enumerate(metrics):
        line = row | {"key": f"k{at}", "later": [1]} | {f"metric.{name}": value for name, value in values.items()}
        (tmp_path / "rows" / f"k{at}.json").write_text(json.dumps(line))
    for _ in ("read", "read again"):
        rows = Store(tmp_path).rows()
        assert rows["metric.x"].tolist()[:3] == [1.0, 0.5, 1.0]
        assert rows["metric.y"].tolist()[3] == float(2**70)
        assert rows[["metric.x", "metric.y"]].isna().sum().sum() == 6
        assert "later" not in rows
    assert (tmp_path / row_index.FILE).exists()


def written(folder: Path) -> dict[str, bytes]:
    """Return what the report and the page of a set consist of, by name."""
    reports.write_report(folder)
    made = [path for part in ("tables", "figures", "report") for path in (folder / part).iterdir()]
    return {path.name: path.read_bytes() for path in [*made, folder / "report.md", folder / "report.html"]}


@pytest.mark.usefixtures("cores")
def test_a_report_whose_figures_another_process_draws_is_the_same_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "DPI", 30)
    whole = [synthetic.record(key=f"k{cell}{seed}", cell=cell, seed=seed) for cell in ("rnn", "gru") for seed in (0, 1)]
    synthetic.write(tmp_path, [*whole, synthetic.diverged(key="torn")])
    here = written(tmp_path)
    monkeypatch.setattr(result_set, "LARGE", 1)
    assert written(tmp_path) == here
    (tmp_path / "curves" / "kgru1.parquet").write_bytes(b"PAR1 no longer PAR1")
    reports.write_report(tmp_path)
    assert "kgru1.parquet is damaged" in (tmp_path / "report.md").read_text().replace("\\_", "_")
    assert (tmp_path / "damaged" / "kgru1" / "reason.txt").exists()
