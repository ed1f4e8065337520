"""Clips, labels and endings of loops in PyTorch: what is recorded is what the optimizers used, or it is named."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.nn.utils import clip_grad_norm_, clip_grad_value_  # noqa: E402 - after the skip

from farreach.benchmarks.matrix import registry  # noqa: E402
from farreach.pytorch import ClipWarning, NoGradientWarning, Recorder  # noqa: E402
from farreach.results.analysis.diagnosis import diagnose_row  # noqa: E402
from farreach.results.storage.result_set import Store  # noqa: E402
from tests.support.own_loops import CLOSE, find_loss, make_model, measure  # noqa: E402
from tests.support.own_runs import list_texts, read_run  # noqa: E402


@pytest.fixture(autouse=True)
def seed(heard: list[warnings.WarningMessage]) -> None:
    """Draw the same in each test, which hears every warning."""
    del heard
    torch.manual_seed(0)


def lines(heard: list[warnings.WarningMessage]) -> set[str]:
    return {one.filename for one in heard if issubclass(one.category, ClipWarning)}


# D: no evidence is no health


@pytest.mark.parametrize(
    ("rate", "limit", "label"),
    [(0.0, None, "stuck on the floor"), (0.01, 1e-6, "over-clipped"), (0.01, None, "not looked at")],
)
def test_no_run_is_healthy_by_its_norms_alone(tmp_path: Path, rate: float, limit: float | None, label: str) -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    with Recorder(model, tmp_path, "mine") as recorder, recorder.watching():
        for _ in range(20):
            optimizer.zero_grad()
            loss = find_loss(model)
            loss.backward()
            if limit is not None:
                clip_grad_norm_(model.parameters(), limit)
            optimizer.step()
            recorder.step(loss)
    _, row = read_run(recorder)
    assert (row["learning_rate"], row["optimizer"]) == (rate, "sgd")
    assert (row["moved"] == 0) == (rate == 0)
    assert diagnose_row(row).label == label


# E: the right label


@pytest.mark.parametrize(("order", "kind"), [(math.inf, "inf-norm"), (1.0, "1-norm"), (2.0, "norm"), (2, "norm")])
def test_a_clip_by_another_norm_has_another_name(tmp_path: Path, order: float, kind: str) -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with Recorder(model, tmp_path, "mine") as recorder, recorder.watching():
        loss = find_loss(model)
        loss.backward()
        before = measure(model)
        clip_grad_norm_(model.parameters(), 0.5, norm_type=order)
        after = measure(model)
        optimizer.step()
        recorder.step(loss)
    curves, row = read_run(recorder)
    assert (row["clip"], row["threshold"], row["clip_fraction"]) == (kind, 0.5, 1.0)
    assert curves[["norm_before", "norm_after"]].to_numpy().tolist() == [pytest.approx([before, after], **CLOSE)]


def test_a_clip_of_a_part_of_the_parameters_is_one_of_a_part(tmp_path: Path) -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with Recorder(model, tmp_path, "mine") as recorder, recorder.watching():
        loss = find_loss(model)
        loss.backward()
        before = measure(model)
        clip_grad_norm_(model[0].parameters(), 0.5)
        after = measure(model)
        optimizer.step()
        recorder.step(loss)
    curves, row = read_run(recorder)
    assert (row["clip"], row["threshold"]) == ("part", 0.5)
    assert curves["clipped"].tolist() == pytest.approx([16 / 20])
    assert curves[["norm_before", "norm_after"]].to_numpy().tolist() == [pytest.approx([before, after], **CLOSE)]


def test_a_clip_inside_a_library_is_named_by_the_users_line(
    tmp_path: Path, heard: list[warnings.WarningMessage]
) -> None:
    place = tmp_path / "site-packages" / "trainer.py"
    library = types.ModuleType("trainer")
    source = "def clip(parameters, limit):\n    return clip_grad_norm_(parameters, limit)\n"
    library.__dict__["clip_grad_norm_"] = clip_grad_norm_
    exec(compile(source, str(place), "exec"), library.__dict__)  # noqa: S102
    model = make_model()
    with Recorder(model, tmp_path, "mine") as recorder, recorder.watching():
        library.clip(model.parameters(), 0.5)
        line = sys._getframe().f_lineno - 1  # noqa: SLF001
    assert [(one.filename, one.lineno) for one in heard] == [(__file__, line)]
    recorder.close()


@pytest.mark.parametrize("limit", [0.0, -1.0])
def test_a_threshold_that_leaves_no_gradient_is_named(
    tmp_path: Path, heard: list[warnings.WarningMessage], limit: float
) -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with Recorder(model, tmp_path, "mine") as recorder, recorder.watching():
        loss = find_loss(model)
        loss.backward()
        clip_grad_norm_(model.parameters(), limit)
        optimizer.step()
        recorder.step(loss)
    assert read_run(recorder)[1]["clip"] == "norm"
    assert any("not above 0" in text for text in list_texts(heard))


# F: by whatever name


def test_a_clip_is_seen_by_whatever_name_it_is_called(tmp_path: Path, heard: list[warnings.WarningMessage]) -> None:
    held = clip_grad_norm_

    def by_default(parameters: Any, clip: Any = clip_grad_norm_) -> None:
        clip(parameters, 0.5)

    spawned: dict[str, Any] = {}  # a spawned process runs its main module in a namespace that no module list has
    exec("from torch.nn.utils import clip_grad_norm_\ndef clip(p):\n    clip_grad_norm_(p, 0.5)", spawned)  # noqa: S102
    ways: list[Callable[[Any], Any]] = [
        lambda p: held(p, 0.5),
        by_default,
        spawned["clip"],
        lambda p: torch.nn.utils.clip_grad.clip_grad_norm_(p, max_norm=0.5),
        lambda p: torch.nn.utils.clip_grad_norm_(parameters=p, max_norm=0.5),
        lambda p: torch.nn.utils.clip_grads_with_norm_([*p], 0.5, torch.nn.utils.get_total_norm([q.grad for q in p])),
        lambda p: clip_grad_norm_((q for q in p), 0.5),
    ]
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with Recorder(model, tmp_path, "mine") as recorder, recorder.watching():
        inside: dict[str, Any] = {}
        exec("from torch.nn.utils import clip_grad_norm_ as clip", inside)  # noqa: S102
        for way in [*ways, lambda p: inside["clip"](p, 0.5)]:
            optimizer.zero_grad()
            loss = find_loss(model)
            loss.backward()
            way([*model.parameters()])
            optimizer.step()
            recorder.step(loss)
    curves, row = read_run(recorder)
    assert curves["norm_after"].tolist() == pytest.approx([0.5] * 8, rel=1e-4)
    assert (curves["norm_before"] > 1).all()
    assert (row["clip"], row["clip_fraction"]) == ("norm", 1.0)
    assert not list_texts(heard)
    find_loss(model).backward()
    inside["clip"](model.parameters(), 0.25)
    assert measure(model) == pytest.approx(0.25, rel=1e-4)


# G: a run that breaks off

BROKEN = """\
import os, signal, sys, torch
from farreach.pytorch import Recorder
model = torch.nn.LSTM(2, 3)
optimizer = torch.optim.Adam(model.parameters())
recorder = Recorder(model, sys.argv[1], "broken")
for step in range(1, 40):
    loss = model(torch.ones(4, 2, 2))[0].square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    recorder.step(loss)
    if step == 23:
        {end}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "code", "steps"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, 16),
        ("raise KeyboardInterrupt", 1, 23),
        ("1 / 0", 1, 23),
        ("sys.exit(3)", 3, 23),
    ],
)
def test_a_run_that_breaks_off_can_be_reported(tmp_path: Path, end: str, code: int, steps: int) -> None:
    command = [sys.executable, "-c", BROKEN.format(end=end), str(tmp_path)]
    done = subprocess.run(command, cwd=registry.ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == code, done.stderr
    row = Store(tmp_path).rows().iloc[0]
    assert row["steps_done"] == steps
    assert len(Store(tmp_path).curves(row["key"])) == steps
    assert ("has not ended, or was killed" in (row["warnings"] or "")) == (steps == 16)


def test_updates_without_a_step_are_kept_and_a_hint_says_what_is_missing(
    tmp_path: Path, heard: list[warnings.WarningMessage]
) -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    expected = []
    with Recorder(model, tmp_path, "mine") as recorder:
        for _ in range(5):
            optimizer.zero_grad()
            find_loss(model).backward()
            expected.append(measure(model))
            optimizer.step()
    curves, row = read_run(recorder)
    assert curves["norm_after"].tolist() == pytest.approx(expected, **CLOSE)
    assert curves["loss"].isna().all()
    assert (row["status"], row["score"]) == ("finished", None)
    assert ["was never called" in text for text in list_texts(heard)] == [True]


# Further traps


def test_a_clip_on_every_micro_batch_is_named(tmp_path: Path, heard: list[warnings.WarningMessage]) -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with Recorder(model, tmp_path, "mine") as recorder, recorder.watching():
        for batch in range(8):
            loss = find_loss(model)
            loss.backward()
            before = measure(model)
            clip_grad_norm_(model.parameters(), 0.5)
            line = sys._getframe().f_lineno - 1  # noqa: SLF001
            if batch % 4 == 3:
                optimizer.step()
                recorder.step(loss)
                optimizer.zero_grad()
    curves, _ = read_run(recorder)
    assert [(one.lineno, "clipped again" in str(one.message)) for one in heard] == [(line, True)]
    assert curves["norm_before"].tolist()[-1] == pytest.approx(before, **CLOSE)


@pytest.mark.parametrize("clips_all", [True, False])
@pytest.mark.parametrize("to_none", [True, False])
def test_parameters_that_are_frozen_and_thawed_are_no_other_clip(
    tmp_path: Path, heard: list[warnings.WarningMessage], *, clips_all: bool, to_none: bool
) -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    expected = []
    with Recorder(model, tmp_path, "mine") as recorder, recorder.watching():
        for frozen in (False, True, True, False):
            model[0].requires_grad_(not frozen)
            optimizer.zero_grad(set_to_none=to_none)
            loss = find_loss(model)
            loss.backward()
            trained = [p for p in model.parameters() if p.requires_grad or clips_all]
            before = measure(model)
            clip_grad_norm_(trained, 0.5)
            expected.append([before, measure(model)])
            optimizer.step()
            recorder.step(loss)
    curves, row = read_run(recorder)
    assert curves[["norm_before", "norm_after"]].to_numpy().tolist() == [
        pytest.approx(one, **CLOSE) for one in expected
    ]
    assert (row["clip"], row["threshold"]) == ("norm", 0.5)
    assert not list_texts(heard)


def test_an_update_without_a_gradient_is_named(tmp_path: Path, heard: list[warnings.WarningMessage]) -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with Recorder(model, tmp_path, "mine") as recorder:
        for clears in (False, True, False):
            optimizer.zero_grad()
            loss = find_loss(model)
            loss.backward()
            if clears:
                optimizer.zero_grad()
            optimizer.step()
            recorder.step(loss)
    assert read_run(recorder)[1]["steps_done"] == 2
    assert ["found no gradient" in text for text in list_texts(heard)] == [True]


def clamp_data(model: Any) -> None:
    for parameter in model.parameters():
        parameter.grad.data.clamp_(-0.1, 0.1)


def scale_all(model: Any) -> None:
    norm = measure(model)
    for parameter in model.parameters():
        parameter.grad *= min(1.0, 0.5 / norm)


def replace(model: Any) -> None:
    for parameter in model.parameters():
        parameter.grad.copy_(parameter.grad.clamp(-0.1, 0.1))


@pytest.mark.parametrize(
    "clip", [clamp_data, scale_all, replace, lambda model: clip_grad_norm_(model.parameters(), 0.5)]
)
def test_a_clip_that_is_not_seen_is_told_by_what_it_did(
    tmp_path: Path, heard: list[warnings.WarningMessage], clip: Callable[[Any], None]
) -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    expected = []
    with Recorder(model, tmp_path, "mine") as recorder:
        for _ in range(3):
            optimizer.zero_grad()
            loss = find_loss(model)
            loss.backward()
            before = measure(model)
            clip(model)
            expected.append([before, measure(model)])
            optimizer.step()
            recorder.step(loss)
    curves, row = read_run(recorder)
    assert curves[["norm_before", "norm_after"]].to_numpy().tolist() == [
        pytest.approx(one, **CLOSE) for one in expected
    ]
    assert ["does not see changed the gradients" in text for text in list_texts(heard)] == [True]
    assert lines(heard) == {__file__}
    assert "does not see" in row["warnings"]


def test_a_hook_on_a_gradient_is_named(tmp_path: Path, heard: list[warnings.WarningMessage]) -> None:
    model = make_model()
    for parameter in model.parameters():
        parameter.register_hook(lambda grad: grad.clamp(-0.1, 0.1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with Recorder(model, tmp_path, "mine") as recorder:
        loss = find_loss(model)
        loss.backward()
        used = measure(model)
        optimizer.step()
        recorder.step(loss)
    curves, _ = read_run(recorder)
    assert curves["norm_after"].tolist() == pytest.approx([used], **CLOSE)
    assert ["have a gradient hook" in text for text in list_texts(heard)] == [True]


def test_a_step_left_out_by_the_user_is_no_trap(tmp_path: Path, heard: list[warnings.WarningMessage]) -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with Recorder(model, tmp_path, "mine") as recorder, recorder.watching():
        for step in range(6):
            optimizer.zero_grad()
            loss = find_loss(model)
            loss.backward()
            before = measure(model)
            clip_grad_norm_(model.parameters(), 0.5)
            if step % 2:
                continue
            optimizer.step()
            recorder.step(loss)
            last = before
    curves, row = read_run(recorder)
    assert row["steps_done"] == 3
    assert curves["norm_before"].tolist()[-1] == pytest.approx(last, **CLOSE)
    assert not list_texts(heard)


def test_gradients_that_no_optimizer_uses_are_named_where_the_clip_counts_them(
    tmp_path: Path, heard: list[warnings.WarningMessage]
) -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model[2].parameters(), lr=0.01)
    with Recorder(model, tmp_path, "mine") as recorder, recorder.watching():
        for _ in range(3):
            optimizer.zero_grad()  # which leaves those of the first layer, and they add up
            loss = find_loss(model)
            loss.backward()
            clip_grad_norm_(model.parameters(), 0.5)
            used = measure(model[2])
            optimizer.step()
            recorder.step(loss)
    curves, _ = read_run(recorder)
    assert curves["norm_after"].tolist()[-1] == pytest.approx(used, **CLOSE)
    assert any("no optimizer used" in text for text in list_texts(heard))


def test_clips_by_value_and_norm_in_one_update_are_told_whole(
    tmp_path: Path, heard: list[warnings.WarningMessage]
) -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with Recorder(model, tmp_path, "mine") as recorder, recorder.watching():
        loss = find_loss(model)
        loss.backward()
        before = measure(model)
        clip_grad_value_(model.parameters(), 1.0)
        clip_grad_norm_(model.parameters(), 0.5)
        after = measure(model)
        optimizer.step()
        recorder.step(loss)
    curves, _ = read_run(recorder)
    assert curves[["norm_before", "norm_after"]].to_numpy().tolist() == [pytest.approx([before, after], **CLOSE)]
    assert any("several clips" in text for text in list_texts(heard))


def test_half_precision_and_sparse_gradients_are_measured(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(9, 3, sparse=True), torch.nn.Linear(3, 1))
    model[1].to(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with Recorder(model, tmp_path, "mine") as recorder:
        loss = model[1](model[0](torch.tensor([1, 2, 2])).bfloat16()).square().mean()
        loss.backward()
        dense = [p.grad.to_dense().double() for p in model.parameters()]
        optimizer.step()
        recorder.step(loss)
    norm = math.sqrt(sum(float((grad**2).sum()) for grad in dense))
    assert read_run(recorder)[0]["norm_after"].tolist() == pytest.approx([norm], rel=1e-5)


def test_two_recorders_see_each_its_own(tmp_path: Path, heard: list[warnings.WarningMessage]) -> None:
    models = [make_model(), make_model()]
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.01) for model in models]
    first, second = (Recorder(model, tmp_path / str(at), "mine") for at, model in enumerate(models))
    with first.watching(), second.watching():
        for _ in range(2):
            for model, optimizer, recorder, limit in zip(models, optimizers, (first, second), (0.5, 0.25), strict=True):
                optimizer.zero_grad()
                loss = find_loss(model)
                loss.backward()
                clip_grad_norm_(model.parameters(), limit)
                optimizer.step()
                recorder.step(loss)
    assert [read_run(one)[1]["threshold"] for one in (first, second)] == [0.5, 0.25]
    assert not list_texts(heard)
    assert issubclass(NoGradientWarning, ClipWarning)
