"""The workflows: actions pinned by commit, least permissions, and commands that are the README's own and work."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.studies import certificate
from farreach.results.storage.result_set import Store
from farreach.results.storage.sets import open_set
from tests.support.commands import call_command
from tests.support.rows import hash_rows
from tests.support.sweeps import format_suite

FILES = sorted((registry.ROOT / ".github" / "workflows").glob("*.yml"))
README = "".join((registry.ROOT / name).read_text() for name in ("README.md", "docs/lasting.md", "docs/submitting.md"))

MATRIX = {"framework": "pytorch", "shard": "1/3", "python": "3.11", "versions": "pinned"}
"""What a matrix puts into a command, and what stands there in the documents."""


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
        assert set(re.findall(r"\$\{\{ *([\w.-]+) *\}\}", line)) <= {f"matrix.{name}" for name in MATRIX}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_command_is_the_readmes_or_the_guides(path: Path) -> None:
    for line in commands(path):
        if line == ".ci/run":
            continue  # which calls the README's test command: a test of its own
        plain = re.sub(r"\$\{\{ matrix\.(\w+) \}\}", lambda found: MATRIX[found[1]], line)
        assert plain in README, plain


def test_ci_calls_what_ci_is() -> None:
    assert ".ci/run" in commands(registry.ROOT / ".github" / "workflows" / "ci.yml")


def test_both_tiers_of_tests_run_somewhere() -> None:
    """CI runs the quick tier, by the README's command; a nightly workflow runs what is marked slow."""
    ci = (registry.ROOT / ".ci" / "run").read_text().splitlines()
    assert ".venv/bin/tox -e tests" in ci
    assert not any("slow" in line for line in ci if not line.startswith("#"))
    workflow = registry.ROOT / ".github" / "workflows" / "slow.yml"
    assert ".venv/bin/tox -e tests -- -m slow" in commands(workflow)
    assert "schedule" in loaded(workflow)[True]  # `on` is YAML's true


def test_the_matrix_has_every_framework_and_every_shard() -> None:
    found = loaded(registry.ROOT / ".github" / "workflows" / "nightly.yml")["jobs"]["run"]["strategy"]["matrix"]
    assert sorted(found["framework"]) == registry.list_compared()
    count = len(found["shard"])
    assert found["shard"] == [f"{at}/{count}" for at in range(1, count + 1)]


def test_every_python_that_is_supported_is_tried_under_the_pins_and_on_the_newest_releases() -> None:
    matrix = loaded(registry.ROOT / ".github" / "workflows" / "compat.yml")["jobs"]["run"]["strategy"]["matrix"]
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(registry.ROOT / "tox.ini")
    (name,) = [name for name in tox.sections() if name.startswith("testenv:compat")]
    assert name == "testenv:compat-3.{11,12,13}-{pinned,newest}"
    assert matrix == {"python": ["3.11", "3.12", "3.13"], "versions": ["pinned", "newest"]}
    assert 'requires-python = ">=3.11"' in (registry.ROOT / "pyproject.toml").read_text()
    for line in tox[name]["commands"].split("\n")[1:]:
        command = line.partition(" --out ")[0]
        words = shlex.split(command)[3:]
        if words[0] == "run":
            status, out, errors = call_command(*words, "--dry-run")
            assert (status, errors) == (0, "")
            assert all(f" {framework} rnn " in out for framework in registry.list_installed())
        elif words[0] == "certify":
            chosen = certificate.choose_checks([word for word in words[1:] if "=" in word], "cpu")
            assert {framework: len(checks) for framework, checks in chosen.items()} == dict.fromkeys(chosen, 8)


def behind_tox(line: str, changes: dict[str, str]) -> list[str]:
    """Return the arguments of `python -m benchmarks` that a tox command stands for."""
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(registry.ROOT / "tox.ini")
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


NIGHTLY = registry.ROOT / ".github" / "workflows" / "nightly.yml"


def ran(line: str, changes: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a line of a workflow with folders of the test's own: what tox would run, or a line of shell."""
    if "tox" in line:
        arguments = [sys.executable, "-m", "benchmarks", *behind_tox(line, changes)]
    else:
        own = re.sub("|".join(map(re.escape, changes)), lambda found: changes[found[0]], line)
        arguments = ["bash", "-ec", own]
    return subprocess.run(arguments, cwd=registry.ROOT, capture_output=True, text=True, check=False)  # noqa: S603


def worked(line: str, changes: dict[str, str]) -> None:
    done = ran(line, changes)
    assert done.returncode == 0, done.stdout + done.stderr


def after_the_merge() -> list[str]:
    """Return what the merge job runs once its folder is there."""
    job = loaded(NIGHTLY)["jobs"]["merge"]["steps"]
    lines = [line for step in job if "run" in step for line in step["run"].splitlines()]
    return [line for line in lines if "pip install" not in line]


@pytest.mark.slow
def test_the_nightly_commands_run_merge_report_compare_and_publish(tmp_path: Path) -> None:
    """Each command of nightly.yml, with a suite of seconds in the place of nightly and folders of the test's own."""
    (tmp_path / "nightly.toml").write_text(format_suite(framework="pytorch", cell=["rnn", "lstm", "gru"]))
    merged, site = tmp_path / "merged", tmp_path / "site"
    changes = {
        "results/published/nightly": str(tmp_path / "published"),
        "results/runs/compare": str(tmp_path / "compare"),
        "results/runs/site": str(site),
        "results/runs/nightly": str(merged),
    }
    (shard,) = [line for line in commands(NIGHTLY) if "-e nightly-" in line]
    for at in (1, 2, 3):
        mine = {"nightly": str(tmp_path / "nightly.toml"), "results/runs/nightly": str(tmp_path / f"shard{at}")}
        worked(shard.replace("${{ matrix.framework }}", "pytorch").replace("${{ matrix.shard }}", f"{at}/3"), mine)
        shutil.copytree(tmp_path / f"shard{at}", merged, dirs_exist_ok=True)
    assert len(hash_rows(merged)) == 3
    assert len(Store(merged).runs()) == 3
    shutil.copytree(merged, tmp_path / "published")
    for line in after_the_merge():
        worked(line, changes)
    assert (merged / "report.md").exists()
    published = [step["with"]["path"] for step in steps(NIGHTLY) if "upload-pages-artifact" in step.get("uses", "")]
    assert published == ["results/runs/site"]
    assert {path.name for path in site.iterdir()} >= {"index.html", "comparison.html"}
    assert not {path.name for path in site.iterdir()} & {"rows", "curves", "runs", "locks", "report.html"}
    for page in ("index.html", "comparison.html"):
        linked = re.findall(r'(?:href|src)="([^"#:]+)"', (site / page).read_text())
        assert linked
        assert [one for one in linked if not (site / one).exists()] == []


@pytest.mark.slow
def test_a_night_in_which_nothing_is_learned_fails_the_gate_and_is_published_all_the_same(tmp_path: Path) -> None:
    """The published rows, all with three times the floor's loss and nothing solved, as another machine ran them."""
    published, broken = registry.ROOT / "results" / "published" / "nightly", tmp_path / "broken"
    (broken / "rows").mkdir(parents=True)
    for row in open_set(published).read_table().to_pylist():
        row |= {"loss": 3 * row["floor"], "skill": -2.0, "solved": None if row["solved"] is None else False}
        (broken / "rows" / f"{row['key']}.json").write_text(json.dumps(row | {"platform": "elsewhere"}))
    gate = next(line for line in after_the_merge() if "--fail-on worse" in line)
    changes = {"results/runs/nightly": str(broken), "results/runs/compare": str(tmp_path / "compare")}
    done = ran(gate, changes)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.match(r"- Over all \d+ pairs of one case and seed: worse; ", done.stdout)
    job = loaded(NIGHTLY)["jobs"]["merge"]["steps"]
    at = next(at for at, step in enumerate(job) if "--fail-on worse" in step.get("run", ""))
    assert [step["if"] for step in job[at + 1 :]] == ["always()", "always()"]
    changes["results/runs/nightly"] = str(published)
    assert ran(gate, changes).returncode == 0


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
    text = (registry.ROOT / ".github" / "workflows" / "nightly.yml").read_text()
    assert right in text
    (tmp_path / "nightly.yml").write_text(text.replace(right, wrong))
    done = actionlint(tmp_path / "nightly.yml")
    assert done.returncode == 1
    assert said in done.stdout
