"""What a worker process and the one that started it say to each other, and how it is written: one line a message.

A line is the name of the message and its fields as JSON. This is the one place that writes and reads it. The messages
of timings stand in `farreach.benchmarks.speed.messages`, those of studies in `farreach.benchmarks.studies.messages`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any, ClassVar

from pydantic import TypeAdapter, ValidationError

from farreach.benchmarks.matrix.case import Case
from farreach.results.record import Result, Times
from farreach.results.storage.typed_json import describe_fault

Columns = dict[str, list[Any]]
"""A table: its columns, by name, all of one length."""


class MessageError(ValueError):
    """A line that is no message; what is wrong is one line."""


class Message:
    """A request or an answer: a data class, whose name is its name on the line."""

    kinds: ClassVar[dict[str, type[Message]]] = {}

    def __init_subclass__(cls) -> None:
        """Have lines with the name of a new message decoded as it."""
        Message.kinds[cls.__name__] = cls


@dataclasses.dataclass(frozen=True)
class Ready(Message):
    """The first answer: the framework is imported; `facts` are its version and its device."""

    facts: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Failed(Message):
    """Instead of an answer: the request failed, and the process lives on."""

    reason: str


@dataclasses.dataclass(frozen=True)
class Progress(Message):
    """Before the answer: how far a case is.

    Attributes:
        steps: training steps done.
        loss: that of the last batch before its update; None where it is not finite, or not heard of.
        norm: of its gradient before the clip, alike.
        solved: whether the criterion is confirmed.

    """

    steps: int
    loss: float | None = None
    norm: float | None = None
    solved: bool = False


@dataclasses.dataclass(frozen=True)
class Run(Message):
    """Train one case; the answer is an `Outcome`."""

    case: Case


@dataclasses.dataclass(frozen=True)
class Outcome(Message):
    """What training one case gave.

    Attributes:
        result: what the record says of it; how far the gradient reached is still to be read from `flow`.
        times: where the wall time went.
        kernel: the recurrent kernel that ran.
        digest: of the code and the settings that ran.
        curves: per training step: step (from 1), loss, norms before and after the clip, share clipped.
        evaluations: per evaluation: step, loss and the task's metrics.
        flow: columns `farreach.results.record.FLOW` and `INPUT`.
        spectra: columns `farreach.results.record.SPECTRA`.
        precision: what the products were of, as it was measured; empty where that is a fact of the process.

    """

    result: Result
    times: Times
    kernel: str
    digest: str
    curves: Columns
    evaluations: list[dict[str, Any]]
    flow: Columns
    spectra: Columns
    precision: str = ""


def encode(message: Message) -> str:
    """Return a message as a line."""
    return f"{type(message).__name__} {json.dumps(_fields(message), default=_fields)}\n"


def decode(line: str) -> Message:
    """Return the message that a line is; raise `MessageError` where it is none, or only a part of one."""
    name, _, content = line.partition(" ")
    if name not in Message.kinds or not line.endswith("\n"):
        message = f"{line[:40].strip()!r} is not a message"
        raise MessageError(message)
    try:
        decoded: Message = _make_adapter(name).validate_json(content, strict=True)
    except ValidationError as error:
        message = f"{name} is not a message: {describe_fault(error)}"
        raise MessageError(message) from error
    return decoded


def _fields(part: Any) -> dict[str, Any]:
    """Return the fields of a data class; those that are data classes too are asked for in their turn."""
    return {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}


@functools.cache
def _make_adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(Message.kinds[name])
