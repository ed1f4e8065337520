"""Strangers' files and arguments: 10,000 mutated inputs and more are accepted, or refused with one line.

Each test mutates valid bytes, or puts odd values in valid places; `EXAMPLES` says how many of each.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farreach.benchmarks.commands import COMMANDS
from farreach.benchmarks.matrix import registry, suite
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import sweep
from farreach.results.analysis import calibration, run_times
from farreach.results.analysis.rows import label_rows
from farreach.results.figures import style
from farreach.results.publishing import packing
from farreach.results.record import SPECTRA
from farreach.results.report import timing_contents
from farreach.results.report.calibration import write_share_right
from farreach.results.report.markdown import table
from farreach.results.storage import rows
from farreach.results.storage.columns import COLUMNS
from farreach.results.storage.files import DamagedError, StoreError, read_bytes
from farreach.results.storage.interface import make_frame
from farreach.results.storage.packed_set import MANIFEST
from farreach.results.storage.parquet import read_table
from farreach.results.storage.parts import CURVES
from farreach.results.storage.result_set import Store
from farreach.results.storage.sanitising import clean_text
from farreach.results.storage.sets import open_set
from farreach.results.timing import aa_check, interleaved, side_by_side
from tests.support import synthetic
from tests.support.commands import ODD_WORDS, call_command
from tests.support.rows import parse_row
from tests.support.timings import MACHINE, make_group, make_pair, write_check, write_groups

EXAMPLES = {
    "rows": 3_000,
    "parquet": 2_500,
    "timings": 1_500,
    "csv": 500,
    "suites": 2_000,
    "only": 700,
    "commands": 800,
    "whole rows": 300,
    "whole timings": 120,
    "logs": 400,
    "machine": 300,
    "planted": 200,
    "packed": 600,
}

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        [10**400, -(2**63) - 1, "\x1b[2J", "../../etc/passwd", "<script>", "a" * 5_000, [], {}, [[]], [None]]
    ),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
"""Values that a stranger may put where a number or a word belongs."""


def within(count: str) -> Callable[[Any], Any]:
    """Return how many examples a test takes; files that it shares stay, and slowness is no fault."""
    quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]
    made: Callable[[Any], Any] = settings(
        max_examples=EXAMPLES[count], deadline=None, suppress_health_check=quiet, database=None, derandomize=True
    )
    return made


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """Change a few bytes: overwrite, delete, insert, cut off, repeat."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(changed) - 1)))
        how = draw(st.integers(0, 4))
        if how == 0 and changed:
            changed[at] = draw(st.integers(0, 255))
        elif how == 1:
            del changed[at : at + draw(st.integers(1, 40))]
        elif how == 2:
            changed[at:at] = draw(st.binary(max_size=12))
        elif how == 3:
            del changed[at:]
        else:
            changed[at:at] = changed[at : at + draw(st.integers(1, 60))]
    return bytes(changed)


@st.composite
def changed(draw: st.DrawFn, content: dict[str, Any]) -> bytes:
    """Change a few bytes of a JSON object, or put odd values in the places of others, at any depth."""
    text = json.dumps(content)
    if draw(st.booleans()):
        return draw(mutated(text.encode()))
    odd = json.loads(text)
    for _ in range(draw(st.integers(1, 2))):
        part = odd
        while isinstance(part, dict | list) and part:
            key = draw(st.sampled_from(sorted(part))) if isinstance(part, dict) else draw(st.integers(0, len(part) - 1))
            if not isinstance(part[key], dict | list) or draw(st.integers(0, 2)) == 0:
                part[key] = draw(ODD)
                break
            part = part[key]
    return json.dumps(odd).encode()


def one_line(error: Exception) -> None:
    assert str(error).strip()
    assert "\n" not in str(error)
    assert len(str(error)) < 1_000


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_there_are_ten_thousand_of_them() -> None:
    assert sum(EXAMPLES.values()) >= 10_000


# Rows

ROW = json.dumps(synthetic.record(key="k").to_row(), indent=1).encode()
NAMES = sorted(synthetic.record(key="k").to_row())


OTHER = json.dumps(synthetic.record(key="l").to_row()).encode()


def read_row(text: bytes, *, label: bool) -> None:
    """Read a row; where it is accepted, the report's first step, the labels, must take it too (one in ten is tried)."""
    table, faults = rows.parse_rows([OTHER, text, OTHER], ["l", "k", "l"])
    assert len(table) == 3
    assert faults.keys() <= {1}
    if faults:
        one_line(DamagedError(Path("rows/k.json"), faults[1]))
        return
    assert table["key"].to_pylist() == ["l", "k", "l"]
    if label:
        assert len(label_rows(make_frame(table))) == 3


@pytest.mark.slow
@within("rows")
@given(data=st.data())
def test_a_mutated_row_is_a_row_or_damaged(data: st.DataObject) -> None:
    if data.draw(st.booleans()):
        text = data.draw(mutated(ROW))
    else:
        changes = data.draw(
            st.dictionaries(st.sampled_from([*NAMES, "metric.x", "future"]), ODD, min_size=1, max_size=3)
        )
        text = json.dumps(json.loads(ROW) | changes).encode()
    read_row(text, label=data.draw(st.integers(0, 9)) == 0)


# Parquet


def parquet() -> dict[str, bytes]:
    """Return valid files: curves, spectra, which hold words, and one with an object that is no plain value."""
    _, parts = synthetic.looked_at(synthetic.record(key="k"))
    made = {}
    for name, frame in {**parts, "nested": pd.DataFrame({"step": [[1, 2], [3]]})}.items():
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False)
        made[name] = buffer.getvalue()
    return made


FILES = parquet()


@pytest.mark.slow
@within("parquet")
@given(data=st.data())
def test_a_mutated_parquet_file_is_a_table_or_damaged(place: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(FILES)))
    path = place / "k.parquet"
    path.write_bytes(data.draw(mutated(FILES[name])))
    try:
        table = read_table(path, {"curves": CURVES, "spectra": SPECTRA}.get(name, ()))
    except DamagedError as error:
        one_line(error)
    else:
        assert isinstance(table, pa.Table)


def test_what_is_no_plain_column_is_refused(place: Path) -> None:
    (place / "k.parquet").write_bytes(FILES["nested"])
    with pytest.raises(DamagedError, match="is no number"):
        read_table(place / "k.parquet")


def test_a_file_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(place: Path) -> None:
    path = place / "bomb.parquet"
    pd.DataFrame({"step": np.zeros(25_000_000, np.int8)}).to_parquet(path, compression="zstd")
    assert path.stat().st_size < 200_000
    with pytest.raises(DamagedError, match="too many"):
        read_table(path)


def test_a_row_that_is_too_long_or_too_deep_is_refused(place: Path) -> None:
    for text in ("[" * 100_000, '{"a":' * 100_000, " " * (rows.LARGEST + 1)):
        (place / "k.json").write_text(text)
        with pytest.raises(DamagedError) as fault:
            parse_row(read_bytes(place / "k.json", rows.LARGEST), place / "k.json", "k")
        one_line(fault.value)


@within("csv")
@given(data=st.data())
def test_mutated_curves_of_ones_own_are_curves_or_damaged(place: Path, data: st.DataObject) -> None:
    text = b"step,loss,norm_before,norm_after,clipped\n1,0.5,1.0,1.0,0.0\n2,0.4,2.0,1.0,1.0\n"
    (place / "curves").mkdir(exist_ok=True)
    (place / "curves" / "k.csv").write_bytes(data.draw(mutated(text)))
    try:
        frame = Store(place).curves("k")
    except StoreError as error:
        one_line(error)
    else:
        assert [*frame] == [*CURVES]


# Timings, checks, live comparisons


@pytest.fixture(scope="module")
def timing_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return a valid file of each kind."""
    folder = tmp_path_factory.mktemp("timings")
    write_groups(folder, make_pair(1.5), make_group())
    write_check(folder)
    step = make_group()["step"]
    launches = [{"old": [0.1] * 9, "new": [0.1] * 9}] * 5
    facts = {"framework_version": "1"}
    live = {"schema": 1, "step": step, "framework": "jax", "path": "scan", "old": facts, "new": facts}
    return {
        "timings": max((folder / interleaved.FOLDER).glob("*.json"), key=lambda path: path.stat().st_size).read_bytes(),
        "check": min((folder / aa_check.FOLDER).glob("*.json")).read_bytes(),
        "live": json.dumps(live | {"launches": launches}).encode(),
    }


def read_timing(kind: str, place: Path) -> None:
    folder = {"timings": interleaved.FOLDER, "check": aa_check.FOLDER}.get(kind, "")
    path = place / folder / "k.json"
    if kind == "timings":
        interleaved.compare_pairs(interleaved.read_groups(open_set(place)))
    elif kind == "check":
        aa_check.read_test(open_set(place))
    else:
        side_by_side.compare_environments([path])


@pytest.mark.slow
@within("timings")
@given(data=st.data())
def test_a_mutated_timing_file_is_read_or_refused(
    place: Path, timing_files: dict[str, bytes], data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(sorted(timing_files)))
    content = timing_files[kind]
    if data.draw(st.booleans()):
        text = data.draw(mutated(content))
    else:
        whole = json.loads(content)
        whole |= data.draw(st.dictionaries(st.sampled_from(sorted(whole)), ODD, min_size=1, max_size=2))
        text = json.dumps(whole).encode()
    folder = place / {"timings": interleaved.FOLDER, "check": aa_check.FOLDER}.get(kind, "")
    folder.mkdir(exist_ok=True)
    (folder / "k.json").write_bytes(text)
    try:
        read_timing(kind, place)
    except StoreError as error:
        one_line(error)


@within("machine")
@given(data=st.data())
def test_a_mutated_machine_is_one_or_damaged(place: Path, data: st.DataObject) -> None:
    path = place / interleaved.MACHINE
    path.write_bytes(data.draw(changed(MACHINE)))
    try:
        timing_contents.read_machine(open_set(place))
    except DamagedError as error:
        one_line(error)


# Logs of runs, and the truth about planted cases


LOG: dict[str, Any] = {
    "started": "2026-01-01T10:00:00+00:00",
    "command": "python -m benchmarks run quick",
    "finished": 2,
    "failed": [{"case": "adding", "reason": "no memory"}],
    "wall_seconds": 3.5,
    "seconds": {"training": 3.0, "imports": 0.5},
}


@within("logs")
@given(data=st.data())
def test_a_mutated_log_is_told_of_or_left_out(place: Path, data: st.DataObject) -> None:
    (place / "runs").mkdir(exist_ok=True)
    (place / "runs" / "k.json").write_bytes(data.draw(changed(LOG)))
    runs = Store(place).runs()
    assert clean_text(table(run_times.list_failures(runs)) + table(run_times.tabulate_shares(runs)))


@within("planted")
@given(data=st.data())
def test_a_mutated_truth_is_one_or_damaged(place: Path, data: st.DataObject) -> None:
    if not (place / "rows").is_dir():
        synthetic.write(place, [synthetic.record(key="k")])
    (place / calibration.PLANTED).write_bytes(data.draw(changed({"k": "healthy", "l": "vanishing"})))
    try:
        write_share_right(calibration.calibrate(Store(place)))
    except DamagedError as error:
        one_line(error)


# Whole reports


OF_A_KIND: dict[str, list[Any]] = {
    "int": [None, 0, 1, 2, 10**18, 2**63 - 1],
    "float": [None, 0.0, -1.0, 1e-300, 1e300, -1e300, 5e-324, 1.7e308, 0.5, 1, 3],
    "bool": [None, True, False],
    "Status": ["finished", "diverged"],
    "str": [
        *("", " ", "none", "norm", "own", "native", "rnn", "lstm", "copy", "<b>", "a|b", "`", "$x$", "$\\frac{", "%s"),
        *(
            "{0}",
            "../x",
            "nan",
            "\n",
            "\u202e",
            "é" * 30,
            "{}",
            '{"T": 5}',
            '{"T": "x"}',
            '{"T": null}',
            '{"T": 1e300}',
        ),
    ],
}
"""Values of the right kind, and odd."""


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw small pictures: nobody looks at them."""
    monkeypatch.setattr(style, "DPI", 20)


def whole(folder: Path, other: Path) -> None:
    """Take a set through the commands that tell of it: each is done, or refuses the set with one line."""
    said = ("report", "show", "compare", "history")
    for name in said:
        more = {"compare": [str(other)], "history": [str(other)]}.get(name, [])
        where = ["--out", str(folder / "out")] if more else []
        status, out, errors = call_command(*[name, str(folder), *more, *where])
        assert status in {None, 0, 2}, errors
        assert clean_text(out + errors) == out + errors
        assert errors.count("\n") <= 1 or name == "show", errors
        assert status != 2 or name != "report", errors


# Packed sets


@pytest.fixture(scope="module")
def packed_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the files of a small packed set."""
    folder = tmp_path_factory.mktemp("packed")
    synthetic.write(folder / "run", [synthetic.record(key=f"k{at}", seed=at) for at in range(3)], runs=[LOG])
    write_groups(folder / "run", make_pair(1.5))
    packing.pack_set(folder / "run", folder / "out")
    return {path.name: path.read_bytes() for path in sorted((folder / "out").iterdir())}


def read_packed(place: Path) -> None:
    """Read everything of a packed set; what is damaged in the parts of a case leaves out that case alone."""
    store = open_set(place)
    for key in store.list_finished():
        for read in (store.curves, store.evaluations, store.flow, store.spectra):
            try:
                read(key)
            except DamagedError as error:
                one_line(error)
                assert key not in store.list_finished()
    store.rows()
    store.runs()
    timing_contents.read_timings(store)


@pytest.mark.slow
@within("packed")
@given(data=st.data())
def test_a_mutated_packed_set_is_read_or_refused(
    place: Path, packed_files: dict[str, bytes], data: st.DataObject
) -> None:
    """With the digest of before the file is refused; with its own, as a stranger would write it, it may be a set."""
    name = data.draw(st.sampled_from(sorted(packed_files)))
    content = packed_files[name]
    text = data.draw(changed(json.loads(content)) if name.endswith(".json") else mutated(content))
    files = packed_files | {name: text}
    agrees = name != MANIFEST and data.draw(st.booleans())
    if agrees:
        manifest = json.loads(files[MANIFEST])
        manifest["files"][name]["sha256"] = hashlib.sha256(text).hexdigest()
        files[MANIFEST] = json.dumps(manifest).encode()
    for one, written in files.items():
        (place / one).write_bytes(written)
    try:
        read_packed(place)
    except StoreError as error:
        one_line(error)
    else:
        assert agrees or name == MANIFEST or text == content


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
def test_mutated_rows_go_through_a_whole_report(place: Path) -> None:
    fed: list[dict[str, Any]] = []
    words = {"integer": "int", "number": "float", "boolean": "bool", "text": "str"}
    kinds = {name: words[column.kind] for name, column in COLUMNS.items()} | {"status": "Status"}
    names = sorted(kinds.keys() - {"key", "schema"})

    @within("whole rows")
    @given(data=st.data())
    def feed(data: st.DataObject) -> None:
        clip = data.draw(st.sampled_from([{"clip": "none"}, {"clip": "norm", "threshold": 0.1}, {"mode": "own"}]))
        some = data.draw(st.lists(st.sampled_from([*names, "metric.x", "skill"]), min_size=1, max_size=3))
        odd = {name: data.draw(st.sampled_from(OF_A_KIND[kinds.get(name, "float")])) for name in some}
        fed.append({"seed": len(fed) % 4} | clip | odd)

    feed()
    other = place / "other"
    synthetic.write(other, [synthetic.record(key="k")])
    for start in range(0, len(fed), 100):
        folder = place / str(start)
        synthetic.write(folder, [synthetic.record(key=f"sound{seed}", seed=seed) for seed in range(3)])
        for at, odd in enumerate(fed[start : start + 100]):
            row = json.loads(ROW) | odd | {"key": f"k{at}"}
            (folder / "rows" / f"k{at}.json").write_text(json.dumps(row))
        whole(folder, other)
        assert len(Store(folder).list_finished()) > 20  # a good part contradicts nothing, and is drawn


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
def test_mutated_timings_go_through_a_whole_report(place: Path, timing_files: dict[str, bytes]) -> None:
    fed: list[tuple[str, bytes]] = []

    @within("whole timings")
    @given(data=st.data())
    def feed(data: st.DataObject) -> None:
        kind = data.draw(st.sampled_from(["timings", "check"]))
        fed.append((kind, data.draw(changed(json.loads(timing_files[kind])))))

    feed()
    for start in range(0, len(fed), 40):
        folder = place / str(start)
        synthetic.write(folder, [synthetic.record(key="k")])
        (folder / "runs" / "k.json").write_text(json.dumps(LOG | {"failed": 5}))
        for at, (kind, text) in enumerate(fed[start : start + 40]):
            (folder / kind).mkdir(exist_ok=True)
            (folder / kind / f"{at}.json").write_bytes(text)
        for name in ("timings/pipe.json", "check/pipe.json", interleaved.MACHINE, "runs/pipe.json", "rows/pipe.json"):
            (folder / name).parent.mkdir(exist_ok=True)
            os.mkfifo(folder / name)
        (folder / "timings" / "link.json").symlink_to("/etc/passwd")
        whole(folder, folder)


# Suites and the command line

SUITES = [path.read_bytes() for path in sorted(registry.SUITES.glob("*.toml"))]
WORDS = st.sampled_from([*ODD_WORDS, "\x00"])


@pytest.mark.slow
@within("suites")
@given(data=st.data())
def test_a_mutated_suite_gives_cases_or_is_refused(place: Path, data: st.DataObject) -> None:
    path = place / "odd.toml"
    if data.draw(st.booleans()):
        path.write_bytes(data.draw(mutated(data.draw(st.sampled_from(SUITES)))))
    else:
        key, value = data.draw(WORDS), data.draw(WORDS)
        ways = [value, json.dumps(value), f"[{json.dumps(value)}]", f"{{ a = {value} }}"]
        quoted = data.draw(st.sampled_from(ways))
        path.write_text(f'description = "odd"\n[[block]]\ntask = "adding"\ncell = "rnn"\n{key} = {quoted}\n')
    try:
        found = suite.load_suite(str(path)).list_cases(["reference"])
    except registry.UsageError as error:
        one_line(error)
    else:
        assert all(case.steps > 0 for case in found)


MANY = f"[{', '.join(map(str, range(1, 1_001)))}]"
PARAMETERS = ", ".join(f"p{at} = {MANY}" for at in range(30))


@pytest.mark.parametrize(
    ("times", "axes"),
    [
        (1, f"seed = {MANY}\nhidden = {MANY}\nbatch = {MANY}\n"),
        (1, f"parameters = {{ {PARAMETERS} }}\n"),
        (60, f"seed = {MANY}\nlayers = [1, 2]\n"),
        (1, f'seed = {MANY}\nclip = {{ kind = "norm", threshold = {MANY} }}\n'),
    ],
    ids=["axes", "parameters", "blocks", "thresholds"],
)
def test_a_suite_of_too_many_cases_is_refused_at_once(place: Path, times: int, axes: str) -> None:
    path = place / "many.toml"
    path.write_text('description = "many"\n' + f'[[block]]\ntask = "adding"\ncell = "rnn"\n{axes}' * times)
    with pytest.raises(registry.UsageError, match="cases; the limit is 100,000"):
        suite.load_suite(str(path)).list_cases(["reference"])


@functools.cache
def list_quick() -> list[Case]:
    """Return the cases of quick, which an example only narrows."""
    return suite.load_suite("quick").list_cases(["reference"])


@pytest.mark.slow
@within("only")
@given(words=st.lists(WORDS | st.text(max_size=12), min_size=1, max_size=4))
def test_any_only_narrows_or_is_refused(words: list[str]) -> None:
    there = list_quick()
    try:
        assert suite.narrow_cases(there, ["=".join(words)], "quick")
    except registry.UsageError as error:
        one_line(error)


@pytest.mark.slow
@within("commands")
@given(name=st.sampled_from([*COMMANDS, "x"]), words=st.lists(WORDS | st.text(max_size=8), max_size=5))
def test_any_command_line_is_refused_with_one_line_or_done(
    place: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: list[str]
) -> None:
    """What would train or time is kept from doing so: the arguments are what is tried."""

    class Begun(Exception):  # noqa: N818 - no error
        pass

    def begin(*_: object, **__: object) -> None:
        raise Begun

    monkeypatch.chdir(place)
    monkeypatch.setattr(sweep.Sweep, "run", begin)
    monkeypatch.setattr("farreach.benchmarks.running.worker_client.Live.start", begin)
    monkeypatch.setattr("farreach.benchmarks.speed.command.measure_machine", begin)
    monkeypatch.setattr("farreach.benchmarks.studies.live_check.measure_pairs", begin)
    monkeypatch.setattr("farreach.benchmarks.studies.cluster_cost.measure_workers", begin)
    monkeypatch.setattr("farreach.benchmarks.studies.own_cost.measure_costs", begin)
    monkeypatch.setattr("farreach.benchmarks.studies.coverage.measure_rates", begin)
    monkeypatch.setattr("farreach.results.publishing.documents.write_documents", begin)
    monkeypatch.setattr("farreach.results.publishing.documents.list_stale", begin)
    try:
        status, _, errors = call_command(*[name, *(word for word in words if "\x00" not in word)])
    except Begun:
        return
    if status == 2:
        assert errors.startswith("error: ")
        assert errors.count("\n") == 1
    else:
        assert status in {None, 0, 1}
    assert "Traceback" not in errors
