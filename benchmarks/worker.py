"""A process that holds one framework: one case in, one record out.

Started as ``python -m farreach.benchmarks.worker FRAMEWORK DEVICE THREADS``. It reads one request a line from standard
input and answers on what was its standard output, which it keeps to itself: whatever a library prints goes to standard
error. `farreach.benchmarks.running.messages` says what a line is.
"""

from __future__ import annotations

import importlib
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any

from farreach.benchmarks.running.messages import Failed, Message, Outcome, Progress, Ready, Run, decode, encode
from farreach.benchmarks.running.training import train
from farreach.benchmarks.speed import device as devices
from farreach.benchmarks.speed import timed
from farreach.benchmarks.speed.messages import Chunk, Device, Energy, Joules, Limits, Load, Loaded, Memory, Peak, Steps
from farreach.benchmarks.studies import certification, clip_semantics
from farreach.benchmarks.studies.messages import Certify, Clips, Differences, FindHorizon, Horizon, ProbeClips
from farreach.frameworks.base import UnsupportedError

Send = Callable[[Message], None]


class Session:
    """The answers of a live worker, one method a request."""

    def __init__(self, send: Send, gpu: ModuleType | None) -> None:
        self.send, self.gpu = send, gpu
        self.loaded: dict[str, timed.TimedStep] = {}
        self.idle = timed.measure_resident()
        self.answers: dict[type[Message], Callable[[Any], Message]] = {
            Run: self.train_case,
            Load: self.load_steps,
            Steps: self.time_steps,
            Memory: self.measure_memory,
            Energy: self.estimate_energy,
            Device: self.measure_device,
            Certify: self.certify,
            FindHorizon: self.find_horizon,
            ProbeClips: self.probe_clips,
        }

    def answer(self, request: Message) -> Message:
        """Return the answer to a request."""
        return self.answers[type(request)](request)

    def train_case(self, request: Run) -> Outcome:
        """Train one case."""
        return train(request.case, lambda steps: self.send(Progress(steps)))

    def load_steps(self, request: Load) -> Loaded:
        """Make one way to train a case ready to be timed."""
        loaded = timed.load_step(request.case, count=request.count, loop=request.loop, slowed=request.slowed)
        self.loaded[request.slot] = loaded
        return Loaded(loaded.compile_seconds, loaded.kernel)

    def time_steps(self, request: Steps) -> Chunk:
        """Time one chunk of what was loaded, from idle device to idle device."""
        return timed.time_call(self._find_loaded(request.slot).chunk, self.gpu)

    def measure_memory(self, request: Memory) -> Peak:
        """Measure the peak memory of this process, and of the GPU, over one chunk."""
        return timed.measure_memory(self._find_loaded(request.slot).chunk, self.gpu, idle=self.idle)

    def estimate_energy(self, request: Energy) -> Joules:
        """Estimate the energy of a step over many chunks."""
        return timed.measure_energy(self._find_loaded(request.slot).chunk, request.count)

    def measure_device(self, request: Device) -> Limits:
        """Measure what the GPU can do at best."""
        del request
        return Limits(devices.measure_device(self.gpu))

    def certify(self, request: Certify) -> Differences:
        """Compare the framework with the reference in one check."""
        return Differences(certification.measure_differences(request.check, request.steps))

    def find_horizon(self, request: FindHorizon) -> Horizon:
        """Find the step at which float32 curves part."""
        return Horizon(certification.find_horizon(request.framework, request.cell, request.device))

    def probe_clips(self, request: ProbeClips) -> Clips:
        """Probe the framework's own clip functions."""
        return Clips(clip_semantics.probe_clips(request.framework))

    def _find_loaded(self, slot: str) -> timed.TimedStep:
        if slot not in self.loaded:
            message = f"nothing is loaded as {slot}"
            raise RuntimeError(message)
        return self.loaded[slot]


def end_with_parent(parent: int) -> None:
    """End this process when the one that started it has ended, however that was.

    A parent that is killed closes our input, which nobody reads in the midst of a case: its claims would be free, and
    another run would begin what is still computed here.
    """
    try:
        ended = os.pidfd_open(parent)
    except (AttributeError, OSError):  # not on Linux
        while os.getppid() == parent:
            time.sleep(1)
    else:
        select.select([ended], [], [])
    os._exit(1)


def main(framework: str, device: str, threads: str) -> None:
    """Serve requests until standard input ends."""
    threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: it ends us when it is ready
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)

    def send(answer: Message) -> None:
        answers.write(encode(answer))

    try:
        module = importlib.import_module(f"farreach.frameworks.{framework}")
        module.configure(device, int(threads))
        send(Ready(module.Framework.facts(device)))
    except UnsupportedError as error:
        send(Failed(str(error)))
        return
    session = Session(send, devices.load_device(framework, device))
    for line in sys.stdin:
        try:
            send(session.answer(decode(line)))
        except Exception as error:  # noqa: BLE001 - a case that fails costs that case only
            traceback.print_exc()
            reason = (str(error).strip() or "no message").splitlines()[0]
            send(Failed(f"{type(error).__name__}: {reason}"))


if __name__ == "__main__":
    main(*sys.argv[1:])
