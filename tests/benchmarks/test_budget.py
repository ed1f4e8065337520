"""What the evidence costs: summed from the times of rows, over its hours or not, and a pilot for what no row is of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from farreach.benchmarks.matrix import claims, registry
from farreach.benchmarks.running import environment
from farreach.benchmarks.studies import budget
from tests.support import synthetic
from tests.support.commands import call_command
from tests.support.sweeps import format_suite

TIMES = dict.fromkeys(("seconds_compile", "seconds_data", "seconds_evaluation", "seconds_probes"), 0.0)


def write_budget(folder: Path, hours: float) -> Path:
    (folder / "short.toml").write_text(format_suite(seed=[0, 1], cell=["rnn", "gru"]))
    path = folder / "budget.toml"
    path.write_text(
        f'[[set]]\nname = "mine"\nhours = {hours}\nrun = [{{ suite = "{folder}/short.toml", only = ["cell=rnn"] }}]\n'
        f'[[beyond]]\nsuite = "{folder}/short.toml"\n'
    )
    return path


def make_row(cell: str, seconds: float) -> dict[str, object]:
    facts = {"framework": "reference", "path": "numpy", "parameters": '{"T": 5}', "hidden": 4, "steps": 100}
    times = TIMES | {"seconds_other": 0.0, "seconds_training": seconds, "cpu_to_wall": 1.0}
    return synthetic.record(cell=cell, **facts).to_row() | times | {"processor": environment.read_processor()}


def test_the_hours_of_a_set_are_those_of_its_cases(tmp_path: Path) -> None:
    plan, rows = (
        budget.read_budget(write_budget(tmp_path, hours=3)),
        [make_row("rnn", 3_600.0), make_row("gru", 7_200.0)],
    )
    (mine,) = budget.find_costs(plan, rows)
    (beyond,) = (budget.find_cost(part, rows) for part in plan.beyond)
    (cost,) = mine.costs
    assert [(one.cases, one.hours, one.unknown) for one in (cost, beyond)] == [(2, MINE, 0), (4, BEYOND, 0)]
    assert (cost.shards, beyond.shards) == (2, 4)
    assert budget.list_excess([mine]) == []
    lines = budget.tabulate_costs([mine], [beyond], {"one": "a day"}).to_numpy().tolist()
    assert [line[0] for line in lines] == ["mine", "mine", "all", "not affordable", "not affordable"]
    assert [line[2:] for line in lines] == [
        *(["2", "2.0", "2"], ["2", "2.0 of 3", ""], ["2", "2.0 of 3", ""], ["4", "6.0", ""], ["", "a day", ""])
    ]
    tight = budget.find_costs(budget.read_budget(write_budget(tmp_path, hours=1.5)), rows)
    assert budget.list_excess(tight) == ["set mine needs 2.0 core-hours, and may take 1.5"]


MINE, BEYOND = pytest.approx(2), pytest.approx(6)


def test_the_claims_of_the_ledger_cost_what_they_say() -> None:
    plan = budget.Budget.model_validate({"set": [{"name": "ledger", "hours": 15.0, "claims": True}]})
    (found,) = budget.find_costs(plan, [])
    run = [one for one in claims.load_ledger() if one.content.minutes]
    assert found.hours == pytest.approx(sum(one.content.minutes or 0 for one in run) / 60)
    assert found.costs[0].cases == sum(len(one.list_cases()) for one in run)
    assert "bai-2018-copy-1000" in budget.list_unaffordable()


def test_what_no_row_is_of_is_said_and_trained_for_a_few_steps_by_the_pilot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(registry, "PUBLISHED", tmp_path / "published")
    path = write_budget(tmp_path, hours=3)
    plan = budget.read_budget(path)
    assert budget.find_cost(plan.beyond[0], []).unknown == 4
    pilot = budget.choose_pilot(plan.beyond, [make_row("rnn", 1.0)])
    assert [(case.cell, case.steps, case.seed) for case in pilot] == [("gru", 100, 0)]
    status, printed, errors = call_command("budget", "--file", str(path), "--pilot", "--out", str(tmp_path / "page.md"))
    assert (status, errors) == (0, "")
    assert "pilot: 1 cases, 0 already done, 1 to run" in printed
    assert re.search(r"\| not affordable \| .*short\.toml \| 4 \| 0\.0 \|", (tmp_path / "page.md").read_text())
    assert "unknown" not in printed


def test_a_set_over_its_hours_ends_the_command_after_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farreach.benchmarks.running.estimate.read_rows", lambda _: [make_row("rnn", 3_600.0)])
    status, printed, errors = call_command("budget", "--file", str(write_budget(tmp_path, hours=0.5)))
    assert status == 2
    assert "core-hours" in printed
    assert errors == "error: set mine needs 2.0 core-hours, and may take 0.5\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("hours = 3", "hours = 0", "set.0.hours: Input should be greater than 0"),
        ("hours = 3", "hour = 3", "unknown key set.0.hour; allowed: name, hours, run, claims"),
        ("run = ", "others = ", "unknown key set.0.others"),
        ("cell=rnn", "cell=rn", "no case with cell=rn; it has: gru, rnn"),
        ("short.toml", "shrt", "unknown suite"),
    ],
)
def test_a_faulty_budget_is_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = write_budget(tmp_path, hours=3)
    path.write_text(path.read_text().replace(old, new).replace(f"{tmp_path}/shrt", "shrt"))
    status, _, errors = call_command("budget", "--file", str(path))
    assert status == 2
    assert said in errors
    assert errors.count("\n") == 1
