"""The campaign that plants faults: what it refuses, how it counts, and that it finds what is there to find."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants import results, sampling, table
from tests.mutants.__main__ import main
from tests.mutants.forking import Choice, Choosing, Ending, Verdict
from tests.mutants.table import Mutant

MASKED_MEAN = 'file = "tasks/base.py"\nold = "(values * mask).sum(dtype=np.float64)"\n'
CAUGHT = '[[fault]]\nbreaks = "the sign"\nnew = "-(values * mask).sum(dtype=np.float64)"\n' + MASKED_MEAN
SURVIVOR = '[[fault]]\nbreaks = "the order"\nnew = "(mask * values).sum(dtype=np.float64)"\n' + MASKED_MEAN
TESTS = 'tests = ["tests/tasks/test_task_base.py: masked_mean"]\n'
COMMAND = """
import sys
from tests.mutants import forking
from tests.mutants.__main__ import main
forking.LIBRARIES = ()
sys.exit(main(sys.argv[1:]))
"""


def write_table(folder: Path, text: str) -> Path:
    """Write a table of faults and return its folder."""
    (folder / "planted.toml").write_text(text, "utf-8")
    return folder


def run_campaign(*arguments: str, command: tuple[str, ...] = ("-c", COMMAND)) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, without importing what these few tests do not need."""
    return subprocess.run(  # noqa: S603
        [sys.executable, *command, *arguments], cwd=table.ROOT, capture_output=True, text=True, check=False
    )


def make_mutant(name: str, survives: str = "") -> Mutant:
    return Mutant(name, "tasks/base.py", "", "a | line", ("tests/tasks/test_task_base.py",), survives)


def test_every_planted_fault_is_there_to_be_planted_once() -> None:
    mutants = table.load_faults()
    assert len(mutants) >= 120
    assert len({mutant.name for mutant in mutants}) == len(mutants)
    assert len({(mutant.file, mutant.text) for mutant in mutants}) == len(mutants)


def test_a_fault_breaks_no_file_as_a_program() -> None:
    for mutant in table.load_faults():
        compile(mutant.text, mutant.file, "exec")


def test_every_test_that_holds_a_file_is_there() -> None:
    files = {Choice.parse(test).path for _, tests in table.load_relevant() for test in tests}
    files |= {Choice.parse(test).path for mutant in table.load_faults() for test in mutant.tests}
    assert [file for file in sorted(files) if not (table.ROOT / file).is_file()] == []


def test_every_file_that_faults_are_drawn_from_is_held_by_tests() -> None:
    relevant = table.load_relevant()
    for file in sampling.list_sources():
        assert table.find_tests(file, relevant), file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CAUGHT.replace("(values * mask)", "(values + mask)"), "0 times; it must be there exactly once"),
        (
            CAUGHT.replace("(values * mask)", "mask").replace(".sum(dtype=np.float64)", ""),
            "times; it must be there exactly once",
        ),
        (CAUGHT.replace("tasks/base.py", "tasks/gone.py"), "0 times; it must be there exactly once"),
        (CAUGHT.replace("new =", "old_new ="), "unknown old_new"),
        (CAUGHT.replace('breaks = "the sign"\n', ""), "no breaks"),
        (CAUGHT.replace('"-(', '"('), "old and new are the same"),
        (
            CAUGHT.replace("tasks/base.py", "docs/conf.py").replace(
                "(values * mask).sum(dtype=np.float64)", "html_theme = "
            ),
            "relevant.toml names no tests",
        ),
    ],
)
def test_a_fault_that_cannot_be_planted_ends_the_campaign_before_it_begins(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = CAUGHT + TESTS
    assert main(["--table", str(write_table(tmp_path, good + text)), "--list"]) == 2
    errors = capsys.readouterr()
    assert errors.out == ""
    assert "planted-2" in errors.err
    assert said in errors.err
    assert "planted-1" not in errors.err


def test_a_name_that_no_fault_has_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing-1"]) == 2
    assert capsys.readouterr().err == "error: no fault has such a name or such a file\n"


@pytest.mark.slow
def test_a_caught_fault_is_counted_and_a_survivor_is_reported(tmp_path: Path) -> None:
    """In processes of its own; it takes seconds, since the project is copied and a test process started three times."""
    folder = write_table(tmp_path, CAUGHT + TESTS + SURVIVOR + TESTS)
    done = run_campaign("--table", str(folder), "--out", str(tmp_path / "out"))
    assert done.returncode == 1, done.stderr
    assert "Planted by hand: 1 of 2 caught (50.0%): 1 by a test that failed" in done.stdout
    assert "survived: planted-2 tasks/base.py: the order" in done.stdout
    kept = json.loads((tmp_path / "out" / "mutants.json").read_text("utf-8"))
    assert [row["verdict"] for row in kept["mutants"]] == ["failed", "passed"]
    assert kept["mutants"][0]["test"].startswith("tests/tasks/test_task_base.py::test_masked_mean")
    assert "planted-2 tasks/base.py: the order" in (tmp_path / "out" / "mutants.md").read_text("utf-8")


@pytest.mark.slow
def test_hangs_and_faults_that_end_the_import_are_caught_and_told_apart(tmp_path: Path) -> None:
    hang = CAUGHT.replace("-(values", "(lambda: [None for _ in iter(int, 1)])() or (values")
    stop = CAUGHT.replace(MASKED_MEAN, 'file = "tasks/base.py"\nold = "EVALUATION_EXAMPLES = 1_000"\n').replace(
        'new = "-(values * mask).sum(dtype=np.float64)"', 'new = "EVALUATION_EXAMPLES = 1 / 0"'
    )
    folder = write_table(tmp_path, hang + TESTS + stop + TESTS)
    patient = COMMAND.replace("forking.LIBRARIES = ()", "forking.LIBRARIES, forking.PATIENCE = (), 15.0")
    done = run_campaign("--table", str(folder), command=("-c", patient))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 caught (100.0%): 1 when the file was imported, 1 when they went on for too long" in done.stdout


@pytest.mark.slow
def test_tests_that_fail_without_a_fault_end_the_campaign(tmp_path: Path) -> None:
    failing = 'tests = ["tests/tasks/test_task_base.py: masked_mean", "tests/tasks/test_gone.py"]\n'
    done = run_campaign("--table", str(write_table(tmp_path, CAUGHT + failing)))
    assert done.returncode == 2
    assert "these tests do not pass without any fault:" in done.stderr
    assert "tests/tasks/test_gone.py" in done.stderr


@pytest.mark.slow
def test_a_sample_of_the_campaign_catches_every_fault() -> None:
    done = run_campaign("--share", "50", command=("-m", "tests.mutants"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_tests_are_chosen_and_ordered_by_name(tmp_path: Path) -> None:
    choosing = Choosing(("b.py: two", "a.py"), tmp_path / "progress")
    nodes = ["a.py::one", "b.py::one", "b.py::two", "c.py::two"]
    assert [[choice.includes(node) for node in nodes] for choice in choosing.choices] == [
        [False, False, True, False],
        [True, False, False, False],
    ]


def test_scores_stand_apart_and_known_survivors_have_their_reason(tmp_path: Path) -> None:
    mutants = [make_mutant("a-1"), make_mutant("a-2", "same bits"), make_mutant("sampled-1-1"), make_mutant("a-3")]
    verdicts: tuple[Verdict, ...] = ("failed", "passed", "hung", "not imported")
    endings = [Ending(verdict, "", 1.0) for verdict in verdicts]
    ended = list(zip(mutants, endings, strict=True))
    scores = results.count_caught(ended)
    assert [(score.kind, score.planted, score.caught) for score in scores] == [
        ("Planted by hand", 3, 2),
        ("Sampled", 1, 1),
    ]
    results.write_results(tmp_path, ended, {"command": "tox -e mutants", "commit": "0"})
    page = (tmp_path / "mutants.md").read_text("utf-8")
    assert "- Planted by hand: 2 of 3 caught (66.7%): 1 by a test that failed, 1 when the file was imported." in page
    assert "- a-2 tasks/base.py: a \\| line (same bits)" in page
    assert results.find_shortfalls(ended) == []
    assert results.find_shortfalls([(mutants[0], Ending("passed", "", 1.0))]) == ["a-1 survived and no reason is known"]


def test_what_was_caught_by_a_test_that_is_the_same_is_not_run_again(tmp_path: Path) -> None:
    test = "tests/tasks/test_task_base.py::test_x"
    mutants = [Mutant(f"a-{at}", "tasks/base.py", str(at), "a fault", (), "") for at in range(4)]
    endings = [
        Ending("failed", test, 1.0),
        Ending("passed", "", 1.0),
        Ending("hung", "", 1.0),
        Ending("failed", "gone.py::x", 1.0),
    ]
    assert results.recall_endings(tmp_path, mutants, table.ROOT) == [None] * 4
    results.write_results(tmp_path, list(zip(mutants, endings, strict=True)), {"command": "tox -e mutants"})
    assert results.recall_endings(tmp_path, mutants, table.ROOT) == [endings[0], None, endings[2], endings[3]]
    changed = Mutant("a-0", "tasks/base.py", "another text", "a fault", (), "")
    assert results.recall_endings(tmp_path, [changed], table.ROOT) == [None]
    kept = (tmp_path / "mutants.json").read_text("utf-8")
    (tmp_path / "mutants.json").write_text(kept.replace(results.hash_tests(test, table.ROOT), "0" * 32), "utf-8")
    assert results.recall_endings(tmp_path, mutants, table.ROOT)[0] is None


def test_too_small_a_share_is_a_shortfall() -> None:
    mutants = [make_mutant(f"sampled-1-{at}") for at in range(100)]
    for caught, count in ((85, 0), (84, 1)):
        endings = [Ending("failed" if at < caught else "passed", "", 1.0) for at in range(100)]
        assert len(results.find_shortfalls(list(zip(mutants, endings, strict=True)))) == count


def test_a_count_is_shared_out_whole_and_in_proportion() -> None:
    assert sampling.share_out(10, {"a": 60, "b": 25, "c": 15}) == {"a": 6, "b": 3, "c": 1}
    assert sum(sampling.share_out(150, dict.fromkeys(map(str, range(70)), 7)).values()) == 150


SAME = [
    ("def f(a: int = 1) -> int:\n    return a", "def f(a: str = 1) -> str:\n    return a"),
    ('"""One."""\nx: int = 1', '"""Two."""\nx: str = 1'),
    ("@functools.cache\ndef f(): pass", "def f(): pass"),
    ("@lru_cache(maxsize=4)\ndef f(): pass", "@lru_cache(maxsize=5)\ndef f(): pass"),
    ("zip(a, b, strict=True)", "zip(a, b, strict=False)"),
    ("def f(a, *, b): pass", "def f(a, /, b): pass"),
    ('if device == "cuda":\n    x = 1', 'if device == "cuda":\n    x = 2'),
    ("class StepGraph:\n    x = 1", "class StepGraph:\n    x = 2"),
]
OTHER = [
    ("x = 1", "x = 2"),
    ("a < b", "a <= b"),
    ("zip(a, b)", "zip(b, a)"),
    ("@staticmethod\ndef f(): pass", "def f(): pass"),
]


def test_the_rules_leave_out_what_is_the_same_program_and_nothing_else() -> None:
    assert [sampling.strip_program(one) == sampling.strip_program(other) for one, other in SAME] == [True] * len(SAME)
    assert [sampling.strip_program(one) == sampling.strip_program(other) for one, other in OTHER] == [False] * len(
        OTHER
    )


def test_a_sample_is_spread_over_the_files_and_the_same_for_the_same_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cosmic_ray")
    files = ["benchmarks/matrix/narrowing.py", "frameworks/pytorch/loss.py", "tasks/adding.py"]
    monkeypatch.setattr(sampling, "list_sources", lambda: files)
    sampled, again, other = (sampling.sample_mutants(12, seed) for seed in (1, 1, 2))
    assert sampled == again != other
    assert len(sampled) == 12
    assert {mutant.file for mutant in sampled} == {*files}
    for mutant in sampled:
        assert mutant.text != (table.ROOT / mutant.file).read_text("utf-8")
        compile(mutant.text, mutant.file, "exec")


def test_an_exception_of_a_dotted_name_is_passed_over_and_a_plain_one_is_replaced() -> None:
    operator = "core/ExceptionReplacer"
    text = "try:\n    pass\nexcept {}:\n    pass\n"
    assert sampling.mutate_text(text.format("(ValueError, library.Error)"), operator, 1) is None
    assert sampling.mutate_text(text.format("(ValueError, library.Error)"), operator, 0) is not None
