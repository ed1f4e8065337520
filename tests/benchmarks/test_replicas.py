"""Replicas: real processes that train together, how they end, and what `certify` finds where their update is wrong."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

from farreach import granted
from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import digest, replica_group, replicas
from farreach.benchmarks.running.messages import Outcome, Progress, Run
from farreach.benchmarks.running.replica_group import GroupError, ReplicaGroup
from farreach.benchmarks.running.worker_client import CaseFailedError, Live
from farreach.benchmarks.speed import pairs
from farreach.benchmarks.speed.replicas import FILE, measure_efficiency
from farreach.benchmarks.studies import certificate, certification, split_checks
from farreach.benchmarks.studies.certification import Check
from farreach.frameworks.reference import replicas as reference
from farreach.frameworks.split import split_batch
from farreach.results.analysis.certificates import is_within_bounds, list_split_demands
from farreach.results.storage.result_set import Store
from tests.support.commands import call_command, read_refusal
from tests.support.sweeps import format_suite

TORCH = importlib.util.find_spec("torch") is not None

CASE = Case(
    task="adding",
    parameters=(("T", 5),),
    framework="reference",
    cell="rnn",
    path="numpy",
    hidden=4,
    batch=8,
    steps=200,
    dtype="float64",
    clip="norm",
    threshold=0.1,
)
TWO = dataclasses.replace(CASE, replicas=2)

SOON = 60.0
"""Seconds within which a case whose replica has died must have failed."""


@pytest.fixture(autouse=True)
def _end_groups() -> Iterator[None]:
    yield
    replicas.end_groups()


def ignore(_: Progress) -> None:
    """Hear of progress and do nothing."""


def list_replicas(pid: int) -> list[psutil.Process]:
    """The replicas below a process, in the order of their ranks."""
    children = psutil.Process(pid).children(recursive=True)
    return sorted((one for one in children if "farreach.benchmarks.replica" in one.cmdline()), key=lambda one: one.pid)


def wait_until_gone(processes: list[psutil.Process], seconds: float = 20.0) -> list[psutil.Process]:
    """Those processes that are still there after a while."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]


def make_two(framework: str) -> Case:
    """A case of two replicas of a framework."""
    return dataclasses.replace(TWO, framework=framework, path=registry.list_paths(framework, "cpu", "rnn")[0])


# Processes


def test_two_replicas_are_two_processes_that_serve_case_after_case_and_repeat_bit_for_bit() -> None:
    case = make_two("pytorch" if TORCH else "reference")
    alone = dataclasses.replace(case, replicas=1)
    importlib.import_module(f"farreach.frameworks.{case.framework}").configure("cpu", 1)
    first = replicas.train_case(case, ignore)
    pids = [one.pid for one in list_replicas(os.getpid())]
    again = replicas.train_case(case, ignore)
    assert len(pids) == 2
    assert [one.pid for one in list_replicas(os.getpid())] == pids
    assert again.result == first.result
    assert again.curves == first.curves
    one = replicas.train_case(alone, ignore)
    for name in ("loss", "norm_before", "norm_after", "clipped"):
        np.testing.assert_allclose(first.curves[name], one.curves[name], rtol=1e-10)
    assert first.evaluations[-1]["loss"] == pytest.approx(one.evaluations[-1]["loss"], rel=1e-10)
    assert first.flow["h"] == pytest.approx(one.flow["h"], rel=1e-8)
    assert first.times.cpu_to_wall > 0
    assert {*first.curves} - {*one.curves} == {"norm_reduced", "cosine", "norm_part0", "norm_part1"}
    assert first.digest != one.digest
    replicas.end_groups()
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


def test_the_time_of_a_step_is_that_of_the_slowest_replica_and_replicas_that_part_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner = replicas.find_learner(TWO)
    batches = [next(iter(TWO.load().batches(0, TWO.batch)))]
    learner.prepare(batches, batches[0].inputs)
    ask = learner.group.ask

    def delay(request: Any) -> Any:
        first, second = ask(request)
        return [first, dataclasses.replace(second, trace=dataclasses.replace(second.trace, seconds=99.0))]

    monkeypatch.setattr(learner.group, "ask", delay)
    assert learner.train(batches).seconds == 99.0

    def part(request: Any) -> Any:
        first, second = ask(request)
        return [first, dataclasses.replace(second, digest="other weights")]

    monkeypatch.setattr(learner.group, "ask", part)
    with pytest.raises(GroupError, match="the replicas do not agree"):
        learner.train(batches)
    assert not learner.group.members


def test_a_replica_that_is_killed_fails_its_case_in_one_line_and_nothing_is_left(tmp_path: Path) -> None:
    live = Live("reference", "cpu", 1, tmp_path / "log" / "reference.log")
    seen: list[psutil.Process] = []

    def kill(_: Progress) -> None:
        if not seen:
            assert live.process
            seen.extend(list_replicas(live.process.pid))
            seen[1].kill()

    began = time.monotonic()
    with pytest.raises(CaseFailedError) as failed:
        live.ask(Run(TWO), Outcome, kill)
    assert time.monotonic() - began < SOON
    assert len(seen) == 2
    assert str(failed.value).endswith("replica 1 of 2 was killed by SIGKILL")
    assert "\n" not in str(failed.value)
    assert not wait_until_gone(seen)
    assert live.ask(Run(TWO), Outcome).result.steps_done == TWO.steps  # the worker is as good as before
    assert live.process
    left = list_replicas(live.process.pid)
    assert len(left) == 2
    live.process.send_signal(signal.SIGKILL)
    live.process.wait()
    assert not wait_until_gone(left)


def test_a_replica_that_hangs_is_ended_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert replica_group.PATIENCE + 10 < SOON
    monkeypatch.setattr(replica_group, "PATIENCE", 3.0)
    stopped: list[psutil.Process] = []

    def stop(_: Progress) -> None:
        if not stopped:
            stopped.extend(list_replicas(os.getpid()))
            stopped[1].suspend()

    with pytest.raises(GroupError, match=r"^replica 1 of 2 did nothing for 3 s, so the replicas were ended$"):
        replicas.train_case(TWO, stop)
    assert not wait_until_gone(stopped)


def test_a_request_that_fails_in_a_replica_is_one_line() -> None:
    group = ReplicaGroup("reference", "cpu", 1, 2)
    group.start()
    with pytest.raises(GroupError, match=r"^replica 0 of 2: (KeyError|TypeError): .*$"):
        group.ask("no request")
    assert not group.members


def test_the_state_travels_when_it_is_asked_for_and_not_with_every_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, alone = replicas.find_learner(TWO), replicas.find_learner(dataclasses.replace(TWO, replicas=1))
    stream = iter(TWO.load().batches(0, TWO.batch))
    batches = [next(stream), next(stream)]
    for one in (learner, alone):
        one.prepare(batches, batches[0].inputs)
    asked: list[str] = []
    ask = learner.group.ask

    def note(request: Any) -> Any:
        asked.append(type(request).__name__)
        return ask(request)

    monkeypatch.setattr(learner.group, "ask", note)
    for one in (learner, alone):
        one.train(batches)
        one.train(batches)
    assert asked == ["Train", "Train"]
    np.testing.assert_allclose(learner.predict(batches[0].inputs), alone.predict(batches[0].inputs), rtol=1e-10)
    for name, value in alone.weights().items():
        np.testing.assert_allclose(learner.weights()[name], value, rtol=1e-10, atol=1e-15)
    assert learner.state().steps == 4
    assert asked == ["Train", "Train", "Read"]
    learner.train(batches)
    assert learner.state().steps == 6


def test_a_replica_that_ended_between_two_requests_is_named() -> None:
    learner = replicas.find_learner(TWO)
    batches = [next(iter(TWO.load().batches(0, TWO.batch)))]
    learner.prepare(batches, batches[0].inputs)
    learner.train(batches)
    learner.group.members[0].process.kill()
    learner.group.members[0].process.wait()
    with pytest.raises(GroupError, match=r"^replica 0 of 2 was killed by SIGKILL$"):
        learner.predict(batches[0].inputs)
    with pytest.raises(GroupError, match=r"^the replicas have been ended$"):
        learner.train(batches)


@pytest.mark.skipif(not TORCH, reason="PyTorch is not installed, whose replicas open a port")
def test_a_port_that_is_taken_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    find = replica_group.find_addresses
    asked: list[int] = []
    with socket.socket() as taken:
        taken.bind((replica_group.HOST, 0))
        taken.listen()

        def find_taken(count: int) -> list[str]:
            asked.append(count)
            used = [f"{replica_group.HOST}:{taken.getsockname()[1]}"]
            return [*used, *find(count - 1)] if len(asked) == 1 else find(count)

        monkeypatch.setattr(replica_group, "find_addresses", find_taken)
        group = ReplicaGroup("pytorch", "cpu", 1, 2)
        group.start()
        assert asked == [2, 2]
        assert group.is_alive
        group.stop()


# What is asked for


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"replicas": 3, "batch": 32}, "batch must be a multiple of replicas x microbatches, 3, not 32"),
        ({"clip_at": "before"}, "clip_at before needs more than one replica or microbatch"),
        ({"replicas": 2, "clip_at": "before"}, "clip_at before is not defined for clip none"),
        ({"replicas": 65}, "replicas must be a whole number from 1 to 64, not 65"),
        ({"replicas": 2, "mode": "native", "framework": "pytorch"}, "mode native takes no replicas"),
        ({"replicas": 2, "clip_at": "between"}, "clip_at"),
    ],
)
def test_what_no_replicas_can_do_is_one_line(facts: dict[str, Any], said: str, tmp_path: Path) -> None:
    suite = tmp_path / "suite.toml"
    suite.write_text(format_suite(**facts))
    assert said in read_refusal("run", str(suite), "--out", str(tmp_path / "out"))


def test_a_framework_without_its_engine_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = tmp_path / "suite.toml"
    suite.write_text(format_suite(replicas=2))
    there = registry.has_part
    monkeypatch.setattr(registry, "has_part", lambda framework, part: part != "replicas" and there(framework, part))
    said = read_refusal("run", str(suite), "--out", str(tmp_path / "out"))
    assert "reference has no replicas or microbatches: frameworks/reference/replicas.py is missing" in said


def test_speed_times_one_process_beside_its_replicas(tmp_path: Path) -> None:
    suite = tmp_path / "suite.toml"
    suite.write_text(format_suite(replicas=[1, 2], seed=[0, 1]))
    said = read_refusal("speed", str(suite), "--out", str(tmp_path / "out"))
    assert "narrow by --only replicas=1, or by replicas=N" in said
    words = ["speed", str(suite), "--only", "replicas=2", "--limit", "2", "--out", str(tmp_path / "out")]
    assert "--energy has no effect with --only replicas=N" in read_refusal(*words, "--energy")
    status, printed, errors = call_command(*words)
    assert (status, errors) == (0, "")
    assert printed.count("efficiency") == 1
    line = pd.read_csv(tmp_path / "out" / FILE).iloc[0]
    assert line["replicas"] == 2
    assert min(line["seconds_one"], line["seconds_all"], line["rounds"]) > 0
    assert f"efficiency {line['efficiency']:.0%}".replace("%", " %") in printed


def test_two_replicas_that_take_three_quarters_of_the_time_have_an_efficiency_of_two_thirds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = 100
    seconds = np.tile([2e-3, 1.5e-3], (rounds, 1))
    times = pairs.RoundTimes(seconds, np.ones_like(seconds), waiting=0.0, clock_step=0.0)
    monkeypatch.setattr(pairs, "settle_rounds", lambda *_: (rounds, rounds))
    monkeypatch.setattr(pairs, "time_rounds", lambda *_: times)
    found = measure_efficiency(TWO, pairs.TimingPlan(), tmp_path)
    for name in ("efficiency", "low", "high"):
        assert found[name] == pytest.approx(2 / 3)
    assert (found["seconds_one"], found["seconds_all"], found["rounds"]) == (2e-3, 1.5e-3, rounds)


@pytest.mark.slow
def test_more_replicas_than_cores_are_run_and_that_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(granted, "count_cores", lambda: 1)
    suite = tmp_path / "suite.toml"
    suite.write_text(format_suite(replicas=[1, 2], microbatches=2, seed=[0, 1]))
    status, printed, errors = call_command("run", str(suite), "--out", str(tmp_path / "out"))
    assert (status, errors) == (0, "")
    assert printed.count("replicas keep 2 cores busy and there are 1: their steps take turns") == 1
    rows = Store(tmp_path / "out").rows()
    assert sorted(rows["replicas"]) == [1, 1, 2, 2]
    by_seed = rows.groupby("seed")["loss"]
    np.testing.assert_allclose(by_seed.min(), by_seed.max(), rtol=1e-10)
    curves = Store(tmp_path / "out").curves(rows.loc[rows["replicas"] == 2, "key"].iloc[0])
    assert {"norm_reduced", "cosine", "norm_part0", "norm_part3"} <= {*curves}


def test_a_digest_tells_one_process_microbatches_and_a_group_apart() -> None:
    kinds = [("", False), ("replicas", False), ("replicas", True)]
    files = [{*digest.list_files("reference", "matched", "rnn", kind, grouped=grouped)} for kind, grouped in kinds]
    assert files[0] < files[1] < files[2]
    assert {"frameworks/split.py", "frameworks/reference/replicas.py"} <= files[1]
    assert files[2] - files[1] == {"benchmarks/replica.py", "benchmarks/running/replicas.py"}


# Certification

PLAIN = Check(
    framework="reference",
    path="numpy",
    cell="rnn",
    activation="tanh",
    layers=1,
    inputs="vectors",
    optimizer="sgd",
    clip="norm",
    regulariser="none",
    scored="some",
)
STEPS = 3


class Summed(reference.Framework):
    """The sum of the parts' means where their mean is due."""

    def compute_gradients(self, batch: Any, cut: Any) -> Any:
        loss, gradients, extra = super().compute_gradients(batch, cut)
        return loss, {name: self.split.parts * value for name, value in gradients.items()}, extra


class Unweighted(reference.Framework):
    """Every part counts alike, however many positions it counts."""

    def compute_gradients(self, batch: Any, cut: Any) -> Any:
        mask = np.zeros_like(batch.mask)
        mask[:, 0] = 1
        return super().compute_gradients(dataclasses.replace(batch, mask=mask), cut)


def sum_parts(check: Check, first: Any, rank: int = 0) -> Any:
    """A replica that takes a sum for a mean."""
    return make_reference(Summed, check, first, rank)


def weigh_alike(check: Check, first: Any, rank: int = 0) -> Any:
    """A replica for which all positions count alike."""
    return make_reference(Unweighted, check, first, rank)


def make_reference(kind: Any, check: Check, first: Any, rank: int) -> Any:
    """Return a kind of the reference's replica."""
    facts: Any = {"device": "cpu", "dtype": check.dtype, "threads": 1, "path": "numpy"}
    return kind(check.model(), check.training(), first, **facts, split=check.split, rank=rank)


def clip_on_the_other_side(check: Check, first: Any, rank: int = 0) -> Any:
    """A replica whose clip is on the wrong side of the reduction."""
    other: Any = "after" if check.clip_at == "before" else "before"
    return certification.build_part(dataclasses.replace(check, clip_at=other), first, rank=rank)


def see_twice(check: Check, first: Any, rank: int = 0) -> Any:
    """A replica of a group whose second part is the first once more."""
    made: Any = certification.build_part(check, first, rank=rank)
    train: Callable[..., Any] = made.train

    def repeat(batch: Any) -> Any:
        own, *_ = split_batch(batch, check.split)
        again = {field.name: np.concatenate([getattr(own, field.name)] * check.split.parts) for field in fields(batch)}
        return dataclasses.replace(batch, **again)

    fields = dataclasses.fields
    made.train = lambda batches: train([repeat(batch) for batch in batches])
    return made


def plant(monkeypatch: pytest.MonkeyPatch, fault: Callable[..., Any] | None, check: Check) -> set[str]:
    """What a check finds beyond its bound where the replicas are made by a fault."""
    right = replicas.Replicated
    first = check.draw_weights()
    if fault is not None:
        make = functools.partial(fault, check, first)
        monkeypatch.setattr(replicas, "Replicated", lambda group, _, local: right(group, make, local))
    found = certification.measure_differences(check, STEPS).differences
    result: Any = dataclasses.asdict(check) | {"differences": found, "fault": None}
    beyond = {name for name, value in found.items() if "drift" not in name and not value <= 1e-10}
    assert is_within_bounds(result) == (not beyond)
    return beyond


FAULTS: dict[Callable[..., Any], set[str]] = {
    sum_parts: {"norm_before", "whole"},
    weigh_alike: {"loss", "norm_before", "parts", "whole", "weights"},
    clip_on_the_other_side: {"weights", "norm_after", "whole"},
    see_twice: {"loss", "norm_before", "parts", "whole", "weights"},
}


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_in_what_replicas_do_is_found(fault: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    check = dataclasses.replace(PLAIN, replicas=2)
    assert plant(monkeypatch, None, check) == set()
    assert FAULTS[fault] <= plant(monkeypatch, fault, check)


def test_a_clip_after_the_reduction_is_no_clip_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    check = dataclasses.replace(PLAIN, replicas=2, microbatches=2, clip_at="before", optimizer="adam")
    assert plant(monkeypatch, None, check) == set()
    assert {"parts", "norm_after"} <= plant(monkeypatch, clip_on_the_other_side, check)


@pytest.mark.slow
@pytest.mark.skipif(not TORCH, reason="PyTorch is not installed")
@pytest.mark.parametrize(
    "fault",
    [None, clip_on_the_other_side, see_twice],
    ids=lambda fault: fault.__name__ if fault else "none",
)
def test_faults_of_a_framework_s_group_are_found(
    fault: Callable[..., Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = registry.list_paths("pytorch", "cpu", "rnn")[0]
    check = dataclasses.replace(PLAIN, framework="pytorch", path=path, replicas=2)
    assert bool(plant(monkeypatch, fault, check)) == (fault is not None)


def test_checks_of_parts_are_asked_for_by_name_and_are_every_cell_optimizer_and_clip() -> None:
    framework = next(name for name in registry.list_compared() if registry.has_part(name, "replicas"))
    assert all(not check.variant for check in certification.list_checks(framework))
    asked = {
        "replicas=2": split_checks.list_split_checks(framework, 2),
        "microbatches=2": split_checks.list_split_checks(framework, 1),
    }
    for text, right in asked.items():
        only = [text, f"framework={framework}"]
        (chosen,) = certificate.choose_checks(only).values()
        assert {*chosen} == {*right}
        assert len({*right}) == len(right)
        assert certificate.find_whole(framework, chosen, only) == chosen
        left = {check.cell for check in certificate.find_whole(framework, chosen[1:], only)}
        assert left == {cell for cell, _ in certification.CELLS} - {"rnn", "lstm", "gru"}  # the first was one of theirs
        crossed = {(c.cell, c.activation, c.optimizer, c.clip) for c in right if c.clip_at == "after"}
        assert len({one for one in crossed if one[2] in {"sgd", "momentum", "rmsprop", "adam"}}) >= 12 * len(
            certification.CELLS
        )
        before = {(c.cell, c.activation, c.clip) for c in right if c.clip_at == "before"}
        assert before == {
            (*kind, clip) for kind in certification.CELLS for clip in ("norm", "value", "variable", "agc")
        }
    with pytest.raises(registry.UsageError, match="unknown replicas '3'; allowed: 1, 2"):
        certificate.choose_checks(["replicas=3"])


def test_every_demand_of_a_row_in_parts_is_a_check() -> None:
    framework = next(name for name in registry.list_compared() if registry.has_part(name, "replicas"))
    kinds: list[dict[str, Any]] = [
        {"replicas": 2},
        {"replicas": 4, "microbatches": 8, "clip_at": "before"},
        {"microbatches": 4, "clip_at": "before", "clip": "agc"},
        {"replicas": 2, "optimizer": "adamw", "regulariser": "l1"},
        {"replicas": 2, "clip": "autoclip", "dtype": "float64"},
    ]
    for kind in kinds:
        row = {"cell": "lstm", "activation": "tanh", "device": "cpu", "dtype": "float32", "optimizer": "adam"}
        row |= {"clip": "norm", "clip_at": "after", "replicas": 1, "microbatches": 1, "regulariser": "none"} | kind
        row["path"] = registry.choose_path(framework, "cpu", "lstm", str(row["clip"]))
        checks = split_checks.list_split_checks(framework, min(int(row["replicas"]), 2))
        for demand in list_split_demands(row):
            like = [one for one in checks if all(getattr(one, name) == value for name, value in demand.items())]
            assert like, demand
