"""Portable runs: their variables reach the workers and the rows, and such rows are run again as they were made."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from farreach.benchmarks.matrix.registry import UsageError
from farreach.benchmarks.running import portable
from farreach.results.storage.sets import open_set
from tests.support.commands import call_command, read_refusal
from tests.support.sweeps import format_suite

PYTORCH = portable.VARIABLES["pytorch"]


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (portable.WANTED, *PYTORCH):
        monkeypatch.setenv(name, "")  # so that it is put back as it was
        monkeypatch.delenv(name)


@pytest.mark.slow
def test_a_portable_row_says_so_and_is_run_again_as_it_was_made(tmp_path: Path) -> None:
    (tmp_path / "short.toml").write_text(format_suite(framework="pytorch"))
    out = tmp_path / "out"
    command = ["run", str(tmp_path / "short.toml"), "--out", str(out)]
    status, _, errors = call_command(*command, "--portable")
    assert status == 0, errors
    [row] = open_set(out).rows().to_dict("records")
    assert PYTORCH.items() <= json.loads(row["variables"]).items()
    assert portable.is_portable(row)
    del os.environ[portable.WANTED]
    assert "other code or settings" in " ".join(call_command(*command)[1].split())
    status, said, errors = call_command("reproduce", str(out))
    assert status == 0, said + errors
    assert os.environ[portable.WANTED]
    assert portable.list_variables("pytorch") == PYTORCH
    assert portable.list_variables("tensorflow") == {}


def test_what_the_user_has_set_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MKL_CBWR", "SSE4_2")
    assert "but it is set to SSE4_2" in read_refusal("run", "quick", "--portable")


def test_rows_of_both_kinds_are_refused_and_others_want_nothing() -> None:
    def row(text: object, framework: str = "pytorch") -> dict[str, object]:
        return {"framework": framework, "variables": text}

    made = row(json.dumps(PYTORCH | {"OMP_NUM_THREADS": "1"}))
    plain = row(json.dumps({"MKL_CBWR": "AVX2"}))
    portable.follow_rows([plain, *map(row, (None, "", "{", "[]", "1", float("nan")))])
    assert portable.WANTED not in os.environ
    with pytest.raises(UsageError, match="made by --portable and some were not"):
        portable.follow_rows([made, plain])
    portable.follow_rows([made, row("{}", "tensorflow")])
    assert portable.WANTED in os.environ
