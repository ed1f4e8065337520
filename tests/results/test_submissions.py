"""A submitted set is checked before it is taken: what stands against it is named, what is to be known is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from farreach.benchmarks.matrix import registry
from farreach.results.publishing import submissions
from farreach.results.record import Record
from farreach.results.storage.packed_set import MANIFEST
from farreach.results.storage.sets import open_set
from tests.support import synthetic
from tests.support.commands import call_command

FACTS = {"commit": "0123456789ab", "digest": "0" * 16, "command": "python -m benchmarks run quick"}
SEEDS = 5


def write_set(folder: Path, **changes: Any) -> Path:
    """Write a set of one setting with five seeds, of which the first has changes."""
    rows = [synthetic.record(seed=seed, **FACTS) for seed in range(1, SEEDS)]
    synthetic.write(folder, [synthetic.record(seed=0, **(FACTS | changes)), *rows])
    return folder


def submit(folder: Path, out: Path) -> tuple[int, str]:
    """Submit a set; return the exit status and what was said."""
    status, said, errors = call_command("publish", "--submit", str(folder), "--out", str(out))
    assert not errors
    return status, said


def test_a_whole_set_is_packed_and_passes_the_check_that_a_pull_request_runs(tmp_path: Path) -> None:
    status, said = submit(write_set(tmp_path / "mine"), tmp_path / "offered" / "my-laptop")
    assert status == 0
    assert "5 rows of 1 setting" in said
    assert "nothing stands against it" in said
    assert len(open_set(tmp_path / "offered" / "my-laptop").rows()) == SEEDS
    status, said, _ = call_command("publish", "--check", "--submit", str(tmp_path / "offered" / "my-laptop"))
    assert (status, "nothing stands against it" in said) == (0, True)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"digest": ""}, "no digest, so nobody knows what code was run: 1 row"),
        ({"commit": ""}, "no commit: 1 row"),
        ({"commit": "0123456789ab+changes"}, "made with changes that no commit has: 1 row"),
        ({"command": ""}, "no command: 1 row"),
        ({"command": "python -m benchmarks run /srv/somebody/own.toml"}, "a path of one machine stands in it"),
        ({"command": "python -m benchmarks run own --out=~/runs/own"}, "a path of one machine stands in it"),
        ({"command": "python -m benchmarks run C:\\own\\own.toml"}, "a path of one machine stands in it"),
    ],
)
def test_what_nobody_could_make_again_is_not_taken(tmp_path: Path, changes: dict[str, str], reason: str) -> None:
    out = tmp_path / "offered" / "my-laptop"
    status, said = submit(write_set(tmp_path / "mine", **changes), out)
    assert status == 1
    assert f"not taken: {reason}" in said.replace("\n", " ")
    assert not out.exists()


def break_curve(folder: Path) -> None:
    next((folder / "curves").iterdir()).write_bytes(b"PAR1")


def contradict(folder: Path) -> None:
    path = next((folder / "rows").iterdir())
    path.write_text(json.dumps(json.loads(path.read_text()) | {"loss": -1.0}))


@pytest.mark.parametrize("damage", [break_curve, contradict])
def test_a_damaged_case_is_named(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    folder = write_set(tmp_path / "mine")
    damage(folder)
    status, said = submit(folder, tmp_path / "my-laptop")
    assert status == 1
    assert "not taken: " in said


@pytest.mark.parametrize("name", ["My Laptop", "..", "x" * 80, "-x"])
def test_a_name_that_is_none_is_not_taken(tmp_path: Path, name: str) -> None:
    verdict = submissions.check_set(open_set(write_set(tmp_path / "mine")), name)
    assert any("is no name" in reason for reason in verdict.against)


def test_few_seeds_and_rows_without_a_certificate_are_said_and_forbid_nothing(tmp_path: Path) -> None:
    records: list[Record] = [synthetic.record(seed=seed, **FACTS) for seed in range(SEEDS - 1)]
    synthetic.write(tmp_path / "mine", records)
    verdict = submissions.check_set(open_set(tmp_path / "mine"), "my-laptop")
    assert verdict.against == ()
    assert any("1 setting with fewer than 5 seeds" in note for note in verdict.notes)
    assert any("under NO certificate" in note for note in verdict.notes)


def test_a_packed_set_whose_manifest_was_changed_is_not_taken(tmp_path: Path) -> None:
    out = tmp_path / "my-laptop"
    submit(write_set(tmp_path / "mine"), out)
    path = out / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"cases": 6}))
    assert f"{MANIFEST} does not give the facts of its rows" in submissions.check_packed(out).against


def test_a_set_that_is_too_large_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "my-laptop"
    submit(write_set(tmp_path / "mine"), out)
    monkeypatch.setattr(submissions, "LARGEST", 2**10)
    assert any("at most" in reason for reason in submissions.check_packed(out).against)


@pytest.mark.parametrize(
    "options",
    [
        ("--out", "x"),
        ("--submit", "x", "--pictures"),
        ("--submit", "x", "--site", "y"),
        ("--submit", "x", "--check", "--out", "y"),
        ("--submit", "nothing-is-here"),
    ],
)
def test_options_that_contradict_and_a_folder_without_a_set_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, errors = call_command("publish", *options)
    assert status == 2
    assert errors.count("\n") == 1


def test_every_set_that_was_taken_passes_the_check() -> None:
    folders = [path for path in (registry.ROOT / "results" / "submitted").iterdir() if path.is_dir()]
    assert {
        path.name: submissions.check_packed(path).against for path in folders if submissions.check_packed(path).against
    } == {}
