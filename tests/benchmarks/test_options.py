"""No option is ignored without a word: what contradicts or has no use is one line and exit status 2."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from farreach.benchmarks.matrix import registry
from tests.support import synthetic
from tests.support.commands import read_refusal

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
) -> None:
    out = ["--out", str(tmp_path / "out")] if line[0] in {"run", "speed", "compare"} else []
    assert said in read_refusal(*line, *out)
    assert not [*tmp_path.iterdir()]


def test_a_table_without_a_name_is_none(tmp_path: Path) -> None:
    synthetic.write(tmp_path, [synthetic.record()])
    assert "unknown table ''" in read_refusal("show", str(tmp_path), "--table", "")


def test_rows_are_not_compared_with_themselves(tmp_path: Path) -> None:
    shutil.copytree(registry.ROOT / "results" / "published" / "reach" / "rows", tmp_path / "rows")
    line = ["reproduce", str(tmp_path), "--out", str(tmp_path / "x" / "..")]
    assert "the new ones need a folder of their own" in read_refusal(*line)
