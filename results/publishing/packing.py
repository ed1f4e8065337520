"""Run folders made into packed sets, and packed sets into run folders; nothing is lost but what is asked to be."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from farreach.results.publishing.manifests import describe_set
from farreach.results.record import use_names
from farreach.results.storage import packed_set, rows
from farreach.results.storage.files import (
    StoreError,
    hash_file,
    make_folder,
    parse_json,
    read_json,
    require_writable,
    write_file,
    write_json,
    write_text,
)
from farreach.results.storage.interface import SERIES, SINGLE, ResultSet
from farreach.results.storage.packed_set import (
    DOCUMENTS,
    FILES,
    LINES,
    MANIFEST,
    NUMBERS,
    ROWS,
    SHAPE,
    PackedSet,
    is_packed,
)
from farreach.results.storage.parquet import LARGEST_FILE, TEXT, fits_float32, write_parquet, write_tables
from farreach.results.storage.parts import CURVES, PARTS
from farreach.results.storage.result_set import Store, list_keys
from farreach.results.storage.sets import is_run_folder, is_set
from farreach.results.vocabulary import OWN

GROUP = 2**16
"""Lines from which on a row group is full; the lines of a case are never parted."""

LONG = 8
"""Numbers of a JSON list from which on they are kept in `NUMBERS`."""

LONGEST = 5_000
"""Steps of the longest curves that are kept whole where long ones are thinned."""

STRETCHES = 100
"""Parts of a run of each of which a thinned curve keeps `QUANTILES`."""

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclasses.dataclass(frozen=True)
class Packed:
    """What was packed or unpacked.

    Attributes:
        folder: where it was written.
        cases: how many.
        documents: how many JSON files beside the cases.
        files: how many files there are now.
        size: how many bytes they have.
        notes: sentences about what was left out.

    """

    folder: Path
    cases: int
    documents: int
    files: int
    size: int
    notes: tuple[str, ...] = ()

    def sentences(self) -> list[str]:
        """Say what was written, and what was left out."""
        what = f"{self.cases} cases and {self.documents} JSON files"
        return [f"wrote {self.folder}/: {what} in {self.files} files, {self.size / 1e6:.1f} MB", *self.notes]


def pack_set(folder: Path, out: Path, *, thin: bool = False) -> Packed:
    """Write a run folder as a packed set into another folder, in which an earlier packed set is replaced.

    Args:
        folder: the run folder.
        out: where the packed set goes.
        thin: keep of curves of more than `LONGEST` steps quantiles, the count of clipped steps, and a digest.

    Raises `StoreError` where there is nothing to pack, where a file is damaged, or where `out` takes it not.

    """
    if is_packed(folder):
        message = f"{folder} is packed already"
        raise StoreError(message)
    if not is_set(folder):
        message = f"no results in {folder}"
        raise StoreError(message)
    if is_run_folder(out):
        message = f"{out} holds the folder of a run: a packed set needs a folder of its own"
        raise StoreError(message)
    store = Store(folder)
    table, shapes = _read_cases(store)
    documents = _read_documents(store)
    facts = describe_set(store)
    require_writable(make_folder(out))
    for name in (MANIFEST, *FILES):
        (out / name).unlink(missing_ok=True)
    keys = table["key"].to_pylist()
    counts = {part: _write_part(store, part, keys, out, thin=thin) for part in PARTS}
    if keys:
        write_rows(out, table, shapes, {part: counts[part].lines for part in PARTS})
    _write_documents(documents, out)
    thinned = counts["curves"].thinned
    files = write_manifest(out, facts | ({"thinned": thinned} if thinned else {}))
    return _sum_up(out, files, cases=len(keys), documents=len(documents), notes=_unused(store))


def write_rows(out: Path, table: pa.Table, shapes: list[str], lines: Mapping[str, list[int | None]]) -> None:
    """Write the rows of a packed set.

    Args:
        out: its folder.
        table: the rows, sorted by key.
        shapes: the columns of each row's file, as a JSON list.
        lines: how many lines each part has of each row.

    """
    columns = {SHAPE: pa.array(shapes, pa.string()).dictionary_encode()}
    columns |= {f"{LINES}{part}": pa.array(lines[part], pa.int64()) for part in PARTS}
    for name, column in columns.items():
        table = table.append_column(name, column)
    write_parquet(out / ROWS, _shrink(table))


def write_manifest(out: Path, facts: dict[str, Any]) -> list[str]:
    """Write the manifest of a packed set, whose other files are there; return the names of all of its files."""
    files: dict[str, dict[str, Any]] = {}
    for name in (one for one in FILES if (out / one).exists()):
        files[name] = {"sha256": hash_file(out / name, LARGEST_FILE)}
        if name.endswith(".parquet"):
            files[name]["rows"] = pq.read_metadata(out / name).num_rows
    write_json(out / MANIFEST, facts | {"packed": packed_set.VERSION, "files": files})
    return [MANIFEST, *files]


def unpack_set(folder: Path, out: Path) -> Packed:
    """Write a packed set as a run folder; thinned curves, which are none of a run, are left out.

    Raises `StoreError` where it is no packed set, where a file is damaged, or where `out` is not empty.
    """
    if not is_packed(folder):
        message = f"{folder} is not packed"
        raise StoreError(message)
    packed = PackedSet(folder)
    if out.exists() and any(out.iterdir()):
        message = f"{out} is not empty: unpack into a new folder"
        raise StoreError(message)
    store = Store(make_folder(out))
    store.create()
    thinned = 0
    for row, shape in zip(packed.read_table().to_pylist(), packed.shapes, strict=True):
        key = row["key"]
        for part in PARTS:
            table = packed.read_part(part, key)
            if table is None:
                continue
            if part == "curves" and packed.hash_whole_curves(key):
                thinned += 1
            elif part == "curves" and row["mode"] == OWN:
                _write_text_curves(out / part / f"{key}.csv", table)
            else:
                write_parquet(out / part / f"{key}.parquet", table)
        write_json(out / "rows" / f"{key}.json", {name: row[name] for name in _read_shape(shape, row, folder)})
    documents = [path for part in (*SERIES, *SINGLE) for path in packed.list_documents(part)]
    for path in documents:
        write_json(out / path.relative_to(folder), parse_json(packed.read_document(path), path))
    note = f"{thinned} curves were thinned when the set was packed: they are left out"
    files = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]
    notes = (note,) if thinned else ()
    return _sum_up(out, files, cases=len(packed.read_table()), documents=len(documents), notes=notes)


@dataclasses.dataclass
class _Counts:
    """What was written of a part: lines of each case, None where it has no such part, and digests of thinned curves."""

    lines: list[int | None]
    thinned: dict[str, str]


def _read_cases(store: Store) -> tuple[pa.Table, list[str]]:
    """Return the rows, and the columns that each one's file has, as JSON lists."""
    table = store.read_table()
    if store.damaged:
        reason = next(iter(store.damaged.values()))
        message = f"{reason}: nothing was packed, and the case was set aside; pack again without it"
        raise StoreError(message)
    known = {*table.column_names}
    shapes = []
    for key in table["key"].to_pylist():
        content = read_json(store.folder / "rows" / f"{key}.json", largest=rows.LARGEST)
        shapes.append(json.dumps([name for name in use_names(content) if name in known]))
    return table, shapes


def _read_shape(text: str, row: dict[str, Any], folder: Path) -> list[str]:
    """Return the columns that a row's file has; all with a value where that is no list of its columns."""
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) and name in row for name in names):
        message = f"{folder}/{ROWS} is damaged: its column {SHAPE} does not name columns"
        raise StoreError(message)
    return names


def _read_documents(store: Store) -> dict[str, Any]:
    """Return the JSON files beside the cases, by name."""
    paths = [path for part in (*SERIES, *SINGLE) for path in store.list_documents(part)]
    return {path.relative_to(store.folder).as_posix(): parse_json(store.read_document(path), path) for path in paths}


def _write_part(store: Store, part: str, keys: list[str], out: Path, *, thin: bool) -> _Counts:
    """Write a part of all cases, in the order of their keys; no file where no case has any."""
    counts = _Counts([], {})
    exact: dict[str, bool] = {}
    types: dict[str, pa.DataType] = {}
    for key in keys:
        table = store.read_part(part, key)
        counts.lines.append(None if table is None else len(table))
        if table is None:
            continue
        if thin and part == "curves" and len(table) > LONGEST:
            counts.thinned[key] = packed_set.hash_curves(table)
            table = thin_curves(table)
            counts.lines[-1] = len(table)
        for field in table.schema:
            types[field.name] = field.type
            if pa.types.is_floating(field.type):
                exact[field.name] = exact.get(field.name, True) and fits_float32(table[field.name])
    if not types:
        return counts
    fields = [pa.field(name, pa.float32() if exact.get(name) else kind) for name, kind in types.items()]
    schema = pa.schema([pa.field("key", TEXT), *fields])

    def read_cases() -> Iterator[pa.Table]:
        for key, lines in zip(keys, counts.lines, strict=True):
            if lines:
                table = store.read_part(part, key)
                table = thin_curves(table) if key in counts.thinned else table
                yield _conform(table, key, schema)

    path = out / f"{part}.parquet"
    write_file(path, lambda place: write_tables(place, schema, _group(read_cases())))
    return counts


def _conform(table: pa.Table, key: str, schema: pa.Schema) -> pa.Table:
    """Return a part of one case with the columns of all; a column that it has not is null, a value it has not NaN."""
    keys = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(table)), pa.int32()), pa.array([key]))
    columns = [keys]
    for field in [*schema][1:]:
        if field.name not in table.column_names:
            columns.append(pa.nulls(len(table), field.type))
            continue
        column = table[field.name]
        columns.append(
            pc.fill_null(column, float("nan")).cast(field.type) if pa.types.is_floating(field.type) else column
        )
    return pa.table(columns, schema=schema)


def _group(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield tables joined to row groups."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= GROUP:
            yield pa.concat_tables(waiting).unify_dictionaries()
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting).unify_dictionaries()


def thin_curves(table: pa.Table) -> pa.Table:
    """Return curves thinned: of each of `STRETCHES` parts of the run the quantiles of every column, as lines.

    The quantiles are values that occurred, and what is no number counts as the largest. The steps of a part and those
    on which the clip acted are counted in its first line; ``clipped`` is their mean share, in each of its lines.
    """
    columns = {name: table[name].to_numpy() for name in CURVES}
    ends = np.linspace(0, len(table), STRETCHES + 1).astype(int)
    lines: dict[str, list[Any]] = {name: [] for name in (*CURVES, *packed_set.THINNED)}
    for start, stop in itertools.pairwise(ends):
        places = np.round(np.array(QUANTILES) * (stop - start - 1)).astype(int)
        clipped = columns["clipped"][start:stop]
        for name in CURVES[:-1]:
            lines[name].extend(np.sort(columns[name][start:stop])[places].tolist())
        rest = [0] * (len(QUANTILES) - 1)
        lines["clipped"].extend([float(clipped.mean())] * len(QUANTILES))
        lines["steps"].extend([int(stop - start), *rest])
        lines["events"].extend([int((clipped > 0).sum()), *rest])
    return pa.table(
        {
            name: pa.array(values, pa.int64()) if name in {"step", *packed_set.THINNED} else values
            for name, values in lines.items()
        }
    )


def _shrink(table: pa.Table) -> pa.Table:
    """Return a table whose floats are float32 where that loses no bit of any."""
    for at, field in enumerate(table.schema):
        if pa.types.is_null(field.type) or (pa.types.is_floating(field.type) and fits_float32(table[field.name])):
            table = table.set_column(at, field.name, table[field.name].cast(pa.float32()))
    return table


def _write_documents(documents: dict[str, Any], out: Path) -> None:
    """Write the JSON files beside the cases as one, and their long lists of numbers apart."""
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
        write_parquet(out / NUMBERS, _shrink(pa.table(texts | {"value": pa.array(lists["value"], pa.float64())})))
    text = json.dumps(documents, indent=1, allow_nan=False) + "\n"
    if len(text) > packed_set.LARGEST_DOCUMENTS:
        message = f"the JSON files beside the cases take {len(text)} bytes: too many"
        raise StoreError(message)
    write_text(out / DOCUMENTS, text)


def _take_numbers(node: Any, way: list[Any]) -> Iterator[tuple[list[Any], list[float]]]:
    """Yield the long lists of floats in a JSON value, each with the way to it, and leave None in their places."""
    for step, value in [*node.items()] if isinstance(node, dict) else [*enumerate(node)]:
        if isinstance(value, list) and len(value) >= LONG and all(type(one) is float for one in value):
            yield [*way, step], value
            node[step] = None
        elif isinstance(value, dict | list):
            yield from _take_numbers(value, [*way, step])


def _write_text_curves(path: Path, table: pa.Table) -> None:
    """Write curves as `farreach` does: text, every number with all of its digits."""
    columns = [table[name].to_pylist() for name in CURVES]
    lines = [",".join(map(_write_number, values)) for values in zip(*columns, strict=True)]
    write_text(path, "".join(f"{one}\n" for one in (",".join(CURVES), *lines)))


def _write_number(value: float | None) -> str:
    return "nan" if value is None else repr(value)


def _unused(store: ResultSet) -> tuple[str, ...]:
    """Say how many files beside the rows belong to no case."""
    keys = {*list_keys(store.folder / "rows")}
    others = [
        path for part in PARTS for path in (store.folder / part).glob("[!.]*") if path.name.split(".")[0] not in keys
    ]
    return (f"{len(others)} files of cases that are not finished were left out",) if others else ()


def _sum_up(folder: Path, names: list[str], *, cases: int, documents: int, notes: tuple[str, ...]) -> Packed:
    size = sum((folder / name).stat().st_size for name in names)
    return Packed(folder, cases, documents, len(names), size, notes)
