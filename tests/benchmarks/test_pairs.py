"""Alternating blocks: fair turns, rounds fixed by a pilot, failures that cost one implementation alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running.worker_client import CaseFailedError, Live
from farreach.benchmarks.speed import aa_check, command, implementations, pairs, run
from farreach.benchmarks.speed.handwritten import LOOPS
from farreach.benchmarks.speed.implementations import Group, Implementation
from farreach.benchmarks.speed.messages import Load, Steps
from farreach.results.analysis import statistics
from farreach.results.timing import interleaved
from tests.support.commands import run_command
from tests.support.timings import CASE

PLAN = pairs.TimingPlan(width=0.5, limit=5.0, block_seconds=0.01)


class FakeLive(Live):
    """Answers like a live process whose blocks take the seconds it is told, without running anything."""

    def __init__(self, seconds: float, heard: list[str]) -> None:
        super().__init__("reference", "cpu", 1, Path("unused"))
        self.seconds, self.heard = seconds, heard

    def ask(self, request: Any, answer: type[Any], progress: Any = None) -> Any:
        del progress
        if isinstance(request, Load):
            return answer(1.0, "none")
        self.heard.append(request.slot)
        return answer(self.seconds, self.seconds)


def fakes(*seconds: float) -> tuple[list[pairs.Runner], list[str]]:
    heard: list[str] = []
    ways = [Implementation(CASE, copy=at) for at in range(len(seconds))]
    return [pairs.Runner(one, FakeLive(took, heard)) for one, took in zip(ways, seconds, strict=True)], heard


def draw_pilot(sigma: float, rounds: int = pairs.PILOT_ROUNDS[0]) -> pairs.RoundTimes:
    random = np.random.default_rng(0)
    return pairs.RoundTimes(np.exp(random.normal(0, sigma, (rounds, 2))), np.ones((rounds, 2)), 0, 0)


def test_every_implementation_has_one_turn_a_round_in_an_order_drawn_anew() -> None:
    runners, heard = fakes(1e-9, 1e-9)
    pairs.time_rounds(runners, 40, np.random.default_rng(0))
    rounds = [tuple(heard[at : at + 2]) for at in range(0, 80, 2)]
    assert all(len(set(one)) == 2 for one in rounds)
    assert 10 < rounds.count(rounds[0]) < 30


def test_a_pilot_asks_for_more_rounds_where_blocks_spread_more_and_never_for_fewer_than_100() -> None:
    asked = [pairs.count_rounds(draw_pilot(sigma), width=0.01) for sigma in (0.001, 0.06, 0.12)]
    assert asked[0] == statistics.FEWEST_BLOCKS
    assert asked[1] > 200
    assert asked[2] == pytest.approx(4 * asked[1], rel=0.1)


@pytest.mark.parametrize(("limit", "rounds"), [(10.0, 15), (320.0, 20), (1e6, 45)])
def test_a_pilot_has_a_share_of_the_limit_and_no_fewer_than_15_rounds(
    limit: float, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    runners, _ = fakes(0.5, 0.5)
    piloted = []
    monkeypatch.setattr(pairs.Runner, "calibrate", lambda _self, _block: 0.5)  # four steps: a round takes 4 s
    monkeypatch.setattr(
        pairs, "time_rounds", lambda _runners, count, _random: piloted.append(count) or draw_pilot(0.0, count)
    )
    pairs.settle_rounds(runners, pairs.TimingPlan(limit=limit), np.random.default_rng(0))
    assert piloted == [rounds]


def test_a_time_limit_cuts_the_rounds_and_refuses_less_than_one() -> None:
    runners, _ = fakes(1.0, 1.0)
    once = pairs.TRIAL_STEPS * 2  # the pilot's blocks took a second a step
    pilot = draw_pilot(0.0)
    assert pairs.limit_rounds(100, pilot, runners, limit=10.5 * once) == 10
    assert pairs.limit_rounds(100, pilot, runners, limit=1e6) == 100
    with pytest.raises(registry.UsageError, match="too short for one round"):
        pairs.limit_rounds(100, pilot, runners, limit=0.5 * once)


def test_a_block_that_is_longer_than_the_wait_for_it_is_refused() -> None:
    runners, _ = fakes(3600.0)
    with pytest.raises(pairs.ImplementationFailedError, match="its clock says 3600"):
        runners[0].run_block()
    runners, _ = fakes(-1.0)
    with pytest.raises(pairs.ImplementationFailedError):
        runners[0].run_block()


def test_a_implementation_that_fails_is_named_and_the_others_are_timed(tmp_path: Path) -> None:
    group = Group((Implementation(CASE), Implementation(CASE, copy=1), Implementation(CASE, loop="loop_missing")))
    found = run.time_group(group, PLAN, tmp_path)
    assert [line["name"] for line in found["contenders"]] == ["reference (numpy)", "reference (numpy) again"]
    ((failure),) = found["failed"]
    assert failure["contender"] == "loop_missing"
    assert "ModuleNotFoundError" in failure["reason"]
    assert found["rounds"] >= 1
    assert all(len(line["seconds"]) == found["rounds"] for line in found["contenders"])


def test_an_implementation_that_fails_is_a_line_at_the_end_of_the_run(tmp_path: Path) -> None:
    group = Group((Implementation(CASE), Implementation(CASE, loop="loop_missing")))
    jobs = command.list_timing_jobs([group], PLAN, tmp_path)
    failed = command.run_jobs(jobs, tmp_path, "speed", Console(quiet=True))
    assert len(failed) == 1
    assert failed[0].startswith(f"{group.label()}: loop_missing: ModuleNotFoundError")
    assert jobs[0].path.exists()


def test_a_process_killed_between_blocks_costs_its_implementation_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Live.ask
    turns = {"left": 12}

    def ask(live: Live, request: Any, *more: Any) -> Any:
        if isinstance(request, Steps) and request.slot.endswith("again"):
            turns["left"] -= 1
            if turns["left"] <= 0:
                live.stop()
                message = "the worker process was killed by SIGKILL"
                raise CaseFailedError(message)
        return asked(live, request, *more)

    monkeypatch.setattr(Live, "ask", ask)
    found = run.time_group(Group((Implementation(CASE), Implementation(CASE, copy=1))), PLAN, tmp_path)
    assert [line["name"] for line in found["contenders"]] == ["reference (numpy)"]
    assert found["failed"][0]["reason"] == "the worker process was killed by SIGKILL"


@pytest.mark.slow
def test_an_injected_slowdown_is_found(tmp_path: Path) -> None:
    group = Group((Implementation(CASE), Implementation(CASE, copy=1, slowed=0.5)))
    found = run.time_group(group, pairs.TimingPlan(limit=20.0, block_seconds=0.01, rounds=120), tmp_path)
    for line in found["contenders"]:
        line["seconds"] = np.asarray(line["seconds"])
    row = interleaved.compare_pairs([found]).iloc[0]
    assert found["contenders"][1]["slowed"] == 0.5
    assert row["low"] > 1.05  # on a busy machine the interval is wide; the median hardly moves
    assert 1.25 < row["times as fast"] < 1.9


def test_waiting_processes_are_idle(tmp_path: Path) -> None:
    found = run.time_group(Group((Implementation(CASE), Implementation(CASE, copy=1))), PLAN, tmp_path)
    assert found["waiting"] < 0.2  # its clock ticks in hundredths of a second, and blocks are as short


# Groups


def test_a_group_holds_one_step_and_auto_all_paths_of_a_framework() -> None:
    cases = [
        Case(task="adding", parameters=(("T", length),), framework="tensorflow", cell="lstm", path="xla", seed=seed)
        for length in (50, 200)
        for seed in (0, 1)
    ]
    found = implementations.group_cases(cases)
    assert [len(group.implementations) for group in found] == [2, 2]
    assert [one.case.path for one in found[0].implementations] == ["xla", "graph"]
    assert found[0].auto == {"tensorflow"}
    fixed = implementations.group_cases(cases, "graph")
    assert [[one.case.path for one in group.implementations] for group in fixed] == [["graph"], ["graph"]]
    assert not fixed[0].auto
    first = implementations.group_cases(cases, implementations.DEFAULT)
    assert [[one.case.path for one in group.implementations] for group in first] == [["xla"], ["xla"]]
    assert not first[0].auto
    with pytest.raises(registry.UsageError, match="unknown path 'eager'; allowed: auto, default, graph, xla"):
        implementations.group_cases(cases, "eager")


def make_clipped(**fields: Any) -> Case:
    given = {"framework": "pytorch", "cell": "rnn", "path": "eager", "clip": "norm", "threshold": 1.0}
    return Case(task="adding", **given | fields)


def test_a_step_that_is_cut_at_every_step_back_has_the_paths_whose_layers_are_loops() -> None:
    found = implementations.group_cases([make_clipped(cell="lstm", clip="backprop")])
    assert [one.case.path for one in found[0].implementations] == ["eager", "flushed"]


def test_a_step_with_another_recipe_is_another_group_and_its_line_says_so() -> None:
    cases = [make_clipped(), make_clipped(clip="agc"), make_clipped(optimizer="sgd")]
    labels = [group.label() for group in implementations.group_cases(cases, implementations.DEFAULT)]
    assert "rnn, 64 hidden units" in labels[0]
    assert "rnn, clip agc, 64 hidden units" in labels[1]
    assert "rnn, optimizer sgd, 64 hidden units" in labels[2]


def test_a_loop_that_does_another_step_is_left_out_and_said() -> None:
    (group,) = implementations.group_cases([make_clipped(clip="agc")], implementations.DEFAULT)
    refused: list[str] = []
    (found,) = implementations.add_loops(group, LOOPS, refused.append)
    assert [one.loop for one in found.implementations] == ["", "loop_pytorch"]
    assert refused == [
        "trainer_lightning is written for Adam at one learning rate under a norm clip, without a penalty"
    ]
    (group,) = implementations.group_cases([make_clipped(activation="relu")], implementations.DEFAULT)
    assert implementations.add_loops(group, LOOPS) == []


def test_every_step_of_the_suite_of_overheads_has_its_hand_written_loop() -> None:
    groups = command.choose_groups(
        "overhead", [f"path={implementations.DEFAULT}"], device="cpu", threads=1, handwritten=True
    )
    frameworks = set(registry.list_installed()) & set(LOOPS.values())
    assert len(groups) == (14 + 6) * len(frameworks)
    for group in groups:
        first, *others = group.implementations
        kind = "loop" if first.case.cell in {"rnn", "lstm", "gru"} else "later"
        assert f"{kind}_{first.case.framework}" in {one.loop for one in others}


def test_a_linear_recurrence_meets_a_loop_on_each_of_its_paths() -> None:
    groups = command.choose_groups(
        "overhead", ["cell=lru", "framework=pytorch"], device="cpu", threads=1, handwritten=True
    )
    assert [[(one.case.path, one.loop) for one in group.implementations] for group in groups] == [
        [(path, ""), (path, "later_pytorch")] for path in registry.list_paths("pytorch", "cpu", "lru")
    ]
    assert not any(group.auto for group in groups)


def test_each_framework_meets_the_loops_that_are_written_in_it() -> None:
    ours = [
        Implementation(make_clipped(framework=name, path=registry.list_paths(name, "cpu", "rnn")[0]))
        for name in ("pytorch", "jax")
    ]
    found = implementations.add_loops(Group(tuple(ours)), LOOPS)
    assert [[one.name for one in group.implementations] for group in found] == [
        ["pytorch (eager)", "loop_pytorch", "trainer_lightning"],
        ["jax (scan)", "loop_jax"],
    ]
    assert all(len({one.process for one in group.implementations}) == 1 for group in found)


def test_a_path_with_other_arithmetic_does_not_meet_the_hand_written_loops() -> None:
    group, *_ = implementations.group_cases([make_clipped()])
    assert [one.case.path for one in group.implementations] == ["eager", "flushed", "compiled"]
    (found,) = implementations.add_loops(group, LOOPS)
    assert [one.case.path for one in found.implementations if not one.loop] == ["eager", "compiled"]
    assert found.auto == {"pytorch"}


@pytest.mark.parametrize(("xla", "graph", "kept"), [(0.002, 0.001, "graph"), (0.002, 0.00198, "xla")])
def test_the_fastest_path_is_kept_unless_it_hardly_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, xla: float, graph: float, kept: str
) -> None:
    seconds = {"xla": xla, "graph": graph}
    monkeypatch.setattr(pairs.Runner, "calibrate", lambda *_: 0.0)
    monkeypatch.setattr(
        pairs,
        "time_rounds",
        lambda runners, rounds, _random: pairs.RoundTimes(
            np.array([[seconds[runner.implementation.case.path] for runner in runners]] * rounds), np.ones((1, 2)), 0, 0
        ),
    )
    cases = [
        Implementation(Case(task="adding", framework="tensorflow", cell="rnn", path=path)) for path in ("xla", "graph")
    ]
    found, tried = run.choose_paths(cases, frozenset({"tensorflow"}), PLAN, tmp_path)
    assert [one.case.path for one in found] == [kept]
    assert {line["path"]: line["seconds"] for line in tried["tensorflow"]} == seconds


def test_an_aa_test_has_as_many_trials_as_were_asked_for_and_some_that_are_slowed() -> None:
    found = aa_check.list_launches(["pytorch", "jax"], 200, 1)
    identical = [launch for launch in found if not launch.injected]
    assert 200 <= len(identical) * aa_check.TRIALS_A_LAUNCH < 200 + aa_check.TRIALS_A_LAUNCH
    assert len(found) - len(identical) >= 8
    assert {(launch.case.framework, launch.case.cell) for launch in identical} == {
        (framework, cell) for framework in ("pytorch", "jax") for cell in ("rnn", "lstm", "gru")
    }
    assert len({launch.name_file(pairs.TimingPlan()) for launch in found}) == len(found)


def test_a_launch_gives_its_trials(tmp_path: Path) -> None:
    found = aa_check.time_launch(
        aa_check.Launch(0, CASE, 0.0), pairs.TimingPlan(limit=5, block_seconds=0.005, rounds=5), tmp_path
    )
    assert len(found["trials"]) == aa_check.TRIALS_A_LAUNCH
    assert all(len(trial[side]) == 5 for trial in found["trials"] for side in ("first", "second"))


# The command


SUITE = """
description = "a step of the reference"
[[block]]
task = "adding"
parameters = { T = [5, 10] }
cell = "rnn"
hidden = 8
dtype = "float64"
clip = { kind = "norm", threshold = 1.0 }
"""


@pytest.fixture
def suite(tmp_path: Path) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(SUITE)
    return str(path)


@pytest.mark.slow
def test_the_command_times_writes_the_page_and_does_not_time_again(suite: str, tmp_path: Path) -> None:
    arguments = [suite, "--only", "framework=reference", "--limit", "1", "--out", str(tmp_path / "out")]
    done = run_command("speed", *arguments)
    assert done.returncode == 0, done.stderr
    assert "2 timings, 0 already done, 2 to do" in done.stdout
    files = sorted((tmp_path / "out" / "timings").glob("*.json"))
    assert len(files) == 2
    fields = json.loads(files[0].read_text())
    assert fields["facts"]["commit"]
    assert fields["contenders"][0]["flops"] > 0
    assert fields["contenders"][0]["peak_bytes"] > 2**20
    assert (tmp_path / "out" / "speed.md").exists()
    again = run_command("speed", *arguments)
    assert "2 timings, 2 already done, 0 to do" in again.stdout


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--limit", "0"], "--limit must be a positive finite number, not 0"),
        (["--limit", "1e-6"], "too short for one round of blocks"),
        (["--width", "-1"], "--width must be a positive finite number"),
        (["--only", "path=eager"], "unknown path 'eager'; allowed: auto, default, numpy"),
        (["--only", "path=auto", "--only", "path=numpy"], "speed takes one path, auto or default"),
        (["--handwritten"], "no step that anybody can run"),
        (["--aa-test", "6", "--only", "cell=rnn"], "an A/A test is narrowed by framework only"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(suite: str, tmp_path: Path, arguments: list[str], said: str) -> None:
    named = [] if "--aa-test" in arguments else [suite]
    done = run_command("speed", *named, "--only", "framework=reference", *arguments, "--out", str(tmp_path / "out"))
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_unknown_suite_and_framework_are_refused() -> None:
    for arguments, said in ((["nonsense"], "unknown suite"), (["--only", "framework=nonsense"], "unknown framework")):
        done = run_command("speed", *arguments)
        assert done.returncode == 2
        assert said in done.stderr
