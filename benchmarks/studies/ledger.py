"""The ledger at work: what a run of claims holds, which cases it begins in time, and whether claims came first."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import subprocess
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from farreach.benchmarks.matrix import narrowing, registry
from farreach.benchmarks.matrix.claims import DECISIVE, Entry
from farreach.benchmarks.running.environment import CHANGED, call_git
from farreach.results.analysis.ledger import Claim, ClaimFault, ClaimVerdict, judge_ledger, read_claims
from farreach.results.storage.files import write_json
from farreach.results.storage.interface import LEDGER, ResultSet
from farreach.results.storage.result_set import Store

SLACK = 10.0
"""How many times the planned minutes a claim may take: then no further case of it begins. A run counts its wall time,
and a machine on which others are at work too may need several times that of the processor."""


def choose_claims(entries: Sequence[Entry], only: list[str]) -> list[Entry]:
    """Return the claims that meet every KEY=VALUE; raise `UsageError` where a key or a value is not there."""
    described = [_describe(entry) for entry in entries]
    return [entries[at] for at in narrowing.find_matches(described, only, "the ledger")]


def _describe(entry: Entry) -> narrowing.Words:
    """Return what a claim can be chosen by: its id and source, and the tasks, cells and frameworks of its arms."""
    source, cases = entry.content.source, [case for arm in entry.cases.values() for case in arm]
    facts: dict[str, object] = {"id": entry.name, "year": source.year, "read": source.read}
    facts |= {name: {getattr(case, name) for case in cases} for name in ("task", "cell", "framework")}
    return narrowing.to_words(facts)


def write_claims(store: Store, entries: Iterable[Entry]) -> None:
    """Write the claims beside the rows, with the keys that their cases have here."""
    claims = [dataclasses.asdict(entry.describe()) for entry in entries]
    write_json(store.folder / LEDGER, {"claims": claims})


def judge_entry(entry: Entry, store: ResultSet) -> ClaimVerdict:
    """Return what the rows of a store say of a claim now."""
    return next(one for one in judge_ledger(store) if one.claim.id == entry.name)


def find_seconds(entry: Entry, verdict: ClaimVerdict) -> float:
    """Return the seconds within which cases of a claim may begin: `SLACK` times its plan, less what it has cost."""
    return 60 * (SLACK * (entry.content.minutes or 0) - verdict.minutes)


def check_order(entries: Sequence[Entry], store: ResultSet) -> list[ClaimFault]:
    """Return what is wrong between the ledger, its history and a set of rows.

    Raises `UsageError` where the set was not run for a ledger, or the ledger has no history.
    """
    if not store.list_documents(LEDGER):
        message = f"{store.folder} has no {LEDGER}: it was not run for a ledger"
        raise registry.UsageError(message)
    ours = {entry.name: entry for entry in entries}
    theirs = {claim.id: claim for claim in read_claims(store)}
    rows = {str(row["key"]): row for row in store.rows().astype(object).to_dict("records")}
    faults = [ClaimFault(name, "unknown") for name in theirs if name not in ours]
    for name, entry in ours.items():
        declared = _find_declared(entry.path)
        if declared is None:
            faults.append(ClaimFault(name, "uncommitted"))
        if name not in theirs:
            faults.append(ClaimFault(name, "missing"))
            continue
        if not _is_alike(entry.describe(), theirs[name]):
            faults.append(ClaimFault(name, "changed"))
        mine = [rows[key] for arm in theirs[name].arms for key in arm.rows if key in rows]
        late = [row for row in mine if declared is None or not _came_later(row, entry.path, declared)]
        if late:
            faults.append(ClaimFault(name, "late", len(late)))
    return faults


def _is_alike(ours: Claim, theirs: Claim) -> bool:
    """Say whether two claims are decided alike; keys may differ, which also name the versions of a framework."""
    return all(_list_decisive(ours)[name] == value for name, value in _list_decisive(theirs).items())


def _list_decisive(claim: Claim) -> dict[str, Any]:
    arms = {arm.name: (arm.settings, len(arm.rows)) for arm in claim.arms}
    return {"inequality": claim.inequality, "seeds": claim.seeds, "arms": arms}


@dataclasses.dataclass(frozen=True)
class _Commit:
    name: str
    at: dt.datetime


def _find_declared(path: Path) -> _Commit | None:
    """Return the commit from which on a claim says what it says now of its arms and its inequality; None before."""
    folder = path.parent
    try:
        lines = call_git("log", "--format=%H %cI", "--", path.name, folder=folder).splitlines()
    except (OSError, subprocess.CalledProcessError) as error:
        message = f"--check asks git when a claim was committed, and {folder} is in no repository of its own"
        raise registry.UsageError(message) from error
    now, declared = _read_decisive(path.read_text("utf-8")), None
    for name, at in map(str.split, lines):
        if _read_at(name, path) != now:
            break
        declared = _Commit(name, dt.datetime.fromisoformat(at))
    return declared


def _read_decisive(text: str) -> dict[str, Any]:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}
    return {name: content.get(name) for name in DECISIVE}


def _came_later(row: Mapping[Any, Any], path: Path, declared: _Commit) -> bool:
    """Say whether a row ran with a commit that had the claim; by the clock where that commit is not known here."""
    commit = str(row["commit"]).removesuffix(CHANGED)
    if not _is_known(commit, path.parent):
        return dt.datetime.fromisoformat(str(row["started"])) >= declared.at
    return _read_at(commit, path) == _read_decisive(path.read_text("utf-8"))


@functools.cache
def _is_known(commit: str, folder: Path) -> bool:
    try:
        call_git("cat-file", "-e", f"{commit}^{{commit}}", folder=folder)
    except subprocess.CalledProcessError:
        return False
    return True


@functools.cache
def _read_at(commit: str, path: Path) -> dict[str, Any] | None:
    """Return what a claim said in a commit; None where it was not there."""
    try:
        return _read_decisive(call_git("show", f"{commit}:./{path.name}", folder=path.parent))
    except subprocess.CalledProcessError:
        return None
