"""What came out, in plain sentences; each is written only where the data carry it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from farreach.results.analysis import observatory, run_times, tables
from farreach.results.analysis.labels import NEVER, format_metric, format_percent, join_words
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import CELL, CLIP, LEARNER, SETTING
from farreach.results.report import gradient_reach, matched_native
from farreach.results.report.phrases import list_labels, write_clip, write_count
from farreach.results.report.speed_sentences import write_steps
from farreach.results.vocabulary import NONE

FREE = ""
"""Where seeds are counted that ran without clipping, or under a threshold that never clipped; no clip's label."""


def sentences(rows: Rows, runs: list[dict[str, Any]], timings: pd.DataFrame | None) -> list[str]:
    """Return the findings of a result set in the order in which a reader asks for them.

    Args:
        rows: the rows of the store.
        runs: what the runs logged.
        timings: what `speed.load` returned, or None where nothing was timed.

    """
    found = scope(rows.frame, runs)
    if len(rows.counted):
        lines = tables.tabulate_accuracy(rows.matched)
        found += [*solved(lines), *gains(lines), *decided(lines), *unclipped(lines), *diverged(lines)]
        found += gradient_reach.write_findings(observatory.measure_reach(rows.matched))
    elif len(rows.ours):
        found.append(
            "No case ran in mode matched that is no permuted replicate, so nothing is said about what was solved."
        )
    found += [*owned(rows.own), *write_steps(timings)]
    if len(rest := rows.ours):
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
    learners, tasks, cells, clips = (join_words(list_labels(frame[name])) for name in (LEARNER, "task", CELL, CLIP))
    head = f"{write_count(len(frame), 'case')} finished: {learners} on {tasks} with {cells}, clip {clips}"
    parts = [f"{copies} of them permuted replicates"] if copies else []
    return ["; ".join([head, *parts, f"{torn} diverged"]) + ".", *(said if failed else [])]


def solved(lines: pd.DataFrame) -> list[str]:
    """Say for each setting with a criterion who solved it, at which threshold, and the share of seeds."""
    judged = lines[lines["judged"] > 0]
    found = []
    for setting, part in judged.groupby(SETTING, observed=True):
        yes = [_solved_at(str(cell), group) for cell, group in part.groupby(CELL, observed=True)]
        found.append(f"{setting}: {'; '.join(yes)}.")
    if len(judged) and not judged["solved"].any():
        found.insert(0, "No task was solved by any case.")
    return found


def _solved_at(cell: str, group: pd.DataFrame) -> str:
    if not group["solved"].any():
        best = group.sort_values("skill", ascending=False).iloc[0] if group["skill"].notna().any() else None
        reached = "every run diverged"
        if best is not None:
            score = "" if pd.isna(best["score"]) else f"{format_metric(best['metric'])} {best['score']:.3g}, "
            reached = f"best: {score}skill {tables.format_skill(best['skill'])}, {best[LEARNER]}, {_clip(best)}"
        return f"{cell} never solved it ({reached})"
    full = (group["solved"] == group["judged"]).all()
    clips = [str(clip) for clip in group[CLIP].unique()]
    seeds = group["judged"].unique()
    if full and len(seeds) == 1 and len(clips) > 1:
        who = join_words(list_labels(group[LEARNER]))
        return f"{cell} solved it with every clip tried ({', '.join(clips)}; {who}, {_share(group.iloc[0])} each)"
    shares: dict[str, list[str]] = {}
    for _, part in group[group["solved"] > 0].groupby(CLIP, observed=True):
        shares.setdefault(_each(part, _share), []).append(_clip(part.iloc[0]))
    return f"{cell} solved it with " + ", ".join(f"{join_words(at)} ({share})" for share, at in shares.items())


def gains(lines: pd.DataFrame) -> list[str]:
    """Say for each setting without a criterion what its headline metric shows, such as the source gain."""
    found = []
    for setting, part in lines[lines["judged"] == 0].groupby(SETTING, observed=True):
        metric = format_metric(part["metric"].iloc[0])
        unit = ", in nats a token," if metric == "source gain" else ""
        scored = part[part["score"].notna()]
        if scored.empty:
            found.append(f"{setting} has no 'solved', and its {metric} is missing from every row.")
            continue
        top = scored.loc[scored.groupby([CELL, LEARNER], observed=True)["score"].idxmax()]
        cells = [f"{cell} {_each(group, _score)}" for cell, group in top.groupby(CELL, observed=True)]
        highest = scored.groupby(CELL, observed=True)["score low"].max()
        nothing = join_words(str(cell) for cell in highest[highest <= 0].index)
        verdict = f" Every interval of {nothing} includes 0, so nothing is shown to have crossed." if nothing else ""
        found.append(f"{setting} has no 'solved'. Its best {metric}{unit} is: {'; '.join(cells)}.{verdict}")
    return found


def decided(lines: pd.DataFrame) -> list[str]:
    """Say which thresholds decide between solved and not solved.

    A threshold that never clipped ran without clipping, and its seeds are counted there.
    """
    judged = lines[lines["judged"] > 0].copy()
    idle = (judged["clip"] != NONE) & (judged["clip fraction"] == 0)
    judged["at"] = judged[CLIP].astype(object).where(~idle & (judged["clip"] != NONE), FREE)
    found, compared = [], False
    for (setting, cell), part in judged.groupby([SETTING, CELL], observed=True):
        clauses: dict[str, list[str]] = {}
        for learner, group in part.groupby(LEARNER, observed=True):
            sums = group.groupby("at", sort=False)[["solved", "judged"]].sum()
            compared |= len(sums) > 1
            share = sums["solved"] / sums["judged"]
            if share.min() < share.max():
                sure = share.max() == 1 and share.min() == 0
                verb = "decides between solved and not solved" if sure else "changes the share of seeds that solve it"
                pooled = join_words(group.loc[idle, CLIP].astype(str))
                note = f", counting {pooled}, which never clipped" if pooled else ""
                clauses.setdefault(f"the threshold {verb} ({_contrast(sums)}{note})", []).append(str(learner))
        if clauses:
            lone = " One seed each is no verdict." if part["judged"].max() == 1 else ""
            said = "; ".join(f"for {join_words(learners)} {clause}" for clause, learners in clauses.items())
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
        texts.setdefault(f"{sums.loc[at, 'solved']}/{sums.loc[at, 'judged']}", []).append(
            "without clipping" if at == FREE else f"with {at}"
        )
    return ", ".join(f"{count} {join_words(clips)}" for count, clips in texts.items())


def unclipped(lines: pd.DataFrame) -> list[str]:
    """Name the thresholds that never clipped."""
    idle = lines[(lines["clip"] != NONE) & (lines["clip fraction"] == 0)]
    named = [
        f"{clip} in {setting}, {cell} ({join_words(list_labels(group[LEARNER]))})"
        for (setting, cell, clip), group in idle.groupby([SETTING, CELL, CLIP], observed=True)
    ]
    return [f"Clip never active: these runs carry no evidence about clipping: {'; '.join(named)}."] if named else []


def diverged(lines: pd.DataFrame) -> list[str]:
    """Say which cases diverged, and which of those trained with a clip."""
    found = []
    for (setting, cell), part in lines.groupby([SETTING, CELL], observed=True):
        if not part["diverged"].any():
            continue
        clauses = []
        for clip, group in part.groupby(CLIP, observed=True):
            name = write_clip(group["clip"].iloc[0], clip)
            torn = group[group["diverged"] > 0]
            if len(torn):
                counts = _each(torn, lambda row: f"{row['diverged']}/{row['seeds']} seeds")
                clauses.append(f"{name} diverged: {counts}")
            fine = group[group["diverged"] == 0]
            for trained, verb in ((True, "trained"), (False, "did not diverge, but stayed on the floor")):
                those = fine[(fine["skill"] > 0) == trained]
                if len(those):
                    skills = _each(those, lambda row: f"skill {tables.format_skill(row['skill'])}{_clipping(row)}")
                    clauses.append(f"{name} {verb}: {skills}")
        alone = "" if len(part[CLIP].unique()) > 1 else "; no other clip ran beside it"
        found.append(f"Divergence in {setting}, {cell}: {'; '.join(clauses)}{alone}.")
    return found or ["No case diverged."]


def owned(rows: Rows) -> list[str]:
    """Say of each of the user's own runs what the clip met and did, and what such runs cannot say."""
    found = []
    reached, norms = tables.tabulate_accuracy(rows), tables.tabulate_gradients(rows)
    lines = pd.concat([reached, norms[[name for name in norms if name not in reached]]], axis="columns")
    for (setting, cell), part in lines.groupby([SETTING, CELL], observed=True):
        clauses = []
        for _, row in part.iterrows():
            name = write_clip(row["clip"], row[CLIP])
            if pd.isna(row["norm median"]):
                clauses.append(f"{row[LEARNER]} {name} diverged at step {row['diverged at']:.0f}")
                continue
            done = _clipping(row)
            end = "" if pd.isna(row["score"]) else f", training loss at the end {row['score']:.3g}"
            torn = f", {row['diverged']} of {write_count(row['seeds'], 'run')} diverged" if row["diverged"] else ""
            measured = f"gradient norm before the clip {row['norm median']:.3g}, at most {row['norm max']:.3g}"
            clauses.append(f"{row[LEARNER]} {name}{done}: {measured}{end}{torn}")
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
        f"{kind} {format_percent(share)}" for kind, share in zip(table["kind"], table["newest share"], strict=True)
    )
    lanes = write_count(int(last.get("jobs", 1)), "worker")
    text = (
        f"Training and evaluation took {format_percent(run_times.useful(table, 'newest'))} of the workers' time "
        f"in the newest run ({parts}), which took {last.get('wall_seconds', 0):.0f} s with {lanes}"
    )
    if "all share" in table:
        text += f", and {format_percent(run_times.useful(table, 'all'))} over all runs together"
    return [text + "."]


def _each(group: pd.DataFrame, text: Callable[[pd.Series[Any]], str]) -> str:
    """Return every framework's text, or one text where all say the same."""
    said = {str(row[LEARNER]): text(row) for _, row in group.iterrows()}
    if len(said) > 1 and len(set(said.values())) == 1:
        return f"{join_words(said)} {next(iter(said.values()))} each"
    return ", ".join(f"{learner} {what}" for learner, what in said.items())


def _score(row: pd.Series[Any]) -> str:
    ends = "" if pd.isna(row["score low"]) else f" ({row['score low']:.3g} to {row['score high']:.3g})"
    return f"{row['score']:.3g}{ends} with {_clip(row)}"


def _share(row: pd.Series[Any]) -> str:
    return f"{row['solved']}/{row['judged']} seed{'s' if row['judged'] > 1 else ''}"


def _clipping(row: pd.Series[Any]) -> str:
    if row["clip"] == NONE:
        return ""
    return f" ({NEVER})" if row["clip fraction"] == 0 else f" ({row['clipped']} of steps clipped)"


def _clip(row: pd.Series[Any]) -> str:
    return "no clipping" if row["clip"] == NONE else str(row[CLIP])
