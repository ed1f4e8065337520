"""A process that holds one framework: one case in, one record out.

Started as ``python -m farreach.benchmarks.worker FRAMEWORK DEVICE THREADS``. It reads one JSON request a
line from standard input and answers with JSON lines on what was its standard output, which
it keeps to itself: whatever a library prints goes to standard error.

    {"do": "run", "case": ...}      -> {"progress": steps} ..., {"outcome": ...}
    {"do": "load", "slot": name, "case": ..., "count": steps, ...} -> {"loaded": seconds to compile, "kernel": ...}
    {"do": "steps", "slot": name}   -> {"wall": seconds, "cpu": seconds, ...}, of one chunk of what was loaded there
    {"do": "memory", "slot": name}  -> {"peak_bytes": ..., "idle_bytes": ..., "peak_kind": ...} of one chunk
    {"do": "device"}                -> {"result": what the GPU can do at best}
    {"do": "energy", "slot": name, "count": steps}          -> {"joules": a step, "energy_method": ..., ...}
    {"do": "certify", "check": ...} -> {"result": differences}
    {"do": "horizon", "cell": ...}  -> {"result": steps}
    {"do": "semantics", ...}        -> {"result": rows}
    any of them                     -> {"failed": reason}, and the process lives on
"""

from __future__ import annotations

import dataclasses
import importlib
import json
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

from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running.training import train
from farreach.benchmarks.speed import device as devices
from farreach.benchmarks.speed import timed
from farreach.benchmarks.studies import certification, clip_semantics
from farreach.frameworks.base import UnsupportedError


class Session:
    """The answers of a live worker, one method a request."""

    def __init__(self, send: Callable[[dict[str, Any]], None], gpu: ModuleType | None) -> None:
        self.send, self.gpu = send, gpu
        self.loaded: dict[str, timed.Timed] = {}
        self.idle = timed.resident()

    def run(self, request: dict[str, Any]) -> None:
        """Train one case."""
        outcome = train(Case.from_json(request["case"]), lambda steps: self.send({"progress": steps}))
        self.send({"outcome": dataclasses.asdict(outcome)})

    def load(self, request: dict[str, Any]) -> None:
        """Make one way to train a case ready to be timed, `count` steps a call."""
        case = Case.from_json(request["case"])
        loop, slowed = request.get("loop", ""), request.get("slowed", 0.0)
        made = timed.load(case, count=request["count"], loop=loop, slowed=slowed)
        self.loaded[request["slot"]] = made
        self.send({"loaded": made.compile_seconds, "kernel": made.kernel})

    def steps(self, request: dict[str, Any]) -> None:
        """Time one chunk of what was loaded, from idle device to idle device."""
        self.send(timed.clock(self._loaded(request).chunk, self.gpu))

    def memory(self, request: dict[str, Any]) -> None:
        """Measure the peak memory of this process, and of the GPU, over one chunk."""
        self.send(timed.memory(self._loaded(request).chunk, self.gpu) | {"idle_bytes": self.idle})

    def device(self, request: dict[str, Any]) -> None:
        """Measure what the GPU can do at best."""
        del request
        self.send({"result": devices.measure(self.gpu)})

    def energy(self, request: dict[str, Any]) -> None:
        """Estimate the energy of a step over many chunks."""
        self.send(timed.energy(self._loaded(request).chunk, request["count"]))

    def _loaded(self, request: dict[str, Any]) -> timed.Timed:
        if request["slot"] not in self.loaded:
            message = f"nothing is loaded as {request['slot']}"
            raise RuntimeError(message)
        return self.loaded[request["slot"]]

    def certify(self, request: dict[str, Any]) -> None:
        """Verify the framework against the reference in one check."""
        self.send(
            {"result": certification.measure_differences(certification.Check(**request["check"]), request["steps"])}
        )

    def semantics(self, request: dict[str, Any]) -> None:
        """Probe the framework's own clip functions."""
        self.send({"result": clip_semantics.probe_clips(request["framework"])})

    def horizon(self, request: dict[str, Any]) -> None:
        """Find the step at which float32 curves part."""
        self.send({"result": certification.find_horizon(request["framework"], request["cell"], request["device"])})


def orphaned(parent: int) -> None:
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
    threading.Thread(target=orphaned, args=(os.getppid(),), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: it ends us when it is ready
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def send(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")

    try:
        module = importlib.import_module(f"farreach.frameworks.{framework}")
        module.configure(device, int(threads))
        send({"ready": module.Framework.facts(device)})
    except UnsupportedError as error:
        send({"failed": str(error)})
        return
    session = Session(send, devices.gpu(framework, device))
    requests = {
        "run": session.run,
        "load": session.load,
        "steps": session.steps,
        "memory": session.memory,
        "device": session.device,
        "energy": session.energy,
        "certify": session.certify,
        "horizon": session.horizon,
        "semantics": session.semantics,
    }
    for line in sys.stdin:
        request = json.loads(line)
        try:
            requests[request["do"]](request)
        except Exception as error:  # noqa: BLE001 - a case that fails costs that case only
            traceback.print_exc()
            reason = (str(error).strip() or "no message").splitlines()[0]
            send({"failed": f"{type(error).__name__}: {reason}"})


if __name__ == "__main__":
    main(*sys.argv[1:])
