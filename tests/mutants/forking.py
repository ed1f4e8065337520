"""Tests run in forks of one process that has imported every library, but nothing of ours.

Importing PyTorch, TensorFlow and JAX takes longer than most tests. None of them has a thread before it is used, so a
fork of a process that has only imported them is safe. Each place of a fork has a copy of the project to itself, in
which one file is replaced: what the tests start in processes of their own has the fault too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

import pytest

from tests.mutants.table import ROOT, Mutant
from tests.support.tiers import EVERY_CASE

LIBRARIES: tuple[str, ...] = (
    "numpy",
    "scipy.stats",
    "pandas",
    "pyarrow",
    "pydantic",
    "matplotlib.pyplot",
    "hypothesis",
    "statsmodels.api",
)
LIBRARIES += ("rich", "typer", "seaborn", "jinja2", "torch", "tensorflow", "keras", "jax", "optax", "flax.nnx")
"""What forks have imported already; those that are not installed are left out."""

Verdict = Literal["passed", "failed", "not imported", "hung", "crashed"]
"""How tests ended. `not imported`: before any ran; `hung`: they went on for too long; `crashed`: the process died."""

PASSED, FAILED, NOTHING = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)

PATIENCE = 180.0
"""Seconds after which a process in which no test has begun or ended hangs; on an idle machine a test takes few."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """Tests of one file: ``PATH``, or ``PATH: REGULAR EXPRESSION`` for those whose names it is found in."""

    path: str
    pattern: str

    @staticmethod
    def parse(text: str) -> Choice:
        """Return the choice that a text is."""
        path, _, pattern = text.partition(": ")
        return Choice(path, pattern)

    def includes(self, node: str) -> bool:
        """Return whether a test, by its node id, is one of these."""
        path, _, name = node.partition("::")
        return path == self.path and re.search(self.pattern, name) is not None


class Choosing:
    """A plugin of pytest that runs chosen tests, in the order in which they were named, and keeps what failed first.

    Attributes:
        progress: a file whose time says when a test last went on.

    """

    def __init__(self, tests: Sequence[str], progress: Path) -> None:
        self.choices = [Choice.parse(test) for test in tests]
        self.progress, self.failed = progress, ""

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep the chosen tests alone, in order."""
        each = [[item for item in items if choice.includes(item.nodeid)] for choice in self.choices]
        self.failed = next(
            (
                f"{choice.path}: {choice.pattern} is no test"
                for choice, some in zip(self.choices, each, strict=True)
                if not some
            ),
            "",
        )
        chosen = [item for some in each for item in some]
        left = [item for item in items if item not in chosen]
        items[:] = list(dict.fromkeys(chosen))
        config.hook.pytest_deselected(items=left)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the name of the first test that failed."""
        self.progress.touch()
        if report.failed and not self.failed:
            self.failed = report.nodeid


@dataclasses.dataclass(frozen=True)
class Ending:
    """How tests ended, which test failed, and after how many seconds."""

    verdict: Verdict
    test: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Errand:
    """Tests to run, or only to collect, in a copy of the project in which one file may be replaced."""

    tests: tuple[str, ...]
    mutant: Mutant | None = None
    only_collect: bool = False


def import_libraries() -> None:
    """Import what forks are to have."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("MPLBACKEND", "Agg")
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


@contextlib.contextmanager
def copy_project() -> Iterator[Path]:
    """Have a copy of the checkout as it is now: the files that git knows, and new ones that it does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],  # noqa: S607
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    with tempfile.TemporaryDirectory(prefix="mutants-") as whole:
        folder = Path(whole) / "project"
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        yield folder


@contextlib.contextmanager
def replace_file(folder: Path, mutant: Mutant | None) -> Iterator[None]:
    """Have a mutant's text in a copy of the project; no compiled file of the other text is left to be taken for it."""
    if mutant is None:
        yield
        return
    path = folder / mutant.file
    before, facts = path.read_bytes(), path.stat()
    _forget_compiled(path)
    path.write_text(mutant.text, "utf-8")
    try:
        yield
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        _forget_compiled(path)


def _forget_compiled(path: Path) -> None:
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


def run_errands(
    errands: Sequence[Errand], project: Path, jobs: int, hear: Callable[[Errand, Ending], None]
) -> list[Ending]:
    """Run every errand in copies of the project, `jobs` at a time; return how each ended, of which `hear` is told."""
    endings: dict[int, Ending] = {}
    with tempfile.TemporaryDirectory(prefix="mutants-") as whole:
        places = [Path(whole) / str(at) for at in range(min(jobs, len(errands)))]
        for place in places:
            shutil.copytree(project, place / "project")
        waiting = list(enumerate(errands))[::-1]
        busy: dict[Path, tuple[int, Running]] = {}
        try:
            while waiting or busy:
                for place in places:
                    if place not in busy and waiting:
                        at, errand = waiting.pop()
                        busy[place] = at, Running(errand, place)
                    if place in busy and (ending := busy[place][1].look()) is not None:
                        at, running = busy.pop(place)
                        endings[at] = ending
                        hear(running.errand, ending)
                time.sleep(0.02)
        finally:
            for _, running in busy.values():
                running.end()
    return [endings[at] for at in range(len(errands))]


class Running:
    """An errand in a fork, at a place of its own."""

    def __init__(self, errand: Errand, place: Path) -> None:
        self.errand, self.place = errand, place
        self.stack = contextlib.ExitStack()
        self.stack.enter_context(replace_file(place / "project", errand.mutant))
        shutil.rmtree(place / "scratch", ignore_errors=True)
        (place / "scratch").mkdir()
        (place / "ending.json").unlink(missing_ok=True)
        (place / "progress").touch()
        self.start = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.process = os.fork()
        if self.process == 0:
            run_in_fork(errand, place)

    def look(self) -> Ending | None:
        """Return how it ended, None where it still runs; end it where its time is up."""
        process, status = os.waitpid(self.process, os.WNOHANG)
        seconds = time.monotonic() - self.start
        if process == 0 and time.time() - (self.place / "progress").stat().st_mtime <= PATIENCE:
            return None
        self.end()
        if process == 0:
            return Ending("hung", "", seconds)
        return self._read_ending(status, seconds)

    def end(self) -> None:
        """End the fork and what it started, and put the file back."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.process, 0)
        self.stack.close()

    def _read_ending(self, status: int, seconds: float) -> Ending:
        path = self.place / "ending.json"
        if not os.WIFEXITED(status) or not path.exists():
            return Ending("crashed", "", seconds)
        code, test = json.loads(path.read_text("utf-8"))
        passed = (PASSED, NOTHING) if self.errand.only_collect else (PASSED,)
        if code in passed and not test:
            return Ending("passed", "", seconds)
        return Ending("failed" if code in {FAILED, *passed} else "not imported", test, seconds)


def run_in_fork(errand: Errand, place: Path) -> NoReturn:
    """Run the tests of an errand in this process, which is a fork, and end it."""
    status = 1
    try:
        os.setsid()
        folder = place / "project"
        output = os.open(place / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(folder)
        sys.dont_write_bytecode = errand.mutant is not None
        if errand.mutant is not None:
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        os.environ["TMPDIR"] = tempfile.tempdir = str(place / "scratch")
        for name in [name for name in sys.modules if name.partition(".")[0] in {"tests", "farreach"}]:
            del sys.modules[name]
        sys.path[:] = [str(folder), *(path for path in sys.path if path and Path(path).resolve() != ROOT)]
        os.environ[EVERY_CASE] = "1"
        choosing = Choosing(errand.tests, place / "progress")
        paths = dict.fromkeys(choice.path for choice in choosing.choices)
        ways = ["--collect-only"] if errand.only_collect else []
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *ways, *paths], plugins=[choosing])
        answer: list[Any] = [int(code), choosing.failed]
        (place / "ending.json").write_text(json.dumps(answer), "utf-8")
        status = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
