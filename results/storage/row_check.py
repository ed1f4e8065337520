"""The check of rows, by whole columns: which of them cannot be used, and why.

The rows of many JSON files, a single one and the table of a packed set all go through `find_faults`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from farreach.results.record import (
    ALL_NUMERICS,
    BELONGS_TO,
    CONFIRMATIONS,
    MADE_WITH,
    METRIC,
    NEEDED,
    POINTS,
    STRENGTHS,
    Case,
    hash_facts,
    render_fact,
)
from farreach.results.storage.columns import COLUMNS, KEY, LONGEST_TEXT, LONGEST_VALUE, NAME, NAMES, REACHED, STATUSES
from farreach.results.storage.sanitising import CONTROL
from farreach.results.vocabulary import MATCHED, NONE, OWN, SOLVED

LARGEST_NUMBER = 1e300
"""What a metric's value is below."""

HIDDEN = re.compile(rf"[{CONTROL}\ud800-\udfff]")
"""What JSON within JSON may hide: control characters, and halves of characters, which no file takes."""

SHORTEST_CHRONO = 3
"""The smallest T_max of ``initial`` chrono: of 2 it would draw nothing."""

SHA256 = "[0-9a-f]{64}"

CLOSE, NEAR = 1e-12, 1e-5
"""How far apart figures may be that are one: computed twice in float64, and in the precision of a framework."""

CASE = tuple(field.name for field in dataclasses.fields(Case))

Faults = dict[int, str]
"""Which rows of a table are damaged, by their number, and why, in one line each."""

Mask = NDArray[np.bool_]


def find_faults(table: pa.Table) -> Faults:
    """Return which rows of a table cannot be used, and why; its columns are of the kinds that `row_schema` has."""
    columns = {name: _Values(table[name].combine_chunks()) for name in table.column_names}
    faults: Faults = {}
    for mask, reason in (*_check_columns(columns), *_check_contradictions(columns)):
        if mask.any():
            for number in np.flatnonzero(mask).tolist():
                faults.setdefault(number, reason)
    return faults


class _Values:
    """A column as NumPy has it.

    Attributes:
        is_text: whether it holds texts.
        null: in which rows it has no value.
        numbers: its values, of texts their places in `words`; 0 where there is none, which is in every range.
        words: its texts, each once.

    """

    def __init__(self, column: pa.Array) -> None:
        self.is_text = pa.types.is_dictionary(column.type)
        self.words: list[str] = column.dictionary.to_pylist() if self.is_text else []
        values = column.indices if self.is_text else column
        self.null: Mask = np.zeros(len(column), bool)
        if column.null_count:
            self.null = column.is_null().to_numpy(zero_copy_only=False)
            values = values.fill_null(pa.scalar(0).cast(values.type))
        self.numbers: NDArray[Any] = values.to_numpy(zero_copy_only=False)

    def find(self, wrong: Callable[[str], object]) -> Mask:
        """Return which rows have a text of which something is the case; each text is looked at once."""
        odd = [bool(wrong(word)) for word in self.words]
        return np.array(odd)[self.numbers] & ~self.null if any(odd) else np.zeros(len(self.numbers), bool)


def _check_columns(columns: Mapping[str, _Values]) -> Iterator[tuple[Mask, str]]:
    """Yield what is wrong in single columns: in which rows, and why."""
    for name, column in columns.items():
        declared = COLUMNS.get(name)
        if declared is None:  # a metric
            yield ~(np.abs(column.numbers) < LARGEST_NUMBER), f"its {name} is not a finite number"
            continue
        if declared.fact.always:
            yield column.null, f"its {name} is missing"
        if name in NAMES:
            yield column.find(re.compile(rf"(?!{NAMES[name]}\Z)").match), f"its {name} is not a name"
        if declared.kind == "text":
            yield column.find(lambda word: len(word) > LONGEST_TEXT), f"its {name} is longer than {LONGEST_TEXT}"
            yield column.find(HIDDEN.search), f"its {name} holds control characters"
        if declared.kind == "number":
            yield ~np.isfinite(column.numbers), f"its {name} is not a finite number"
        if declared.least is not None:
            yield (column.numbers < declared.least) & ~column.null, f"its {name} is below {declared.least:g}"
        if declared.fact.most is not None:
            yield column.numbers > declared.fact.most, f"its {name} is above {declared.fact.most:g}"
    yield columns["key"].find(lambda word: not re.fullmatch(KEY, word)), "its key is not a valid key"
    yield columns["status"].find(lambda word: word not in STATUSES), f"its status is none of {', '.join(STATUSES)}"
    flat = "its parameters are not a JSON object of plain values"
    yield columns["parameters"].find(lambda word: not _is_flat(word)), flat


def _check_contradictions(columns: Mapping[str, _Values]) -> Iterator[tuple[Mask, str]]:
    """Yield which rows no run can have given though each column is fine by itself, and why."""
    for kind, strength in STRENGTHS.items():
        some, value = columns[kind].find(lambda word: word != NONE), columns[strength]
        yield np.where(some, ~(value.numbers > 0), ~value.null), f"its {kind} and its {strength} contradict each other"
    chrono, lstm = (columns[name].find(word.__eq__) for name, word in (("initial", "chrono"), ("cell", "lstm")))
    length = columns["chrono_length"]
    wrong = np.where(chrono, length.numbers < SHORTEST_CHRONO, ~length.null)
    yield wrong, "its initial and its chrono_length contradict each other"
    biased = ~columns["forget_bias"].null
    yield biased & ~lstm, "its cell and its forget_bias contradict each other"
    yield biased & chrono, "its initial and its forget_bias contradict each other"
    ours = columns["mode"].find(lambda word: word != OWN)
    for name, (kind, words) in BELONGS_TO.items():
        value, usual = columns[name], COLUMNS[name].before
        some = ~value.null if usual is None else value.numbers != usual
        here = columns[kind].find(words.__contains__)
        # A run of the user's own does not know what is needed.
        wrong = some & ~here | (ours & here & ~(value.numbers > 0) if name in NEEDED else False)
        yield wrong, f"its {kind} and its {name} contradict each other"
    for name, column in COLUMNS.items():
        if not column.nullable:
            yield ours & columns[name].null, f"its {name} is missing"
    for name in REACHED:
        yield columns["steps_before"].null & ~columns[name].null, "its gradient reaches over no steps"
    for wrong, names in (*_check_outcomes(columns), *_check_steps(columns), *_check_gradients(columns)):
        yield wrong, f"its {' and its '.join(names)} contradict each other"
    for name in ("learning_rate", "radius", "floor"):
        yield ours & ~(columns[name].numbers > 0), f"its {name} is not above 0"
    yield ours & (columns["loss"].numbers < 0), "its loss is below 0"
    odd = columns["weights_sha256"].find(lambda word: not re.fullmatch(SHA256, word))
    yield ours & odd, "its weights_sha256 is no SHA-256"
    yield columns["started"].find(lambda word: not _is_time(word)), "its started is no time in ISO 8601"
    yield _find_other_keys(columns), "its key is not that of its case and versions"


Contradiction = tuple[Mask, tuple[str, ...]]
"""In which rows columns contradict each other, and which columns."""


def _check_outcomes(columns: Mapping[str, _Values]) -> Iterator[Contradiction]:
    """Yield contradictions of how a run ended, what it reached and whether that solved its task."""
    ours = columns["mode"].find(lambda word: word != OWN)
    diverged = columns["status"].find(lambda word: word == "diverged")
    loss, floor, skill, score = (columns[name] for name in ("loss", "floor", "skill", "score"))
    yield diverged == columns["diverged_at"].null, ("status", "diverged_at")
    metrics = [name for name in columns if name.startswith(METRIC)]
    for name in ("loss", "score", "skill", "steps_to_solve", *metrics):
        yield diverged & ~columns[name].null, ("status", name)
    yield ours & (loss.null != skill.null), ("loss", "skill")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        share = loss.numbers / floor.numbers
        off = np.abs(skill.numbers - (1 - share)) > CLOSE * np.maximum(1, share)
    yield ~skill.null & (loss.null | floor.null | off), ("loss", "floor", "skill")
    solved = ~columns["solved"].null & (columns["solved"].numbers != 0)
    yield solved == columns["steps_to_solve"].null, ("solved", "steps_to_solve")
    places = {word: at for at, word in enumerate(columns["metric"].words)}
    agrees = score.null
    for name in ("loss", *metrics):
        value, at = columns[name], places.get(name.removeprefix(METRIC), -1)
        same = (score.null == value.null) & (score.numbers == value.numbers)
        agrees = np.where(columns["metric"].numbers == at, same, agrees)
    yield ours & ~agrees, ("metric", "score")
    for name in columns:
        low, high = (columns.get(f"{name}_{end}") for end in ("low", "high"))
        if low and high:
            there = ~(low.null | high.null | columns[name].null)
            order = (low.numbers <= columns[name].numbers) & (columns[name].numbers <= high.numbers)
            yield there & ~order, (name, f"{name}_low", f"{name}_high")


def _check_steps(columns: Mapping[str, _Values]) -> Iterator[Contradiction]:
    """Yield contradictions of the steps that were asked for, done, and counted of."""
    ours = columns["mode"].find(lambda word: word != OWN)
    steps, done, every, diverged, solved = (
        columns[name].numbers for name in ("steps", "steps_done", "evaluate_every", "diverged_at", "steps_to_solve")
    )
    asked, ended, met = "steps", "steps_done", "steps_to_solve"
    each = np.maximum(every, 1)
    there = {name: ~columns[name].null for name in ("diverged_at", met)}
    yield ours & ((every < 1) | (steps < 1) | (steps % each != 0)), (asked, "evaluate_every")
    early = columns["until"].find(lambda word: word == SOLVED) & there[met]
    confirmed = solved + (CONFIRMATIONS - 1) * each
    yield ours & ((done < 1) | (done > steps)), (asked, ended)
    yield ours & ~there["diverged_at"] & (done != np.where(early, confirmed, steps)), (asked, ended)
    yield ours & (done % each != 0), (ended, "evaluate_every")
    yield there["diverged_at"] & ((diverged < 1) | (diverged > done)), (ended, "diverged_at")
    yield ours & there["diverged_at"] & (diverged <= done - each), (ended, "diverged_at")
    yield ours & there[met] & ((solved < 1) | (solved % each != 0)), (met, "evaluate_every")
    yield ours & there[met] & (confirmed > done), (met, ended)
    # Half of the chunks take a step's median time or longer.
    spent = columns["step_seconds"].numbers * done
    yield ours & (spent > 2.001 * columns["seconds_training"].numbers), ("step_seconds", "seconds_training")


def _check_gradients(columns: Mapping[str, _Values]) -> Iterator[Contradiction]:
    """Yield contradictions of the clip, of the norms before and after it, and of the gradient through time."""
    ours = columns["mode"].find(lambda word: word != OWN)
    bare = columns["clip"].find(lambda word: word == NONE)
    share, elements, scale = (columns[name] for name in ("clip_fraction", "clipped_elements", "scale_median"))
    median, most = columns["norm_before_median"], columns["norm_before_max"]
    for name, column in (("clip_fraction", share), ("clipped_elements", elements)):
        yield bare & (column.numbers > 0), ("clip", name)
    unscaled = columns["clip"].find(lambda word: word in {NONE, "backprop"})  # under backprop there is no norm before
    yield unscaled & ~scale.null, ("clip", "scale_median")
    by_percentile = columns["clip"].find(lambda word: word == "autoclip")
    yield by_percentile & (columns["threshold"].numbers > 100), ("clip", "threshold")  # noqa: PLR2004
    yield (share.numbers > 0) != (elements.numbers > 0), ("clip_fraction", "clipped_elements")
    yield elements.numbers > share.numbers + NEAR, ("clip_fraction", "clipped_elements")
    yield ours & (scale.numbers > 1 + NEAR), ("clip", "scale_median")
    idle = ~scale.null & (share.numbers == 0) & (np.abs(scale.numbers - 1) > NEAR)
    yield ours & idle, ("clip_fraction", "scale_median")
    yield (median.null != most.null) | (median.numbers > most.numbers), ("norm_before_median", "norm_before_max")
    lstm = columns["cell"].find(lambda word: word == "lstm")
    for point in POINTS:
        cell, reach, growth = (columns[f"{name}_{point}"] for name in ("cell_reach", "reach", "growth"))
        yield ours & ~lstm & ~cell.null, ("cell", f"cell_reach_{point}")
        yield reach.null & ~(cell.null & growth.null), (f"reach_{point}", f"growth_{point}")
        for end in ("low", "high"):
            bound = columns[f"growth_{point}_{end}"]
            yield growth.null & ~bound.null, (f"growth_{point}", f"growth_{point}_{end}")


def render_facts(row: Mapping[str, Any]) -> dict[str, str]:
    """Return what the key of a row of mode matched is a hash of, by column; `hash_facts` of the values is the key."""
    facts = {name: row[name] for name in (*CASE, *MADE_WITH)}
    facts["parameters"] = sorted(json.loads(row["parameters"]).items())
    return {name: render_fact(name, value) for name, value in (facts | {"numerics": ALL_NUMERICS[0]}).items()}


def _find_other_keys(columns: Mapping[str, _Values]) -> Mask:
    """Return which rows have another key than their case and versions give.

    A row of a user's own run is named by that run, and one in mode native by the versions of packages that no row has.
    A framework may leave the part of its version after ``+`` to its package, or have it there alone.
    """
    names, key, version = (*CASE, *MADE_WITH), columns["key"], columns["framework_version"]
    checked = columns["mode"].find(lambda word: word == MATCHED) & ~key.null & ~version.null
    rendered = [_render_column(name, columns[name]) for name in names]
    bare = [render_fact("framework_version", word.partition("+")[0]) for word in version.words]
    numerics = [render_fact("numerics", value) for value in ALL_NUMERICS]
    at = names.index("framework_version")
    found = np.zeros(len(checked), bool)
    for number in np.flatnonzero(checked).tolist():
        facts = [words[numbers[number]] for words, numbers in rendered]
        others = [*facts[:at], bare[version.numbers[number]], *facts[at + 1 :]]
        possible = (hash_facts([*some, value]) for value in numerics for some in (facts, others))
        found[number] = key.words[key.numbers[number]] not in possible
    return found


def _render_column(name: str, column: _Values) -> tuple[list[str], NDArray[Any]]:
    """Return the facts of a column as a key hashes them, that of no value last, and the place of each row's."""
    values: list[Any] = column.words
    numbers = column.numbers
    if not column.is_text:
        found, numbers = np.unique(column.numbers, return_inverse=True)
        values = found.tolist()
    if name == "parameters":
        values = [sorted(json.loads(word).items()) if _is_flat(word) else None for word in values]
    return [render_fact(name, value) for value in (*values, None)], np.where(column.null, -1, numbers)


def _is_time(text: str) -> bool:
    """Return whether a text is a time as ISO 8601 has it."""
    try:
        dt.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_flat(text: str) -> bool:
    """Return whether a text is a JSON object of plain values, of good names without control characters."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(values, dict):
        return False
    words = [value for value in values.values() if isinstance(value, str)]
    numbers = [value for value in values.values() if not isinstance(value, str | None)]
    plain = all(re.fullmatch(NAME, name) for name in values) and all(len(word) <= LONGEST_VALUE for word in words)
    return (
        plain
        and not any(map(HIDDEN.search, words))
        and all(isinstance(value, int | float) and abs(value) < LARGEST_NUMBER for value in numbers)
    )
