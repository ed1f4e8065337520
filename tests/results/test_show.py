"""`show` prints any slice of a result set, in any of four ways."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest

from farreach.results.analysis.rows import label_rows
from farreach.results.report import slices
from farreach.results.storage.result_set import Store
from tests.support import synthetic
from tests.support.commands import call_command, run_command
from tests.support.pages import accept_names
from tests.support.timings import STEP, make_contender, make_group, make_seconds


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("show") / "quick"
    synthetic.main(folder)
    return folder


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of paired timings alone."""
    folder = tmp_path_factory.mktemp("timed") / "speed"
    (folder / "timings").mkdir(parents=True)
    takes = {"jax (scan)": 1.0, "pytorch (eager)": 2.0, "tensorflow (xla)": 1.5}
    for at, cell in enumerate(("lstm", "gru")):
        contenders = [make_contender(name, make_seconds(middle).tolist()) for name, middle in takes.items()]
        (folder / "timings" / f"{at}.json").write_text(json.dumps(make_group(*contenders, step=STEP | {"cell": cell})))
    return folder


def show(folder: Path, *options: str) -> str:
    done = run_command("show", str(folder), *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_slice_of_the_compact_table_says_once_what_its_lines_share(quick: Path) -> None:
    text = show(quick, "--only", "task=adding", "--only", "cell=lstm", "--only", "learning_rate=0.003")
    lines = [line for line in text.splitlines() if "norm" in line]
    assert len(lines) == 4
    assert "adding T=50 (adam 0.003); cell: lstm" in " ".join(text.split())
    assert "copy" not in text


def test_csv_has_every_digit_of_the_rows_that_are_left(quick: Path) -> None:
    text = show(
        quick, "--table", "cases", "--only", "T=50", "--only", "clip=norm", "--only", "threshold=0.10", "--as", "csv"
    )
    back = pd.read_csv(io.StringIO(text))
    rows = Store(quick).rows()
    chosen = rows[(rows["parameters"] == '{"T": 50}') & (rows["threshold"] == 0.1)]
    assert sorted(back["key"]) == sorted(chosen["key"])
    assert sorted(back["skill"]) == pytest.approx(sorted(chosen["skill"].astype(float)), rel=1e-15)


@pytest.mark.parametrize("name", slices.ROWS)
def test_every_table_of_trained_cases_is_shown_in_every_way(quick: Path, name: str) -> None:
    rows = label_rows(Store(quick).rows())
    frame = slices.drop_known(slices.ROWS[name](rows.select(rows.frame["framework"] == "pytorch"), {}))
    if name != "divergence":
        assert len(frame)
    assert slices.write_lines(frame, "markdown").count("\n") == len(frame) + 2
    assert slices.write_lines(frame, "latex").count("\\\\\n") == len(frame) + 1
    kept, _ = slices.split_shared(slices.format_cells(frame))
    assert len(kept) == len(frame)


def test_timed_steps_are_chosen_by_framework_cell_and_length(timed: Path) -> None:
    text = show(timed, "--table", "ratios", "--only", "framework=tensorflow", "--only", "cell=lstm", "--as", "csv")
    back = pd.read_csv(io.StringIO(text))
    assert len(back) == 2
    assert set(back["cell"]) == {"lstm"}
    text = show(timed, "--only", "T=50", "--top", "3", "--as", "csv")
    assert len(pd.read_csv(io.StringIO(text))) == 3


def test_a_timed_step_is_chosen_by_each_of_its_task_s_parameters(tmp_path: Path) -> None:
    (tmp_path / "timings").mkdir()
    for symbols in (8, 16):
        takes = [make_contender(name, make_seconds(1.0).tolist()) for name in ("jax (scan)", "pytorch (eager)")]
        step = STEP | {"task": "copy", "parameters": {"T": 50, "symbols": symbols}}
        (tmp_path / "timings" / f"{symbols}.json").write_text(json.dumps(make_group(*takes, step=step)))
    text = show(tmp_path, "--table", "ratios", "--only", "T=50", "--only", "symbols=8", "--as", "csv")
    assert pd.read_csv(io.StringIO(text))["parameters"].tolist() == ["T=50, symbols=8"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--only", "cell=elman"], "has no case with cell=elman; it has: gru, lstm, rnn"),
        (["--only", "colour=red"], "unknown key 'colour'; allowed: "),
        (["--only", "cell"], "--only takes KEY=VALUE, not 'cell'"),
        (["--table", "ratio"], "unknown table 'ratio'; allowed: summary, "),
        (["--top", "0"], "Invalid value for '--top'"),
        (["--only", "task=copy", "--only", "T=50"], "has no case with task=copy and T=50"),
    ],
)
def test_a_slice_that_is_not_there_is_one_line(quick: Path, options: list[str], expected: str) -> None:
    done = run_command("show", str(quick), *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert expected in done.stderr


def test_a_folder_without_results_is_one_line(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        done = run_command("show", str(folder))
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_markup_in_a_name_stays_text(tmp_path: Path) -> None:
    synthetic.write(tmp_path, [synthetic.record(framework="[red]a[/red]"), synthetic.record(clip="<b>", threshold=1.0)])
    with accept_names():
        status, text, errors = call_command("show", str(tmp_path))
    assert status == 0, errors
    assert "[red]a[/red]" in text
    assert "<b>" in text
