"""A set that somebody submits: what stands against it, what its readers should know, and its packed form."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pandas as pd

from farreach.results.analysis.certificates import count_certified
from farreach.results.publishing.manifests import describe_set
from farreach.results.publishing.packing import Packed, pack_set
from farreach.results.record import Case
from farreach.results.report.certificates import write_coverage
from farreach.results.report.phrases import write_count
from farreach.results.storage.files import StoreError
from farreach.results.storage.interface import ResultSet
from farreach.results.storage.packed_set import MANIFEST, PackedSet, is_packed
from farreach.results.storage.parts import PARTS
from farreach.results.storage.sanitising import format_line
from farreach.results.storage.sets import open_set
from farreach.results.vocabulary import OWN

LARGEST = 20 * 2**20
"""Bytes that a submitted set may have, packed."""

FEW = 5
"""Seeds from which on values are tested and not listed."""

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,63}")
"""What the name of a submitted set is made of."""

ABSOLUTE = re.compile(r"(^|[\s=:'\"])(/|~/|[A-Za-z]:\\)\w")
"""A path of somebody's machine within a text."""

CHANGED = "+changes"
"""What ends the commit of a row that was made with files which are in no commit."""

TEXTS = ("mode", "digest", "commit", "plugins", "command", "parameters")
"""Columns that are read here; what a row does not say is empty."""

SETTING = [field.name for field in dataclasses.fields(Case) if field.name not in {"seed", "replicate"}]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was found out about a set.

    Attributes:
        against: why it is not taken, a line each; nothing where it is.
        notes: what its readers should know.

    """

    against: tuple[str, ...]
    notes: tuple[str, ...]


def check_set(store: ResultSet, name: str) -> Verdict:
    """Say what stands against a set under a name, and what is to be known of it; nothing that it says is trusted."""
    against = [] if NAME.fullmatch(name) else [f"{format_line(name)!r} is no name: small letters, digits, dots, dashes"]
    rows = _read_rows(store)
    if rows.empty:
        return Verdict((*against, *store.damaged.values(), "it has no rows"), ())
    against += [*_find_damage(store, rows), *_find_unknown(rows), *_find_paths(store, rows)]
    return Verdict(tuple(dict.fromkeys(against)), tuple(_list_notes(rows)))


def check_packed(folder: Path) -> Verdict:
    """Say the same of a set that is packed already, as it is when it is offered; its manifest must be of its rows."""
    if not is_packed(folder):
        return Verdict((f"{folder.name} is not packed",), ())
    store = PackedSet(folder)
    verdict = check_set(store, folder.name)
    against = list(verdict.against)
    if store.manifest != store.manifest | describe_set(store):
        against.append(f"{MANIFEST} does not give the facts of its rows")
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    if size > LARGEST:
        against.append(f"it has {size / 2**20:.0f} MiB, and at most {LARGEST // 2**20} are taken")
    return dataclasses.replace(verdict, against=tuple(against))


def submit_set(folder: Path, out: Path) -> tuple[Verdict, Packed | None]:
    """Check a set and write it, packed and with its manifest, into a folder whose name is that of the submission.

    Raises:
        StoreError: where there is no set, or `out` cannot take it.

    """
    verdict = check_set(open_set(folder), out.name)
    if verdict.against:
        return verdict, None
    if is_packed(folder):
        message = f"{folder} is packed already: move it to {out}, then check it with --check --submit {out}"
        raise StoreError(message)
    packed = pack_set(folder, out, thin=True)
    return dataclasses.replace(verdict, against=check_packed(out).against), packed


def _read_rows(store: ResultSet) -> pd.DataFrame:
    try:
        rows = store.rows()
        return rows.assign(**{name: rows[name].fillna("").astype(str) for name in TEXTS})
    except StoreError:
        return pd.DataFrame()


def _find_damage(store: ResultSet, rows: pd.DataFrame) -> list[str]:
    """Read every part of every case; return why some cannot be used."""
    for key in rows["key"]:
        for part in PARTS:
            try:
                store.read_part(part, key)
            except StoreError as error:
                store.damaged.setdefault(key, str(error))
    try:
        describe_set(store)
    except StoreError as error:
        store.damaged.setdefault("", str(error))
    return [*store.damaged.values()]


def _find_unknown(rows: pd.DataFrame) -> list[str]:
    """Return what rows lack without which nobody could make them again."""
    lacking = {
        "of a training loop of one's own, which nobody else can run": rows["mode"] == OWN,
        "no digest, so nobody knows what code was run": rows["digest"] == "",
        "no commit": (rows["commit"] == "") & (rows["plugins"] == ""),
        "made with changes that no commit has": rows["commit"].str.endswith(CHANGED),
        "no command": rows["command"] == "",
    }
    return [f"{what}: {write_count(int(found.sum()), 'row')}" for what, found in lacking.items() if found.any()]


def _find_paths(store: ResultSet, rows: pd.DataFrame) -> list[str]:
    """Return a line for each text that holds a path of the submitter's machine."""
    texts: list[Any] = [*rows["command"].unique(), *rows["plugins"].unique(), *rows["parameters"].unique()]
    texts += [run.get("command", "") for run in store.runs()]
    found = dict.fromkeys(str(text) for text in texts if ABSOLUTE.search(str(text)))
    return [f"a path of one machine stands in it: {format_line(text)}" for text in found]


def _list_notes(rows: pd.DataFrame) -> list[str]:
    """Return what a reader should know of rows that are taken."""
    seeds = rows.groupby(SETTING, dropna=False, observed=True)["seed"].nunique()
    few = int((seeds < FEW).sum())
    notes = [f"{write_count(len(rows), 'row')} of {write_count(len(seeds), 'setting')}"]
    if few:
        notes.append(f"{write_count(few, 'setting')} with fewer than {FEW} seeds: their values are listed, not tested")
    plugged = int((rows["plugins"] != "").sum())
    if plugged:
        notes.append(f"{write_count(plugged, 'row')} of plug-ins, whose code is not here")
    return [*notes, *write_coverage(count_certified(rows))]
