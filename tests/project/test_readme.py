"""What the README and the pages of docs/ show works, and is what was published."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from farreach.benchmarks.matrix import registry, suite
from farreach.results.analysis import calibration, certificates, threshold_advice
from farreach.results.report.calibration import write_share_right
from farreach.results.report.markdown import table
from farreach.results.storage.sets import open_set
from tests.support.documents import DOCUMENTS, PAGES, read_page

README = (registry.ROOT / "README.md").read_text()
ORDER = [
    *("copy", "selective_copy", "recall", "adding", "multiplication"),
    *("order", "digits", "speech", "translation"),
]
PUBLISHED = registry.ROOT / "results" / "published" / "quick"


def test_the_readme_is_short_and_shows_one_picture_and_the_two_commands() -> None:
    assert len(README.split()) <= 1_500
    assert len(re.findall(r"!\[|<img", README)) == 1
    commands = re.findall(r"^    python3 .* && \.venv/bin/tox -e (\w+)$", README, re.MULTILINE)
    assert commands == ["bench", "tests"]


def test_the_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\(docs/([\w-]+)\.md\)", README))
    assert linked == {path.stem for path in PAGES} - {"index"}


SHORT = {
    "nightly-pytorch": "nightly-{pytorch,tensorflow,jax}",
    "compat-3.11-pinned": "compat-3.{11,12,13}-{pinned,newest}",
}
"""Environments of which tox.ini has many in one."""


def test_the_commands_name_environments_that_exist() -> None:
    tox = configparser.ConfigParser()
    tox.read(registry.ROOT / "tox.ini")
    assert {"bench", "tests", "bench-pytorch", "bench-tensorflow", "bench-jax"} <= set(
        re.findall(r"tox -e ([\w-]+)", README)
    )
    for path in DOCUMENTS:
        for names in re.findall(r"tox -e ([\w,.-]*\w)", path.read_text()):
            for name in names.split(","):
                assert f"testenv:{SHORT.get(name, name)}" in tox, path


def test_ci_runs_the_test_command_of_the_readme() -> None:
    ci = (registry.ROOT / ".ci" / "run").read_text()
    command = next(line for line in README.splitlines() if line.strip().endswith("tox -e tests"))
    for part in command.strip().split(" && "):
        assert part in ci


def test_the_constants_that_contributing_names_stand_in_the_files_that_it_names() -> None:
    text = (registry.ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`([A-Z_]+)`[^`]*?`(\w+/[\w/]+\.py)`", text)
    assert {name for name, _ in named} == {"STEP_VERSION"}
    for name, path in named:
        assert re.search(rf"^{name} = \d+$", (registry.ROOT / path).read_text(), re.MULTILINE), path


def test_the_documents_say_the_fields_words() -> None:
    """Those of the page of the words; quoted results have writers and tests of their own."""
    wrong = re.compile(
        r"\b(ladder|rung|contender|renumber\w*|cannot tell|slow-down|the judge|slope along|a second through)\b"
    )
    for path in set(DOCUMENTS) - {registry.ROOT / "CHANGELOG.md"}:
        text = re.sub(r"<!-- ([\w-]+) -->.*?<!-- end of \1 -->", "", path.read_text(), flags=re.DOTALL)
        assert wrong.findall(text) == [], path


def test_the_pages_name_every_suite_and_every_task() -> None:
    for name in registry.list_suites():
        assert f"`{name}`" in read_page("commands")
        assert suite.load_suite(name).description
    first = read_page("tasks").partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", first, re.MULTILINE) == ORDER
    described = re.findall(r"^## .*: (.+)$", read_page("tasks"), re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(described))) == sorted(ORDER)
    assert sorted(ORDER) == registry.list_tasks()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(registry.ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


def is_certified(rows: pd.DataFrame) -> bool:
    """Say whether all rows that say by what they were made stand under a certificate; older ones say it nowhere."""
    return {bare.why for bare in certificates.count_certified(rows).bare} <= {"undigested"}


def test_the_tables_of_the_documents_are_the_published_one() -> None:
    report = (PUBLISHED / "report.md").read_text()
    table = report[report.index("| setting |") :].partition("\n\n")[0].strip()
    assert table in read_page("results")
    headline = re.search(r"<!-- headline -->\n(.*)\n<!-- end of headline -->", README, re.DOTALL)
    assert headline
    lines = headline[1].splitlines()
    assert 5 < len(lines) < 12
    assert set(lines) <= set(table.splitlines())


def test_no_file_names_an_index_or_a_place_on_a_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=registry.ROOT, check=True, capture_output=True, text=True)  # noqa: S607
    for name in listed.stdout.splitlines():
        path = registry.ROOT / name
        if path.suffix in {".parquet", ".png"} or path == Path(__file__) or not path.exists():
            continue
        text = path.read_text()
        for place in ("index-url", "pypi.org", "/tmp/", "/home/", "/root/", "/opt/", "/work/"):  # noqa: S108
            assert place not in text, (name, place)


@pytest.mark.parametrize(
    ("name", "frameworks"),
    [
        ("quick", ["pytorch", "tensorflow"]),
        ("native", ["pytorch", "tensorflow", "jax"]),
        ("reach", ["pytorch"]),
        ("pascanu", ["jax"]),
    ],
)
def test_every_published_row_is_certified_and_from_a_commit(name: str, frameworks: list[str]) -> None:
    rows = open_set(PUBLISHED.parent / name).rows()
    assert is_certified(rows)
    assert not rows["commit"].str.contains("changes").any()
    seeds = sorted(set(rows["seed"]))
    wanted = {case.label() for case in suite.load_suite(name).list_cases(frameworks) if case.seed in seeds}
    assert len(rows) == len(wanted)


def test_the_published_calibration_is_right_as_often_as_the_page_says() -> None:
    found = calibration.calibrate(open_set(PUBLISHED.parent / "calibration"))
    assert found.cases >= 200
    assert found.right / found.cases >= 0.95
    page = read_page("vanishing")
    assert write_share_right(found) in page
    assert table(found.confusion).strip() in page


def test_the_published_table_of_the_temporal_order_problem_is_on_the_page() -> None:
    rows = open_set(PUBLISHED.parent / "pascanu").rows()
    solved = rows[rows["parameters"].str.contains("40") & (rows["learning_rate"] == 0.01)].fillna({"strength": 0})
    counts = solved.groupby(["clip", "strength"])["solved"].sum()
    line = re.search(r"\| T=40, learning rate 0.01 \|(.*)\|", read_page("vanishing"))
    assert line
    assert [int(cell.strip().partition("/")[0]) for cell in line[1].split("|")] == [
        counts[("none", 0)],
        *(counts[("norm", strength)] for strength in (0, 0.1, 2)),
    ]


def test_the_published_advice_follows_from_its_cases_and_is_what_the_page_says() -> None:
    folder = PUBLISHED.parent / "advice" / "adding-lstm"
    rows = open_set(folder).rows()
    cases, points = (pd.read_csv(folder / name) for name in ("cases.csv", "points.csv"))
    assert len(rows) == len(cases) == 81
    assert is_certified(rows)
    assert not rows["commit"].str.contains("changes").any()
    cases["solved"] = cases["solved"].astype("boolean")
    judged = {one.learning_rate: one for one in threshold_advice.recommend(cases)}
    for rate, one in judged.items():
        marked = points.loc[(points["learning_rate"] == rate) & points["recommended"], "threshold"]
        assert marked.tolist() == [one.recommended]
    named = judged[0.003]
    there = named.get_line(named.recommended)
    assert there["solved"] == there["judged"] == 3
    said = f"At adam 0.003 the recommended threshold is norm {named.recommended:g}"
    assert said in read_page("thresholds")
    assert said in (folder / "advice.md").read_text()
