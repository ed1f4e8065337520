"""What reaches the optimizer where an update is made in parts: every set-up against what follows from its own order."""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.studies import update_semantics
from farreach.benchmarks.studies.update_semantics import UpdateError
from farreach.frameworks.own_updates import ACCUMULATION, COUNTS, REPLICAS, SCALE, OwnUpdate

FIRST, SECOND = np.array([6.0, 0, 2]), np.array([0.0, 2, 2])
"""The gradients of the two parts: kernel, kernel, bias."""

WHOLE = np.array([3.0, 1, 2])

Clip = Callable[[np.ndarray], np.ndarray]


def clip_norm(gradient: np.ndarray) -> np.ndarray:
    return gradient / max(1.0, float(np.sqrt((gradient**2).sum())))


def clip_variable(gradient: np.ndarray) -> np.ndarray:
    return np.concatenate([clip_norm(gradient[:2]), clip_norm(gradient[2:])])


def clip_value(gradient: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(gradient, -1.0), 1.0)


CLIPS: dict[str, Clip] = {"norm": clip_norm, "variable": clip_variable, "value": clip_value, "none": lambda one: one}


def clip_once(clip: Clip) -> np.ndarray:
    return clip(WHOLE)


def clip_parts(clip: Clip) -> np.ndarray:
    """Each part is clipped, then the mean is taken."""
    return (clip(FIRST) + clip(SECOND)) / 2


def clip_shares(clip: Clip) -> np.ndarray:
    """Each part has its share of the loss, is clipped, and the sum is taken."""
    return clip(FIRST / 2) + clip(SECOND / 2)


def clip_twice(clip: Clip) -> np.ndarray:
    """The second part is added to the first that is clipped, and the sum is clipped again."""
    return clip(clip(FIRST / 2) + SECOND / 2)


def clip_local(clip: Clip) -> np.ndarray:
    """The first process holds one weight of the kernel and the bias, the second the other weight of the kernel."""
    first = clip(np.array([WHOLE[0], WHOLE[2]]))
    return np.array([first[0], *clip(WHOLE[1:2]), first[1]])


def clip_scaled(clip: Clip) -> np.ndarray:
    return clip(WHOLE * 65_536) / 65_536


def add_parts(clip: Clip) -> np.ndarray:
    return clip(FIRST + SECOND)


def weigh_rows(_: Clip) -> np.ndarray:
    """The mean over the four rows that count, three of (3, 0) and one of (0, 1)."""
    return 2 * np.array([9 / 4, 1 / 4, 1])


def weigh_parts(_: Clip) -> np.ndarray:
    """The mean of the means of both parts."""
    return WHOLE


def weigh_all(_: Clip) -> np.ndarray:
    """Each part's sum over what counts, over all its rows: a third of it where one of three counts."""
    return (FIRST + SECOND / 3) / 2


WRONG: list[tuple[str, str, Callable[[Clip], np.ndarray]]] = [
    ("pytorch", "then `all_reduce`", clip_parts),
    ("pytorch", "own shards", clip_local),
    ("pytorch", "`clip_grad_norm_`, twice", clip_twice),
    ("pytorch", "on every microbatch", clip_twice),
    ("pytorch", "not divided", add_parts),
    ("pytorch", "GradScaler: `clip_grad_norm_`", clip_scaled),
    ("pytorch", "fused optimizer: `clip_grad_norm_`", clip_scaled),
    ("pytorch", "mean over its own counted", weigh_parts),
    ("tensorflow", "MirroredStrategy, `", clip_shares),
    ("tensorflow", "a loss of one number", add_parts),
    ("tensorflow", "`optimizer.apply`, `", clip_shares),
    ("tensorflow", "of the tape's gradient", clip_scaled),
    ("tensorflow", "`sample_weight` 0", weigh_all),
    ("jax", "then `pmean` after", clip_parts),
    ("jax", "no mean, no clip", add_parts),
    ("jax", "`optax.chain(optax.clip", clip_parts),
    ("jax", "then divided", clip_scaled),
    ("jax", "mean over its own counted", weigh_parts),
]
"""Set-ups in which one process's gradient does not reach the optimizer, by words of their names, and what does."""

CASES = [
    pytest.param(framework, number, id=f"{framework}-{number}")
    for framework in registry.list_installed()
    for number in range(len(update_semantics.list_updates(framework)))
]


def find_right(framework: str, update: OwnUpdate) -> np.ndarray:
    """Return what must reach the optimizer, of the order in which the set-up clips and adds."""
    orders = [order for name, words, order in WRONG if name == framework and words in update.name]
    assert len(orders) <= 1, update.name
    usual = weigh_rows if update.topic == COUNTS else clip_once
    return (orders[0] if orders else usual)(CLIPS[update.clip])


@pytest.mark.slow
@pytest.mark.sampled(every=9)
@pytest.mark.parametrize(("framework", "number"), CASES)
def test_what_reaches_the_optimizer_follows_from_the_order_of_clips_and_sums(
    framework: str, number: int, tmp_path: Path
) -> None:
    update = update_semantics.list_updates(framework)[number]
    if any(not registry.find_version(need) for need in update.needs):
        pytest.skip(f"{update.needs} not installed")
    reached = update_semantics.run_update(framework, number, update, tmp_path / "update.log", patience=300)
    np.testing.assert_allclose(reached, find_right(framework, update), rtol=2e-6)


def test_every_order_stands_for_a_set_up() -> None:
    for framework, words, _ in WRONG:
        if framework in registry.list_installed():
            assert any(words in update.name for update in update_semantics.list_updates(framework)), words


@pytest.mark.parametrize("framework", registry.list_installed())
def test_each_framework_has_a_right_way_for_replicas_accumulation_scale_and_counts(framework: str) -> None:
    updates = update_semantics.list_updates(framework)
    for topic in update_semantics.TOPICS:
        ours = [update for update in updates if update.topic == topic]
        right = [np.allclose(find_right(framework, one), update_semantics.compute_expected(one)) for one in ours]
        assert any(right), topic
        assert not all(right) or topic in {ACCUMULATION, SCALE}, topic


def test_one_process_gets_the_reference_s_clip_of_the_whole_batch() -> None:
    for kind, clip in CLIPS.items():
        update = OwnUpdate(REPLICAS, "", kind, lambda _: np.zeros(3))
        np.testing.assert_allclose(update_semantics.compute_expected(update), clip(WHOLE), rtol=1e-12)
    update = OwnUpdate(COUNTS, "", "none", lambda _: np.zeros(3))
    np.testing.assert_allclose(update_semantics.compute_expected(update), [4.5, 0.5, 2])


@pytest.mark.parametrize(
    ("reached", "words"),
    [
        ([3.0, 1, 2], "the same"),
        ([6.0, 2, 4], "2 times as long"),
        ([1.0, -3, 0], "0.845 times as long, 90° off"),
        ([-3.0, -1, -2], "1 times as long, 180° off"),
    ],
)
def test_a_difference_is_told_by_length_and_direction(reached: list[float], words: str) -> None:
    assert update_semantics.describe_update(WHOLE, np.array(reached)) == words


UPDATE = OwnUpdate(REPLICAS, "a set-up of the test", "norm", lambda _: np.zeros(3), processes=2)


def plant_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str) -> None:
    """Have each process of an update run this code; `rank` and `addresses` are its own."""
    script = tmp_path / "process.py"
    script.write_text(
        f"import sys, os, time, json, pathlib\nrank, addresses = int(sys.argv[5]), sys.argv[6:]\n{code}\n"
    )
    interpreter = tmp_path / "python"
    interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
    interpreter.chmod(0o755)
    monkeypatch.setattr(update_semantics.sys, "executable", str(interpreter))


def find_living(pids: Path) -> list[int]:
    """Return which of the processes that wrote their numbers still run."""
    return [int(path.name) for path in pids.iterdir() if Path(f"/proc/{path.name}").exists()]


NOTE = "pathlib.Path({folder!r}, str(os.getpid())).touch()\n"


def test_a_replica_that_dies_is_one_line_and_none_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    code = NOTE.format(folder=str(pids)) + "sys.exit('boom') if rank else time.sleep(600)"
    plant_process(monkeypatch, tmp_path, code)
    start = time.monotonic()
    with pytest.raises(UpdateError, match=r"^process 1 ended with 1; see update\.log$"):
        update_semantics.run_update("pytorch", 0, UPDATE, tmp_path / "update.log")
    assert time.monotonic() - start < 30
    assert len([*pids.iterdir()]) >= 1
    assert not find_living(pids)
    assert "boom" in (tmp_path / "update.log").read_text("utf-8")


def test_an_update_that_takes_too_long_is_given_up_and_none_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    plant_process(monkeypatch, tmp_path, NOTE.format(folder=str(pids)) + "time.sleep(600)")
    with pytest.raises(UpdateError, match=r"^no answer within 2 s"):
        update_semantics.run_update("pytorch", 0, UPDATE, tmp_path / "update.log", patience=2)
    assert not find_living(pids)


def test_a_port_that_is_taken_is_left_for_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        free = update_semantics.find_addresses
        answers = iter([[address, address]])
        monkeypatch.setattr(update_semantics, "find_addresses", lambda count: next(answers, None) or free(count))
        code = (
            "import socket\n"
            "socket.create_server(('127.0.0.1', int(addresses[rank].rpartition(':')[2])))\n"
            "print(json.dumps([1, 2, 3]))"
        )
        plant_process(monkeypatch, tmp_path, code)
        reached = update_semantics.run_update("pytorch", 0, UPDATE, tmp_path / "update.log")
    assert reached.tolist() == [1, 2, 3]


def test_processes_that_hold_other_weights_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plant_process(monkeypatch, tmp_path, "print(json.dumps([1, 2, rank]))")
    with pytest.raises(UpdateError, match=r"other weights: \(1, 2, 0\), \(1, 2, 1\)"):
        update_semantics.run_update("pytorch", 0, UPDATE, tmp_path / "update.log")


def test_an_answer_that_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plant_process(monkeypatch, tmp_path, "print('hello')")
    with pytest.raises(UpdateError, match="no list of numbers"):
        update_semantics.run_update("pytorch", 0, UPDATE, tmp_path / "update.log")


def test_a_package_that_is_missing_and_a_failure_stand_in_the_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    updates = (
        dataclasses.replace(UPDATE, needs=("no_such_package",)),
        UPDATE,
        dataclasses.replace(UPDATE, clip="none"),
    )
    monkeypatch.setattr(update_semantics, "list_updates", lambda _: updates)
    answers = iter([UpdateError("process 0 ended with 1"), WHOLE])

    def run_update(*_: object) -> np.ndarray:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(update_semantics, "run_update", run_update)
    (table,) = update_semantics.make_tables(update_semantics.measure_updates(["pytorch"], tmp_path)).values()
    assert table["difference"].tolist() == ["no_such_package not installed", "process 0 ended with 1", "the same"]
    assert table["reached the optimizer"].tolist() == ["", "", "(3, 1, 2)"]


def test_the_addresses_are_of_this_machine_alone_and_free() -> None:
    addresses = update_semantics.find_addresses(3)
    assert len({*addresses}) == 3
    for address in addresses:
        host, _, port = address.rpartition(":")
        assert host == "127.0.0.1"
        socket.create_server((host, int(port))).close()


def test_flags_of_a_set_up_are_added_to_those_that_are_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(os.environ, "XLA_FLAGS", "--xla_a=1")
    plant_process(monkeypatch, tmp_path, "print(json.dumps(os.environ['XLA_FLAGS'].split()))")
    update = dataclasses.replace(UPDATE, processes=1, environment=(("XLA_FLAGS", "--xla_b=2"),))
    reached = update_semantics.run_update("pytorch", 0, update, tmp_path / "update.log")
    assert reached.tolist() == ["--xla_a=1", "--xla_b=2"]
