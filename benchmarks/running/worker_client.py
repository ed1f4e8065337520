"""A live worker process, seen from the process that sends it cases."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from farreach.benchmarks.matrix.registry import HOME, read_environment
from farreach.benchmarks.running.messages import Failed, Message, Progress, Ready, decode, encode
from farreach.benchmarks.running.portable import list_variables
from farreach.frameworks.environment import merge_environment
from farreach.results.storage.files import StoreError, open_log

Answer = TypeVar("Answer", bound=Message)

NUMPY_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""What NumPy reads when it is imported; the frameworks' own threads are set by their files."""


STARTS = 3
"""How often a process is started that a signal ends before it is ready."""


class CaseFailedError(Exception):
    """A case that gave no record; the message is one line."""


class DiedError(CaseFailedError):
    """A process that a signal ended before it had answered."""


class StartError(Exception):
    """A worker that cannot serve at all: its framework or its device is not there."""


class Live:
    """One worker process, started when it is first needed and again after it was killed.

    Attributes:
        python: the interpreter that runs it; another environment's has that environment's packages.

    """

    def __init__(self, framework: str, device: str, threads: int, log: Path, *, python: str = sys.executable) -> None:
        self.arguments = [framework, device, str(threads)]
        self.log, self.python = log, python
        self.process: subprocess.Popen[str] | None = None
        self.facts: dict[str, str] = {}
        self.fault: str | None = None
        self.ended = False
        self.imports = 0.0

    def start(self) -> None:
        """Start the process and wait until its framework is imported; raise `StartError` if it is not."""
        if self.fault is not None:
            raise StartError(self.fault)  # it did not start the first time and will not now
        began, self.ended = time.perf_counter(), False
        for left in reversed(range(STARTS)):
            try:
                self._open_process()
                self.facts = self._expect(self._read_message(), Ready).facts
                break
            except DiedError as error:  # the system wanted its memory, say: nothing is wrong with the framework
                if self.ended or not left:
                    raise StartError(str(error)) from error
            except CaseFailedError as error:
                self.stop()
                self.fault = str(error)
                raise StartError(self.fault) from error
        self.imports += time.perf_counter() - began

    def _open_process(self) -> None:
        try:
            opened = open_log(self.log)
        except StoreError as error:
            raise StartError(str(error)) from error
        with opened as log:
            self.process = subprocess.Popen(  # noqa: S603
                [self.python, "-m", "farreach.benchmarks.worker", *self.arguments],
                cwd=HOME,
                env=self.make_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
                errors="replace",
            )

    def make_environment(self) -> dict[str, str]:
        """Return the variables that the process starts with: its threads', and those that its framework wants."""
        framework, device, threads = self.arguments
        wanted = merge_environment(read_environment(framework, device), os.environ)
        return os.environ | dict.fromkeys(NUMPY_THREADS, threads) | list_variables(framework) | wanted

    def ask(
        self, request: Message, answer: type[Answer], progress: Callable[[Progress], None] = lambda _: None
    ) -> Answer:
        """Send a request and return its answer.

        Args:
            request: what is asked.
            answer: the kind of message that answers it.
            progress: hears how far it is.

        Raises:
            CaseFailedError: there is none: the request failed, or the process died or sent something else.
            StartError: the process cannot be started.

        """
        if self.process is None or self.process.poll() is not None:
            self.start()
        if self.process is None or self.process.stdin is None:
            message = "the worker has no input"
            raise CaseFailedError(message)
        try:
            self.process.stdin.write(encode(request))
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._describe_end() from None
        while isinstance(reply := self._read_message(), Progress):
            progress(reply)
        return self._expect(reply, answer)

    def stop(self) -> None:
        """End the process at once; what it was doing is lost."""
        self.ended = True
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _read_message(self) -> Message:
        if self.process is None or self.process.stdout is None:
            message = "the worker was stopped"
            raise CaseFailedError(message)
        try:
            line = self.process.stdout.readline()
            if not line.endswith("\n"):  # it died, in the midst of a message perhaps
                raise self._describe_end()
            return decode(line)
        except ValueError as error:
            raise self._end(str(error)) from error

    def _expect(self, message: Message, kind: type[Answer]) -> Answer:
        """Return a message of a kind; raise `CaseFailedError` where it is another."""
        if isinstance(message, Failed):
            raise CaseFailedError(message.reason)
        if not isinstance(message, kind):
            reason = f"{type(message).__name__} is not {kind.__name__}"
            raise self._end(reason)
        return message

    def _end(self, reason: str) -> CaseFailedError:
        """End a process that does not answer as it should: nothing that it says later can be trusted."""
        self.stop()
        return CaseFailedError(
            f"the worker process was ended, since its answer cannot be used: {reason}; see {self._name_log()}"
        )

    def _name_log(self) -> str:
        """Return the log as a reason names it, which may be published: without the folders of this machine."""
        return f"{self.log.parent.name}/{self.log.name}"

    def _describe_end(self) -> CaseFailedError:
        """Return how the process ended: what it was asked has no answer."""
        status = self.process.wait() if self.process else 0
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        kind = DiedError if status < 0 else CaseFailedError
        return kind(f"the worker process {how}; see {self._name_log()}")
