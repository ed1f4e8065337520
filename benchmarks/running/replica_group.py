"""A group of replicas: processes on this machine that train together, seen from the worker that started them.

They meet at addresses of 127.0.0.1. A port that is taken meanwhile is no matter: the group is started again at others.
A replica that dies, that fails, or that does nothing for `PATIENCE` seconds while it is asked ends the whole group, in
one line.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from typing import IO, Any

import psutil

from farreach.benchmarks.matrix.registry import HOME
from farreach.benchmarks.running.replica_messages import HEAD, Make, Refused, decode, encode

HOST = "127.0.0.1"

STARTS = 3
"""How often a group is started that does not come together."""

PATIENCE = 40.0
"""Seconds for which a replica that is asked may do nothing."""

LEAST = 0.001
"""The share of a processor below which it counts as doing nothing: libraries look round now and then."""

WANTING = (psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP)
"""The states of a process that does something, or would if the machine let it."""

STOPPED = psutil.STATUS_STOPPED

TICK = 0.5
"""Seconds between two looks at the processes."""

LINGER = 1.0
"""Seconds that the others have to say what is wrong with them, once one has failed."""

PIECE = 2**20
"""Bytes that are read or written at once."""


class GroupError(RuntimeError):
    """A group that gave no answer, and was ended; the message is one line."""


class UnsupportedGroupError(GroupError):
    """A group that cannot be on this machine."""


class Member:
    """One replica, seen from outside: its process, what is still to be written to it, and what came of it so far."""

    def __init__(self, arguments: list[str]) -> None:
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "farreach.benchmarks.replica", *arguments],
            cwd=HOME,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.requests, self.answers = _open_pipe(self.process.stdin), _open_pipe(self.process.stdout)
        self.watched = psutil.Process(self.process.pid)
        self.out, self.came = b"", b""
        self.answer: Any = None
        self.rest(0.0)

    def ask(self, content: bytes) -> None:
        """Have these bytes written, and wait for an answer from now on."""
        self.out, self.came, self.answer = content, b"", None
        self.rest(self.measure_cpu())

    def rest(self, cpu: float) -> None:
        """Count from now on for how long it does nothing."""
        self.cpu, self.idle, self.waited = cpu, 0.0, 0.0

    def write(self) -> None:
        """Write as much as the pipe takes."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):  # one that has ended is found by its other pipe
            self.out = self.out[os.write(self.requests, self.out[:PIECE]) :]
            return
        if self.process.poll() is not None:
            self.out = b""

    def read(self) -> bool:
        """Read what came; return whether the process is still there."""
        try:
            piece = os.read(self.answers, PIECE)
        except BlockingIOError:
            return True
        self.came += piece
        if len(self.came) >= HEAD.size:
            (size,) = HEAD.unpack_from(self.came)
            if len(self.came) >= HEAD.size + size:
                self.answer = decode(self.came[HEAD.size :])
        return bool(piece)

    def measure_cpu(self) -> float:
        """Return the processor seconds of the process so far."""
        try:
            times = self.watched.cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)

    def look(self, elapsed: float) -> None:
        """Count these seconds as idle, or begin to count anew where it did something."""
        self.idle += elapsed
        cpu = self.measure_cpu()
        if cpu - self.cpu > LEAST * max(self.idle, 10.0) or self.find_status() in WANTING:
            self.rest(cpu)

    def find_status(self) -> str:
        """Return what the system says of its process: that it sleeps, or is stopped."""
        try:
            return str(self.watched.status())
        except psutil.Error:
            return ""

    def describe_end(self) -> str:
        """Return how its process ended, "" where it has not."""
        status = self.process.poll()
        if status is None:
            return ""
        return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


class ReplicaGroup:
    """Replicas of one framework on one device, started when they are first asked."""

    def __init__(self, framework: str, device: str, threads: int, count: int) -> None:
        self.arguments = [framework, device, str(threads)]
        self.count = count
        self.members: list[Member] = []
        self.numbers = itertools.count()

    @property
    def is_alive(self) -> bool:
        """Whether all its processes are there."""
        return bool(self.members) and all(member.process.poll() is None for member in self.members)

    def start(self) -> None:
        """Start the processes and wait until they have joined; raise `GroupError` where they do not."""
        for left in reversed(range(STARTS)):
            addresses = find_addresses(self.count)
            try:
                for rank in range(self.count):
                    self.members.append(Member([*self.arguments, str(rank), *addresses]))
                self._collect()
                break
            except UnsupportedGroupError:
                raise
            except GroupError:  # a port that was free a moment ago, say
                if not left:
                    raise

    def ask(self, request: object) -> list[Any]:
        """Send a request to all replicas and return their answers; raise `GroupError`, and end all, where one fails.

        A group is started for a model to be made; one that ended since holds no model that could go on.
        """
        if not self.is_alive:
            trouble = self._explain_trouble() if self.members else GroupError("the replicas have been ended")
            self.stop()
            if not isinstance(request, Make):
                raise trouble
            self.start()
        content = encode(request)
        for member in self.members:
            member.ask(content)
        return [answer.value for answer in self._collect()]

    def stop(self) -> None:
        """End all processes at once."""
        for member in self.members:
            member.process.kill()
        for member in self.members:
            member.process.wait()
            for pipe in (member.process.stdin, member.process.stdout):
                if pipe is not None:
                    pipe.close()
        self.members = []

    def _collect(self) -> list[Any]:
        """Return the answer of every replica."""
        try:
            self._exchange()
        except BaseException:
            self.stop()
            raise
        return [member.answer for member in self.members]

    def _exchange(self) -> None:
        """Write and read until all have answered; raise `GroupError` on trouble."""
        looked = time.monotonic()
        while any(member.answer is None for member in self.members):
            trouble = self._pass_bytes(TICK)
            elapsed, looked = time.monotonic() - looked, time.monotonic()
            if trouble:
                raise self._explain_trouble()
            for member in self.members:
                member.waited += elapsed
                if member.answer is None and member.waited >= TICK:
                    member.look(min(member.waited, 2 * TICK))  # of a machine that slept no more than that
                    member.waited = 0.0
            if idle := [rank for rank, member in enumerate(self.members) if member.idle > PATIENCE]:
                rank = next(
                    (one for one in idle if self.members[one].find_status() == STOPPED), idle[0]
                )  # others wait for that one
                message = f"{self._name(rank)} did nothing for {PATIENCE:g} s, so the replicas were ended"
                raise GroupError(message)

    def _pass_bytes(self, seconds: float) -> bool:
        """Write and read what can be within so many seconds; return whether a replica ended or failed."""
        trouble = False
        with selectors.DefaultSelector() as ready:
            for member in self.members:
                if member.answer is None:
                    ready.register(member.answers, selectors.EVENT_READ, member)
                if member.out:
                    ready.register(member.requests, selectors.EVENT_WRITE, member)
            for key, event in ready.select(seconds):
                if event & selectors.EVENT_WRITE:
                    key.data.write()
                else:
                    trouble = not key.data.read() or isinstance(key.data.answer, Refused) or trouble
        return trouble

    def _explain_trouble(self) -> GroupError:
        """Return what is wrong with the group: a replica that was killed first, since the others fail by that."""
        end = time.monotonic() + LINGER
        while time.monotonic() < end and not any(member.describe_end() for member in self.members):
            self._pass_bytes(TICK / 5)
        ends = {rank: member.describe_end() for rank, member in enumerate(self.members)}
        failed = {rank: one.answer for rank, one in enumerate(self.members) if isinstance(one.answer, Refused)}
        dead = [rank for rank, said in ends.items() if said and rank not in failed]
        if dead:
            rank = min(dead, key=lambda one: "SIGKILL" not in ends[one])
            return GroupError(f"{self._name(rank)} {ends[rank]}")
        rank, refused = next(iter(failed.items()))
        kind = UnsupportedGroupError if refused.unsupported else GroupError
        return kind(f"{self._name(rank)}: {refused.reason}")

    def _name(self, rank: int) -> str:
        return f"replica {rank} of {self.count}"


def find_addresses(count: int) -> list[str]:
    """Return so many addresses of this machine alone whose ports are free."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [f"{HOST}:{one.getsockname()[1]}" for one in sockets]


def _open_pipe(pipe: IO[bytes] | None) -> int:
    """Return the number of a pipe that is read and written without waiting."""
    if pipe is None:
        message = "the replica has no pipe"
        raise GroupError(message)
    number = pipe.fileno()
    fcntl.fcntl(number, fcntl.F_SETFL, fcntl.fcntl(number, fcntl.F_GETFL) | os.O_NONBLOCK)
    return number
