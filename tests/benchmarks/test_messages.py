"""Messages between a worker and the process that started it: each is read back, and what is none ends the worker."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import messages
from farreach.benchmarks.running.messages import Failed, MessageError, Outcome, Progress, Ready, Run, decode, encode
from farreach.benchmarks.running.training import train
from farreach.benchmarks.running.worker_client import CaseFailedError, Live, StartError
from farreach.benchmarks.speed.messages import Chunk, Load
from farreach.results.record import Result

CASE = Case(task="adding", parameters=(("T", 5),), framework="reference", cell="rnn", path="numpy", hidden=4, steps=100)

HEAD = "import sys\nprint('Ready {\"facts\": {}}', flush=True)\nsys.stdin.readline()\n"


def start(folder: Path, program: str) -> Live:
    """Return a client whose worker is a program of ours instead."""
    script = folder / "worker.sh"
    (folder / "worker.py").write_text(program)
    script.write_text(f"#!/bin/sh\nexec {sys.executable} {folder / 'worker.py'}\n")
    script.chmod(0o755)
    return Live("reference", "cpu", 1, folder / "worker.log", python=str(script))


@pytest.mark.parametrize(
    "message",
    [Ready({"a": "b"}), Failed("why"), Progress(3), Run(CASE), Load("one", CASE, 5, slowed=0.5), Chunk(1.0, 2.0)],
)
def test_a_message_is_read_back_as_it_was(message: messages.Message) -> None:
    line = encode(message)
    assert line.count("\n") == 1
    assert decode(line) == message


def test_an_outcome_is_read_back_to_the_last_bit() -> None:
    outcome = train(CASE, lambda _: None)
    back = decode(encode(outcome))
    assert isinstance(back, Outcome)
    assert isinstance(back.result, Result)
    assert back == outcome
    assert [type(value) for value in back.curves["step"][:2]] == [int, int]
    odd = Outcome(outcome.result, outcome.times, "k", "d", {"loss": [math.inf, -0.0, 5e-324]}, [], {}, {})
    assert encode(decode(encode(odd))) == encode(odd)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "hello\n",
        "Progress\n",
        "Progress {\n",
        'Progress {"steps": "many"}\n',
        "Progress {}\n",
        'Nothing {"steps": 1}\n',
        'Progress {"steps": 1}',
        encode(Run(CASE))[:-20],
    ],
)
def test_what_is_no_message_or_half_of_one_is_one_line(line: str) -> None:
    with pytest.raises(MessageError) as fault:
        decode(line)
    assert str(fault.value)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ('print(\'Progress {"steps": "x"}\', flush=True)\nsys.stdin.read()', "its answer cannot be used"),
        ("print('hello', flush=True)\nsys.stdin.read()", "its answer cannot be used"),
        ("print('Ready {\"facts\": {}}', flush=True)\nsys.stdin.read()", "Ready is not Outcome"),
        ("sys.stdout.buffer.write(b'\\xff\\n')\nsys.stdout.flush()\nsys.stdin.read()", "its answer cannot be used"),
        ("print('Outcome {\"result\"', end='', flush=True)", "ended with status 0"),
    ],
)
def test_a_worker_that_answers_otherwise_is_dead_in_one_line(tmp_path: Path, program: str, reason: str) -> None:
    live = start(tmp_path, HEAD + program)
    try:
        with pytest.raises(CaseFailedError, match=reason) as fault:
            live.ask(Run(CASE), Outcome)
        assert "\n" not in str(fault.value)
    finally:
        live.stop()


def test_a_worker_whose_first_line_is_no_message_does_not_start(tmp_path: Path) -> None:
    live = start(tmp_path, "print('{', flush=True)")
    with pytest.raises(StartError, match="its answer cannot be used"):
        live.start()
    assert live.process is None


def test_a_line_is_the_name_of_the_message_and_json() -> None:
    name, _, content = encode(Progress(3)).partition(" ")
    assert (name, json.loads(content)) == ("Progress", {"steps": 3, "loss": None, "norm": None, "solved": False})
