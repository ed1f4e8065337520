"""Where the wall time of the runs went, and which cases failed, from what the runs logged."""

from __future__ import annotations

from typing import Any

import pandas as pd

from farreach.results.record import TIMES

USEFUL = ("training", "evaluation")
"""The kinds of time that a run is for."""


def find_newest(runs: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the newest run that finished cases, or None."""
    working = [run for run in runs if run.get("finished", 0) > 0]
    return max(working, key=lambda run: str(run.get("started", "")), default=None)


def tabulate_shares(runs: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the wall time by kind, in seconds over all worker lanes and as a share.

    Columns: kind; newest s and newest share (the newest run that finished cases); where several
    runs finished some, all s and all share as well.
    """
    last = find_newest(runs)
    if last is None:
        return pd.DataFrame(columns=["kind", "newest s", "newest share"])
    working = [run for run in runs if run.get("finished", 0) > 0]
    table = pd.DataFrame({"kind": TIMES})
    for name, chosen in (("newest", [last]), ("all", working)):
        if name == "newest" or len(working) > 1:
            seconds = [sum(float(run.get("seconds", {}).get(kind, 0)) for run in chosen) for kind in TIMES]
            table[f"{name} s"] = seconds
            table[f"{name} share"] = [second / sum(seconds) if sum(seconds) else float("nan") for second in seconds]
    return table


def sum_useful(table: pd.DataFrame, which: str) -> float:
    """Return the share of training and evaluation together; `which` is ``newest`` or ``all``."""
    return float(table.loc[table["kind"].isin(USEFUL), f"{which} share"].sum(min_count=1))


def list_failures(runs: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the cases that failed, with the reason and the start of the run, newest run first.

    A case that failed in one run is left out where the same command was run again later and did
    not list it any more.
    """
    ordered = sorted(runs, key=lambda run: str(run.get("started", "")))
    last = {run.get("command"): at for at, run in enumerate(ordered)}
    lines = [
        {"case": one.get("case", "?"), "reason": one.get("reason", "?"), "run started": run.get("started", "?")}
        for at, run in reversed([*enumerate(ordered)])
        if last[run.get("command")] == at
        for one in run.get("failed", [])
    ]
    return pd.DataFrame(lines, columns=["case", "reason", "run started"]).drop_duplicates("case", ignore_index=True)
