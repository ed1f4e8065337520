"""What a replica is asked and answers, and how it is written: pickled, behind its length.

Both ends of these pipes are ours, and nothing else writes to them: batches and weights travel as the arrays that they
are. `farreach.benchmarks.replica` is the one end, `farreach.benchmarks.running.replica_group` the other.
"""

from __future__ import annotations

import dataclasses
import pickle
import struct
from collections.abc import Callable, Sequence
from typing import IO, Any

from farreach.frameworks.base import Array, State, Trace
from farreach.tasks.base import Batch

HEAD = struct.Struct("<Q")
"""Before each message: how many bytes it has."""


@dataclasses.dataclass(frozen=True)
class Make:
    """Make what trains, under a number; `make` is called with the replica's `rank`."""

    number: int
    make: Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Compile for a chunk of batches and for the inputs of an evaluation."""

    number: int
    batches: Sequence[Batch]
    inputs: Array


@dataclasses.dataclass(frozen=True)
class Train:
    """Do one update per batch; the answer is a `Trained`."""

    number: int
    batches: Sequence[Batch]


@dataclasses.dataclass(frozen=True)
class Restore:
    """Go on from a state."""

    number: int
    state: State


@dataclasses.dataclass(frozen=True)
class Read:
    """Give the state; only the first replica does."""

    number: int


@dataclasses.dataclass(frozen=True)
class Drop:
    """Let go of what these numbers stand for."""

    numbers: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a chunk left.

    Attributes:
        trace: of the chunk.
        digest: SHA-256 of the weights after it.
        cpu: processor seconds that the replica spent on it.

    """

    trace: Trace
    digest: str
    cpu: float


@dataclasses.dataclass(frozen=True)
class Done:
    """The answer of a request that went well; the first answer says that the replica has joined the others."""

    value: Any = None


@dataclasses.dataclass(frozen=True)
class Refused:
    """Instead of an answer: why the request failed, in one line; whether the machine cannot do it at all."""

    reason: str
    unsupported: bool = False


def encode(message: object) -> bytes:
    """Return a message as it is written."""
    content = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return HEAD.pack(len(content)) + content


def decode(content: bytes) -> Any:
    """Return the message of these bytes, which came behind their length."""
    return pickle.loads(content)  # noqa: S301 - both ends are ours, see above


def read_message(stream: IO[bytes]) -> Any:
    """Return the next message of a stream, None where it has ended."""
    head = stream.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    return decode(stream.read(HEAD.unpack(head)[0]))
