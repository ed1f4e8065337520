"""Updates of every shape that people write in PyTorch: what is recorded is what the optimizers used, or is named."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.nn.utils import clip_grad_norm_  # noqa: E402 - after the skip

from farreach.pytorch import ClipWarning, Recorder  # noqa: E402
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


# A: an update is not one step of one optimizer


@pytest.mark.parametrize("order", ["clip, clip, step, step", "clip, step, clip, step", "one clip of both"])
def test_an_encoder_and_a_decoder_with_an_optimizer_each_are_one_update(
    tmp_path: Path, heard: list[warnings.WarningMessage], order: str
) -> None:
    parts = torch.nn.ModuleList([make_model(20), make_model(20)])
    optimizers = [torch.optim.SGD(part.parameters(), lr=1e-4) for part in parts]
    expected = []
    with Recorder(parts, tmp_path, "seq2seq") as recorder, recorder.watching():
        for _ in range(5):
            loss = sum(find_loss(part) for part in parts)
            loss.backward()
            before = measure(*parts)
            if order == "one clip of both":
                clip_grad_norm_(parts.parameters(), 1.0)
            elif order == "clip, clip, step, step":
                for part in parts:
                    clip_grad_norm_(part.parameters(), 1.0)
            for part, optimizer in zip(parts, optimizers, strict=True):
                if order == "clip, step, clip, step":
                    clip_grad_norm_(part.parameters(), 1.0)
                optimizer.step()
            expected.append([loss.item(), before, measure(*parts), 1.0])
            for optimizer in optimizers:
                optimizer.zero_grad()
            recorder.step(loss)
    curves, row = read_run(recorder)
    assert expected[0][1] > 100
    assert expected[0][2] == pytest.approx(1.0 if order == "one clip of both" else math.sqrt(2), rel=1e-4)
    for seen, wanted in zip(curves.to_numpy()[:, 1:5].tolist(), expected, strict=True):
        assert seen == pytest.approx(wanted, **CLOSE)
    assert (row["clip"], row["threshold"]) == ("norm" if order == "one clip of both" else "part", 1.0)
    assert row["clip_fraction"] == 1.0
    assert not list_texts(heard)


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam, torch.optim.LBFGS])
def test_a_closure_is_recorded_in_its_own_step(
    tmp_path: Path, heard: list[warnings.WarningMessage], make: Callable[..., Any]
) -> None:
    model = make_model()
    optimizer = make(model.parameters(), lr=0.01)
    before: list[float] = []

    def closure() -> Any:
        optimizer.zero_grad()
        loss = find_loss(model)
        loss.backward()
        before.append(measure(model))
        clip_grad_norm_(model.parameters(), 0.5)
        return loss

    expected = []
    with Recorder(model, tmp_path, "mine") as recorder, recorder.watching():
        for _ in range(4):
            loss = optimizer.step(closure)
            expected.append([loss.item(), before[-1], measure(model)])
            recorder.step(loss)
    curves, row = read_run(recorder)
    for seen, wanted in zip(curves.to_numpy()[:, 1:4].tolist(), expected, strict=True):
        assert seen == pytest.approx(wanted, **CLOSE)
    assert row["steps_done"] == 4
    assert not list_texts(heard)


@pytest.mark.parametrize("clips", [True, False])
def test_a_step_recorded_before_its_update_is_named_and_paired_with_it(
    tmp_path: Path, heard: list[warnings.WarningMessage], *, clips: bool
) -> None:
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    expected = []
    with Recorder(model, tmp_path, "mine") as recorder, recorder.watching():
        for _ in range(5):
            optimizer.zero_grad()
            loss = find_loss(model)
            loss.backward()
            before = measure(model)
            recorder.step(loss)
            if clips:
                clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            expected.append([loss.item(), before, measure(model)])
    curves, row = read_run(recorder)
    assert ["came before optimizer.step()" in text for text in list_texts(heard)] == [True]
    assert lines(heard) == {__file__}
    assert curves.to_numpy()[:, 1:4].tolist() == [pytest.approx(one, **CLOSE) for one in expected]
    assert "came before optimizer.step()" in row["warnings"]


def test_a_step_recorded_on_every_micro_batch_is_named_and_counts_updates(
    tmp_path: Path, heard: list[warnings.WarningMessage]
) -> None:
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    expected = []
    with Recorder(model, tmp_path, "mine") as recorder, recorder.watching():
        for batch in range(12):
            loss = find_loss(model)
            (loss / 4).backward()
            if batch % 4 == 3:
                before = measure(model)
                clip_grad_norm_(model.parameters(), 0.5)
                optimizer.step()
                expected.append([before, measure(model)])
                optimizer.zero_grad()
            recorder.step(loss)
    curves, row = read_run(recorder)
    assert any("once per optimizer.step()" in text for text in list_texts(heard))
    assert row["steps_done"] == 3
    assert row["clip_fraction"] == 1.0
    assert curves[["norm_before", "norm_after"]].to_numpy().tolist() == [
        pytest.approx(one, **CLOSE) for one in expected
    ]


def test_two_losses_with_an_optimizer_each_and_several_steps_of_one(
    tmp_path: Path, heard: list[warnings.WarningMessage]
) -> None:
    critic, maker = make_model(), make_model()
    both = [torch.optim.SGD(one.parameters(), lr=1e-3) for one in (critic, maker)]
    expected = []
    with Recorder([*critic.parameters(), *maker.parameters()], tmp_path, "gan") as recorder, recorder.watching():
        for _ in range(3):
            for turn in range(2):  # the critic steps twice for each step of the other
                both[0].zero_grad()
                find_loss(critic).backward()
                before = measure(critic)
                clip_grad_norm_(critic.parameters(), 0.1)
                both[0].step()
                if turn == 0:
                    expected.append([before, measure(critic)])
            both[1].zero_grad()
            used = measure(critic)
            loss = find_loss(maker) + 0.5 * find_loss(critic)  # which leaves gradients on the critic that none uses
            loss.backward()
            other = measure(maker)
            both[1].step()
            expected.append([math.hypot(before, other), math.hypot(used, other)])
            recorder.step(loss)
    curves, _ = read_run(recorder)
    assert curves[["norm_before", "norm_after"]].to_numpy().tolist() == [
        pytest.approx(one, **CLOSE) for one in expected
    ]
    assert curves["loss"].isna().tolist() == [True, False] * 3
    assert any("recorded without a loss" in text for text in list_texts(heard))


def test_optimizers_that_step_inside_the_backward_pass_are_one_update(
    tmp_path: Path, heard: list[warnings.WarningMessage]
) -> None:
    model = make_model()
    each = {p: torch.optim.SGD([p], lr=0.01) for p in model.parameters()}
    seen: dict[Any, float] = {}

    def update(parameter: Any) -> None:
        seen[parameter] = float(parameter.grad.double().norm())
        each[parameter].step()
        each[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(update)
    expected = []
    with Recorder(model, tmp_path, "mine") as recorder:
        for _ in range(4):
            loss = find_loss(model)
            loss.backward()
            expected.append(math.hypot(*seen.values()))
            recorder.step(loss)
    curves, _ = read_run(recorder)
    assert curves["norm_after"].tolist() == pytest.approx(expected, **CLOSE)
    assert not list_texts(heard)


def test_an_optimizer_that_calls_its_parents_step_is_one_update(tmp_path: Path) -> None:
    class Mine(torch.optim.Adam):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    model = make_model()
    torch.optim.Adam(model.parameters())
    optimizer = Mine(model.parameters())
    with Recorder(model, tmp_path, "mine") as recorder:
        for _ in range(3):
            optimizer.zero_grad()
            loss = find_loss(model)
            loss.backward()
            optimizer.step()
            recorder.step(loss)
    assert read_run(recorder)[1]["steps_done"] == 3


# B: a loss scale


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("unscale", [True, False])
def test_a_clip_of_scaled_gradients_is_named_and_told_in_true_units(
    tmp_path: Path, heard: list[warnings.WarningMessage], *, fused: bool, unscale: bool
) -> None:
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    expected = []
    with Recorder(model, tmp_path, "amp") as recorder, recorder.watching():
        for _ in range(4):
            optimizer.zero_grad()
            loss = find_loss(model)
            scaler.scale(loss).backward()
            before = measure(model) / 2**16
            if unscale:
                scaler.unscale_(optimizer)
            clip_grad_norm_(model.parameters(), 1.0)
            after = measure(model) / (1 if unscale else 2**16)
            scaler.step(optimizer)
            scaler.update()
            expected.append([loss.item(), before, after, 1.0, 0])
            recorder.step(loss)
    curves, row = read_run(recorder)
    assert expected[0][1] > 2
    for seen, wanted in zip(curves.to_numpy()[:, 1:].tolist(), expected, strict=True):
        assert seen == pytest.approx(wanted, rel=1e-4)
    assert ["unscale_" in text for text in list_texts(heard)] == [] if unscale else [True]
    assert ("unscale_" in (row["warnings"] or "")) == (not unscale)


@pytest.mark.parametrize("fused", [False, True])
def test_an_optimizer_that_divides_by_the_scale_itself_is_recorded_in_true_units(
    tmp_path: Path, heard: list[warnings.WarningMessage], *, fused: bool
) -> None:
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    expected = []
    with Recorder(model, tmp_path, "amp") as recorder:
        for _ in range(3):
            optimizer.zero_grad()
            loss = find_loss(model)
            scaler.scale(loss).backward()
            expected.append(measure(model) / 2**16)
            scaler.step(optimizer)
            scaler.update()
            recorder.step(loss)
    curves, _ = read_run(recorder)
    assert curves["norm_before"].tolist() == pytest.approx(expected, rel=1e-5)
    assert curves["norm_after"].tolist() == pytest.approx(expected, rel=1e-5)
    assert not list_texts(heard)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("clears", [False, True])
def test_steps_that_the_scaler_skips_are_skipped_and_the_run_is_fine(
    tmp_path: Path, heard: list[warnings.WarningMessage], *, fused: bool, clears: bool
) -> None:
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    with Recorder(model, tmp_path, "amp") as recorder, recorder.watching():
        for step in range(6):
            optimizer.zero_grad()
            loss = find_loss(model)
            scaler.scale(loss * (math.inf if step in {1, 2} else 1.0)).backward()
            scaler.unscale_(optimizer)
            clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            if clears:
                optimizer.zero_grad()
            recorder.step(loss)
    curves, row = read_run(recorder)
    assert curves["skipped"].tolist() == [0, 1, 1, 0, 0, 0]
    assert (row["status"], row["diverged_at"], row["steps_done"], row["steps_skipped"]) == ("finished", None, 6, 2)
    assert row["clip_fraction"] == 1.0
    assert math.isfinite(row["norm_before_max"])
    assert len(Store(tmp_path).curves(row["key"])) == 4
    assert not list_texts(heard)


def test_a_run_that_is_skipped_to_its_end_has_diverged(tmp_path: Path) -> None:
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu")
    with Recorder(model, tmp_path, "amp") as recorder:
        for step in range(40):
            optimizer.zero_grad()
            loss = find_loss(model, math.nan if step >= 5 else 1.0)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            recorder.step(loss)
    _, row = read_run(recorder)
    assert (row["status"], row["diverged_at"]) == ("diverged", 6)


# C: what would kill the run


def test_a_loss_that_is_no_number_is_refused_at_the_first_step(tmp_path: Path) -> None:
    model = make_model()
    recorder = Recorder(model, tmp_path, "mine")
    find_loss(model).backward()
    with pytest.raises(ValueError, match="must be one number, not a tensor of shape"):
        recorder.step(torch.ones(3))
    with pytest.raises(ValueError, match="must be one number, not NoneType"):
        recorder.step(None)  # type: ignore[arg-type]
    recorder.close()


def test_what_goes_wrong_later_ends_the_recording_and_never_the_loop(
    tmp_path: Path, heard: list[warnings.WarningMessage]
) -> None:
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    with Recorder(model, tmp_path, "mine") as recorder, recorder.watching():
        for step in range(9):
            optimizer.zero_grad()
            loss = find_loss(model)
            loss.backward()
            clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            recorder.step(torch.ones(3) if step == 5 else loss)
        assert measure(model) == pytest.approx(0.5, rel=1e-4)  # the clip goes on
    _, row = read_run(recorder)
    assert row["steps_done"] == 5
    assert ["recording ended after step 5" in text for text in list_texts(heard)].count(True) == 1
    assert "recording ended" in row["warnings"]


def test_a_full_disk_ends_the_recording_and_never_the_loop(
    tmp_path: Path, heard: list[warnings.WarningMessage], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    with Recorder(model, tmp_path, "mine") as recorder:
        for step in range(9):
            if step == 3:
                monkeypatch.setattr(recorder.curves, "add", lambda _: (_ for _ in ()).throw(OSError("no space left")))
            optimizer.zero_grad()
            loss = find_loss(model)
            loss.backward()
            optimizer.step()
            recorder.step(loss)
    assert read_run(recorder)[1]["steps_done"] == 2
    assert any("no space left" in text for text in list_texts(heard))


def test_a_wrapper_that_cannot_be_recorded_is_refused(tmp_path: Path) -> None:
    wrapper = type("FullyShardedDataParallel", (torch.nn.Linear,), {})
    with pytest.raises(ValueError, match="fully_shard"):
        Recorder(wrapper(2, 2), tmp_path, "mine")


def test_a_recorder_of_another_model_than_is_trained_says_so(
    tmp_path: Path, heard: list[warnings.WarningMessage]
) -> None:
    model, other = make_model(), make_model()
    optimizer = torch.optim.Adam(other.parameters())
    recorder = Recorder(model, tmp_path, "mine")
    loss = find_loss(other)
    loss.backward()
    optimizer.step()
    recorder.step(loss)
    assert recorder.close() is None
    assert ["none of the recorder's parameters" in text for text in list_texts(heard)] == [True]
