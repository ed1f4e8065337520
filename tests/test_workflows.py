"""The workflows: actions pinned by commit, least permissions, and commands that are the README's own and work."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import plugins
from results.store import Store
from tests.test_lasting import digests

FILES = sorted((plugins.ROOT / ".github" / "workflows").glob("*.yml"))
README = "".join((plugins.ROOT / name).read_text() for name in ("README.md", "docs/lasting.md"))

SUITE = """
description = "what the nightly run does, in seconds"
[[block]]
task = "adding"
parameters = { T = 5 }
framework = "FRAMEWORK"
cell = ["rnn", "lstm", "gru"]
hidden = 4
steps = 100
"""


def loaded(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in loaded(path)["jobs"].values() for step in job["steps"]]


def commands(path: Path) -> list[str]:
    return [line for step in steps(path) if "run" in step for line in step["run"].splitlines()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_action_is_pinned_by_a_commit_and_names_its_version(path: Path) -> None:
    used = re.findall(r"uses: (.*)", path.read_text())
    assert used
    for one in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one), one


def test_one_action_has_one_commit_everywhere() -> None:
    pins = {one for path in FILES for one in re.findall(r"uses: (.*)", path.read_text())}
    assert len({pin.partition("@")[0] for pin in pins}) == len(pins)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_permissions_are_the_least(path: Path) -> None:
    found = loaded(path)
    assert found["permissions"] == {"contents": "read"}
    for name, job in found["jobs"].items():
        wanted = {"pages": "write", "id-token": "write"} if name == "publish" else None
        assert job.get("permissions") == wanted, name
        assert job["timeout-minutes"] <= 350
        assert not [step for step in job["steps"] if "secrets." in str(step)]
    checkouts = [step for step in steps(path) if "checkout" in step.get("uses", "")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_text_from_outside_reaches_a_shell(path: Path) -> None:
    """Only the matrix, which stands in the file, is put into a command."""
    for line in commands(path):
        assert set(re.findall(r"\$\{\{ *([\w.-]+) *\}\}", line)) <= {"matrix.framework", "matrix.shard"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_command_is_the_readmes_or_the_guides(path: Path) -> None:
    for line in commands(path):
        if line == ".ci/run":
            continue  # which calls the README's test command: a test of its own
        plain = line.replace("${{ matrix.framework }}", "pytorch").replace("${{ matrix.shard }}", "1/3")
        assert plain in README, plain


def test_ci_calls_what_ci_is() -> None:
    assert ".ci/run" in commands(plugins.ROOT / ".github" / "workflows" / "ci.yml")


def test_the_matrix_has_every_framework_and_every_shard() -> None:
    found = loaded(plugins.ROOT / ".github" / "workflows" / "nightly.yml")["jobs"]["run"]["strategy"]["matrix"]
    assert sorted(found["framework"]) == plugins.compared()
    count = len(found["shard"])
    assert found["shard"] == [f"{at}/{count}" for at in range(1, count + 1)]


def behind_tox(line: str, changes: dict[str, str]) -> list[str]:
    """Return the arguments of `python -m benchmarks` that a tox command stands for."""
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(plugins.ROOT / "tox.ini")
    _, _, rest = line.partition("tox -e ")
    name, _, given = rest.partition(" -- ")
    whole = name if f"testenv:{name}" in tox else "nightly-{pytorch,tensorflow,jax}"
    for text in tox[f"testenv:{whole}"]["commands"].splitlines():
        factor, _, command = text.rpartition(": ") if re.match(r"\w+: ", text) else ("", "", text)
        if command and factor in {"", name.partition("-")[2]}:
            found = shlex.split(re.sub(r"\{posargs[^}]*\}", lambda _: given, command))
            assert found[:3] == ["python", "-m", "benchmarks"]
            return [changes.get(word, word) for word in found[3:]]
    message = f"tox.ini has no command for {line}"
    raise AssertionError(message)


def test_the_nightly_commands_run_merge_report_and_compare(tmp_path: Path) -> None:
    """Each command of nightly.yml, with a suite of seconds in the place of nightly and folders of the test's own."""
    (tmp_path / "nightly.toml").write_text(SUITE.replace("FRAMEWORK", "pytorch"))
    merged = tmp_path / "merged"
    changes = {
        "nightly": str(tmp_path / "nightly.toml"),
        "results/published/nightly": str(tmp_path / "published"),
        "results/runs/nightly": str(merged),
    }

    def ran(line: str) -> None:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "benchmarks", *behind_tox(line, changes)],
            cwd=plugins.ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    nightly = plugins.ROOT / ".github" / "workflows" / "nightly.yml"
    lines = [line for line in commands(nightly) if line.startswith(".venv/bin/tox")]
    shards, after = [line for line in lines if "nightly-" in line], [line for line in lines if "-e cli" in line]
    assert len(shards) == 1
    assert len(after) == 2
    for at in (1, 2, 3):
        changes["results/runs/nightly"] = str(tmp_path / f"shard{at}")
        ran(shards[0].replace("${{ matrix.framework }}", "pytorch").replace("${{ matrix.shard }}", f"{at}/3"))
        shutil.copytree(tmp_path / f"shard{at}", merged, dirs_exist_ok=True)
    changes["results/runs/nightly"] = str(merged)
    assert len(digests(merged)) == 3
    assert len(Store(merged).runs()) == 3
    shutil.copytree(merged, tmp_path / "published")
    for line in after:
        ran(line)
    assert (merged / "report.md").exists()


def actionlint(*paths: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("actionlint", path=Path(sys.executable).parent) or shutil.which("actionlint")
    if program is None:
        pytest.skip("actionlint is not installed")
    return subprocess.run([program, *map(str, paths)], capture_output=True, text=True, check=False)  # noqa: S603


def test_actionlint_finds_nothing_in_the_workflows() -> None:
    done = actionlint(*FILES)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("needs: run", "needs: walk", 'needs job "walk"'),
        ("matrix.shard }}", "matrix.shart }}", '"shart" is not defined'),
        ("contents: read", "contents: reed", '"reed"'),
        ('cron: "17 1 * * *"', 'cron: "17 25 * * *"', "cron"),
    ],
)
def test_actionlint_finds_a_planted_fault(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    text = (plugins.ROOT / ".github" / "workflows" / "nightly.yml").read_text()
    assert right in text
    (tmp_path / "nightly.yml").write_text(text.replace(right, wrong))
    done = actionlint(tmp_path / "nightly.yml")
    assert done.returncode == 1
    assert said in done.stdout
