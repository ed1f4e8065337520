"""The faults that are planted, one at a time, and the tests that each file is held by."""

from __future__ import annotations

import dataclasses
import fnmatch
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FIELDS = {"file", "old", "new", "breaks", "tests", "survives"}


class TableError(ValueError):
    """What is wrong with a table of faults; one line for each fault that cannot be planted."""


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One file with one fault.

    Attributes:
        name: what it is asked for by.
        file: the path below the root of the project.
        text: the whole file with the fault in it.
        breaks: what is wrong now.
        tests: those that are run, see `forking.Choice`; the first to fail ends them.
        survives: why no test notices it, where that is known.

    """

    name: str
    file: str
    text: str
    breaks: str
    tests: tuple[str, ...]
    survives: str = ""


def load_faults(folder: Path = HERE / "faults", root: Path = ROOT) -> list[Mutant]:
    """Return the faults of every ``*.toml`` in a folder, named by their table and their place in it.

    Raises:
        TableError: where the old text of a fault is not found exactly once, or nothing holds its file.

    """
    relevant = load_relevant()
    mutants, wrong = [], []
    for path in sorted(folder.glob("*.toml")):
        for at, fields in enumerate(tomllib.loads(path.read_text("utf-8"))["fault"], 1):
            name = f"{path.stem}-{at}"
            try:
                mutants.append(_plant_fault(name, fields, relevant, root))
            except TableError as error:
                wrong.append(f"{name}: {error}")
    if wrong:
        raise TableError("\n".join(wrong))
    return mutants


def load_relevant(path: Path = HERE / "relevant.toml") -> list[tuple[str, tuple[str, ...]]]:
    """Return patterns of files and the tests that hold them, the first that fits a file counts."""
    return [
        (pattern, tuple(part["tests"]))
        for part in tomllib.loads(path.read_text("utf-8"))["part"]
        for pattern in part["files"]
    ]


def find_tests(file: str, relevant: Sequence[tuple[str, tuple[str, ...]]]) -> tuple[str, ...]:
    """Return the tests that hold a file."""
    for pattern, tests in relevant:
        if fnmatch.fnmatchcase(file, pattern):
            return tests
    message = f"relevant.toml names no tests for {file}"
    raise TableError(message)


def _plant_fault(
    name: str, fields: dict[str, Any], relevant: Sequence[tuple[str, tuple[str, ...]]], root: Path
) -> Mutant:
    unknown = sorted(set(fields) - FIELDS)
    missing = sorted({"file", "old", "new", "breaks"} - set(fields))
    if unknown or missing:
        message = f"unknown {', '.join(unknown)}" if unknown else f"no {', '.join(missing)}"
        raise TableError(message)
    file, old, new = fields["file"], fields["old"], fields["new"]
    path = root / file
    text = path.read_text("utf-8") if path.is_file() else ""
    if text.count(old) != 1:
        message = f"{file} has {old.strip()!r} {text.count(old)} times; it must be there exactly once"
        raise TableError(message)
    if old == new:
        message = f"{file}: old and new are the same"
        raise TableError(message)
    tests = tuple(fields.get("tests", ())) or find_tests(file, relevant)
    return Mutant(name, file, text.replace(old, new), fields["breaks"], tests, fields.get("survives", ""))
