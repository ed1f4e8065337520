"""Runs commands of ``python -m benchmarks``, in a process of their own or in this one."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

from farreach.benchmarks import __main__ as cli
from farreach.benchmarks.commands.shared import output
from farreach.benchmarks.matrix import registry
from farreach.results.report.console import Screen

ODD_WORDS = [
    *("task", "adding", "copy", "T", "50", "-1", "1e400", "nan", "framework", "pytorch", "cell", "lstm", "clip"),
    *("norm", "threshold", "0.1", "seed", "hidden", "1000000000", "=", "", "[]", "{}", "../x", "<b>", "%s", "{0}"),
    *("none", "true", "path", "auto", "mode", "native", "\u202e", "\u00e9", "-", "--", "--only", "--out", "--jobs"),
]
"""What a command line may be made of that nobody would write: keys, values, options and signs in any order."""


def run_command(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, with more environment variables."""
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=registry.ROOT,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def call_command(*words: str) -> tuple[int, str, str]:
    """Run a command in this process; return its status, what it printed and its error lines."""
    out, errors = io.StringIO(), io.StringIO()
    status: object = 0
    before, sys.argv = sys.argv, ["benchmarks", *words]
    screen, output.console = output.console, Screen(file=out, width=200)
    try:
        with redirect_stdout(out), redirect_stderr(errors):
            cli.main()
    except SystemExit as done:
        status = done.code
    finally:
        sys.argv, output.console = before, screen
    return int(str(status or 0)), out.getvalue(), errors.getvalue()


def read_refusal(*words: str) -> str:
    """Run a command that must be refused: status 2 and one error line, which is returned."""
    status, out, errors = call_command(*words)
    assert (status, out) == (2, ""), errors
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    return errors
