"""What the files of timings must hold, checked when they are read: they may be a stranger's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from farreach.results.record import use_names
from farreach.results.storage.columns import NAME
from farreach.results.storage.files import LARGEST_JSON, DamagedError, StoreError, move_aside, read_bytes
from farreach.results.storage.interface import ResultSet
from farreach.results.storage.sanitising import CONTROL
from farreach.results.storage.typed_json import Count, parse_typed

Word = Annotated[str, Field(max_length=2_000, pattern=rf"^[^{CONTROL}]*$")]
Name = Annotated[str, Field(pattern=f"^{NAME}$")]
Size = Annotated[int, Field(ge=1, lt=2**31)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Time = Annotated[float, Field(gt=1e-12, lt=1e9)]
Times = Annotated[list[Time], Field(min_length=1)]
Plain = Word | bool | Annotated[int, Field(gt=-(2**63), lt=2**63)] | Number | None


class Step(TypedDict):
    """The step that was timed, in the words of a case."""

    task: Name
    parameters: dict[Name, Plain]
    cell: Name
    clip: NotRequired[Name]
    optimizer: NotRequired[Name]
    schedule: NotRequired[Name]
    regulariser: NotRequired[Name]
    initial: NotRequired[Name]
    layers: Size
    hidden: Size
    batch: Size
    dtype: Name
    device: Name
    threads: Size


class Tried(TypedDict):
    """A path that the calibration tried."""

    path: Name
    seconds: Time
    compile_seconds: Number


class Versions(TypedDict):
    """What ran an implementation."""

    framework_version: NotRequired[Word]


class ImplementationTimes(TypedDict):
    """What one way to run the step took."""

    name: Word
    framework: Name
    path: Name
    loop: Word
    kernel: Word
    compile_seconds: Number
    flops: Number
    peak_bytes: Count
    idle_bytes: Count
    seconds: Times
    cpu_to_wall: Number
    tried: NotRequired[list[Tried]]
    joules: NotRequired[Number | None]
    device_seconds: NotRequired[Number | None]
    device_peak_bytes: NotRequired[Count | None]
    facts: NotRequired[Versions]


class Failed(TypedDict):
    """An implementation that gave no time."""

    contender: Word
    reason: Word


class Limit(TypedDict):
    """What was asked for."""

    limit: Number


class Made(TypedDict):
    """What made a file."""

    command: Word
    commit: Word
    processor: NotRequired[Word]
    cores: NotRequired[Size]
    cores_granted: NotRequired[Size | None]


class Accelerator(TypedDict):
    """What a GPU can do at best."""

    gflops: dict[Word, Number]
    copy_gb_per_s: Number
    device_name: Word
    device_software: Word
    device_settings: Word
    framework: Word
    precision: Word


class Machine(TypedDict):
    """What a machine can do at best: machine.json."""

    threads: Size
    gflops: dict[Word, Number]
    copy_gb_per_s: Number
    processor: Word
    cores: Size
    cores_granted: NotRequired[Size]
    blas: Word
    device: NotRequired[Accelerator | None]


class Group(TypedDict):
    """A file of ``timings/``."""

    schema: int
    step: Step
    length: Size
    plan: Limit
    failed: list[Failed]
    contenders: list[ImplementationTimes]
    step_version: NotRequired[Count]
    rounds: NotRequired[Count]
    rounds_wanted: NotRequired[Count]
    waiting: NotRequired[Number]
    clock_step: NotRequired[Number]
    facts: Made
    machine: NotRequired[Machine | None]


class Trial(TypedDict):
    """One trial of an A/A test: seconds per step of both processes, round by round."""

    first: Times
    second: Times


class Launch(TypedDict):
    """A file of ``check/``, an A/A test."""

    launch: Count
    planted: Number
    framework: Name
    path: Name
    cell: Word
    rounds: Count
    trials: list[Trial]


class Sides(TypedDict):
    """One launch of a live comparison: seconds per step in both environments, round by round."""

    old: Times
    new: Times


class Version(TypedDict):
    """An environment's facts."""

    framework_version: Word


class Live(TypedDict):
    """A file of ``live/``."""

    schema: int
    step: Step
    framework: Name
    path: Name
    old: Version
    new: Version
    launches: Annotated[list[Sides], Field(min_length=1)]


def read_file(path: Path, kind: type[Any], schema: int | None = None) -> dict[str, Any]:
    """Return what a file holds, as `parse` does."""
    return parse(read_bytes(path, LARGEST_JSON), path, kind, schema)


def parse(text: bytes, path: Path, kind: type[Any], schema: int | None = None) -> dict[str, Any]:
    """Return what a text is; raise `DamagedError`, of the file that it is from, where it is not of a kind.

    Another version than `schema` is damage too. The rounds of one file have one length for every implementation.
    """
    content = parse_typed(text, path, kind)
    if schema is not None and content["schema"] != schema:
        raise DamagedError(path, f"it has schema {content['schema']}; this version reads {schema}")
    together = [[implementation["seconds"] for implementation in content.get("contenders", [])]]
    together += [[trial["first"], trial["second"]] for trial in content.get("trials", [])]
    together += [[launch["old"], launch["new"]] for launch in content.get("launches", [])]
    if any(len({len(seconds) for seconds in each}) > 1 for each in together):
        raise DamagedError(path, "its rounds differ in number")
    if "step" in content:
        content["step"] = use_names(content["step"])
    return content


Damage = Callable[[Path, DamagedError], object]
"""What hears of a file that is damaged, which is then left out."""


def read_each(
    store: ResultSet, part: str, kind: type[Any], *, schema: int | None, damaged: Damage | None
) -> list[dict[str, Any]]:
    """Return what the files of a part of a result set hold, in the order of their names.

    Raises `DamagedError` where one is damaged and there is nobody to hear of it.
    """
    contents = []
    for path in store.list_documents(part):
        try:
            contents.append(parse(store.read_document(path), path, kind, schema))
        except FileNotFoundError:
            continue  # another command set it aside a moment ago
        except DamagedError as damage:
            if damaged is None:
                raise
            damaged(path, damage)
    return contents


def check_file(path: Path, folder: Path, kind: type[Any], schema: int | None) -> tuple[bool, str]:
    """Return whether a file is there and can be read, and what is said of it: a damaged one is set aside."""
    try:
        read_file(path, kind, schema)
    except FileNotFoundError:
        return False, ""
    except DamagedError as damage:
        return False, move_aside(path, folder, damage)
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise StoreError(message) from error
    return True, ""
