"""No option is ignored without a word: what contradicts or has no use is one line and exit status 2."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from farreach.benchmarks import __main__
from farreach.benchmarks.matrix import registry
from tests.support import synthetic

ADDRESS = "--dask takes the address of a scheduler, tcp://HOST:PORT, not ''"
LIVE = "of no use without --live"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["run", "quick", "--dask", ""], ADDRESS),
        (["speed", "--dask", ""], ADDRESS),
        (["speed", "--dask", " "], ADDRESS.replace("''", "' '")),
        (["speed", "--check", "3", "--dask", ""], ADDRESS),
        (["run", "quick", "--patience", "5"], "--patience: of no use without --dask"),
        (["speed", "--patience", "5"], "--patience: of no use without --dask"),
        (["speed", "--check", "3", "--handwritten"], "--handwritten: of no use with --check"),
        (["speed", "scaling", "--check", "3", "--energy"], "SUITE, --energy: of no use with --check"),
        (["compare", "a", "b", "--only", "cell=rnn"], f"--only: {LIVE}"),
        (["compare", "a", "b", "--suite", "speed"], f"--suite: {LIVE}"),
        (["compare", "a", "b", "--limit", "20", "--launches", "8"], f"--launches, --limit: {LIVE}"),
        (["compare", "a", "b", "--live", "--fail-on", "changed"], "--live compares times alone"),
        (["publish", "--check", "--pictures"], "--check writes nothing, so it takes no --pictures"),
        (["list", ""], "unknown list ''"),
    ],
)
def test_an_option_without_use_is_one_line(
    line: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = ["--out", str(tmp_path / "out")] if line[0] in {"run", "speed", "compare"} else []
    check_refused([*line, *out], said, monkeypatch, capsys)
    assert not [*tmp_path.iterdir()]


def test_a_table_without_a_name_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    synthetic.write(tmp_path, [synthetic.record()])
    check_refused(["show", str(tmp_path), "--table", ""], "unknown table ''", monkeypatch, capsys)


def test_rows_are_not_compared_with_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(registry.ROOT / "results" / "published" / "reach" / "rows", tmp_path / "rows")
    line = ["reproduce", str(tmp_path), "--out", str(tmp_path / "x" / "..")]
    check_refused(line, "the new ones need a folder of their own", monkeypatch, capsys)


def check_refused(
    line: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hold what a command says and how it ends against one line and status 2."""
    monkeypatch.setattr(sys, "argv", ["benchmarks", *line])
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    captured = capsys.readouterr()
    assert (ended.value.code, captured.out, captured.err.count("\n")) == (2, "", 1)
    assert said in captured.err
