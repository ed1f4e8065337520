"""A stranger's result set: nothing outside its folder is touched, nothing in it stops a report or is obeyed."""

from __future__ import annotations

import errno
import io
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from farreach.benchmarks.matrix import case, registry, suite
from farreach.benchmarks.running.worker_client import Live, StartError
from farreach.benchmarks.speed import command
from farreach.benchmarks.speed import machine as measuring
from farreach.results.analysis import calibration, run_times
from farreach.results.figures import style
from farreach.results.report import result_set, timing, timing_contents
from farreach.results.report.console import Screen
from farreach.results.site import bundle
from farreach.results.storage import files
from farreach.results.storage.files import DamagedError, StoreError
from farreach.results.storage.parquet import read_table
from farreach.results.storage.result_set import Store
from farreach.results.storage.sanitising import clean_text
from farreach.results.storage.sets import open_set
from farreach.results.timing import aa_check, interleaved
from tests.support import synthetic
from tests.support.commands import call_command, read_refusal
from tests.support.rows import parse_row
from tests.support.timings import MACHINE, make_group, make_pair, write_check, write_groups

NAMES = ("report.md", "report.html", "speed.md", "tables/summary.csv", "tables/pairs.md", "figures/ratios.png")
"""Files that a report writes."""

ESCAPE = "\x1b[31m\u202e:x:"


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a set with rows, timings and a log, and a folder beside it that is somebody else's."""
    monkeypatch.setattr(style, "DPI", 20)  # nobody looks at the pictures
    folder = tmp_path / "set"
    records = [synthetic.record(key=f"k{seed}", seed=seed) for seed in range(3)]
    synthetic.write(folder, records, runs=[{"started": "2026-01-01", "finished": 3, "failed": []}])
    write_groups(folder, make_pair(1.5), make_group())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.csv").write_text("mine\n")
    return folder


# What is written


@pytest.mark.parametrize("part", ["report", "tables", "figures"])
def test_a_report_writes_into_no_folder_that_is_a_link(there: Path, part: str) -> None:
    outside = there.parent / "elsewhere"
    for name in ("plotly.min.js", "summary.csv", "ratios.png"):
        (outside / name).write_text("mine\n")
    (there / part).symlink_to(outside)
    assert "is a link" in read_refusal("report", str(there))
    assert {path.read_text() for path in outside.iterdir()} == {"mine\n"}


def test_a_report_replaces_links_and_never_writes_through_them(there: Path) -> None:
    outside = there.parent / "elsewhere" / "mine.csv"
    for name in NAMES:
        (there / name).parent.mkdir(exist_ok=True)
        (there / name).symlink_to(outside)
    (there / "report").mkdir()
    (there / "report" / "plotly.min.js").symlink_to(outside)
    assert call_command("report", str(there))[0] == 0
    assert outside.read_text() == "mine\n"
    assert not any((there / name).is_symlink() for name in (*NAMES, "report/plotly.min.js"))


def test_a_report_removes_its_own_files_and_nobody_elses(there: Path) -> None:
    mine = ["report/thesis.docx", "report/notes/a.txt", "tables/mine.csv", "figures/mine.png", "tables/summary/b.md"]
    stale = ["report/curves-99.js", "tables/matched-native.md", "figures/skill-gone.png", "figures/growth-gone.svg"]
    for name in (*mine, *stale):
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).write_text("mine")
    assert call_command("report", str(there))[0] == 0
    assert all((there / name).read_text() == "mine" for name in mine)
    assert not any((there / name).exists() for name in stale)


def test_every_file_that_a_page_writes_beside_it_is_known_as_ours(there: Path) -> None:
    synthetic.write(there.parent / "other", [synthetic.record(key="k0"), synthetic.record(key="k9", seed=9)])
    write_check(there)
    both, out = [str(there), str(there.parent / "other")], ["--out", str(there)]
    for words in (["report", str(there)], ["compare", *both, *out], ["history", *both, *out]):
        assert call_command(*words)[0] == 0
    ours = {"report": [bundle.BESIDE], "comparison": [bundle.BESIDE], "history": [bundle.BESIDE]}
    ours |= {part: [result_set.MADE[part], timing.MADE[part]] for part in result_set.MADE}
    for part, patterns in ours.items():
        names = [path.name for path in (there / part).iterdir()]
        assert len(names) > 1, part
        assert [one for one in names if not any(known.fullmatch(one) for known in patterns)] == []


def test_a_folder_in_the_place_of_a_file_is_one_line(there: Path) -> None:
    (there / "report.md").mkdir()
    assert "report.md" in read_refusal("report", str(there))


def test_semantics_into_a_folder_is_one_line(tmp_path: Path) -> None:
    assert "is a folder" in read_refusal("semantics", "--out", str(tmp_path))


@pytest.mark.parametrize("which", ["logs", "logs/reference.log"])
def test_a_log_is_written_through_no_link(there: Path, which: str) -> None:
    outside = there.parent / "elsewhere"
    (there / which).parent.mkdir(exist_ok=True)
    (there / which).symlink_to(outside if which == "logs" else outside / "mine.csv")
    with pytest.raises(StartError, match=r"link|cannot write"):
        Live("reference", "cpu", 1, there / "logs" / "reference.log").start()
    assert [path.name for path in outside.iterdir()] == ["mine.csv"]
    assert (outside / "mine.csv").read_text() == "mine\n"


# What is set aside


def broken(folder: Path, key: str) -> None:
    (folder / "rows" / f"{key}.json").write_text("{")


def test_nothing_is_set_aside_behind_a_link(there: Path) -> None:
    outside = there.parent / "elsewhere"
    (there / "damaged").symlink_to(outside)
    broken(there, "k0")
    result_set.write(there)
    assert [path.name for path in outside.iterdir()] == ["mine.csv"]
    assert (there / "rows" / "k0.json").exists()
    (there / "damaged").unlink()
    (there / "damaged").mkdir()
    (there / "damaged" / "k0").symlink_to(outside)
    result_set.write(there)
    assert [path.name for path in outside.iterdir()] == ["mine.csv"]


def test_no_file_is_moved_out_of_a_folder_behind_a_link(there: Path) -> None:
    outside = there.parent / "elsewhere"
    (there / "curves").rename(outside / "curves")
    (there / "curves").symlink_to(outside / "curves")
    broken(there, "k0")
    result_set.write(there)
    assert (outside / "curves" / "k0.parquet").exists()


def test_a_reason_that_is_a_link_is_neither_shown_nor_written_through(there: Path) -> None:
    secret = there.parent / "elsewhere" / "mine.csv"
    for key in ("abc", "k0"):
        (there / "damaged" / key).mkdir(parents=True)
        (there / "damaged" / key / "reason.txt").symlink_to(secret)
    assert "mine" not in " ".join(Store(there).list_trouble())
    broken(there, "k0")
    result_set.write(there)
    assert secret.read_text() == "mine\n"
    assert "k0.json is damaged" in (there / "damaged" / "k0" / "reason.txt").read_text()


def test_a_reason_is_one_clean_line_of_limited_length(there: Path) -> None:
    for key, text in (("long", "x" * 100_000), ("odd", f"a{ESCAPE}\nb"), ("no key", "c"), ("f", "")):
        (there / "damaged" / key).mkdir(parents=True)
        (there / "damaged" / key / "reason.txt").write_text(text)
    told = Store(there).list_trouble()
    assert len(told) == 3
    assert all("\x1b" not in one and "\n" not in one and len(one) < 500 for one in told)


# What is read


@pytest.mark.parametrize("target", ["fifo", "/dev/zero", "link"])
def test_curves_that_are_no_plain_file_are_damaged(there: Path, target: str) -> None:
    path = there / "curves" / "own.csv"
    if target == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(target if target != "link" else there.parent / "elsewhere" / "mine.csv")
    with pytest.raises(DamagedError, match=r"no file|is a link"):
        Store(there).curves("own")


def test_a_part_that_is_a_pipe_makes_its_case_run_again(there: Path) -> None:
    (there / "curves" / "k1.parquet").unlink()
    os.mkfifo(there / "curves" / "k1.parquet")
    assert Store(there).keep_whole(["k0", "k1", "k2"]) == {"k0", "k2"}


def test_columns_of_one_value_that_unpack_to_too_much_are_refused(tmp_path: Path) -> None:
    constant = pa.array(np.zeros(700_000))
    pq.write_table(pa.table({f"c{at}": constant for at in range(200)}), tmp_path / "bomb.parquet")
    assert (tmp_path / "bomb.parquet").stat().st_size < 2**20
    with pytest.raises(DamagedError, match="too many"):
        read_table(tmp_path / "bomb.parquet")


def test_one_long_text_in_many_lines_is_refused(tmp_path: Path) -> None:
    codes = pa.array(np.zeros(4_000, np.int32))
    texts = pa.DictionaryArray.from_arrays(codes, pa.array(["x" * 1_000_000]))
    pq.write_table(pa.table({"gate": texts}), tmp_path / "bomb.parquet", store_schema=False)
    with pytest.raises(DamagedError, match="too many"):
        read_table(tmp_path / "bomb.parquet")
    shared = pa.table({"gate": ["x" * 100] * 100})
    encoding: dict[str, Any] = {"use_dictionary": False, "column_encoding": {"gate": "DELTA_BYTE_ARRAY"}}
    pq.write_table(shared, tmp_path / "bomb.parquet", **encoding)
    with pytest.raises(DamagedError, match="encoded"):
        read_table(tmp_path / "bomb.parquet")


def test_only_the_columns_that_are_asked_for_are_read(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1], "b": [2], "c": ["x"]}).to_parquet(tmp_path / "a.parquet")
    assert [*read_table(tmp_path / "a.parquet", ("a",)).column_names] == ["a"]


@pytest.mark.parametrize(
    "log",
    [
        {"failed": 5},
        {"failed": [5]},
        {"failed": [{"reason": 5}]},
        {"finished": "x"},
        {"seconds": {"training": "x"}, "finished": 1},
        {"wall_seconds": "x"},
        {"wall_seconds": "5"},
    ],
)
def test_the_log_of_a_run_that_is_none_is_left_out(there: Path, log: dict[str, Any]) -> None:
    (there / "runs" / "odd.json").write_text(json.dumps(log))
    runs = Store(there).runs()
    assert len(runs) == 1
    assert run_times.list_failures(runs).empty


@pytest.mark.parametrize(
    "changes",
    [
        {"clip": "norm", "threshold": None},
        {"clip": "norm", "threshold": -1.0},
        {"clip": "none", "threshold": 1.0},
        {"regulariser": "l2", "strength": None},
        {"parameters": '{"T": "\\u001b[2J"}'},
        {"parameters": '{"T\\ud800": 1}'},
        {"parameters": '{"T": 1e999}'},
        {"metric.\x1b[2J": 1.0},
    ],
)
def test_a_row_that_contradicts_itself_or_hides_control_characters_is_none(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    good, text = (json.dumps(synthetic.record(key="k").to_row() | more).encode() for more in ({}, changes))
    with pytest.raises(DamagedError):
        parse_row(text, tmp_path / "k.json", "k")
    assert parse_row(good, tmp_path / "k.json", "k")


@pytest.mark.parametrize(
    "truth", ['{"k0": 5}', '{"k0": ["healthy"]}', "5", '{"k0": "\\u001b"}', '{"nobody": "healthy"}']
)
def test_planted_cases_that_are_none_are_one_line(there: Path, truth: str) -> None:
    (there / calibration.PLANTED).write_text(truth)
    with pytest.raises(DamagedError) as fault:
        calibration.calibrate(Store(there))
    assert "\x1b" not in str(fault.value)


def test_a_suite_that_is_a_pipe_is_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "odd.toml")
    with pytest.raises(registry.UsageError, match="is not a file"):
        suite.load_suite(str(tmp_path / "odd.toml"))


@pytest.mark.parametrize("axis", [*case.MOST, "seed"])
def test_a_size_that_no_machine_holds_is_one_line(tmp_path: Path, axis: str) -> None:
    (tmp_path / "odd.toml").write_text(
        f'description = "odd"\n[[block]]\ntask = "adding"\ncell = "rnn"\n{axis} = {10**24}\n'
        if axis != "threads"
        else 'description = "odd"\n[[block]]\ntask = "adding"\ncell = "rnn"\n'
    )
    with pytest.raises(registry.UsageError, match=rf"{axis}\b.* not 10+") as fault:
        suite.load_suite(str(tmp_path / "odd.toml")).list_cases(
            ["reference"], threads=10**24 if axis == "threads" else 1
        )
    assert "\n" not in str(fault.value)


# Timings


def test_a_damaged_timing_is_named_set_aside_and_timed_again(there: Path) -> None:
    write_check(there)
    for name in ("timings/0.json", "check/3.json"):
        (there / name).write_text("{")
    status, out, _ = call_command("report", str(there))
    assert status == 0
    for name in ("timings/0.json", "check/3.json"):
        assert f"{name} is damaged" in out
        assert f"{name} is damaged" in (there / "speed.md").read_text()
        assert not (there / name).exists()
        assert (there / "damaged" / name).exists()
    call_command("report", str(there))
    assert "timings/0.json was damaged" in (there / "speed.md").read_text()
    assert "timings/1.json" not in (there / "speed.md").read_text()


def jobs(folder: Path) -> list[command.Job]:
    def measure(*_: object) -> dict[str, Any]:
        one = make_pair(1.5)
        lines = [line | {"seconds": line["seconds"].tolist()} for line in one["contenders"]]
        return one | {"contenders": lines}

    return [command.Job(f"job {at}", folder / interleaved.FOLDER / f"{at}.json", measure, ()) for at in range(2)]


def test_a_damaged_timing_is_not_done(there: Path) -> None:
    (there / interleaved.FOLDER / "0.json").write_text("{")
    out = io.StringIO()
    assert not command.run_jobs(jobs(there), there, "again", Console(file=out, width=200))
    assert "timings/0.json is damaged" in out.getvalue()
    assert "2 timings, 1 already done, 1 to do" in out.getvalue()
    assert len(interleaved.read_groups(open_set(there))) == 2
    assert not timing_contents.read_timings(open_set(there)).damaged


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["5", "{}", '{"gflops": 5}', "/dev/zero"])
def test_a_damaged_machine_is_said_and_measured_again(there: Path, monkeypatch: pytest.MonkeyPatch, harm: str) -> None:
    path = there / interleaved.MACHINE

    def damage() -> None:
        path.unlink(missing_ok=True)
        if harm.startswith("/"):
            path.symlink_to(harm)
        else:
            path.write_text(harm)

    damage()
    status, out, _ = call_command("report", str(there))
    assert status == 0
    assert f"{interleaved.MACHINE} is damaged" in out
    assert (there / "report.html").exists()
    damage()
    said: list[str] = []
    monkeypatch.setattr(measuring, "measure_machine", lambda *_, **__: MACHINE)
    (any_case,) = suite.load_suite("quick").list_cases(["reference"])[:1]
    command.measure_machine(there, any_case, said.append)
    assert len(said) == 1
    assert timing_contents.read_machine(open_set(there)) == MACHINE


def test_a_machine_stands_in_speed_md(there: Path) -> None:
    files.write_json(there / interleaved.MACHINE, MACHINE)
    assert call_command("report", str(there))[0] == 0
    assert "Some Processor, 2 cores" in (there / "speed.md").read_text()


# What is shown


def show(folder: Path) -> str:
    """Return all that a set's commands print and write of text."""
    said = [
        call_command("report", str(folder)),
        call_command("show", str(folder)),
        call_command("show", str(folder), "--as", "csv"),
    ]
    assert {status for status, _, _ in said} == {0}
    written = [path for path in folder.rglob("*") if path.suffix in {".md", ".csv"} and "damaged" not in path.parts]
    return "\n".join([text for _, *texts in said for text in texts] + [path.read_text() for path in written])


def test_no_control_character_of_a_name_or_a_reason_is_shown(there: Path) -> None:
    path = there / "timings" / "0.json"
    path.rename(path.with_name(f"a{ESCAPE}.json")).write_text("{")
    path = next((there / "runs").glob("*.json"))
    failed = [{"case": f"c{ESCAPE}", "reason": f"r{ESCAPE}"}]
    path.write_text(json.dumps({"failed": failed, "started": f"s{ESCAPE}"}))
    seen = show(there)
    assert "r\N{REPLACEMENT CHARACTER}" in seen
    assert clean_text(seen) == seen
    page = (there / "report.html").read_text()
    assert "c\N{REPLACEMENT CHARACTER}" in page
    assert ESCAPE not in page


def test_a_word_between_colons_is_no_picture() -> None:
    out = io.StringIO()
    Screen(file=out).print("a :x: \x1b[2J[red]b[/red]")
    assert out.getvalue() == "a :x: \N{REPLACEMENT CHARACTER}[2Jb\n"


def test_text_is_clean_and_ours_is_left_as_it_is() -> None:
    ours = "95 % interval \N{EN DASH} \N{GREEK SMALL LETTER ALPHA}\tb\n"
    assert clean_text(ours) == ours
    assert clean_text("\x1b\x07\x9b\u202e\ud800") == "\N{REPLACEMENT CHARACTER}" * 5


# Claims


def test_a_claim_is_held_by_one_at_a_time_while_others_let_go(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create()
    holders, most, gate = [0], [0], threading.Lock()

    def work() -> None:
        for _ in range(150):
            claim = store.claim("k")
            if claim is None:
                continue
            with gate:
                holders[0] += 1
                most[0] = max(most[0], holders[0])
            with gate:
                holders[0] -= 1
            store.release(claim)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert not [*(tmp_path / "locks").iterdir()]


def test_a_folder_without_locks_is_refused_for_no_claim_could_end_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    store.create()

    def none(*_: object) -> NoReturn:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", none)
    with pytest.raises(StoreError, match="cannot lock"):
        store.claim("k")


def test_a_store_is_made_in_no_folder_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "rows").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a link"):
        Store(tmp_path / "set").create()


def test_there_is_a_reader_for_every_kind_of_timing_file() -> None:
    assert {interleaved.FOLDER, aa_check.FOLDER} < {*command.KINDS}


HARMS: dict[str, Callable[[Path], object]] = {
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a link": lambda path: (path.unlink(), path.symlink_to("/etc/passwd")),
}


@pytest.mark.slow
@pytest.mark.parametrize("harm", HARMS)
def test_what_is_no_plain_file_stops_no_report(there: Path, harm: str) -> None:
    next((there / "runs").glob("*.json")).rename(there / "runs" / "r.json")
    (there / "speed.json").write_text("{}")
    for name in ("rows/k0.json", "curves/k1.parquet", "timings/0.json", "runs/r.json", "speed.json"):
        HARMS[harm](there / name)
    result_set.write(there)
    assert "root:" not in (there / "report.md").read_text()
