"""One declaration of a row: its columns, its check, alone or among many, and its JSON Schema."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.results import record
from farreach.results.publishing import documents
from farreach.results.record import BELONGS_TO, PARTS, Fact, Record
from farreach.results.storage import columns, row_check, rows
from farreach.results.storage.columns import COLUMNS, REQUIRED, make_json_schema, render_json_schema
from farreach.results.storage.files import DamagedError
from farreach.results.storage.interface import make_frame
from farreach.results.storage.sets import open_set
from tests.support import synthetic
from tests.support.json_schema import list_errors
from tests.support.rows import parse_row

GOOD = synthetic.record().to_row()
KEY = GOOD["key"]
SCHEMA = make_json_schema()

QUIET = [HealthCheck.too_slow]


def make_text(row: dict[str, Any]) -> bytes:
    return json.dumps(row).encode()


def make_table(*changes: dict[str, Any]) -> pa.Table:
    """Return a table of rows, each the good one with some changes and a key of its own."""
    given = [GOOD | {"seed": at} | change for at, change in enumerate(changes)]
    given = [row | {"key": synthetic.make_key(row)} for row in given]
    table, faults = rows.parse_rows([make_text(row) for row in given], [row["key"] for row in given])
    assert not faults
    return table


# The declaration


def test_every_field_is_documented_in_one_line_at_run_time() -> None:
    for name, column in COLUMNS.items():
        assert isinstance(column.fact, Fact)
        assert column.fact.doc.endswith("."), name
        assert "\n" not in column.fact.doc


def test_a_row_has_each_field_of_the_record_s_parts_once_and_nothing_else() -> None:
    fields = [field.name for part in PARTS.values() for field in dataclasses.fields(part) if field.name != "metrics"]
    assert len({*fields}) == len(fields)
    assert {*fields, "key", "suite", "schema", "skill"} == {*COLUMNS}
    assert {name for name in GOOD if not name.startswith("metric.")} == {*COLUMNS}


def test_the_case_that_runs_has_the_fields_of_the_case_in_the_record() -> None:
    assert issubclass(Case, record.Case)
    ours, theirs = ([field.name for field in dataclasses.fields(kind)] for kind in (Case, record.Case))
    assert ours == theirs


def test_a_record_is_read_back_from_its_row() -> None:
    for one in (synthetic.record(metrics={"mse": 0.5, "share": None}), synthetic.diverged(clip="norm", threshold=0.1)):
        assert Record.from_row(json.loads(json.dumps(one.to_row()))) == one


# Alone and among many


def replace_byte(at: int, by: bytes) -> bytes:
    text = make_text(GOOD)
    return text[:at] + by + text[at + 1 :]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(allow_nan=False),
    st.text(max_size=4),
    st.sampled_from([10**400, 2**63, -(2**63) - 1, 2**63 - 1, 1e308, "\x1b[2J", "none", "norm", "own", '{"T": 1}']),
    st.sampled_from(["{", '{"T": [1]}', "[]", "diverged", [], {}, [None]]),
)
CHANGES = st.dictionaries(st.sampled_from([*COLUMNS, "metric.x", "metric.\x1b", "future"]), VALUES, max_size=3)
MUTATED = st.one_of(
    st.builds(lambda change: make_text(GOOD | change), CHANGES),
    st.builds(
        lambda names: make_text({name: value for name, value in GOOD.items() if name not in names}),
        st.sets(st.sampled_from([*COLUMNS]), max_size=2),
    ),
    st.builds(replace_byte, st.integers(0, 900), st.binary(max_size=2)),
    st.sampled_from([b"", b"{", b"[]", b"5", b'"k"', b"\xff", b"[" * 5_000]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=QUIET, derandomize=True)
@given(st.lists(MUTATED, min_size=2, max_size=6))
def test_a_mutated_row_gets_the_same_verdict_alone_and_among_many(texts: list[bytes]) -> None:
    table, faults = rows.parse_rows(texts, [KEY] * len(texts))
    assert len(table) == len(texts)
    for number, text in enumerate(texts):
        if number in faults:
            with pytest.raises(DamagedError) as damage:
                parse_row(text, Path("rows/k.json"), KEY)
            assert damage.value.reason == DamagedError(Path("rows/k.json"), faults[number]).reason
            assert "\n" not in str(damage.value)
        else:
            row, among = parse_row(text, Path("rows/k.json"), KEY), table.slice(number, 1).to_pylist()[0]
            assert {name: among[name] for name in row} == row


@settings(max_examples=100, deadline=None, suppress_health_check=QUIET, derandomize=True)
@given(CHANGES)
def test_what_the_check_takes_the_json_schema_takes_too(change: dict[str, Any]) -> None:
    text = make_text(GOOD | change)
    _, faults = rows.parse_rows([text], [KEY])
    assert faults or not list_errors(json.loads(text), SCHEMA)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"loss": "x"}, "its loss is 'x', not a number"),
        ({"layers": 1.5}, "its layers is 1.5, not an integer"),
        ({"layers": -1}, "its layers is below 0"),
        ({"layers": 2**63}, f"its layers is {2**63}, not an integer"),
        ({"clip_fraction": 1.5}, "its clip_fraction is above 1"),
        ({"step_seconds": 1e13}, "its step_seconds is above 1e+12"),
        ({"skill": 101}, "its skill is above 100"),
        ({"schema": 2}, "its schema is above 1"),
        ({"status": "ended"}, "its status is none of finished, diverged"),
        ({"solved": 1}, "its solved is 1, not true or false"),
        ({"kernel": "a\x1b[2J"}, "its kernel holds control characters"),
        ({"task": None}, "its task is missing"),
        ({"kernel": None}, "its kernel is missing"),
        ({"metric.x": "y"}, "its metric.x is 'y', not a number"),
        ({"metric.x": 1e301}, "its metric.x is not a finite number"),
        ({"clip": "norm"}, "its clip and its threshold contradict each other"),
        ({"clip": "norm", "threshold": 0}, "its clip and its threshold contradict each other"),
        ({"threshold": 1.0}, "its clip and its threshold contradict each other"),
        ({"regulariser": "l2"}, "its regulariser and its strength contradict each other"),
        ({"reach_end": 0.5}, "its gradient reaches over no steps"),
        ({"parameters": "[1]"}, "its parameters are not a JSON object of plain values"),
        ({"key": "l"}, "it holds the row of another key"),
        ({"key": "../k"}, "it holds the row of another key"),
        ({"future": float("nan")}, f"expected value at line 1 column {len(make_text(GOOD)) + 12}"),
    ],
)
def test_a_damaged_row_is_refused_with_one_reason(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(DamagedError) as damage:
        parse_row(make_text(GOOD | change), Path("rows/k.json"), KEY)
    assert str(damage.value) == f"rows/k.json is damaged: {reason}"


def test_a_run_of_the_user_s_own_may_leave_out_what_it_does_not_know() -> None:
    unknown = {name: None for name, column in COLUMNS.items() if not column.fact.always}
    row = GOOD | unknown | {"mode": "own", "regulariser": "none", "metric.mse": 0.5}
    assert parse_row(make_text(row), Path("rows/k.json"), KEY)["kernel"] is None
    assert not list_errors(row, SCHEMA)
    with pytest.raises(DamagedError, match="is missing"):
        parse_row(make_text(row | {"mode": "matched"}), Path("rows/k.json"), KEY)
    assert list_errors(row | {"mode": "matched"}, SCHEMA)
    # Whatever it was trained by, the numbers that belong to that may be unknown: AdamW's decay, a schedule's steps.
    for kind, words in BELONGS_TO.values():
        for word in words:
            trained = row | {kind: word}
            assert parse_row(make_text(trained), Path("rows/k.json"), KEY)[kind] == word
            assert not list_errors(trained, SCHEMA)
    always = [name for name, column in COLUMNS.items() if column.fact.always and not column.nullable]
    assert {"task", "clip", "key"} <= {*always}
    for name in always:
        with pytest.raises(DamagedError):
            parse_row(make_text(row | {name: None}), Path("rows/k.json"), KEY)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("learning_rate", float("inf"), "its learning_rate is not a finite number"),
        ("step_seconds", float("nan"), "its step_seconds is not a finite number"),
        ("key", f"{KEY} or another", "its key is not a valid key"),
        ("key", f"{KEY}\n", "its key"),
    ],
)
def test_a_run_of_the_user_s_own_has_finite_numbers_and_a_key(name: str, value: Any, reason: str) -> None:
    table = make_table({})
    for column, one in (("mode", "own"), (name, value)):
        table = table.set_column(table.column_names.index(column), column, pa.array([one]))
    with pytest.raises(rows.DamagedRowsError, match=reason):
        rows.validate_rows(table, Path("rows.parquet"))


def test_columns_that_came_later_are_filled_in_and_those_of_a_later_version_are_left_out() -> None:
    old = {name: value for name, value in GOOD.items() if name in REQUIRED or name.startswith("metric.")}
    row = parse_row(make_text(old | {"future": [1]}), Path("rows/k.json"), KEY)
    assert (row["radius"], row["regulariser"], row["unit"], row["metric_version"]) == (1.0, "none", "", 1)
    assert row["reach_end"] is None
    assert "future" not in row
    assert {*row} == {*GOOD}


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_row_without_a_column_that_every_row_has_is_damaged(name: str) -> None:
    text = make_text({column: value for column, value in GOOD.items() if column != name})
    with pytest.raises(DamagedError, match=f"its {name} is missing"):
        parse_row(text, Path("rows/k.json"), KEY)


# A table of rows


def test_a_table_of_narrower_numbers_and_plain_texts_is_that_of_the_schema() -> None:
    exact = {"loss": 0.25, "floor": 0.5, "skill": 0.5, "score": 0.25, "metric.mse": 0.25}
    table = make_table(exact, exact | {"metric.x": 0.5}, exact | {"clip": "norm", "threshold": 0.5})
    narrow = table
    kinds = {"loss": pa.float32(), "metric.x": pa.float32(), "steps": pa.int32(), "task": pa.string()}
    for name, kind in kinds.items():
        narrow = narrow.set_column(narrow.column_names.index(name), name, narrow[name].cast(kind))
    narrow = narrow.drop_columns(["radius", "growth_end"])
    back = rows.validate_rows(narrow, Path("rows.parquet"))
    assert back.schema.equals(rows.row_schema([name for name in table.column_names if name.startswith("metric.")]))
    pd.testing.assert_frame_equal(
        make_frame(back).drop(columns="loss"), make_frame(table.select(back.column_names)).drop(columns="loss")
    )


def test_each_damaged_row_of_a_table_is_named_with_its_reason() -> None:
    table = make_table({}, {"seed": 1}, {"seed": 2}, {"seed": 3})
    fraction = pa.array([0.0, 1.5, 0.0, float("nan")])
    table = table.set_column(table.column_names.index("clip_fraction"), "clip_fraction", fraction)
    with pytest.raises(rows.DamagedRowsError) as damage:
        rows.validate_rows(table, Path("set/rows.parquet"))
    assert damage.value.faults == {
        1: "its clip_fraction is above 1",
        3: "its clip_fraction is not a finite number",
    }
    assert "row 1 of 4" in str(damage.value)
    assert "\n" not in str(damage.value)


def test_a_key_that_is_there_twice_is_damaged() -> None:
    table = make_table({}, {})
    twice = table.set_column(table.column_names.index("key"), "key", pa.array([KEY, KEY]))
    with pytest.raises(rows.DamagedRowsError, match="its key is that of an earlier row"):
        rows.validate_rows(twice, Path("rows.parquet"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda table: table.drop_columns("loss"), "it has no column loss"),
        (lambda table: table.append_column("future", pa.array([1])), "'future', which is no column of a row"),
        (lambda table: table.append_column("loss", pa.array([1.0])), "it has a column twice"),
        (lambda table: table.set_column(0, "key", pa.array([1])), "its column key is of type int64, not text"),
        (
            lambda table: table.append_column("metric.y", pa.array(["x"])),
            "metric.y is of type string, not number",
        ),
    ],
)
def test_a_table_with_other_columns_is_one_line(change: Any, reason: str) -> None:
    with pytest.raises(DamagedError, match=reason) as damage:
        rows.validate_rows(change(make_table({})), Path("rows.parquet"))
    assert "\n" not in str(damage.value)


def test_a_hundred_thousand_rows_are_checked_in_seconds() -> None:
    one = make_table({})
    many = pa.concat_tables([one] * 100_000).combine_chunks()
    facts = row_check.render_facts(GOOD)
    keys = [record.hash_facts((facts | {"seed": record.render_fact("seed", at)}).values()) for at in range(len(many))]
    for name, values in (("seed", range(len(many))), ("key", keys)):
        many = many.set_column(many.column_names.index(name), name, pa.array(values))
    began = time.process_time()
    assert len(rows.validate_rows(many, Path("rows.parquet"))) == 100_000
    assert time.process_time() - began < 5


# The JSON Schema


def test_the_published_schema_is_current() -> None:
    path = registry.ROOT / documents.ROW_SCHEMA
    assert path.read_text(encoding="utf-8") == render_json_schema()


def test_a_row_of_every_published_set_fits_the_schema() -> None:
    assert not list_errors(GOOD, SCHEMA)
    for row in read_published():
        assert not list_errors(row, SCHEMA)


def read_published() -> list[dict[str, Any]]:
    """Return the rows of the published quick set."""
    table = open_set(registry.ROOT / documents.PUBLISHED / "quick").read_table()
    assert len(table) > 100
    return [dict(row) for row in table.to_pylist()]


@pytest.mark.parametrize(
    "change",
    [
        {"loss": "x"},
        {"clip_fraction": 1.5},
        {"status": "ended"},
        {"clip": "norm"},
        {"threshold": 1.0},
        {"kernel": None},
        {"reach_end": 0.5},
        {"metric.x": "y"},
        {"key": "../k"},
        {"steps": 1.5},
        {"task": "a\x1b"},
    ],
)
def test_the_schema_refuses_what_the_check_refuses(change: dict[str, Any]) -> None:
    assert list_errors(GOOD | change, SCHEMA)


def test_the_schema_describes_every_column() -> None:
    assert SCHEMA["properties"].keys() == COLUMNS.keys()
    assert all(SCHEMA["properties"][name]["description"] == columns.COLUMNS[name].fact.doc for name in COLUMNS)
