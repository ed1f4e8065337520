"""A process that holds one framework: one case in, one record out.

Started as ``python -m farreach.benchmarks.worker FRAMEWORK DEVICE THREADS``. It reads one request a line from standard
input and answers on what was its standard output, which it keeps to itself: whatever a library prints goes to standard
error. `farreach.benchmarks.running.messages` says what a line is.
"""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any

from farreach.benchmarks.running.messages import Failed, Message, Ready, Run, decode, encode
from farreach.benchmarks.running.parent import end_with_parent
from farreach.benchmarks.running.reasons import write_reason
from farreach.benchmarks.running.replicas import end_groups, train_case
from farreach.benchmarks.speed import device as devices
from farreach.benchmarks.speed import timed
from farreach.benchmarks.speed.messages import Device, Energy, Limits, Load, Loaded, Memory, Steps
from farreach.frameworks.base import UnsupportedError
from farreach.frameworks.environment import read_variables

Send = Callable[[Message], None]


class Session:
    """The answers of a live worker: for each kind of request the function that answers it."""

    def __init__(self, send: Send, gpu: ModuleType | None) -> None:
        self.loaded: dict[str, timed.TimedStep] = {}
        idle = timed.measure_resident()
        self.answers: dict[type[Message], Callable[[Any], Message]] = {
            Run: lambda request: train_case(request.case, send),
            Load: self._load_step,
            Steps: lambda request: timed.time_call(self._find_chunk(request.slot), gpu),
            Memory: lambda request: timed.measure_memory(self._find_chunk(request.slot), gpu, idle=idle),
            Energy: lambda request: timed.measure_energy(self._find_chunk(request.slot), request.count),
            Device: lambda _: Limits(devices.measure_device(gpu)),
        }

    def answer(self, line: str) -> Message:
        """Return the answer to the request that a line is."""
        if line.partition(" ")[0] not in Message.kinds:  # of a study, whose modules no training needs
            from farreach.benchmarks.studies import requests  # noqa: PLC0415

            self.answers |= requests.ANSWERS
        request = decode(line)
        return self.answers[type(request)](request)

    def _load_step(self, request: Load) -> Loaded:
        """Make one way to train a case ready to be timed."""
        loaded = timed.load_step(request.case, count=request.count, loop=request.loop, slowed=request.slowed)
        self.loaded[request.slot] = loaded
        return Loaded(loaded.compile_seconds, loaded.kernel)

    def _find_chunk(self, slot: str) -> Callable[[], None]:
        """Return what runs one chunk of a step that was loaded."""
        if slot not in self.loaded:
            message = f"nothing is loaded as {slot}"
            raise RuntimeError(message)
        return self.loaded[slot].chunk


def main(framework: str, device: str, threads: str) -> None:
    """Serve requests until standard input ends."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: it ends us when it is ready
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):  # whatever a library prints, in whatever locale
        sys.stdout.reconfigure(errors="backslashreplace")

    def send(answer: Message) -> None:
        answers.write(encode(answer))

    try:
        module = importlib.import_module(f"farreach.frameworks.{framework}")
        module.configure(device, int(threads))
        send(Ready(module.Framework.facts(device) | read_variables(os.environ)))
    except UnsupportedError as error:
        send(Failed(str(error)))
        return
    except Exception as error:  # noqa: BLE001 - of an installation, or of a new framework's file
        traceback.print_exc()
        send(Failed(f"framework {framework} does not start: {write_reason(error)}"))
        return
    session = Session(send, devices.load_device(framework, device))
    for line in sys.stdin:
        try:
            send(session.answer(line))
        except Exception as error:  # noqa: BLE001 - a case that fails costs that case only
            traceback.print_exc()
            send(Failed(write_reason(error)))
    end_groups()


if __name__ == "__main__":
    main(*sys.argv[1:])
