"""No setting around a command moves a picture or ends it: matplotlib's, itables's, the home folder, the locale."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

from farreach.benchmarks.matrix import registry
from farreach.results import figures
from farreach.results.figures import style
from farreach.results.report.contents import read_results
from farreach.results.report.gallery import draw_figures
from tests.support import synthetic

DRAW = """
import sys
from pathlib import Path
from farreach.results.report.contents import read_results
from farreach.results.report.gallery import draw_figures
list(draw_figures(read_results(Path(sys.argv[1])), Path(sys.argv[2])))
"""
UGLY = "text.usetex: True\nsavefig.dpi: 33\nfigure.dpi: 41\nsvg.fonttype: none\nlines.linewidth: 7\nfont.size: 30\n"
UGLY += "axes.prop_cycle: cycler('color', ['red'])\nimage.cmap: jet\nfont.family: serif\naxes.facecolor: yellow\n"
# a wish of the caller for one encoding (tox makes it) must not hide what a plain locale does
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a set with a few rows and a run."""
    made = tmp_path_factory.mktemp("set")
    synthetic.write(made, [synthetic.record(seed=seed) for seed in range(2)], runs=[synthetic.run_line()])
    return made


def hash_pictures(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def draw_here(folder: Path, out: Path) -> dict[str, str]:
    out.mkdir()
    assert list(draw_figures(read_results(folder), out))
    return hash_pictures(out)


def test_every_picture_is_the_same_whatever_the_user_set_for_figures_of_their_own(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"font.size: \xff\n")
    place = tmp_path / "place"
    place.mkdir()
    (place / "matplotlibrc").write_text(UGLY)
    out = tmp_path / "there"
    out.mkdir()
    settings = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "MATPLOTLIBRC": str(tmp_path / "broken")}
    paths = {"PYTHONPATH": str(registry.ROOT)}
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", DRAW, str(folder), str(out)],
        cwd=place,
        env=os.environ | settings | paths,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ours = draw_here(folder, tmp_path / "here")
    assert len(ours) > 3
    assert hash_pictures(out) == ours


def test_settings_that_are_made_after_the_import_move_no_picture_and_stay_the_users(
    folder: Path, tmp_path: Path
) -> None:
    ours = draw_here(folder, tmp_path / "before")
    with mpl.rc_context({"lines.linewidth": 7, "font.size": 30, "savefig.dpi": 33, "figure.facecolor": "red"}):
        assert draw_here(folder, tmp_path / "after") == ours
        with style.use_style():
            assert mpl.rcParams["lines.linewidth"] != 7
            assert mpl.rcParams["font.sans-serif"] == ["DejaVu Sans"]
        assert mpl.rcParams["lines.linewidth"] == 7
    assert mpl.get_backend().lower() == "agg"


def test_what_hides_the_settings_leaves_environment_and_folder_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "mine")
    monkeypatch.delenv("MATPLOTLIBRC", raising=False)
    with figures.ignore_settings():
        assert os.environ["MPLBACKEND"] == "agg"
        assert Path(os.environ["MATPLOTLIBRC"]).is_file()
    assert os.environ["MPLBACKEND"] == "mine"
    assert "MATPLOTLIBRC" not in os.environ
    assert Path.cwd() == tmp_path


def call_report(folder: Path, place: Path, *drop: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Write a report in a process of its own, in another working directory."""
    ours = {name: value for name, value in os.environ.items() if name not in drop}
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "farreach.benchmarks", "report", str(folder)],
        cwd=place,
        env=ours | {"PYTHONPATH": str(registry.ROOT)} | environ,
        capture_output=True,
        check=False,
    )


def test_a_report_is_written_without_a_home_below_a_broken_project_and_in_ascii(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"[tool\nbroken \xff")
    place = tmp_path / "below"
    place.mkdir()
    ambient = ASCII | {"ITABLES_CONFIG": "/nowhere/itables.toml", "PLOTLY_RENDERER": "nonsense", "COLUMNS": "wide"}
    done = call_report(folder, place, "HOME", **ambient)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    printed = done.stdout.decode("ascii")  # every byte of it
    assert "?" in printed
    assert (folder / "report.html").stat().st_size > 500_000
    assert "\N{EN DASH}" in (folder / "report.md").read_text("utf-8")
