"""The ledger's files: what is refused, what is run, and that claims come before their rows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from farreach.benchmarks.matrix import claims, registry
from farreach.benchmarks.studies import ledger as study
from farreach.results.publishing import reports
from farreach.results.publishing.packing import pack_set
from farreach.results.report import ledger as report
from farreach.results.site import page
from farreach.results.storage.packed_set import PackedSet
from farreach.results.storage.result_set import Store
from farreach.results.storage.sets import open_set
from tests.support.commands import call_command, read_refusal

EARLY, LATE = "2001-01-01T00:00:00+00:00", "2099-01-01T00:00:00+00:00"

GOOD = """
claim = "Adam leaves the floor, and a rate of nothing does not."
deviations = ["everything"]
minutes = 0.5

[source]
authors = "Somebody"
year = 2001
title = "A paper"
at = "arXiv:1"
place = "table 1"
read = "text"
settings = "larger"

[inequality]
of = "skill"
arms = ["adam", "still"]
compare = "difference"
above = 0

[defaults]
task = "adding"
parameters = { T = 4 }
framework = "reference"
cell = "rnn"
hidden = 4
steps = 100

[[arm]]
name = "adam"
learning_rate = 0.01

[[arm]]
name = "still"
learning_rate = 1e-9
"""

FAULTS = [
    ("above = 0\n", "", "inequality: it needs one bound, above or below, and has none"),
    ("above = 0\n", "above = 0\nbelow = 1\n", "it needs one bound, above or below, and has above and below"),
    ("[inequality]", "[other]", "unknown key other; allowed: claim, source, deviations, inequality"),
    ("hidden = 4", "hiden = 4", "unknown key arm.0.hiden; allowed: "),
    ('place = "table 1"', 'page = "table 1"', "unknown key source.page; allowed: authors, year, title"),
    ('read = "text"', 'read = "seen"', "source.read: Input should be 'text', 'code', 'repository' or 'unverified'"),
    ('of = "skill"', 'of = "speed"', "inequality.of: Input should be "),
    ('task = "adding"', 'task = "adding-up"', "unknown task 'adding-up'; allowed: "),
    ("T = 4", "T = 1", "claim mine.toml: "),
    ("T = 4", "length = 4", "unknown parameter of task adding 'length'; allowed: "),
    ("steps = 100", "steps = 150", "steps must be a multiple of evaluate_every (100), not 150"),
    ("hidden = 4", "hidden = [4, 8]", "arm adam is 2 settings; it must be one"),
    ("hidden = 4", "hidden = 4\nseed = [0, 1]", "seeds are said once, by seeds = N, and not in an arm"),
    ('name = "still"', 'name = "idle"', "the inequality is of 'adam', 'still', and the arms are 'adam', 'idle'"),
    ('name = "still"', 'name = "adam"', "two arms have the same name"),
    ('arms = ["adam", "still"]', 'arms = ["adam"]', "compare difference takes two arms"),
    ('compare = "difference"', 'compare = "value"', "compare value takes one arm"),
    ('compare = "difference"', 'compare = "ratio"', "a ratio is of steps_to_solve, and its bound is positive"),
    ("above = 0", 'above = "none"', "inequality.above: "),
    ("minutes = 0.5\n", "", "a claim with arms needs the minutes of one core that are planned"),
    ("minutes = 0.5\n", 'minutes = 0.5\nneeds = "a cell"\n', "one of the three, not arm and needs"),
    ("minutes = 0.5\n", "minutes = 0.5\nseeds = 3\n", "seeds: Input should be greater than or equal to 5, not 3"),
    ("claim = ", "claim is ", "is not valid TOML"),
]


def write_claim(folder: Path, text: str = GOOD) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("old", "new", "said"), FAULTS)
def test_what_is_wrong_with_a_claim_is_one_line(
    old: str, new: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert old in GOOD
    write_claim(tmp_path, GOOD.replace(old, new))
    monkeypatch.setattr(claims, "load_ledger", lambda: load_ledger(tmp_path))
    line = read_refusal("ledger", "--list")
    assert said in line
    assert "claim mine.toml" in line


load_ledger = claims.load_ledger


def test_a_claim_without_an_inequality_is_refused(tmp_path: Path) -> None:
    head, _, rest = GOOD.partition("[inequality]")
    _, _, rest = rest.partition("[defaults]")
    with pytest.raises(registry.UsageError, match=r"^claim mine.toml: inequality: Field required$"):
        claims.load_claim(write_claim(tmp_path, f"{head}[defaults]{rest}"))


def test_solved_needs_a_task_with_a_criterion(tmp_path: Path) -> None:
    text = GOOD.replace('of = "skill"', 'of = "solved"').replace('task = "adding"', 'task = "translation"')
    text = text.replace("{ T = 4 }", "{ longest = 24 }")
    with pytest.raises(registry.UsageError, match="solved needs a task with a criterion; translation has none"):
        claims.load_claim(write_claim(tmp_path, text))


def test_an_empty_folder_has_no_claims(tmp_path: Path) -> None:
    with pytest.raises(registry.UsageError, match="no claims in "):
        claims.load_ledger(tmp_path)


def test_the_ledger_lists_and_affords_what_it_says() -> None:
    entries = claims.load_ledger()
    assert len(entries) >= 45
    runnable = [entry for entry in entries if entry.cases]
    assert len(runnable) >= 24
    assert entries[: len(runnable)] == runnable
    assert sum(entry.content.minutes or 0 for entry in runnable) < 15 * 60
    for entry in entries:
        assert entry.name.split("-")[1] == str(entry.content.source.year), entry.name
        assert entry.content.claim.endswith("."), entry.name
        described = entry.describe()
        keys = [key for arm in described.arms for key in arm.rows]
        assert len({*keys}) == len(keys), entry.name


def commit_all(folder: Path, text: str, at: str) -> None:
    """Commit what is in a folder, at a date; it becomes a repository where it is none."""
    dates = {"GIT_AUTHOR_DATE": at, "GIT_COMMITTER_DATE": at, "HOME": str(folder), "PATH": "/usr/bin:/bin"}
    who = ["-c", "user.name=nobody", "-c", "user.email=nobody@nowhere.invalid"]
    for words in (["init", "-q"], ["add", "-A"], [*who, "commit", "-q", "-m", text]):
        subprocess.run(["git", *words], cwd=folder, env=dates, check=True)  # noqa: S603, S607


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ledger that was run: ten cases of the reference."""
    folder = tmp_path_factory.mktemp("ledger")
    (folder / "claims").mkdir()
    write_claim(folder / "claims")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "load_ledger", lambda: load_ledger(folder / "claims"))
        status, out, errors = call_command("ledger", "--jobs", "2", "--out", str(folder / "out"))
        assert (status, errors) == (0, "")
        assert "mine: supported. skill, adam minus still, above 0: by seed " in out
        again = call_command("ledger", "--out", str(folder / "out"))[1]
        assert "to run" not in again
        assert "mine: supported." in again
    return folder


def test_a_small_ledger_runs_and_its_page_follows_from_its_rows(ran: Path) -> None:
    store = open_set(ran / "out")
    assert len(store.rows()) == 10
    assert {*store.rows()["suite"]} == {"mine"}
    assert report.list_stale(store) == []
    text = (ran / "out" / report.PAGE).read_text()
    assert "1 claim: 1 supported" in text
    assert 'Arm adam: `task = "adding", parameters = { T = 4 }, framework = "reference"' in text


def test_the_page_of_the_set_has_the_table_of_claims(ran: Path, tmp_path: Path) -> None:
    shutil.copytree(ran / "out", tmp_path / "out")
    text = page.write(tmp_path / "out")[0].read_text()
    assert "Published claims" in text
    assert "skill, adam minus still, above 0" in text


def test_a_packed_ledger_keeps_its_claims(ran: Path, tmp_path: Path) -> None:
    pack_set(ran / "out", tmp_path / "packed")
    store = PackedSet(tmp_path / "packed")
    assert list(reports.list_stale_reports(store)) == ["ledger.md is not there"]
    assert [path.name for path in reports.write_reports(store)] == ["ledger.md"]
    assert list(reports.list_stale_reports(store)) == []
    assert (tmp_path / "packed" / "ledger.md").read_text() == (ran / "out" / "ledger.md").read_text()


def test_a_page_that_does_not_follow_from_its_rows_is_told(ran: Path) -> None:
    store = Store(ran / "out")
    path = ran / "out" / report.PAGE
    text = path.read_text()
    path.write_text(text.replace("Supported", "Contradicted"))
    assert report.list_stale(store) == ["ledger.md does not say what follows from its rows"]
    path.write_text(text)


@pytest.mark.parametrize(("committed", "kinds"), [(EARLY, []), (LATE, ["late"])])
def test_a_claim_that_was_committed_after_its_rows_is_told(
    ran: Path, tmp_path: Path, committed: str, kinds: list[str]
) -> None:
    path = write_claim(tmp_path)
    commit_all(tmp_path, "the claim", committed)
    faults = study.check_order([claims.load_claim(path)], Store(ran / "out"))
    assert [fault.kind for fault in faults] == kinds
    assert [fault.rows for fault in faults] == [10] * len(kinds)


def test_a_claim_that_was_changed_after_its_rows_is_told(ran: Path, tmp_path: Path) -> None:
    path = write_claim(tmp_path)
    commit_all(tmp_path, "the claim", EARLY)
    path.write_text(GOOD.replace("larger", "very large"))  # words decide nothing
    commit_all(tmp_path, "words", LATE)
    assert study.check_order([claims.load_claim(path)], Store(ran / "out")) == []
    path.write_text(GOOD.replace("above = 0", "above = -1"))
    kinds = [fault.kind for fault in study.check_order([claims.load_claim(path)], Store(ran / "out"))]
    assert kinds == ["uncommitted", "changed", "late"]
    commit_all(tmp_path, "an easier bound", LATE)
    kinds = [fault.kind for fault in study.check_order([claims.load_claim(path)], Store(ran / "out"))]
    assert kinds == ["changed", "late"]


def test_a_set_without_the_claim_and_a_claim_of_no_ledger_are_told(ran: Path, tmp_path: Path) -> None:
    path = write_claim(tmp_path).rename(tmp_path / "yours.toml")
    commit_all(tmp_path, "the claim", EARLY)
    faults = study.check_order([claims.load_claim(path)], Store(ran / "out"))
    assert [(fault.claim, fault.kind) for fault in faults] == [("mine", "unknown"), ("yours", "missing")]


def test_a_folder_that_is_no_repository_has_no_order(ran: Path, tmp_path: Path) -> None:
    with pytest.raises(registry.UsageError, match="--check asks git when a claim was committed"):
        study.check_order([claims.load_claim(write_claim(tmp_path))], Store(ran / "out"))


def test_a_budget_that_is_over_is_one_line_and_what_is_finished_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_claim(tmp_path)
    monkeypatch.setattr(claims, "load_ledger", lambda: load_ledger(tmp_path))
    status, out, _ = call_command("ledger", "--budget-minutes", "0", "--out", str(tmp_path / "out"))
    assert status == 0
    assert "the budget of 0 minutes is over: 10 cases were not begun; what is finished stays" in out
    assert "mine: not run." in out
    monkeypatch.setattr(study, "SLACK", 1e-9)
    status, out, _ = call_command("ledger", "--out", str(tmp_path / "out"))
    assert status == 0
    assert "10 cases were not begun; what is finished stays" in out


def test_the_list_says_what_is_planned() -> None:
    status, out, _ = call_command("ledger", "--list", "--only", "year=2018", "--only", "task=copy")
    assert status == 0
    assert "tallec-2018-copy-100 (Tallec and Ollivier 2018; " in out
    assert "hours of one core planned" in out
    assert "graves" not in out


def test_a_damaged_document_of_claims_is_one_line(ran: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "rows").mkdir(parents=True)
    content = json.loads((ran / "out" / "claims.json").read_text())
    content["claims"][0]["seeds"] = "five"
    (folder / "claims.json").write_text(json.dumps(content))
    (folder / "ledger.md").write_text("")
    assert "claims.json" in read_refusal("ledger", "--check", "--out", str(folder))


def test_the_page_shows_a_file_of_the_ledger() -> None:
    text = (registry.ROOT / "docs" / "ledger.md").read_text()
    name, shown = re.search(r"`benchmarks/ledger/([\w.-]+)`:\n\n```toml\n(.*?)```", text, re.DOTALL).groups()  # type: ignore[union-attr]
    assert shown == (claims.FOLDER / name).read_text()
