"""How a run ends: training is never lost to a report, and what failed has the library's own message for a reason."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from farreach.benchmarks.commands.shared import reports
from farreach.benchmarks.running.reasons import write_reason
from farreach.results.storage.files import StoreError
from farreach.results.storage.result_set import Store
from tests.support.commands import call_command
from tests.support.sweeps import format_suite

AUTOGRAPH = """in user code:

    File "loop.py", line 8, in f  *
        return tf.matmul(x, tf.ones((7, 3)))

    ValueError: Dimensions must be equal, but are 2 and 7 for '{{node MatMul}} = MatMul[](x, 1)'
"""
KERAS = """Exception encountered when calling LSTMCell.call().

\x1b[1m{{function_node __wrapped____MklMatMul_device_/job:localhost/task:0/device:CPU:0}} Matrix size-incompatible: \
In[0]: [2,9], In[1]: [3,16]\x1b[0m

Arguments received by LSTMCell.call():
  • inputs=tf.Tensor(shape=(2, 9), dtype=float32)"""
SCRIPT = """The following operation failed in the TorchScript interpreter.
Traceback of TorchScript (most recent call last):
  File "loop.py", line 35, in f
RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x2 and 7x3)
"""
COMPILER = "backend='inductor' raised:\nCppCompileError: C++ compile error\n\nSet TORCHDYNAMO_VERBOSE=1 for more"
FAKE = "RuntimeError when making fake tensor call\n  Explanation: Dynamo failed to run: a and b differ\n  Hint: none"
STATE = 'Error(s) in loading state_dict for LSTM:\n\tMissing key(s) in state_dict: "a".\n\tUnexpected key(s): "b".'

REASONS = {
    AUTOGRAPH: "ValueError: Dimensions must be equal, but are 2 and 7 for '{{node MatMul}} = MatMul[](x, 1)'",
    KERAS: "RuntimeError: Matrix size-incompatible: In[0]: [2,9], In[1]: [3,16]",
    SCRIPT: "RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x2 and 7x3)",
    COMPILER: "CppCompileError: C++ compile error",
    FAKE: "RuntimeError: Dynamo failed to run: a and b differ",
    STATE: 'RuntimeError: Error(s) in loading state_dict for LSTM: Missing key(s) in state_dict: "a".',
    "\nCUDA error: out of memory\nCUDA kernel errors might be asynchronous": "RuntimeError: CUDA error: out of memory",
    "in user code:": "RuntimeError: in user code:",
    " \n": "RuntimeError: no message",
}


@pytest.mark.parametrize("text", REASONS)
def test_a_reason_is_what_the_library_says_is_wrong(text: str) -> None:
    assert write_reason(RuntimeError(text)) == REASONS[text]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Return a suite of two short cases."""
    path = tmp_path / "two.toml"
    path.write_text(format_suite(seed=[0, 1]))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("error", [RuntimeError("no\nfont"), StoreError("the disk is full"), KeyboardInterrupt()])
def test_a_report_that_fails_after_a_run_costs_no_row_and_is_one_line(
    error: BaseException, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(reports, "write_report", fail)
    out = tmp_path / "out"
    status, printed, errors = call_command("run", str(suite), "--out", str(out))
    assert status == (130 if isinstance(error, KeyboardInterrupt) else 1)
    assert len(Store(out).rows()) == 2
    assert errors.count("\n") == 1, errors
    assert f"the rows are kept, and python -m benchmarks report {out} makes it" in errors
    assert "Traceback" not in printed + errors
    if isinstance(error, RuntimeError):
        assert "the report was not written: RuntimeError: no;" in errors
        assert "Traceback" in (out / "logs" / "report.log").read_text("utf-8")
    monkeypatch.undo()
    status, printed, errors = call_command("report", str(out))
    assert (status, errors) == (0, "")
    assert (out / "report.html").exists()


def test_a_suite_with_a_byte_order_mark_is_read(suite: Path, tmp_path: Path) -> None:
    suite.write_bytes(b"\xef\xbb\xbf" + suite.read_bytes())
    status, _, errors = call_command("run", str(suite), "--out", str(tmp_path / "out"))
    assert (status, errors) == (0, "")


def test_a_word_that_is_no_text_is_refused_in_one_line(suite: Path, tmp_path: Path) -> None:
    status, _, errors = call_command("run", str(suite), "--out", os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    assert status == 2
    assert errors.startswith("error: ")
    assert errors.endswith("is no text in this locale; with PYTHONUTF8=1, words of the command are UTF-8\n")
    assert errors.count("\n") == 1
