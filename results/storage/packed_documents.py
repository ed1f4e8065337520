"""The JSON files beside the cases of a packed set: one file of them all, and a table of their long lists of numbers."""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from farreach.results.storage.files import DamagedError, StoreError, read_json, write_text
from farreach.results.storage.interface import DOCUMENT, SERIES, SINGLE
from farreach.results.storage.parquet import narrow_floats, read_table, report_damage, unfold_texts, write_parquet
from farreach.results.storage.sanitising import format_line

DOCUMENTS, NUMBERS = "documents.json", "series.parquet"

LARGEST_DOCUMENTS = 2**26
"""Bytes that `DOCUMENTS` may have."""

PLACES = ("file", "place", "value")
"""The columns of `NUMBERS`."""

LONG = 8
"""Numbers of a JSON list from which on they are kept in `NUMBERS`."""


def write_documents(documents: dict[str, Any], out: Path) -> None:
    """Write the JSON files beside the cases as one, and their long lists of numbers apart.

    Args:
        documents: what each file holds, by its name in the result set; None is left where a long list was.
        out: the folder of the packed set.

    Raises:
        StoreError: they are too large, or the disk does not take them.

    """
    if not documents:
        return
    lists: dict[str, list[Any]] = {"file": [], "place": [], "value": []}
    for name, content in documents.items():
        for place, numbers in _take_numbers(content, []):
            lists["file"] += [name] * len(numbers)
            lists["place"] += [json.dumps(place)] * len(numbers)
            lists["value"] += numbers
    if lists["value"]:
        texts = {name: pa.array(lists[name], pa.string()).dictionary_encode() for name in ("file", "place")}
        write_parquet(out / NUMBERS, narrow_floats(pa.table(texts | {"value": pa.array(lists["value"], pa.float64())})))
    text = json.dumps(documents, indent=1, allow_nan=False) + "\n"
    if len(text) > LARGEST_DOCUMENTS:
        message = f"the JSON files beside the cases take {len(text)} bytes: too many"
        raise StoreError(message)
    write_text(out / DOCUMENTS, text)


def read_documents(folder: Path) -> dict[str, Any]:
    """Return what each JSON file held, by its name; raise `DamagedError` where that cannot be known."""
    path = folder / DOCUMENTS
    contents = read_json(path, largest=LARGEST_DOCUMENTS)
    for name in contents:
        part, _, rest = name.rpartition("/")
        if not (name in SINGLE or (part in SERIES and DOCUMENT.fullmatch(rest))):
            raise DamagedError(path, f"it holds {format_line(name, most=60)}, which is not known")
    if (folder / NUMBERS).exists():
        _restore_numbers(folder / NUMBERS, contents)
    return contents


def _take_numbers(node: Any, way: list[Any]) -> Iterator[tuple[list[Any], list[float]]]:
    """Yield the long lists of floats in a JSON value, each with the way to it, and leave None in their places."""
    for step, value in [*node.items()] if isinstance(node, dict) else [*enumerate(node)]:
        if isinstance(value, list) and len(value) >= LONG and all(type(one) is float for one in value):
            yield [*way, step], value
            node[step] = None
        elif isinstance(value, dict | list):
            yield from _take_numbers(value, [*way, step])


def _restore_numbers(path: Path, contents: dict[str, Any]) -> None:
    """Put the long lists of numbers back into the documents that they are from."""
    table = unfold_texts(read_table(path, PLACES))
    with report_damage(path):
        values = table["value"].cast(pa.float64()).to_numpy()
        names, places = (table[name].cast(pa.string()).to_numpy(zero_copy_only=False) for name in PLACES[:2])
        if not np.isfinite(values).all():
            raise DamagedError(path, "it has a value that is no finite number")
    bounds = (names[1:] != names[:-1]) | (places[1:] != places[:-1])
    starts = [0, *(np.flatnonzero(bounds) + 1)] if len(values) else []
    for start, stop in zip(starts, [*starts[1:], len(values)], strict=True):
        try:
            _put_numbers(contents[names[start]], json.loads(places[start]), values[start:stop].tolist())
        except (LookupError, TypeError, ValueError, RecursionError) as error:
            reason = f"there is no place {format_line(places[start], most=60)} in {format_line(names[start], most=60)}"
            raise DamagedError(path, reason) from error


def _put_numbers(content: Any, place: list[Any], numbers: list[float]) -> None:
    """Put a list where None was left of it."""
    *way, last = place
    node = functools.reduce(operator.getitem, way, content)
    if not isinstance(node, dict | list) or node[last] is not None:
        message = "nothing was left out there"
        raise LookupError(message)
    node[last] = numbers
