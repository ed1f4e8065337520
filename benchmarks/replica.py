"""One replica of a group: a process that trains its part of every batch, and sums its gradients with the others'.

Started as ``python -m farreach.benchmarks.replica FRAMEWORK DEVICE THREADS RANK ADDRESS...``, with an address for each
replica, by the worker that holds the case. It reads requests from standard input and answers on what was its standard
output, which it keeps to itself: whatever a library prints goes to standard error, as in a worker.
"""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
import time
import traceback
from typing import Any

from farreach.benchmarks.running.parent import end_with_parent
from farreach.benchmarks.running.reasons import write_reason
from farreach.benchmarks.running.replica_messages import (
    Done,
    Drop,
    Make,
    Prepare,
    Read,
    Refused,
    Restore,
    Train,
    Trained,
    encode,
    read_message,
)
from farreach.frameworks import weights
from farreach.frameworks.base import UnsupportedError


class Replica:
    """What a replica holds: models in training, by their numbers."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.held: dict[int, Any] = {}

    def answer(self, request: Any) -> Done:
        """Do what is asked and return the answer."""
        match request:
            case Make():
                self.held[request.number] = request.make(rank=self.rank)
                return Done(self.held[request.number].kernel)
            case Prepare():
                return Done(self.held[request.number].prepare(request.batches, request.inputs))
            case Train():
                return Done(self._train(request))
            case Restore():
                return Done(self.held[request.number].restore(request.state))
            case Read():
                return Done(None if self.rank else self.held[request.number].state())
            case Drop():
                for number in request.numbers:
                    self.held.pop(number, None)
                return Done()
        message = f"{type(request).__name__} is no request"
        raise TypeError(message)

    def _train(self, request: Train) -> Trained:
        held, before = self.held[request.number], time.process_time()
        trace = held.train(request.batches)
        cpu = time.process_time() - before
        return Trained(trace, weights.digest(held.weights()), cpu)


def main(framework: str, device: str, threads: str, rank: str, *addresses: str) -> None:
    """Join the others, then serve requests until standard input ends."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started the worker
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):  # whatever a library prints, in whatever locale
        sys.stdout.reconfigure(errors="backslashreplace")

    def send(answer: Done | Refused) -> None:
        answers.write(encode(answer))
        answers.flush()

    try:
        importlib.import_module(f"farreach.frameworks.{framework}").configure(device, int(threads))
        module = importlib.import_module(f"farreach.frameworks.{framework}.replicas")
        module.join_group(int(rank), addresses, device)
        send(Done())
    except Exception as error:  # noqa: BLE001 - whoever asked is told, and ends this process
        traceback.print_exc()
        send(Refused(write_reason(error), unsupported=isinstance(error, UnsupportedError | ImportError)))
        return
    replica = Replica(int(rank))
    while (request := read_message(sys.stdin.buffer)) is not None:
        try:
            send(replica.answer(request))
        except Exception as error:  # noqa: BLE001 - whoever asked is told, and ends this process
            traceback.print_exc()
            send(Refused(write_reason(error)))


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)  # what a library would do at its end waits for the others
