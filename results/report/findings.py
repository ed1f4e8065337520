"""What came out, in plain sentences; each is written only where the data carry it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from farreach.results.analysis import observatory, run_times, tables
from farreach.results.analysis.labels import (
    CELL,
    CLIP,
    LEARNER,
    NEVER,
    NONE,
    counted,
    joined,
    labelled,
    matched,
    ours,
    own,
    percent,
    words,
)
from farreach.results.report import gradient_reach, matched_native
from farreach.results.report.phrases import list_labels, write_clip, write_count
from farreach.results.report.speed_sentences import write_steps


def sentences(rows: pd.DataFrame, runs: list[dict[str, Any]], timings: pd.DataFrame | None) -> list[str]:
    """Return the findings of a result set in the order in which a reader asks for them.

    Args:
        rows: the rows of the store, as they are.
        runs: what the runs logged.
        timings: what `speed.load` returned, or None where nothing was timed.

    """
    frame = labelled(rows)
    found = scope(frame, runs)
    if len(counted(frame)):
        lines = tables.accuracy(matched(frame))
        found += [*solved(lines), *gains(lines), *decided(lines), *unclipped(lines), *diverged(lines)]
        found += gradient_reach.write_findings(observatory.measure_reach(matched(frame)))
    elif len(ours(frame)):
        found.append(
            "No case ran in mode matched that is no permuted replicate, so nothing is said about what was solved."
        )
    found += [*owned(frame), *write_steps(timings)]
    if len(rest := ours(frame)):
        found += matched_native.write_findings(rest)
    return found + wall_time(runs)


def scope(frame: pd.DataFrame, runs: list[dict[str, Any]]) -> list[str]:
    """Say how many cases there are, of what, and how many diverged or failed."""
    failed = len(run_times.failures(runs))
    said = [
        f"{write_count(failed, 'case')} failed and are named below." if failed != 1 else "1 case failed, named below."
    ]
    if frame.empty:
        return ["No case has finished: there is nothing to compare.", *(said if failed else [])]
    copies = int((frame["replicate"] > 0).sum())
    torn = int((frame["status"] == "diverged").sum())
    learners, tasks, cells, clips = (joined(list_labels(frame[name])) for name in (LEARNER, "task", CELL, CLIP))
    head = f"{write_count(len(frame), 'case')} finished: {learners} on {tasks} with {cells}, clip {clips}"
    parts = [f"{copies} of them permuted replicates"] if copies else []
    return ["; ".join([head, *parts, f"{torn} diverged"]) + ".", *(said if failed else [])]


def solved(lines: pd.DataFrame) -> list[str]:
    """Say for each setting with a criterion who solved it, at which threshold, and the share of seeds."""
    judged = lines[lines["judged"] > 0]
    found = []
    for setting, part in judged.groupby("setting", observed=True):
        yes = [_solved_at(str(cell), group) for cell, group in part.groupby("cell", observed=True)]
        found.append(f"{setting}: {'; '.join(yes)}.")
    if len(judged) and not judged["solved"].any():
        found.insert(0, "No task was solved by any case.")
    return found


def _solved_at(cell: str, group: pd.DataFrame) -> str:
    if not group["solved"].any():
        best = group.sort_values("skill", ascending=False).iloc[0] if group["skill"].notna().any() else None
        reached = "every run diverged"
        if best is not None:
            score = "" if pd.isna(best["score"]) else f"{words(best['metric'])} {best['score']:.3g}, "
            reached = f"best: {score}skill {tables.rounded(best['skill'])}, {best['framework']}, {_clip(best)}"
        return f"{cell} never solved it ({reached})"
    full = (group["solved"] == group["judged"]).all()
    clips = list(group["clip"].unique())
    seeds = group["judged"].unique()
    if full and len(seeds) == 1 and len(clips) > 1:
        who = joined(list_labels(group["framework"]))
        return f"{cell} solved it with every clip tried ({', '.join(clips)}; {who}, {_share(group.iloc[0])} each)"
    shares: dict[str, list[str]] = {}
    for _, part in group[group["solved"] > 0].groupby("clip", observed=True):
        shares.setdefault(_each(part, _share), []).append(_clip(part.iloc[0]))
    return f"{cell} solved it with " + ", ".join(f"{joined(at)} ({share})" for share, at in shares.items())


def gains(lines: pd.DataFrame) -> list[str]:
    """Say for each setting without a criterion what its headline metric shows, such as the source gain."""
    found = []
    for setting, part in lines[lines["judged"] == 0].groupby("setting", observed=True):
        metric = words(part["metric"].iloc[0])
        unit = ", in nats a token," if metric == "source gain" else ""
        scored = part[part["score"].notna()]
        if scored.empty:
            found.append(f"{setting} has no 'solved', and its {metric} is missing from every row.")
            continue
        top = scored.loc[scored.groupby(["cell", "framework"], observed=True)["score"].idxmax()]
        cells = [f"{cell} {_each(group, _score)}" for cell, group in top.groupby("cell", observed=True)]
        highest = scored.groupby("cell", observed=True)["score low"].max()
        nothing = joined(str(cell) for cell in highest[highest <= 0].index)
        verdict = f" Every interval of {nothing} includes 0, so nothing is shown to have crossed." if nothing else ""
        found.append(f"{setting} has no 'solved'. Its best {metric}{unit} is: {'; '.join(cells)}.{verdict}")
    return found


def decided(lines: pd.DataFrame) -> list[str]:
    """Say which thresholds decide between solved and not solved.

    A threshold that never clipped ran without clipping, and its seeds are counted there.
    """
    judged = lines[lines["judged"] > 0].copy()
    idle = judged["clipped"] == NEVER
    judged["at"] = judged["clip"].astype(str).where(~idle, NONE)
    found, compared = [], False
    for (setting, cell), part in judged.groupby(["setting", "cell"], observed=True):
        clauses: dict[str, list[str]] = {}
        for learner, group in part.groupby("framework", observed=True):
            sums = group.groupby("at", sort=False)[["solved", "judged"]].sum()
            compared |= len(sums) > 1
            share = sums["solved"] / sums["judged"]
            if share.min() < share.max():
                sure = share.max() == 1 and share.min() == 0
                verb = "decides between solved and not solved" if sure else "changes the share of seeds that solve it"
                pooled = joined(group.loc[idle, "clip"].astype(str))
                note = f", counting {pooled}, which never clipped" if pooled else ""
                clauses.setdefault(f"the threshold {verb} ({_contrast(sums)}{note})", []).append(str(learner))
        if clauses:
            lone = " One seed each is no verdict." if part["judged"].max() == 1 else ""
            said = "; ".join(f"for {joined(learners)} {clause}" for clause, learners in clauses.items())
            found.append(f"{setting}, {cell}: {said}.{lone}")
    if len(judged) and not found:
        none = "No threshold decides between solved and not solved in this set."
        found = [none if compared else "Every case ran with one clip alone, so nothing is said about thresholds."]
    return found


def _contrast(sums: pd.DataFrame) -> str:
    """Return ``3/3 seeds with norm 0.1, 0/3 with norm 10``, the largest share first."""
    texts: dict[str, list[str]] = {}
    share = sums["solved"] / sums["judged"]
    for at in share.sort_values(ascending=False, kind="stable").index:
        texts.setdefault(f"{sums.loc[at, 'solved']}/{sums.loc[at, 'judged']}", []).append(write_clip(str(at)))
    return ", ".join(f"{count} {joined(clips)}" for count, clips in texts.items())


def unclipped(lines: pd.DataFrame) -> list[str]:
    """Name the thresholds that never clipped."""
    idle = lines[lines["clipped"] == NEVER]
    named = [
        f"{clip} in {setting}, {cell} ({joined(list_labels(group['framework']))})"
        for (setting, cell, clip), group in idle.groupby(["setting", "cell", "clip"], observed=True)
    ]
    return [f"Clip never active: these runs carry no evidence about clipping: {'; '.join(named)}."] if named else []


def diverged(lines: pd.DataFrame) -> list[str]:
    """Say which cases diverged, and which of those trained with a clip."""
    found = []
    for (setting, cell), part in lines.groupby(["setting", "cell"], observed=True):
        if not part["diverged"].any():
            continue
        clauses = []
        for clip, group in part.groupby("clip", observed=True):
            torn = group[group["diverged"] > 0]
            if len(torn):
                counts = _each(torn, lambda row: f"{row['diverged']}/{row['seeds']} seeds")
                clauses.append(f"{write_clip(str(clip))} diverged: {counts}")
            fine = group[group["diverged"] == 0]
            for trained, verb in ((True, "trained"), (False, "did not diverge, but stayed on the floor")):
                those = fine[(fine["skill"] > 0) == trained]
                if len(those):
                    skills = _each(those, lambda row: f"skill {tables.rounded(row['skill'])}{_clipping(row)}")
                    clauses.append(f"{write_clip(str(clip))} {verb}: {skills}")
        alone = "" if len(part["clip"].unique()) > 1 else "; no other clip ran beside it"
        found.append(f"Divergence in {setting}, {cell}: {'; '.join(clauses)}{alone}.")
    return found or ["No case diverged."]


def owned(frame: pd.DataFrame) -> list[str]:
    """Say of each of the user's own runs what the clip met and did, and what such runs cannot say."""
    found = []
    lines = tables.accuracy(own(frame)).merge(tables.gradients(own(frame)))
    for (setting, cell), part in lines.groupby(["setting", "cell"], observed=True):
        clauses = []
        for _, row in part.iterrows():
            name = write_clip(str(row["clip"]))
            if pd.isna(row["norm median"]):
                clauses.append(f"{row['framework']} {name} diverged at step {row['diverged at']:.0f}")
                continue
            done = f" ({row['clipped']} of steps clipped)" if row["clip"] != NONE else ""
            done = done.replace(f"{NEVER} of steps clipped", NEVER)
            end = "" if pd.isna(row["score"]) else f", training loss at the end {row['score']:.3g}"
            torn = f", {row['diverged']} of {write_count(row['seeds'], 'run')} diverged" if row["diverged"] else ""
            norms = f"gradient norm before the clip {row['norm median']:.3g}, at most {row['norm max']:.3g}"
            clauses.append(f"{row['framework']} {name}{done}: {norms}{end}{torn}")
        found.append(f"{setting}, {cell}: {'; '.join(clauses)}.")
    if found:
        found.append(
            "Runs marked 'own' were recorded in a loop of the user's: they have no floor and no skill, stand under no "
            "certificate by their nature, and enter no comparison of frameworks."
        )
    return found


def wall_time(runs: list[dict[str, Any]]) -> list[str]:
    """Say which share of the wall time went into training and evaluation."""
    last = run_times.newest(runs)
    if last is None:
        return ["Where the wall time went is not known: no run that finished cases was logged."]
    table = run_times.shares(runs)
    parts = ", ".join(
        f"{kind} {percent(share)}" for kind, share in zip(table["kind"], table["newest share"], strict=True)
    )
    lanes = write_count(int(last.get("jobs", 1)), "worker")
    text = (
        f"Training and evaluation took {percent(run_times.useful(table, 'newest'))} of the workers' time "
        f"in the newest run ({parts}), which took {last.get('wall_seconds', 0):.0f} s with {lanes}"
    )
    if "all share" in table:
        text += f", and {percent(run_times.useful(table, 'all'))} over all runs together"
    return [text + "."]


def _each(group: pd.DataFrame, text: Callable[[pd.Series[Any]], str]) -> str:
    """Return every framework's text, or one text where all say the same."""
    said = {str(row["framework"]): text(row) for _, row in group.iterrows()}
    if len(said) > 1 and len(set(said.values())) == 1:
        return f"{joined(said)} {next(iter(said.values()))} each"
    return ", ".join(f"{learner} {what}" for learner, what in said.items())


def _score(row: pd.Series[Any]) -> str:
    ends = "" if pd.isna(row["score low"]) else f" ({row['score low']:.3g} to {row['score high']:.3g})"
    return f"{row['score']:.3g}{ends} with {_clip(row)}"


def _share(row: pd.Series[Any]) -> str:
    return f"{row['solved']}/{row['judged']} seed{'s' if row['judged'] > 1 else ''}"


def _clipping(row: pd.Series[Any]) -> str:
    if row["clip"] == NONE:
        return ""
    return f" ({NEVER})" if row["clipped"] == NEVER else f" ({row['clipped']} of steps clipped)"


def _clip(row: pd.Series[Any]) -> str:
    return "no clipping" if row["clip"] == NONE else str(row["clip"])
