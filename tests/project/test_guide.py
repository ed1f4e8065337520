"""Every command of the pages exists with its options, and those of seconds do what the page says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import typer

from farreach.benchmarks.__main__ import app
from farreach.benchmarks.commands import COMMANDS
from farreach.benchmarks.commands.shared.words import split_plugins
from farreach.benchmarks.matrix import registry
from farreach.results.storage.result_set import Store
from farreach.results.storage.sets import open_set
from tests.support.documents import DOCUMENTS, list_commands, read_page

GUIDE = read_page("lasting")
LINES = re.findall(r"^ {4,6}(python -m benchmarks .*)$", GUIDE, re.MULTILINE)
# tests/benchmarks/test_cluster.py has a cluster, and test_portable.py a short suite, for what is left out
LINES = [line for line in LINES if "--dask" not in line and "portable" not in line]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the guide's results/runs is in this test."""
    return tmp_path_factory.mktemp("runs")


def ran(line: str, place: Path) -> str:
    """Run a command of a page with folders of the test's own; return what it said."""
    own = line.replace("results/runs", str(place)).replace("OLD_ENV", sys.executable).replace("NEW_ENV", sys.executable)
    _, *arguments = shlex.split(own)
    done = subprocess.run(  # noqa: S603
        [sys.executable, *arguments], cwd=registry.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_guide_carries_on_runs_again_and_compares(place: Path) -> None:
    first, again, reproduced, kept_too, compared, _, followed, shown, packed, unpacked = LINES
    assert first == again
    assert "2 cases, 0 already done, 2 to run" in ran(first, place)
    kept = {path: path.stat().st_mtime_ns for path in (place / "guide" / "rows").iterdir()}
    assert "2 cases, 2 already done, 0 to run" in ran(again, place)
    assert {path: path.stat().st_mtime_ns for path in (place / "guide" / "rows").iterdir()} == kept
    assert "2 of 2 cases gave the same losses" in ran(reproduced, place)
    assert "Quality of 2 rows" in ran(compared, place)
    assert len(Store(place / "guide").rows()) == 2
    assert "2 of 2 cases gave the same losses" in ran(kept_too, place)
    assert "2 sets from" in ran(followed, place)
    assert (place / "guide-history" / "history.html").exists()
    assert "rnn" in ran(shown, place)
    ran(packed, place)
    assert len([path for path in (place / "guide-packed").iterdir() if path.suffix in {".parquet", ".json"}]) <= 12
    ran(unpacked, place)
    rows = [open_set(place / name).rows().set_index("key") for name in ("guide", "guide-packed", "guide-unpacked")]
    for other in rows[1:]:
        pd.testing.assert_frame_equal(rows[0].sort_index(), other.loc[rows[0].sort_index().index, rows[0].columns])


@pytest.mark.slow
def test_the_guide_compares_two_environments_side_by_side(place: Path) -> None:
    (line,) = [line for line in LINES if "--live" in line]
    assert "Speed of 1 row:" in ran(line + f" --out {place / 'live'} --fail-on worse", place)


def test_the_guides_other_commands_are_the_workflows() -> None:
    others = [line.strip() for line in GUIDE.splitlines() if re.match(r"    (\.venv|python3|mkdir|cp) ?", line)]
    folder = registry.ROOT / ".github" / "workflows"
    nightly = "".join((folder / name).read_text() for name in ("nightly.yml", "compat.yml", "slow.yml"))
    for word, one in (("framework", "pytorch"), ("shard", "1/3"), ("python", "3.11"), ("versions", "pinned")):
        nightly = nightly.replace(f"${{{{ matrix.{word} }}}}", one)
    assert len(others) == 11
    assert all(line in nightly for line in others)


PLACEHOLDER = re.compile(r"[\[\]|]|\.\.\.|\b[A-Z]{2,}\b")
"""What makes a line a description of a command and not one that can be given: brackets, dots, words in capitals."""


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(registry.ROOT).as_posix())
def test_every_command_of_a_document_exists_with_its_options(path: Path) -> None:
    program = typer.main.get_command(app)
    for line in list_commands(path):
        words, _ = split_plugins(shlex.split(line.removeprefix("python -m benchmarks ")))
        name, *rest = words
        if name == "COMMAND":
            continue
        command = program.commands[name]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert {word.strip("[]") for word in rest if word.lstrip("[").startswith("--")} <= known, line
        if not PLACEHOLDER.search(line) and "--help" not in rest:
            command.make_context(name, rest)  # a usage error otherwise


def test_the_page_of_the_command_line_has_every_command() -> None:
    page = read_page("commands")
    assert set(re.findall(r"^    python -m benchmarks ([\w-]+)", page, re.MULTILINE)) == set(COMMANDS)
    table = page[page.index("| command |") : page.index("## Narrow")]
    assert set(re.findall(r"`([\w-]+)`(?=[^|]* \| [^|]* \|$)", table, re.MULTILINE)) >= set(COMMANDS)


@pytest.mark.slow
def test_the_quick_start_lists_runs_shows_and_reports(place: Path) -> None:
    listed, first, shown, reported = list(list_commands(registry.ROOT / "docs" / "quickstart.md"))
    assert "quick" in ran(listed, place)
    assert "10 cases, 0 already done, 10 to run" in ran(first, place)
    page = place / "first" / "report.html"
    assert page.exists()
    page.unlink()
    assert "diverged" in ran(shown, place)
    ran(reported, place)
    assert page.exists()


def test_the_pages_list_tasks_and_help(place: Path) -> None:
    assert "parity" not in ran("python -m benchmarks list tasks", place)
    assert "--thresholds" in ran("python -m benchmarks advise --help", place)


@pytest.mark.slow
def test_the_loop_of_ones_own_is_recorded_and_reported(place: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", read_page("own-model"), re.DOTALL)[0]
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    batches = [(torch.randn(4, 3), torch.randn(4, 1)) for _ in range(20)]
    names = {"model": model, "optimizer": optimizer, "batches": batches, "criterion": torch.nn.functional.mse_loss}
    own = code.replace("results/runs", str(place))
    exec(compile(own, "docs/own-model.md", "exec"), names)  # noqa: S102 - our own page
    line, *_ = list_commands(registry.ROOT / "docs" / "own-model.md")
    ran(line, place)
    assert (place / "mine" / "report.html").exists()
    assert len(Store(place / "mine").rows()) == 1


@pytest.mark.slow
def test_the_keras_model_of_ones_own_is_recorded(place: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", read_page("own-model"), re.DOTALL)[1]
    program = (
        "import keras, numpy as np\n"
        "model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])\n"
        "inputs, targets = np.ones((64, 3), 'float32'), np.ones((64, 1), 'float32')\n"
    )
    own = code.replace("results/runs", str(place / "keras"))
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program + own], cwd=registry.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(Store(place / "keras" / "mine").rows()) == 1
