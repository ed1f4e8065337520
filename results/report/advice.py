"""Advice in words: plain sentences, the table of what was tried, and the files that hold them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from farreach.results.analysis import threshold_advice
from farreach.results.analysis.gradient_norms import cut_divergence, summarise_norms
from farreach.results.analysis.labels import (
    DASH,
    describe_clipping,
    format_parameters,
    format_percent,
    join_words,
    label_clip,
)
from farreach.results.analysis.task_verdicts import Verdict
from farreach.results.analysis.threshold_advice import Recommendation, Thumb
from farreach.results.vocabulary import FEWEST_SEEDS, NONE

JUDGED = ("helps", "harmless", "indifferent", "harms")
"""The outcomes at which it says something that a point is as good as the best."""

THUMB = "The rule of thumb of Pascanu et al. (2013), half to ten times the average norm,"


@dataclasses.dataclass(frozen=True)
class Advice:
    """Everything that was found out.

    Attributes:
        setting: what it is about, in words.
        optimizer: its name.
        clip: the kind of clip.
        named: the learning rate that was asked about.
        verdicts: one per learning rate, ascending.
        thumbs: the rule of thumb at each learning rate; of a clip by norm alone.
        norms: one line per learning rate: `norms.summary` of the runs without a clip.
        cases: one line per case, as `advice.tried` gives it.
        rows: the rows of the store that all this comes from.

    """

    setting: str
    optimizer: str
    clip: str
    named: float
    verdicts: list[Recommendation]
    thumbs: dict[float, Thumb]
    norms: pd.DataFrame
    cases: pd.DataFrame
    rows: pd.DataFrame


Load = Callable[[str], pd.DataFrame]


def gather_advice(rows: pd.DataFrame, evaluations: Load, curves: Load, *, named: float, clip: str) -> Advice:
    """Judge the rows of one question; they differ in clip, threshold, learning rate and seed alone.

    Args:
        rows: rows of a store.
        evaluations: maps a case's key to its evaluations.
        curves: maps a case's key to its curves; asked for the cases without a clip alone.
        named: the learning rate that was asked about.
        clip: the kind of clip.

    """
    free = rows[rows["clip"] == NONE]
    lines = [
        {"learning_rate": rate} | summarise_norms(cut_divergence(curves(key)) for key in part["key"])
        for rate, part in free.groupby("learning_rate")
    ]
    observed = pd.DataFrame(lines, columns=["learning_rate", *summarise_norms([])])
    cases = threshold_advice.tabulate_tries(rows, evaluations)
    verdicts = threshold_advice.recommend(cases)
    averages = dict(zip(observed["learning_rate"], observed["average"], strict=True))
    rates = [one.learning_rate for one in verdicts]
    checks = [threshold_advice.check_thumb(one, averages.get(one.learning_rate, 0.0)) for one in verdicts]
    thumbs = {rate: one for rate, one in zip(rates, checks, strict=True) if one is not None and clip == "norm"}
    first = rows.iloc[0]
    cell = first["cell"] if first["cell"] != "rnn" else f"rnn ({first['activation']})"
    layers = f"{first['layers']} layers of " if first["layers"] > 1 else ""
    setting = (
        f"{first['task']} {format_parameters(first['parameters'])} with {cell}, "
        f"{layers}{first['hidden']} hidden units, "
        f"batch {first['batch']}, {first['steps']} steps, {first['framework']} {first['framework_version']}"
    ).replace("  ", " ")
    return Advice(setting, str(first["optimizer"]), clip, named, verdicts, thumbs, observed, cases, rows)


def write_findings(found: Advice) -> list[str]:
    """Return the advice in plain sentences, that for the named learning rate first."""
    ranked = sorted(found.verdicts, key=lambda one: (one.learning_rate != found.named, one.learning_rate))
    said = [_write_verdict(found, one) for one in ranked]
    plateaus = [set(one.plateau) for one in found.verdicts]
    if len(plateaus) > 1 and all(plateaus):
        shared = sorted(set.intersection(*plateaus))
        rates = _write_numbers([one.learning_rate for one in found.verdicts])
        said.append(
            f"In the plateaus of all the learning rates, {rates}: {_write_numbers(shared)}."
            if shared
            else f"No threshold is in the plateaus of all the learning rates, {rates}."
        )
    if found.clip != "norm":
        other = "a clip by value" if found.clip == "value" else f"clip {found.clip}"
        said.append(f"{THUMB} is about the norm and says nothing of {other}.")
    return said + [_write_thumb(found, one) for one in ranked if one.learning_rate in found.thumbs]


def tabulate_tried(found: Advice) -> pd.DataFrame:
    """Return what was tried as text, one line per learning rate and threshold."""
    lines = []
    for verdict in found.verdicts:
        for line in verdict.lines.to_dict("records"):
            free = pd.isna(line["threshold"])
            kind = NONE if free else found.clip
            here = not free and line["threshold"] == verdict.recommended
            place = "recommended" if here else "plateau" if line["threshold"] in verdict.plateau else ""
            place = place or ("as good" if line["as good"] and verdict.outcome in JUDGED else "")
            torn = f"{line['diverged']} diverged" if line["diverged"] else ""
            average = f"{line['average skill']:.2f}"
            if line["seeds"] > 1:
                average += f" ({line['least']:.2f} to {line['most']:.2f})"
            lines.append(
                {
                    "learning rate": f"{verdict.learning_rate:g}",
                    "clip": label_clip({"clip": kind, "threshold": line["threshold"]}),
                    "threshold": NONE if free else f"{line['threshold']:g}",
                    "solved": f"{line['solved']}/{line['judged']}" if line["judged"] else DASH,
                    "steps": DASH if pd.isna(line["steps to solve"]) else f"{line['steps to solve']:.0f}",
                    "skill": DASH if line["diverged"] == line["seeds"] else f"{line['skill']:.2f}",
                    "average skill": average,
                    "clipped": describe_clipping(kind, line["clip fraction"]),
                    "verdict": ", ".join(part for part in (place, torn) if part),
                    "recommended": here,
                }
            )
    return pd.DataFrame(lines)


def _write_verdict(found: Advice, one: Recommendation) -> str:
    head = f"At {found.optimizer} {one.learning_rate:g}"
    free = one.get_line(None) if one.lines["threshold"].isna().any() else None
    beside = "" if free is None else f" Without clipping, {_write_point(free)}."
    if one.outcome == "untried":
        return f"{head} no threshold was tried, so there is nothing to advise.{beside}"
    grid = f"{found.clip} {_write_span(one.tried)}"
    best = one.lines[one.lines["threshold"].notna()].sort_values(["share", "average skill"], ascending=False).iloc[0]
    at_best = f"{found.clip} {best['threshold']:g}, {_write_point(best)}"
    tested = _write_test(best)
    words = {
        "diverged": f"every run diverged, at {grid} as without clipping: no tried threshold helps.",
        "nothing": f"nothing was learned, at {grid} or without clipping: no threshold helps.",
        "single": f"the threshold grid is one value, so there is nothing to choose from. At {at_best}.{beside}",
        "harms": f"no tried threshold is as good as no clipping. At the best of them, {at_best}.{beside}{tested}",
    }
    if one.outcome in words:
        return f"{head} {words[one.outcome]}"
    threshold = float(one.recommended or 0)
    interval = f"{found.clip} {threshold:g}, with an interval of {_write_plateau(one)}"
    line = one.get_line(threshold)
    shown = line["verdict"] is Verdict.BETTER
    opening = {
        "helps": f"the recommended threshold is {interval}"
        + ("" if shown else ", chosen by the average skill: that clipping helps is not shown"),
        "harmless": f"no clipping is as good as any; the recommended threshold is {interval}",
        "indifferent": f"no difference is seen, from {grid} to none; the middle is {interval}",
    }[one.outcome]
    short = " No tried threshold had every seed solve it." if line["solved"] < line["judged"] else ""
    reasons = f"{short}{beside}{_write_test(line)}{_write_stability(one)}"
    return f"{head} {opening}. At {threshold:g}, {_write_point(line)}.{reasons}"


def _write_thumb(found: Advice, one: Recommendation) -> str:
    held = found.thumbs[one.learning_rate]
    low, high = held.ends
    head = (
        f"{THUMB} gives {low:.3g} to {high:.3g} at {found.optimizer} {one.learning_rate:g}, where the average "
        f"norm without a clip is {held.average:.3g}."
    )
    torn = one.get_line(None)["diverged"]
    if torn:
        head += f" That average holds the explosions of {torn} runs that diverged, so it is little to go by."
    if not held.within:
        return f"{head} No tried threshold lies there."
    within, worse = _write_numbers(held.within), _write_numbers(held.worse)
    if held.failing:
        said = f"It did not hold: at {_write_numbers(held.failing)} fewer seeds solved the task than at the best."
    elif one.lines["solved"].any():
        rest = f"; the average skill, in which speed counts, fell short at {worse}" if worse else ", and as soon"
        said = f"It held: at {within} as many seeds solved the task as at the best{rest}."
    elif worse:
        said = f"By the average skill it did not hold: {worse} fell short of the best."
    else:
        said = f"By the average skill it held: {within} {'are' if len(held.within) > 1 else 'is'} as good as the best."
    if held.inside is not None:
        said += (
            f" The recommended threshold, {one.recommended:g}, is {'inside' if held.inside else 'outside'} that range."
        )
    return f"{head} {said}"


def _write_point(line: pd.Series[Any]) -> str:
    """Return what happened at one point, as a clause."""
    parts = []
    if line["judged"]:
        parts.append(f"{line['solved']} of {line['judged']} seeds solved it")
        if pd.notna(line["steps to solve"]):
            parts[-1] += f", in {line['steps to solve']:.0f} steps in the median"
    parts.append(f"the average skill was {line['average skill']:.2f}")
    if line["diverged"]:
        parts.append(f"{line['diverged']} of {line['seeds']} diverged")
    if pd.notna(line["threshold"]):
        fraction = line["clip fraction"]
        parts.append(
            "no step was clipped" if fraction == 0 else f"{format_percent(fraction)} of the steps were clipped"
        )
    return join_words(parts)


def _write_test(line: pd.Series[Any]) -> str:
    """Say what a threshold is to no clipping, by the seeds that solved the task."""
    words = {
        Verdict.BETTER: " That more seeds solve it than without a clip is shown (Fisher's exact test, corrected).",
        Verdict.WORSE: " That fewer seeds solve it than without a clip is shown (Fisher's exact test, corrected).",
        Verdict.UNCLEAR: " By the seeds that solve it, that is not told apart from no clipping.",
    }
    few = 0 < line["judged"] < FEWEST_SEEDS
    return words.get(
        line["verdict"], f" So few seeds are listed, not tested ({FEWEST_SEEDS} are needed)." if few else ""
    )


def _write_plateau(one: Recommendation) -> str:
    """Return the plateau's ends, marked where they are those of the grid: it may go on beyond."""
    low, high = (f"{at:g}" for at in (one.plateau[0], one.plateau[-1]))
    low += " (the smallest tried)" if one.plateau[0] == one.tried[0] else ""
    high += " (the largest tried)" if one.plateau[-1] == one.tried[-1] else ""
    return f"{low} alone" if len(one.plateau) == 1 else f"{low} to {high}"


def _write_stability(one: Recommendation) -> str:
    if not one.left_out:
        return " One seed is no verdict."
    same = sum(other == one.recommended for other in one.left_out)
    said = f" With each seed left out in turn the same is recommended {same} of {len(one.left_out)} times"
    others = list(dict.fromkeys(other for other in one.left_out if other != one.recommended))
    names = ["none" if other is None else f"{other:g}" for other in others]
    weak = " It hangs on single seeds: take more." if 2 * same <= len(one.left_out) else ""
    return f"{said}{f', otherwise {join_words(names)}' if names else ''}.{weak}"


def _write_span(values: Iterator[float] | tuple[float, ...] | list[float]) -> str:
    values = list(values)
    return f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g} to {values[-1]:g}"


def _write_numbers(values: tuple[float, ...] | list[float]) -> str:
    return join_words([f"{value:g}" for value in values])
