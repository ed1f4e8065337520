"""The command that makes one row again, a trained case or a timed step."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from farreach.results.analysis.selection import CASE
from farreach.results.record import STANDS_FOR

ALWAYS = ("task", "framework", "cell", "clip", "threshold", "optimizer", "learning_rate", "seed", "replicate", "mode")
"""Columns that the command names whatever the set holds; any other is named where the set has several values of it."""

OWN_OPTION = {"device", "threads"}
"""Columns that `run` takes as options of their own."""

PROGRAMS = ("python -m benchmarks", "farreach")
"""How the command line is called, in a checkout and installed."""

VALUED = (
    *("--only", "--device", "--threads", "--jobs", "--out", "--plugins"),
    *("--limit", "--width", "--dask", "--patience"),
)
KEPT = ("--limit", "--width")
"""Options of `speed` that say how long a step is timed."""

FOLDER = "results/runs/again"


def list_varying(rows: pd.DataFrame) -> list[str]:
    """Return the columns of a case that the command must name beside `ALWAYS`."""
    rest = [name for name in CASE if name in rows and name not in {*ALWAYS, *OWN_OPTION, "parameters"}]
    return [name for name in rest if len(rows[name].astype(object).where(rows[name].notna(), None).unique()) > 1]


def write_command(row: Mapping[str, Any], also: list[str]) -> str:
    """Return the command that trains this one case of its suite into a new folder.

    Args:
        row: a row of a store.
        also: what `list_varying` found in its set.

    The options of the command that made the row are kept where they narrow the suite by something else. Where `run`
    did not make the row, the command that did is all there is, and is returned as it stands.
    """
    made = str(row["command"])
    words = _split_command(made)
    program = _find_program(words, "run")
    if program is None:
        return made
    given, narrowed, plugged = _parse_words(words[len(program) + 1 :])
    named = {name: _format_value(row.get(name)) or _format_value(STANDS_FOR.get(name)) for name in (*ALWAYS, *also)}
    named |= {name: _format_value(value) for name, value in json.loads(str(row["parameters"])).items()}
    options = _list_only(named, [], narrowed, {*named, *OWN_OPTION})
    where = [] if row["device"] == "cpu" else ["--device", str(row["device"])]
    where += [] if row["threads"] == 1 else ["--threads", _format_value(row["threads"]) or ""]
    return shlex.join([*program, "run", *given, *options, *where, *plugged, "--out", FOLDER])


STEP_FACTS = (
    "task",
    "cell",
    "clip",
    "optimizer",
    "schedule",
    "regulariser",
    "initial",
    "layers",
    "hidden",
    "batch",
    "dtype",
)
"""Facts of a timed step that its command names."""


def write_timing_command(made: str, step: Mapping[str, Any], frameworks: Sequence[str]) -> str:
    """Return the command that times one step again, of these frameworks alone, into a new folder.

    Args:
        made: the command that timed it.
        step: the fields of the step in its file, parameters as a mapping.
        frameworks: who is timed.

    What the command narrowed the suite by otherwise is kept, and so are its path, its limits and what it timed against.
    Where `speed` did not time the step, the command that did is all there is, and is returned as it stands.
    """
    words = _split_command(made)
    program = _find_program(words, "speed")
    if program is None:
        return made
    given, narrowed, plugged = _parse_words(words[len(program) + 1 :])
    named = {name: _format_value(step.get(name)) for name in STEP_FACTS if step.get(name) is not None}
    named |= {name: _format_value(value) for name, value in step["parameters"].items()}
    also = [f"framework={name}" for name in dict.fromkeys(frameworks)]
    options = _list_only(named, also, narrowed, {*named, *OWN_OPTION, "framework"})
    kept = [option for name in KEPT if (option := _find_option(words, name))]
    kept += [["--handwritten"]] if "--handwritten" in words else []
    kept += [] if step["device"] == "cpu" else [["--device", str(step["device"])]]
    kept += [] if step["threads"] == 1 else [["--threads", str(step["threads"])]]
    more = [word for option in kept for word in option]
    return shlex.join([*program, "speed", *given, *options, *more, *plugged, "--out", FOLDER])


def _split_command(made: str) -> list[str]:
    """Return the words of a command; none where it is no line that a shell takes."""
    try:
        return shlex.split(made)
    except ValueError:
        return []


def _list_only(named: Mapping[str, str | None], also: list[str], narrowed: list[str], left_out: set[str]) -> list[str]:
    """Return the options ``--only`` of facts that have a value, of `also`, and of those given but for `left_out`."""
    wanted = [f"{key}={value}" for key, value in named.items() if value is not None]
    wanted += [*also, *(text for text in narrowed if text.partition("=")[0] not in left_out)]
    return [option for text in wanted for option in ("--only", text)]


def _find_program(words: list[str], command: str) -> list[str] | None:
    """Return how a command of the command line was called, None where it is another."""
    return next((one.split() for one in PROGRAMS if words[: len(one.split()) + 1] == [*one.split(), command]), None)


def _find_option(words: list[str], name: str) -> list[str]:
    """Return an option of a command with its value; nothing where it has none."""
    for at, word in enumerate(words):
        if word == name:
            return words[at : at + 2]
        if word.startswith(f"{name}="):
            return [word]
    return []


def _parse_words(words: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Return the suite, the values of --only, and the options --plugins, out of the words behind ``run``."""
    suite, only, plugged, at = [], [], list[str](), 0
    while at < len(words):
        name, equals, value = words[at].partition("=")
        if name in VALUED:
            value = value if equals else "".join(words[at + 1 : at + 2])
            only += [value] if name == "--only" else []
            plugged += [name, value] if name == "--plugins" else []
            at += 1 if equals else 2
        else:
            suite += [] if words[at].startswith("-") else [words[at]]
            at += 1
    return suite[:1], only, plugged


def _format_value(value: object) -> str | None:
    """Return a value as --only takes it, None for one that does not apply."""
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else str(value)
