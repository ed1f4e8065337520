"""The check of rows, by whole columns: which of them cannot be used, and why.

The rows of many JSON files, a single one and the table of a packed set all go through `find_faults`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from farreach.results.record import STRENGTHS
from farreach.results.storage.columns import COLUMNS, KEY, LONGEST_TEXT, LONGEST_VALUE, NAME, NAMES, REACHED, STATUSES
from farreach.results.storage.sanitising import CONTROL
from farreach.results.vocabulary import NONE, OWN

LARGEST_NUMBER = 1e300
"""What a metric's value is below."""

HIDDEN = re.compile(rf"[{CONTROL}\ud800-\udfff]")
"""What JSON within JSON may hide: control characters, and halves of characters, which no file takes."""

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
        null: in which rows it has no value.
        numbers: its values, of texts their places in `words`; 0 where there is none, which is in every range.
        words: its texts, each once.

    """

    def __init__(self, column: pa.Array) -> None:
        is_text = pa.types.is_dictionary(column.type)
        self.words: list[str] = column.dictionary.to_pylist() if is_text else []
        values = column.indices if is_text else column
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
            yield column.find(lambda word: not re.fullmatch(NAME, word)), f"its {name} is not a name"
        if declared.kind == "text":
            yield column.find(lambda word: len(word) > LONGEST_TEXT), f"its {name} is longer than {LONGEST_TEXT}"
            yield column.find(HIDDEN.search), f"its {name} holds control characters"
        if declared.kind == "number":
            yield ~np.isfinite(column.numbers), f"its {name} is not a finite number"
        if declared.least is not None:
            yield column.numbers < declared.least, f"its {name} is below {declared.least:g}"
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
    ours = columns["mode"].find(lambda word: word != OWN)
    for name, column in COLUMNS.items():
        if not column.nullable:
            yield ours & columns[name].null, f"its {name} is missing"
    for name in REACHED:
        yield columns["steps_before"].null & ~columns[name].null, "its gradient reaches over no steps"


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
