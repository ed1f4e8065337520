"""What a stranger's set can put into paths, pictures and spreadsheets, and files that are whole or not there."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure, FigureBase
from matplotlib.layout_engine import ConstrainedLayoutEngine

from farreach.benchmarks.commands.shared import reports
from farreach.benchmarks.matrix import registry, versions
from farreach.results.figures import style
from farreach.results.publishing import packing, unpacking
from farreach.results.report import contents, freshness, gallery, result_set
from farreach.results.storage import files, parquet, staging
from farreach.results.storage.csv_files import format_csv
from farreach.results.storage.files import DamagedError, StoreError, make_name, write_text
from farreach.results.storage.result_set import Store
from farreach.results.storage.sets import open_run_folder, open_set
from tests.support import synthetic
from tests.support.commands import call_command
from tests.support.rows import parse_row

UP = "x/../../../victim/logo"


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a set of three cases."""
    monkeypatch.setattr(style, "DPI", 20)
    folder = tmp_path / "a" / "set"
    synthetic.write(folder, [synthetic.record(key=f"k{seed}", seed=seed) for seed in range(3)])
    return folder


def change_row(folder: Path, key: str, **changes: Any) -> None:
    path = folder / "rows" / f"{key}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def hash_all(folder: Path) -> dict[str, str]:
    """Return the digest of each file of a folder but the hidden ones."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)}


# Paths


@pytest.mark.parametrize("column", ["task", "framework", "cell", "clip", "metric", "optimizer", "suite"])
@pytest.mark.parametrize(
    "name", [UP, "..", "a b", "a/b", "<b>", "=1", "a$b", "", "a" * 101, "\\input{x}", "lstm\n", "pyt\u043erch"]
)
def test_a_name_that_is_more_than_a_name_makes_a_row_damaged(tmp_path: Path, column: str, name: str) -> None:
    text = json.dumps(synthetic.record(key="k", threshold=None).to_row() | {column: name}).encode()
    with pytest.raises(DamagedError, match=rf"its {column} is not a name|contradict"):
        parse_row(text, tmp_path / "k.json", "k")


@pytest.mark.parametrize("changes", [{"parameters": '{"../x": 1}'}, {"metric.../x": 1.0}, {"metric.a b": 1.0}])
def test_so_does_the_name_of_a_parameter_or_of_a_metric(tmp_path: Path, changes: dict[str, Any]) -> None:
    text = json.dumps(synthetic.record(key="k").to_row() | changes).encode()
    with pytest.raises(DamagedError):
        parse_row(text, tmp_path / "k.json", "k")


@pytest.mark.parametrize("changes", [{"kernel": "x" * 10_001}, {"parameters": json.dumps({"T": "x" * 201})}])
def test_a_text_that_no_picture_could_hold_makes_a_row_damaged(tmp_path: Path, changes: dict[str, Any]) -> None:
    text = json.dumps(synthetic.record(key="k").to_row() | changes).encode()
    with pytest.raises(DamagedError):
        parse_row(text, tmp_path / "k.json", "k")


def test_a_task_that_is_a_path_writes_nothing_outside(there: Path) -> None:
    victim = there.parent / "victim" / "logo.png"
    victim.parent.mkdir()
    victim.write_text("mine")
    change_row(there, "k1", task=UP)
    assert call_command("report", str(there))[0] == 0
    assert "k1.json is damaged" in (there / "report.md").read_text()
    assert {path.name for path in there.parent.iterdir()} == {"set", "victim"}
    assert victim.read_text() == "mine"


def test_a_figure_stays_in_its_folder_whatever_it_is_called(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of rows are checked when they are read; here one comes through all the same."""
    monkeypatch.setattr(gallery.training, "draw_skill", lambda _: {UP: Figure()})
    result_set.write(there)
    assert [*(there / "figures").glob("skill-x_.._.._.._victim_logo.png")]
    assert [path.name for path in there.parent.iterdir()] == ["set"]


def test_a_value_becomes_part_of_a_path_in_one_way() -> None:
    assert make_name("adding") == "adding"
    assert make_name("../../etc/passwd") == "_.._etc_passwd"
    assert make_name("..") == make_name("") == "_"
    assert make_name("-a\x00b\n/é") == "a_b_"
    assert make_name(Path("...toml").stem) == "_"
    assert len(make_name("x" * 1_000)) == files.LONGEST_NAME


def test_no_write_goes_up_on_its_way(tmp_path: Path) -> None:
    inside = tmp_path / "set"
    inside.mkdir()
    table = parquet.pa.table({"a": [1]})
    for write in (
        lambda path: write_text(path, "x"),
        lambda path: files.write_json(path, {}),
        lambda path: parquet.write_parquet(path, table),
        lambda path: style.save_figure(Figure(), path),
    ):
        with pytest.raises(StoreError, match="leads out of its folder"):
            write(inside / "../victim.png")
    assert [*tmp_path.iterdir()] == [inside]


def test_a_folder_that_the_user_names_may_go_up(there: Path) -> None:
    assert call_command("report", str(there / ".." / "set"))[0] == 0
    assert (there / "report.md").exists()
    out = there / ".." / "compared"
    assert call_command("compare", str(there), str(there), "--out", str(out))[0] == 0
    assert (there.parent / "compared" / "comparison.md").exists()


# Formulas


FORMULAS = ["=1+1", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1", " =1", "\uff1d1+1"]


def test_no_cell_of_a_csv_is_a_formula_and_numbers_stay_numbers() -> None:
    frame = pd.DataFrame({"=a": FORMULAS, "number": -1.5, "text": "-1.5", "list": "-0.4 0.5 nan", "plain": "a=b"})
    frame["category"] = pd.Categorical(frame["=a"])
    lines = [*csv.reader(io.StringIO(format_csv(frame), newline=""))]
    assert lines[0] == ["'=a", "number", "text", "list", "plain", "category"]
    assert all(line[0][0] == line[5][0] == "'" for line in lines[1:])
    assert {tuple(line[1:5]) for line in lines[1:]} == {("-1.5", "-1.5", "-0.4 0.5 nan", "a=b")}


def test_no_command_writes_or_prints_a_formula(there: Path) -> None:
    synthetic.write(there, [], runs=[synthetic.run_line(failed=[{"case": "=1+1", "reason": "@x"}])])
    for key in ("k0", "k1", "k2"):
        change_row(there, key, processor="=cmd|' /C calc'!A0", unit="+1+x", parameters='{"T": "=2+5"}')
    shown = [call_command("report", str(there)), call_command("compare", *[str(there)] * 2, "--out", str(there / "c"))]
    shown += [call_command("show", str(there), "--as", "csv", "--table", name) for name in ("cases", "machines")]
    assert {status for status, _, _ in shown} == {0}
    texts = [path.read_text() for path in there.rglob("*.csv")] + [out for _, out, _ in shown[2:]]
    cells = [cell for text in texts for line in csv.reader(io.StringIO(text, newline="")) for cell in line]
    assert any("=cmd" in cell for cell in cells)
    assert not [cell for cell in cells if cell.startswith(("=", "@", "+"))]


# Pictures


@pytest.mark.parametrize("text", ["$\\frac$", "$x", "a$\\undefined{$b", "$$", "$_t$ $\\frac$"])
def test_a_text_in_a_picture_is_no_formula_either(tmp_path: Path, text: str) -> None:
    figure = Figure()
    axes = figure.add_subplot(title=text, xlabel="norm of dL/dh$_t$")
    axes.plot([1, 10], [1, 1_000], label=text)
    axes.set_yscale("log")
    figure.legend()
    style.save_figure(figure, tmp_path / "a.png", vector=True)
    assert not axes.title.get_parse_math()
    assert axes.xaxis.label.get_parse_math()
    assert (tmp_path / "a.svg").exists()


@pytest.mark.parametrize("noise", [1e-13, -1e-13])
def test_a_picture_is_the_same_whatever_the_last_digits_of_its_layout(tmp_path: Path, noise: float) -> None:
    """The solver of a layout ends in other last digits from process to process."""

    class Noisy(ConstrainedLayoutEngine):
        noise = 0.0

        def execute(self, fig: FigureBase) -> None:
            super().execute(fig)
            for axes in fig.axes:
                axes.set_position([edge + self.noise for edge in axes.get_position(original=True).bounds])

    made = []
    for at, move in enumerate((0.0, noise)):
        engine = Noisy()
        engine.noise = move
        figure = Figure(layout=engine)
        for axes in figure.subplots(2, 1):
            axes.plot([1, 2], [1, 3])
        path = tmp_path / str(at) / "a.png"
        path.parent.mkdir()
        made.append([one.read_bytes() for one in style.save_figure(figure, path, vector=True)])
    assert made[0] == made[1]


# Whole or not there


@pytest.mark.slow
def test_a_report_that_fails_leaves_the_old_one_as_it_was(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call_command("report", str(there))[0] == 0
    before = hash_all(there)
    change_row(there, "k0", hidden=32)
    now = hash_all(there)
    assert sum(name.startswith("figures/") for name in before) > 4

    def crash(*_: object, **__: object) -> None:
        raise RuntimeError

    for where in ("farreach.results.report.gallery.draw_figures", "farreach.results.site.bundle.render"):
        with monkeypatch.context() as patch:
            patch.setattr(where, crash)
            with pytest.raises(RuntimeError):
                call_command("report", str(there))
    assert {name: digest for name, digest in hash_all(there).items() if name.startswith("report/")} == {
        name: digest for name, digest in now.items() if name.startswith("report/")
    }
    assert hash_all(there).keys() == before.keys()
    assert not [*there.rglob("*.part")]


def test_who_is_killed_while_files_are_moved_leaves_none_missing(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call_command("report", str(there))[0] == 0
    before = hash_all(there).keys()
    moved: list[Path] = []
    replace = Path.replace

    def stop(path: Path, target: Path) -> Path:
        if path.parent.parent.name.endswith(".part"):
            moved.append(path)
            if len(moved) == 5:
                raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            result_set.write(there)
    assert before == hash_all(there).keys()


def test_a_report_knows_by_content_whether_it_is_current(there: Path) -> None:
    """Copies keep the times of folders: the rows of a second machine, copied into a set, look older than its report."""
    reports.write_report(there)
    whole = (there / "report.md").read_text()
    stamp = (there / "report.md").stat().st_mtime_ns
    reports.write_report(there, anew=False)
    assert (there / "report.md").stat().st_mtime_ns == stamp
    synthetic.write(there.parent / "second", [synthetic.record(key="k9", seed=9)])
    for part in ("rows", "curves", "evaluations", "flow", "spectra"):
        for path in (there.parent / "second" / part).iterdir():
            shutil.copy2(path, there / part)
    for path in (there, *there.rglob("*")):
        os.utime(path, (1_000_000, 1_000_000))
    for path in (there / "report.md", there / "report.html"):
        os.utime(path)
    reports.write_report(there, anew=False)
    assert (there / "report.md").read_text() != whole
    assert "k9" in (there / "report.html").read_text()


def test_a_report_of_which_a_file_is_gone_is_not_current(there: Path) -> None:
    reports.write_report(there)
    now = versions.collect_versions()
    for name in ("figures/skill-adding.png", "report.html", "report/plotly.min.js", "report.md", freshness.NOTE):
        assert freshness.is_fresh(contents.read_results(there, now=now), now)
        (there / name).rename(there / "away")
        assert not freshness.is_fresh(contents.read_results(there, now=now), now), name
        (there / "away").rename(there / name)


@pytest.mark.parametrize(
    "note", ["{", "[]", '{"digest": 5}', '{"digest": "x", "files": 5}', '{"files": {"../../x": 5}}']
)
def test_a_note_that_a_stranger_wrote_is_no_harm(there: Path, note: str) -> None:
    (there / freshness.NOTE).write_text(note)
    assert not freshness.is_fresh(contents.read_results(there), None)


def test_what_a_dead_run_had_begun_is_removed_and_what_a_live_one_writes_is_not(there: Path) -> None:
    names = [f".{name}.{'0' * 31}{at}.part" for at, name in enumerate(["k0", "k1", "new"])]
    dead, live, stage = there / "rows" / names[0], there / "curves" / names[1], there / names[2]
    for path in (dead, live):
        path.write_text("half")
    (stage / "figures").mkdir(parents=True)
    mine = there / "curves" / ".notes.part"
    mine.write_text("of an hour ago, or of a program that does not lock")
    holder = live.open()
    assert files.hold_part(holder.fileno())
    open_run_folder(there)
    result_set.write(there)
    assert not dead.exists()
    assert not stage.exists()
    assert live.exists()
    assert mine.exists()
    holder.close()
    os.utime(mine, (1, 1))
    open_run_folder(there)
    assert not live.exists()
    assert not mine.exists()


def test_nothing_is_removed_behind_a_link(there: Path) -> None:
    outside = there.parent / "outside"
    outside.mkdir()
    name = f".k.{'0' * 32}.part"
    (outside / name).write_text("mine")
    (there / name).symlink_to(outside)
    (there / "link").symlink_to(outside)
    staging.remove_dead_parts(there, ("link",))
    assert (outside / name).exists()
    assert (there / name).is_symlink()


@pytest.mark.slow
def test_a_report_killed_at_any_moment_is_made_whole_by_the_next_command(there: Path) -> None:
    """Three moments; `python -m tests.campaign` kills at thirty."""
    assert call_command("report", str(there))[0] == 0
    for part in (0.3, 0.6, 0.9):
        change_row(there, "k0", seed=int(part * 100))
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", KILLED, str(there), str(part)], cwd=registry.ROOT, stdout=subprocess.DEVNULL
        )
        assert process.wait(60) == -signal.SIGKILL
        links = [one for one in (there / "report.md").read_text().split("](")[1:] if one.startswith("figures/")]
        assert links
        assert all((there / one.split(")")[0]).exists() for one in links)
    assert call_command("report", str(there))[0] == 0
    fresh = there.parent / "fresh"
    for part in ("rows", "curves", "evaluations", "flow", "spectra"):
        shutil.copytree(there / part, fresh / part)
    assert call_command("report", str(fresh))[0] == 0
    told = [
        {name: one for name, one in hash_all(folder).items() if name[:7] in {"figures", "tables/"}}
        for folder in (there, fresh)
    ]
    assert told[0] == told[1]


KILLED = """
import os, signal, sys, pathlib
from farreach.results.figures import style
from farreach.results.report import result_set
style.DPI = 20
folder, part = pathlib.Path(sys.argv[1]), float(sys.argv[2])
count, most = 0, int(40 * part)
replace = pathlib.Path.replace
def count_or_die(path, target):
    global count
    count += 1
    if count > most:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(path, target)
pathlib.Path.replace = count_or_die
result_set.write(folder)
"""


def test_a_set_that_is_packed_again_is_replaced_when_the_new_one_is_whole(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = there.parent / "packed"
    packing.pack_set(there, out)
    before = hash_all(out)
    synthetic.write(there, [synthetic.record(key="k8", seed=8)])

    def crash(*_: object, **__: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(packing, "write_manifest", crash)
        with pytest.raises(RuntimeError):
            packing.pack_set(there, out)
    assert hash_all(out) == before
    packing.pack_set(there, out)
    assert len(open_set(out).rows()) == 4


def test_a_set_is_unpacked_whole_or_not_at_all(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packing.pack_set(there, there.parent / "packed")
    out = there.parent / "unpacked"

    def crash(*_: object, **__: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(unpacking, "list_documents", crash)
        with pytest.raises(RuntimeError):
            unpacking.unpack_set(there.parent / "packed", out)
    assert not out.exists()
    unpacking.unpack_set(there.parent / "packed", out)
    assert len(open_set(out).rows()) == 3
    assert {path.name for path in there.parent.iterdir()} == {"set", "packed", "unpacked"}


def test_a_disk_that_takes_no_more_while_a_file_is_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clean-up fails too: a disk that has turned read-only removes nothing."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StoreError, match="Read-only file system"):
        write_text(tmp_path / "a", "x")
    store = Store(tmp_path)
    (tmp_path / "locks").mkdir()
    claim = store.claim("k")
    assert claim
    store.release(claim)
    assert not claim.is_locked


def test_there_is_no_index_beside_rows_that_could_outrank_them(there: Path) -> None:
    assert call_command("show", str(there))[0] == 0
    assert call_command("report", str(there))[0] == 0
    assert not [path for path in there.rglob("*") if "index" in path.name]
    (there / ".index.parquet").write_bytes(b"a stranger's")
    change_row(there, "k0", seed=77)
    assert 77 in open_set(there).rows()["seed"].tolist()
