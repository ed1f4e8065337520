"""The command that makes one row again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
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

VALUED = ("--only", "--device", "--threads", "--jobs", "--out", "--plugins")
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
    try:
        words = shlex.split(made)
    except ValueError:
        return made
    program = next((one.split() for one in PROGRAMS if words[: len(one.split()) + 1] == [*one.split(), "run"]), None)
    if program is None:
        return made
    given, narrowed, plugged = _parse_words(words[len(program) + 1 :])
    named = {name: _format_value(row.get(name)) or _format_value(STANDS_FOR.get(name)) for name in (*ALWAYS, *also)}
    named |= {name: _format_value(value) for name, value in json.loads(str(row["parameters"])).items()}
    wanted = [f"{key}={value}" for key, value in named.items() if value is not None]
    wanted += [
        text for text in narrowed if text.partition("=")[0] not in named and text.partition("=")[0] not in OWN_OPTION
    ]
    options = [option for text in wanted for option in ("--only", text)]
    where = [] if row["device"] == "cpu" else ["--device", str(row["device"])]
    where += [] if row["threads"] == 1 else ["--threads", _format_value(row["threads"]) or ""]
    return shlex.join([*program, "run", *given, *options, *where, *plugged, "--out", FOLDER])


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
            suite.append(words[at])
            at += 1
    return suite[:1], only, plugged


def _format_value(value: object) -> str | None:
    """Return a value as --only takes it, None for one that does not apply."""
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else str(value)
