"""A packed set is the run folder that it was made of: the same rows, the same bits; and what is damaged is refused."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from farreach.results.publishing import packing, thinning
from farreach.results.publishing.packing import pack_set
from farreach.results.publishing.thinning import thin_curves
from farreach.results.publishing.unpacking import unpack_set
from farreach.results.storage import parquet
from farreach.results.storage.files import DamagedError, StoreError, read_json, write_json
from farreach.results.storage.interface import OLD_TIMES, SERIES, SINGLE, ResultSet
from farreach.results.storage.packed_set import DOCUMENTS, FILES, MANIFEST, NUMBERS, ROWS, PackedSet
from farreach.results.storage.parts import PARTS, hash_curves
from farreach.results.storage.result_set import Store
from farreach.results.storage.sets import list_sets, open_run_folder, open_set
from farreach.results.timing import aa_check, interleaved
from tests.support import synthetic
from tests.support.commands import read_refusal, run_command
from tests.support.timings import make_pair, write_check, write_groups

ODD = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 0.1, 1 / 3, 1e308, float(np.float32(0.1)), 2.0**-149]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with everything: odd numbers, a case that diverged at once, a run of one's own, timings, logs."""
    folder = tmp_path_factory.mktemp("set") / "run"
    records = [
        synthetic.record(key="a", seed=0, metrics={"mse": 0.005, "share": None}),
        synthetic.record(key="b", seed=1, cell="gru", metrics={"mse": 0.005, "chrf": 30.5}),
        synthetic.diverged(key="c"),
    ]
    store = synthetic.write(folder, records, runs=[synthetic.run_line()])
    curves = {"step": [*range(1, len(ODD) + 1)], "loss": ODD, "norm_before": ODD[::-1], "norm_after": ODD}
    pd.DataFrame(curves | {"clipped": 0.0}).to_parquet(folder / "curves" / "b.parquet", index=False)
    pd.DataFrame({"step": [], "loss": []}).to_parquet(folder / "evaluations" / "c.parquet", index=False)
    for part in ("flow", "spectra"):
        (folder / part / "a.parquet").unlink(missing_ok=True)
    own = records[0].to_row() | {"key": "own", "mode": "own", "floor": None, "metric.mse": 0.25, "skill": None}
    write_json(folder / "rows" / "own.json", own)
    lines = [f"{at},{value!r},{value!r},{value!r},0.0\n" for at, value in enumerate(ODD, 1)]
    (folder / "curves" / "own.csv").write_text("step,loss,norm_before,norm_after,clipped\n" + "".join(lines))
    write_json(folder / OLD_TIMES, {"benchmarks": []})
    write_json(folder / "planted.json", {"a": "learning", "b": "learning"})
    write_groups(folder, make_pair(1.5))
    write_check(folder)
    assert store.list_finished() == {"a", "b", "c", "own"}
    return folder


@pytest.fixture(scope="module")
def packed(run: Path) -> Path:
    folder = run.with_name("packed")
    pack_set(run, folder)
    return folder


@pytest.fixture
def copy(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed, tmp_path / "copy"))


def read_all(store: ResultSet) -> dict[str, Any]:
    """Everything that a set holds, floats as their bits."""
    found: dict[str, Any] = {"rows": {name: read_bits(column) for name, column in store.rows().items()}}
    for key in sorted(store.list_finished()):
        for part in PARTS:
            try:
                frame = getattr(store, part)(key)
            except StoreError as error:
                found[f"{part} {key}"] = str(error)
            else:
                columns = {name: read_bits(column) for name, column in frame.items()} if len(frame) else {}
                found[f"{part} {key}"] = columns
    for part in (*SERIES, *SINGLE):
        for path in store.list_documents(part):
            found[path.relative_to(store.folder).as_posix()] = json.loads(store.read_document(path))
    return found


def read_bits(column: pd.Series[Any]) -> list[Any]:
    return column.to_numpy(float).view(np.int64).tolist() if column.dtype.kind == "f" else column.tolist()


def test_a_packed_set_says_what_its_run_folder_says_to_the_last_bit(run: Path, packed: Path) -> None:
    assert isinstance(open_set(packed), PackedSet)
    assert isinstance(open_set(run), Store)
    assert read_all(open_set(packed)) == read_all(open_set(run))


def test_what_is_unpacked_is_what_was_packed(run: Path, packed: Path, tmp_path: Path) -> None:
    unpack_set(packed, tmp_path / "again")
    assert read_all(open_set(tmp_path / "again")) == read_all(open_set(run))
    for path in (run / "rows").iterdir():
        assert (tmp_path / "again" / "rows" / path.name).read_bytes() == path.read_bytes()
    assert (tmp_path / "again" / "curves" / "own.csv").read_bytes() == (run / "curves" / "own.csv").read_bytes()
    assert not (tmp_path / "again" / "flow" / "a.parquet").exists()  # which was not looked at
    pack_set(tmp_path / "again", tmp_path / "twice")
    for name in FILES:
        assert (tmp_path / "twice" / name).read_bytes() == (packed / name).read_bytes(), name


def test_a_run_goes_on_in_what_was_unpacked(packed: Path, tmp_path: Path) -> None:
    unpack_set(packed, tmp_path / "again")
    store = Store(tmp_path / "again")
    assert store.keep_whole(["a", "b", "c"]) == {"a", "b", "c"}


def test_a_set_of_any_size_is_a_few_files_and_the_manifest_names_each(packed: Path) -> None:
    names = {path.name for path in packed.iterdir()}
    assert names == {MANIFEST, *FILES}
    assert len(names) <= 12
    manifest = read_json(packed / MANIFEST)
    for name in FILES:
        facts = manifest["files"][name]
        assert facts["sha256"] == hashlib.sha256((packed / name).read_bytes()).hexdigest()
        if name.endswith(".parquet"):
            assert facts["rows"] == pq.read_metadata(packed / name).num_rows
    assert (manifest["cases"], manifest["diverged"]) == (4, 1)


def test_floats_are_float32_where_no_bit_is_lost_and_split_into_streams(packed: Path, tmp_path: Path) -> None:
    schema = pq.read_schema(packed / "curves.parquet")
    assert schema.field("clipped").type == pa.float32()
    assert schema.field("loss").type == pa.float64()  # 0.1 is no float32
    group = pq.read_metadata(packed / "curves.parquet").row_group(0)
    chunks = {group.column(at).path_in_schema: group.column(at) for at in range(group.num_columns)}
    assert all(chunk.compression == "ZSTD" for chunk in chunks.values())
    assert "BYTE_STREAM_SPLIT" in chunks["loss"].encodings
    store = synthetic.write(tmp_path / "run", [synthetic.record(key="k")])
    single = store.curves("k").astype(np.float32).astype(float)
    single.to_parquet(store.folder / "curves" / "k.parquet", index=False)
    pack_set(store.folder, tmp_path / "packed")
    assert pq.read_schema(tmp_path / "packed" / "curves.parquet").field("loss").type == pa.float32()
    assert read_all(open_set(tmp_path / "packed")) == read_all(Store(store.folder))


def test_a_part_has_one_declared_type_in_a_run_folder_too(tmp_path: Path) -> None:
    one, parts = synthetic.looked_at(synthetic.record(key="k"))
    nothing = {name: frame.head(0).astype(float) for name, frame in parts.items()}
    store = Store(tmp_path)
    store.create()
    store.write(one, nothing)
    assert pq.read_schema(tmp_path / "spectra" / "k.parquet").field("gate").type == pa.string()
    assert pq.read_schema(tmp_path / "flow" / "k.parquet").field("c").type == pa.float64()


def test_timings_are_read_from_a_packed_set(run: Path, packed: Path) -> None:
    for read in (interleaved.read_groups, aa_check.read_test):
        assert str(read(open_set(packed))) == str(read(open_set(run)))
    assert open_set(packed).list_documents(OLD_TIMES)


def test_long_curves_are_thinned_only_where_that_is_asked_and_every_clip_counts(tmp_path: Path) -> None:
    store = synthetic.write(
        tmp_path / "run", [synthetic.record(key="long", steps=7_300, steps_done=7_300), synthetic.record(key="short")]
    )
    whole = store.read_part("curves", "long")
    assert whole is not None
    pack_set(store.folder, tmp_path / "thin", thin=True)
    pack_set(store.folder, tmp_path / "whole")
    assert read_all(open_set(tmp_path / "whole")) == read_all(Store(store.folder))
    thin = open_set(tmp_path / "thin")
    curves = thin.curves("long")
    assert len(curves) == thinning.STRETCHES * len(thinning.QUANTILES)
    assert curves["steps"].sum() == 7_300
    assert curves["events"].sum() == (store.curves("long")["clipped"] > 0).sum()
    first = store.curves("long")["loss"].head(73)
    assert curves["loss"].head(5).tolist() == [first.min(), *np.sort(first)[[18, 36, 54]], first.max()]
    assert thin.hash_whole_curves("long") == hash_curves(whole)
    assert thin.hash_whole_curves("short") is None
    pd.testing.assert_frame_equal(thin.curves("short"), store.curves("short"), check_exact=True)
    unpacked = unpack_set(tmp_path / "thin", tmp_path / "again")
    assert "1 curves were thinned" in unpacked.notes[0]
    assert not (tmp_path / "again" / "curves" / "long.parquet").exists()


def test_a_thinned_curve_shows_where_a_run_diverged() -> None:
    loss = np.ones(10_000)
    loss[9_950:] = np.nan
    columns = {"step": np.arange(1, 10_001), "loss": loss} | dict.fromkeys(["norm_before", "norm_after"], loss)
    thin = thin_curves(pa.table(columns | {"clipped": np.zeros(10_000)})).to_pandas()
    assert thin["loss"].isna().sum() == 3
    assert thin["loss"].tail(1).isna().all()


def test_row_groups_are_read_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = synthetic.write(tmp_path / "run", [synthetic.record(key=f"k{at}", seed=at) for at in range(12)])
    monkeypatch.setattr(packing, "GROUP", 1)
    pack_set(store.folder, tmp_path / "packed")
    assert pq.read_metadata(tmp_path / "packed" / "curves.parquet").num_row_groups == 12
    back = open_set(tmp_path / "packed")
    for key in ("k11", "k0", "k5", "k11"):
        pd.testing.assert_frame_equal(back.curves(key), store.curves(key), check_exact=True)
    assert isinstance(back, PackedSet)
    assert len(back._parts["curves"]._groups) == 3  # noqa: SLF001 - each group that was asked for, once
    assert read_all(back) == read_all(store)


# What is refused


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = read_json(folder / MANIFEST)
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def rewrite(folder: Path, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change a file as a stranger would, with a manifest that agrees."""
    table = change(pq.read_table(folder / name))
    pq.write_table(table, folder / name, store_schema=False)
    agree(folder, name)


def agree(folder: Path, name: str) -> None:
    facts: dict[str, Any] = {"sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}
    if name.endswith(".parquet"):
        facts["rows"] = pq.read_metadata(folder / name).num_rows
    edit_manifest(folder, lambda manifest: manifest["files"].update({name: facts}))


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_a_cut_off_and_a_missing_file_are_refused(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for broken in (bytes(flipped), content[: len(content) // 2], b""):
        (copy / name).write_bytes(broken)
        with pytest.raises(DamagedError, match=rf"{name} is damaged: its SHA-256 is not the one in manifest\.json"):
            open_set(copy)
    (copy / name).unlink()
    with pytest.raises(StoreError, match=f"{name} is damaged: it is not there" if name != ROWS else "not there"):
        open_set(copy)


def test_a_set_without_a_manifest_is_refused(copy: Path) -> None:
    (copy / MANIFEST).unlink()
    with pytest.raises(StoreError, match=r"has no manifest\.json"):
        open_set(copy)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda manifest: manifest.update(packed=99), "of version 99"),
        (lambda manifest: manifest.update(files=[]), "names no files"),
        (lambda manifest: manifest["files"].update({"../x": {}}), "no file of a packed set"),
        (lambda manifest: manifest["files"].pop("flow.parquet"), "does not name flow.parquet"),
        (lambda manifest: manifest["files"][ROWS].update(rows=3), "has 4 rows, and manifest.json says 3"),
        (lambda manifest: manifest.update(thinned=[1]), "no texts"),
    ],
)
def test_a_manifest_that_is_none_is_refused(copy: Path, change: Callable[[dict[str, Any]], Any], expected: str) -> None:
    edit_manifest(copy, change)
    with pytest.raises(StoreError, match=expected):
        open_set(copy).rows()


def replace_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("curves.parquet", lambda table: table.drop_columns("loss"), "it has no column loss"),
        ("curves.parquet", lambda table: table.append_column("more", table["loss"]), "a column more"),
        ("flow.parquet", lambda table: table.append_column("steps", table["step"]), "a column steps"),
        ("flow.parquet", lambda table: table.drop_columns("key"), "it has no column key"),
        ("curves.parquet", lambda table: replace_column(table, "loss", table["key"]), "loss is of type"),
        ("curves.parquet", lambda table: replace_column(table, "step", table["loss"]), "step is of type"),
        ("curves.parquet", lambda table: table.slice(1), "and the rows say"),
        (ROWS, lambda table: table.drop_columns("lines.flow"), "it has no column lines.flow"),
        (ROWS, lambda table: table.drop_columns("task"), "task"),
        (ROWS, lambda table: table.take([1, 0, 2, 3]), "not in order|the rows say|another"),
        (ROWS, lambda table: replace_column(table, "clip_fraction", pa.array([2.0] * 4)), "clip_fraction"),
        (ROWS, lambda table: replace_column(table, "key", pa.array(["a", "b", "c", "../x"])), "key"),
        (NUMBERS, lambda table: replace_column(table, "value", pa.nulls(len(table), pa.float64())), "finite"),
        (NUMBERS, lambda table: replace_column(table, "place", pa.array(['["no"]'] * len(table))), "no place"),
    ],
)
def test_a_packed_file_with_other_content_than_it_should_have_is_refused(
    copy: Path, name: str, change: Callable[[pa.Table], pa.Table], expected: str
) -> None:
    rewrite(copy, name, change)
    with pytest.raises(StoreError, match=expected):
        read_all(open_set(copy))


def test_lines_of_another_case_are_refused_and_the_case_is_left_out(copy: Path) -> None:
    rewrite(copy, "curves.parquet", lambda table: table.take(list(reversed(range(len(table))))))
    store = open_set(copy)
    with pytest.raises(DamagedError, match="lines of another case"):
        store.curves("a")
    assert "a" not in set(store.rows()["key"])
    assert any("lines of another case" in line for line in store.list_trouble())


def test_no_link_is_followed(copy: Path, tmp_path: Path) -> None:
    for name in (ROWS, MANIFEST):
        shutil.move(copy / name, tmp_path / name)
        (copy / name).symlink_to(tmp_path / name)
        with pytest.raises(DamagedError, match="it is a link, which is not followed"):
            open_set(copy)
        (copy / name).unlink()
        shutil.move(tmp_path / name, copy / name)
    assert open_set(copy).list_finished()


@pytest.mark.parametrize("name", ["/etc/passwd", "../x.json", "rows/x.json", "timings/../../x.json", "runs/.x.json"])
def test_the_name_of_a_document_is_checked(copy: Path, name: str, tmp_path: Path) -> None:
    write_json(copy / DOCUMENTS, {name: {}})
    agree(copy, DOCUMENTS)
    with pytest.raises(DamagedError, match="which is not known"):
        unpack_set(copy, tmp_path / "out")
    assert not list(tmp_path.rglob("x.json"))


def test_a_bomb_is_refused_before_it_takes_memory(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 3_000_000
    constant = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array(["k" * 60]))
    columns = {name: pa.array(np.zeros(count)) for name in ("loss", "norm_before", "norm_after", "clipped")}
    bomb = pa.table({"key": constant, "step": pa.array(np.zeros(count, np.int64))} | columns)
    pq.write_table(bomb, copy / "curves.parquet", store_schema=False, row_group_size=count)
    agree(copy, "curves.parquet")
    assert (copy / "curves.parquet").stat().st_size < 100_000
    monkeypatch.setattr(parquet, "LARGEST", 2**20)
    with pytest.raises(DamagedError, match="too many"):
        open_set(copy)


def test_a_bomb_of_one_text_is_refused_when_its_lines_are_asked_for(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = pq.read_table(copy / "spectra.parquet")
    long = pa.array(["g" * 2**16]).take(pa.array(np.zeros(len(lines), np.int32)))
    rewrite(copy, "spectra.parquet", lambda table: replace_column(table, "gate", long.dictionary_encode()))
    monkeypatch.setattr(parquet, "LARGEST", 2**21)
    with pytest.raises(DamagedError, match=r"too many|take"):
        open_set(copy).spectra("b")


def test_both_forms_in_one_folder_are_refused(copy: Path) -> None:
    (copy / "rows").mkdir()
    with pytest.raises(StoreError, match="holds the folder of a run too"):
        open_set(copy)


def test_a_packed_set_is_not_written_to_and_nothing_is_packed_or_unpacked_over_a_run(run: Path, packed: Path) -> None:
    with pytest.raises(StoreError, match="unpack it first"):
        open_run_folder(packed)
    with pytest.raises(StoreError, match="is packed already"):
        pack_set(packed, packed.with_name("more"))
    with pytest.raises(StoreError, match="holds the folder of a run"):
        pack_set(run, run)
    with pytest.raises(StoreError, match="is not empty"):
        unpack_set(packed, run)
    with pytest.raises(StoreError, match="is not packed"):
        unpack_set(run, run.with_name("more"))
    assert not run.with_name("more").exists()


@pytest.mark.parametrize("part", ["rows", "curves", "timings", "runs"])
def test_nothing_is_packed_of_a_set_with_a_damaged_file(run: Path, tmp_path: Path, part: str) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    path = min((folder / part).iterdir())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StoreError, match=rf"{part}/{path.name} is damaged"):
        pack_set(folder, tmp_path / "packed")
    assert not (tmp_path / "packed" / MANIFEST).exists()


def test_what_belongs_to_no_finished_case_is_left_out_and_said(run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    (folder / "rows" / "a.json").unlink()
    assert pack_set(folder, tmp_path / "packed").notes == ("2 files of cases that are not finished were left out",)
    assert open_set(tmp_path / "packed").list_finished() == {"b", "c", "own"}


def test_packed_again_a_set_is_replaced_and_a_reader_in_between_finds_no_manifest(run: Path, tmp_path: Path) -> None:
    pack_set(run, tmp_path / "packed")
    smaller = synthetic.write(tmp_path / "small", [synthetic.record(key="z")])
    pack_set(smaller.folder, tmp_path / "packed")
    assert open_set(tmp_path / "packed").list_finished() == {"z"}
    assert not (tmp_path / "packed" / NUMBERS).exists()
    assert list_sets(tmp_path) == [tmp_path / "packed", tmp_path / "small"]


# The commands


def test_the_commands_pack_and_unpack(run: Path, tmp_path: Path) -> None:
    done = run_command("pack", str(run), "--out", str(tmp_path / "packed"))
    assert done.returncode == 0, done.stderr
    assert f"4 cases and {len(open_set(run).list_documents('check')) + 4} JSON files in 8 files" in done.stdout
    assert run_command("unpack", str(tmp_path / "packed"), "--out", str(tmp_path / "again")).returncode == 0
    assert read_all(open_set(tmp_path / "again")) == read_all(open_set(run))
    shown = [run_command("show", str(folder), "--as", "csv").stdout for folder in (run, tmp_path / "packed")]
    assert shown[0] == shown[1] != ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["pack", "/nowhere"], "no results in /nowhere"),
        (["unpack", "/nowhere", "--out", "/nowhere/else"], "/nowhere is not packed"),
        (["pack", "{packed}"], "is packed already"),
        (["report", "{damaged}"], "rows.parquet is damaged: its SHA-256"),
        (["show", "{damaged}"], "rows.parquet is damaged: its SHA-256"),
        (["compare", "{packed}", "{damaged}"], "rows.parquet is damaged: its SHA-256"),
        (["history", "{packed}", "{damaged}"], "rows.parquet is damaged: its SHA-256"),
        (["reproduce", "{damaged}"], "rows.parquet is damaged: its SHA-256"),
        (["unpack", "{damaged}", "--out", "{packed}-new"], "rows.parquet is damaged: its SHA-256"),
        (["run", "quick", "--out", "{packed}"], "is packed, and is not written to"),
    ],
)
def test_what_cannot_be_done_is_one_line(packed: Path, copy: Path, arguments: list[str], expected: str) -> None:
    content = bytearray((copy / ROWS).read_bytes())
    content[100] ^= 1
    (copy / ROWS).write_bytes(content)
    assert expected in read_refusal(*(one.format(packed=packed, damaged=copy) for one in arguments))
