"""Provenance that is true: whose commit it is, what was changed, which processor, and where things are written."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import farreach
from farreach.benchmarks.commands.shared.words import format_command
from farreach.benchmarks.matrix import registry
from farreach.benchmarks.running import environment, worker_client
from farreach.results.publishing import manifests
from farreach.results.storage.interface import SERIES, SINGLE
from farreach.results.storage.sets import open_set
from tests.support.commands import call_command

GRAVITON = """processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1

processor\t: 1
CPU implementer\t: 0x41
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1
"""
NEXT = GRAVITON.replace("0xd0c", "0xd40").replace("0x3", "0x1")
INTEL = "processor\t: 0\nmodel name\t: Some Xeon @ 2.20GHz\nmodel\t\t: 79\n\nprocessor\t: 1\nmodel name\t: Some Xeon\n"

PRIVATE = re.compile(r"(?<![\w.:/}>])/(?:home|root|tmp|work|Users|mnt|var|opt|srv|data|media|private|scratch)/")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(  # noqa: S603
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words],  # noqa: S607
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a small repository that is taken for ours."""
    root = tmp_path / "outer" / "ours"
    for name in (*environment.ROOMS, "docs", "results/published"):
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / "there.py").write_text("")
    (root / ".gitignore").write_text("__pycache__/\n/results/runs/\n")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "ours")
    monkeypatch.setattr(environment, "ROOT", root.resolve())
    return root


def test_a_clean_checkout_has_its_commit(checkout: Path) -> None:
    head = git(checkout, "rev-parse", "--short=12", "HEAD")
    for name in (
        "notes.txt",
        "docs/notes.py",
        "tasks/__pycache__/a.pyc",
        "results/runs/a.py",
        "results/published/a.md",
    ):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("what no run imports")
    assert environment.read_commit() == head


@pytest.mark.parametrize("room", environment.ROOMS)
def test_an_untracked_file_that_a_run_may_import_marks_the_commit(checkout: Path, room: str) -> None:
    (checkout / room / "parity.py").write_text("class Task: ...")
    git(checkout, "config", "status.showUntrackedFiles", "no")
    (checkout / ".git" / "info" / "exclude").write_text("parity.py\n")
    assert environment.read_commit().endswith("+changes")


def test_a_changed_file_marks_the_commit(checkout: Path) -> None:
    (checkout / "docs" / "there.py").write_text("changed")
    assert environment.read_commit().endswith("+changes")


def test_the_commit_of_somebody_elses_repository_is_not_ours(checkout: Path) -> None:
    shutil.rmtree(checkout / ".git")
    outer = checkout.parent
    git(outer, "init", "-q")
    git(outer, "add", "-A")
    git(outer, "commit", "-qm", "theirs")
    assert environment.read_commit() == f"v{farreach.__version__}"


def test_a_repository_that_the_environment_names_is_not_ours(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = environment.read_commit()
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    git(other, "commit", "-q", "--allow-empty", "-m", "another")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(checkout))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert environment.read_commit() == head
    assert re.fullmatch("[0-9a-f]{12}", head)


def test_two_arm_processors_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.name_processor(GRAVITON) == "ARM implementer 0x41 part 0xd0c variant 0x3 revision 1"
    assert environment.name_processor(NEXT) != environment.name_processor(GRAVITON)
    both = environment.name_processor(GRAVITON + "\n" + NEXT)
    assert "0xd0c" in both
    assert "0xd40" in both
    assert environment.name_processor(INTEL) == "Some Xeon @ 2.20GHz"
    assert environment.name_processor("") == ""
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert environment.read_processor()


def test_no_published_document_names_a_folder_of_a_machine() -> None:
    published = registry.ROOT / "results" / "published"
    texts = {path: path.read_text("utf-8") for path in published.rglob("*") if path.suffix in {".md", ".json", ".csv"}}
    texts |= {path: path.read_text("utf-8") for path in (registry.ROOT / "docs").glob("*.md")}
    for folder in manifests.list_published(published):
        store = open_set(folder)
        for part in (*SERIES, *SINGLE):
            texts |= {path: store.read_document(path).decode() for path in store.list_documents(part)}
        if store.list_finished():
            rows = store.rows()
            texts[folder / "rows"] = rows.select_dtypes(exclude="number").astype(str).to_csv()
    assert len(texts) > 50
    assert {str(path): found[0] for path, text in texts.items() if (found := PRIVATE.findall(text))} == {}


def test_a_command_is_recorded_without_the_folders_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["benchmarks", "run", "/elsewhere/me/s.toml", "--out=/elsewhere/me/x", "--only", "a=/elsewhere/me/y"]
    monkeypatch.setattr("sys.argv", words)
    assert "elsewhere" not in format_command()


@pytest.mark.parametrize(
    "words",
    [
        ["semantics", "--out", "OUT/table.md"],
        ["certify", "--only", "framework=pytorch", "--only", "cell=rnn", "--out", "OUT"],
        ["run", "reach", "--only", "framework=reference", "--out", "OUT"],
    ],
)
def test_out_covers_the_logs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    logs: list[Path] = []

    def refuse(worker: worker_client.Live) -> None:
        logs.append(worker.log)
        raise worker_client.StartError

    monkeypatch.setattr(worker_client.Live, "start", refuse)
    with contextlib.suppress(worker_client.StartError):
        call_command(*(word.replace("OUT", str(tmp_path / "out")) for word in words))
    assert logs
    assert all(log.is_relative_to(tmp_path / "out") for log in logs)
