"""What facts are called where people read them: settings, cells, clips, learners, parameters, metrics, shares.

Labels are for showing: nothing is grouped, sorted or chosen by one, and no fact is read out of one.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from farreach.results.analysis.selection import CELL, CLIP, FURTHER, LEARNER, RECIPE
from farreach.results.storage.columns import COLUMNS
from farreach.results.vocabulary import MATCHED, NONE

HEADINGS = {CELL: "cell", CLIP: "clip", LEARNER: "framework", "learning_rate": "learning rate"}
HEADINGS |= {f"{LEARNER} {side}": f"framework {side}" for side in ("a", "b")}
"""What columns are called where people read them."""

NEVER = "never clipped"
DASH = "\N{EN DASH}"

Facts = Mapping[Any, Any]


def label_settings(settings: list[dict[str, Any]]) -> list[str]:
    """Return what each of these distinct settings is called, such as ``adding T=50 (adam 0.003)``.

    A setting is named by task, parameters, optimizer, learning rate, their schedule and other numbers, penalty and
    mode, and by whatever else tells it from another of the same name.
    """
    shown = {task: _find_shown(part) for task, part in _split_by(settings, "task").items()}
    plain = [_label_setting(facts, shown[facts["task"]]) for facts in settings]
    alike: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for names, facts in zip(plain, settings, strict=True):
        alike.setdefault(names, []).append(facts)
    return [
        f"{head} ({', '.join([part for part in (recipe, *_list_differing(facts, alike[head, recipe])) if part])})"
        for (head, recipe), facts in zip(plain, settings, strict=True)
    ]


def label_recipe(facts: Facts) -> str:
    """Return optimizer, learning rate and what of both is not as by default: ``adamw 0.003, weight decay 0.01``."""
    recipe = [facts.get(name) for name in ("optimizer", "learning_rate")]  # which a run of one's own need not give
    parts = [" ".join(_format(value) for value in recipe if pd.notna(value))]
    for name in RECIPE:
        value = facts.get(name)
        if pd.notna(value) and value != COLUMNS[name].before:
            parts.append(str(value) if name == "schedule" else label_fact(name, value))
    return ", ".join(part for part in parts if part)


def label_cell(facts: Facts) -> str:
    """Return what a cell is called: ``lstm``, ``rnn (relu)``, ``transformer (heads 4)``."""
    heads = facts.get("heads")
    return _add_extra(facts["cell"], label_fact("heads", heads) if pd.notna(heads) else facts.get("activation"))


def label_clip(facts: Facts) -> str:
    """Return what a clip is called: ``none``, ``norm 0.1``, ``value 0.01``."""
    return NONE if facts["clip"] == NONE else f"{facts['clip']} {facts['threshold']:g}"


def label_fact(name: str, value: object) -> str:
    """Return a fact of a case as text: ``initial chrono``, ``chrono length 100``, ``no regulariser``."""
    words = name.replace("_", " ")
    return f"no {words}" if value == NONE else f"{words} {_format(value)}"


def label_learner(facts: Facts) -> str:
    """Return what a framework is called, with its path where that is given: ``pytorch``, ``pytorch (eager)``."""
    return _add_extra(facts["framework"], facts.get("path"))


def describe_clipping(clip: str, fraction: float) -> str:
    """Return the clip fraction in words, as it stands beside every threshold.

    Args:
        clip: the kind of clip.
        fraction: the share of the steps that it changed, 0 to 1.

    """
    if clip == NONE:
        return DASH
    if fraction == 0:
        return NEVER
    return format_percent(fraction)


def label_side(facts: Facts, side: str) -> str:
    """Return what the implementation on one side of a pair is called, whose columns begin with `side`."""
    return label_learner({name: facts[f"{side} {name}"] for name in ("framework", "path")})


def label_step(facts: Facts) -> str:
    """Return what a timed step is called, given the fields of its case: ``adding T=50 lstm, 64 units, batch 32``.

    Optimizer, schedule, penalty and clip follow where they are not those of most: adam, constant, none and norm.
    """
    values = " ".join(f"{name}={value}" for name, value in sorted(facts["parameters"].items()))
    initial = facts.get("initial", "default")  # a file of before has none
    drawn = "" if initial == "default" else f" {initial} {facts.get('chrono_length') or ''}".rstrip()
    most = {"optimizer": "adam", "schedule": "constant", "regulariser": NONE, "clip": "norm"}
    words = {name: facts.get(name) or usual for name, usual in most.items()}
    rest = [f"clip {word}" if name == "clip" else word for name, word in words.items() if word != most[name]]
    head = f"{facts['task']} {values} {facts['cell']}{drawn}"
    return ", ".join([head, f"{facts['hidden']} units", f"batch {facts['batch']}", *rest])


def format_percent(fraction: float) -> str:
    """Return a share in percent, never rounded to nothing or to everything."""
    if fraction != fraction if isinstance(fraction, float) else pd.isna(fraction):  # noqa: PLR0124 - NaN, said fast
        return DASH
    if 0 < fraction < 0.01:  # noqa: PLR2004
        return "<1 %"
    if 0.99 < fraction < 1:  # noqa: PLR2004
        return ">99 %"
    return f"{fraction:.0%}".replace("%", " %")


@functools.lru_cache(4096)
def format_parameters(parameters: str, between: str = ", ") -> str:
    """Return a task's parameters, given as JSON, as ``T=50, symbols=8``."""
    return between.join(f"{name}={_format(value)}" for name, value in json.loads(parameters).items())


def format_metric(name: object) -> str:
    """Return a metric's name as text: ``source gain``, ``within 0.04``."""
    return re.sub(r"(\d)_(\d)", r"\1.\2", str(name)).replace("_", " ")


def join_words(parts: Iterable[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    *most, last = [*parts] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def _label_setting(facts: Facts, shown: list[str]) -> tuple[str, str]:
    """Return task and parameters, and what stands in brackets behind them."""
    values = json.loads(str(facts["parameters"]))
    head = " ".join([str(facts["task"]), *(f"{name}={_format(values[name])}" for name in shown if name in values)])
    parts = [label_recipe(facts)]
    if facts.get("regulariser") not in {None, NONE}:
        parts.append(f"{facts['regulariser']} {_format(facts['strength'])}")
    if facts["mode"] not in {None, MATCHED}:
        parts.append(str(facts["mode"]))
    return head, ", ".join(part for part in parts if part)


def _list_differing(facts: Facts, alike: list[dict[str, Any]]) -> list[str]:
    """Return the facts in which a setting differs from others of its name, as text."""
    differing = [name for name in FURTHER if len({_format(one.get(name)) for one in alike}) > 1]
    return [label_fact(name, facts[name]) for name in differing if pd.notna(facts.get(name))]


def _find_shown(settings: list[dict[str, Any]]) -> list[str]:
    """Return the parameters that a setting's label shows: the numbers, a run's name, and whatever differs."""
    several = [json.loads(text) for text in dict.fromkeys(str(facts["parameters"]) for facts in settings)]
    names = dict.fromkeys(name for values in several for name in values)

    def shows(name: str) -> bool:
        seen = [values.get(name) for values in several]
        number = any(isinstance(value, int | float) and not isinstance(value, bool) for value in seen)
        return number or name == "name" or len({json.dumps(value) for value in seen}) > 1

    return [name for name in names if shows(name)]


def _split_by(settings: list[dict[str, Any]], name: str) -> dict[Any, list[dict[str, Any]]]:
    groups: dict[Any, list[dict[str, Any]]] = {}
    for facts in settings:
        groups.setdefault(facts[name], []).append(facts)
    return groups


def _add_extra(word: object, extra: object) -> str:
    return str(word) if extra is None or pd.isna(extra) else f"{word} ({extra})"  # type: ignore[call-overload]


def _format(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def label_replicate(replicate: int) -> str:
    """Return what the permuted replicate of a framework is called beside the framework."""
    return f"its permuted replicate {replicate}"


def label_length(cell: str, parameter: str, length: float) -> str:
    """Return a cell at one value of the parameter that sets a task's length."""
    return f"{cell} at {parameter}={length:g}"
