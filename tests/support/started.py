"""Processes that are started together, answer together, and are ended together."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from farreach.benchmarks.matrix import registry

END = "\nend\n"
"""What stands behind an answer."""


def give_answer(answer: str) -> None:
    """Write the answer of this process, one line, and wait for the end: JAX ends whom another process leaves."""
    sys.stdout.write(f"\n{answer}{END}")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)  # without the libraries' farewells, which have no one order


def start_group(
    lines: Sequence[Sequence[str]], environment: Mapping[str, str], given: str, patience: float
) -> list[str]:
    """Return the answer of each process, which `give_answer` wrote; none is left behind.

    Args:
        lines: what Python is called with, for each process.
        environment: of all of them.
        given: a line that each reads.
        patience: seconds that they have, their imports included.

    Raises:
        AssertionError: one ended without an answer, or time is up; the message has the end of what it wrote.

    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        answers = [Path(folder) / f"{rank}.answer" for rank in range(len(lines))]
        logs = [answer.with_suffix(".log") for answer in answers]
        processes = []
        for line, answer, log in zip(lines, answers, logs, strict=True):
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, *line],
                cwd=registry.ROOT,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=stack.enter_context(answer.open("w")),
                stderr=stack.enter_context(log.open("w")),
                encoding="utf-8",
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        for process in processes:
            assert process.stdin
            stack.enter_context(process.stdin)
            process.stdin.write(given + "\n")
            process.stdin.flush()
        end = time.monotonic() + patience
        while not all(answer.read_text().endswith(END) for answer in answers):
            for process, log in zip(processes, logs, strict=True):
                assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < end, f"no answer within {patience:g} s: {logs[0].read_text()[-2000:]}"
            time.sleep(0.1)
        return [answer.read_text().removesuffix(END).rpartition("\n")[2] for answer in answers]
