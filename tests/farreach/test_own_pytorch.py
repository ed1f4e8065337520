"""A PyTorch loop of one's own: what is recorded is what happened, and a clip at the wrong time is named."""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

torch = pytest.importorskip("torch")

from torch.nn.utils import clip_grad_norm_  # noqa: E402 - after the skip

from farreach.pytorch import ClipWarning, NoGradientWarning, Recorder  # noqa: E402
from farreach.results.storage.result_set import Store  # noqa: E402
from farreach.results.storage.rows import REQUIRED  # noqa: E402

EXACT = {"rel": 1e-12, "abs": 0}


@pytest.fixture(autouse=True)
def doubles() -> Iterator[None]:
    """Compute in float64, from fixed seeds."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Loop:
    """A small model and its optimizer; `backward` makes the next batch's gradients."""

    def __init__(self, make: Callable[..., Any] = torch.optim.Adam) -> None:
        self.model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
        self.optimizer = make(self.model.parameters(), lr=0.01)

    def backward(self, scale: float = 1.0) -> Any:
        loss = scale * (self.model(torch.rand(8, 3)) - 5).square().mean()
        loss.backward()
        return loss

    def norm(self) -> float:
        """Return the norm of all gradients, by hand."""
        return math.sqrt(sum(float((p.grad**2).sum()) for p in self.model.parameters() if p.grad is not None))


def written(recorder: Recorder) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Close a recorder; return its curves and its row as the store reads them."""
    path = recorder.close()
    assert path is not None
    store = Store(path.parent.parent)
    return store.curves(path.stem), json.loads(path.read_text())


def here() -> int:
    """Return the line of the caller."""
    return sys._getframe(1).f_lineno  # noqa: SLF001


def clip_norm(recorder: Recorder, loop: Loop, limit: float) -> None:
    del loop
    recorder.clip_norm(limit)


def clip_value(recorder: Recorder, loop: Loop, limit: float) -> None:
    del loop
    recorder.clip_value(limit)


def clip_watched(recorder: Recorder, loop: Loop, limit: float) -> None:
    with recorder.watching():
        torch.nn.utils.clip_grad_norm_(loop.model.parameters(), max_norm=limit)


def clip_by_name(recorder: Recorder, loop: Loop, limit: float) -> None:
    with recorder.watching():
        clip_grad_norm_(loop.model.parameters(), limit)


def no_clip(*_: object) -> None:
    """Do not clip."""


# What is recorded


@pytest.mark.parametrize("clip", [clip_norm, clip_value, clip_watched, clip_by_name, no_clip])
@pytest.mark.parametrize("limit", [0.05, 4.0])
def test_the_norms_are_those_computed_by_hand(tmp_path: Path, clip: Callable[..., None], limit: float) -> None:
    loop = Loop()
    recorder = Recorder(loop.model, tmp_path, "mine", every=4)
    expected = []
    for at in range(10):
        loop.optimizer.zero_grad()
        loss = loop.backward(10.0**-at)
        before, elements = loop.norm(), torch.cat([p.grad.flatten() for p in loop.model.parameters()])
        clip(recorder, loop, limit)
        shares = {clip_value: float((elements.abs() > limit).double().mean()), no_clip: 0.0}
        expected.append([at + 1, float(loss.detach()), before, loop.norm(), shares.get(clip, float(before > limit))])
        loop.optimizer.step()
        recorder.step(loss)
    curves, row = written(recorder)
    assert list(curves) == ["step", "loss", "norm_before", "norm_after", "clipped"]
    for seen, wanted in zip(curves.to_numpy().tolist(), expected, strict=True):
        assert seen == pytest.approx(wanted, **EXACT)
    kind = {clip_value: "value", no_clip: "none"}.get(clip, "norm")
    assert (row["clip"], row["threshold"]) == (kind, None if kind == "none" else limit)
    assert row["clip_fraction"] == (curves["clipped"] > 0).mean()
    assert row["norm_before_median"] == curves["norm_before"].median()
    if kind == "norm":
        assert (curves["norm_after"] <= limit).all()
        assert 0 < row["clip_fraction"] < 1


def test_recording_does_not_change_the_training(tmp_path: Path) -> None:
    ends = []
    for record in (False, True):
        torch.manual_seed(3)
        loop = Loop()
        recorder = Recorder(loop.model, tmp_path, "mine") if record else None
        for _ in range(5):
            loop.optimizer.zero_grad()
            loss = loop.backward()
            if recorder:
                recorder.clip_norm(0.1)
            else:
                clip_grad_norm_(loop.model.parameters(), 0.1)
            loop.optimizer.step()
            if recorder:
                recorder.step(loss)
        ends.append(torch.cat([p.detach().flatten() for p in loop.model.parameters()]))
    assert torch.equal(*ends)


def test_no_step_waits_for_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[str] = []
    for name in ("item", "tolist", "cpu", "numpy", "__float__", "__bool__", "__int__"):
        plain = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda *a, name=name, plain=plain, **k: (waits.append(name), plain(*a, **k))[1]
        )
    loop = Loop(torch.optim.SGD)
    recorder = Recorder(loop.model, tmp_path, "mine", every=20)
    for step in range(1, 21):
        loop.optimizer.zero_grad()
        loss = loop.backward()
        recorder.clip_norm(0.1)
        loop.optimizer.step()
        recorder.step(loss)
        assert bool(waits) == (step in {1, 2, 4, 8, 16, 20}), (step, waits)
        waits.clear()
    recorder.close()


def test_a_loop_that_clears_its_gradients_after_the_update_is_recorded_too(tmp_path: Path) -> None:
    loop = Loop()
    recorder = Recorder(loop.model, tmp_path, "mine")
    loss = loop.backward()
    norm = loop.norm()
    loop.optimizer.step()
    loop.optimizer.zero_grad()
    recorder.step(loss)
    curves, _ = written(recorder)
    assert curves["norm_after"].tolist() == pytest.approx([norm], **EXACT)


def test_clips_of_single_parameters_are_a_clip_of_another_kind(tmp_path: Path) -> None:
    loop = Loop()
    with Recorder(loop.model, tmp_path, "mine") as recorder, recorder.watching():
        loss = loop.backward()
        before = loop.norm()
        for parameter in loop.model.parameters():
            clip_grad_norm_(parameter, 0.5)
        after = loop.norm()
        loop.optimizer.step()
        recorder.step(loss)
    curves, row = written(recorder)
    assert curves[["norm_before", "norm_after"]].to_numpy().tolist()[0] == pytest.approx([before, after], **EXACT)
    assert after > 0.5
    assert (row["clip"], row["threshold"]) == ("variable", 0.5)


def test_the_clip_of_another_model_passes_through_and_the_functions_are_as_before(tmp_path: Path) -> None:
    mine, other = Loop(), Loop()
    plain = clip_grad_norm_.__code__
    with Recorder(mine.model, tmp_path, "mine") as recorder:
        with recorder.watching():
            assert clip_grad_norm_.__code__ is not plain
            loss = mine.backward()
            other.backward()
            clip_grad_norm_(other.model.parameters(), 0.1)
            mine.optimizer.step()
            recorder.step(loss)
        assert clip_grad_norm_.__code__ is plain
    assert other.norm() == pytest.approx(0.1, rel=1e-4)
    assert written(recorder)[1]["clip"] == "none"


def test_a_diverged_run_is_recorded_with_its_step(tmp_path: Path) -> None:
    loop = Loop(torch.optim.SGD)
    recorder = Recorder(loop.model, tmp_path, "mine", every=2)
    for scale in (1.0, 1.0, math.inf, 1.0):
        loop.optimizer.zero_grad()
        loss = loop.backward(scale)
        recorder.clip_norm(0.1)
        loop.optimizer.step()
        recorder.step(loss)
    curves, row = written(recorder)
    assert (row["status"], row["diverged_at"], row["steps_done"], row["score"]) == ("diverged", 3, 4, None)
    assert row["clip_fraction"] == 1.0
    assert row["norm_before_max"] == curves["norm_before"][:2].max()
    assert not math.isfinite(curves["norm_before"][2])


def test_an_infinite_threshold_measures_and_is_no_clip(tmp_path: Path) -> None:
    loop = Loop()
    recorder = Recorder(loop.model, tmp_path, "mine")
    loss = loop.backward()
    recorder.clip_norm(math.inf)
    loop.optimizer.step()
    recorder.step(loss)
    assert written(recorder)[1]["clip"] == "none"


# What is on the disk


def test_a_row_has_every_column_that_a_result_folder_asks_for(tmp_path: Path) -> None:
    model = torch.nn.LSTM(2, 3)
    recorder = Recorder(model, tmp_path, "mine", optimizer="adam", batch=8)
    loss = model(torch.rand(4, 8, 2))[0].square().mean()
    loss.backward()
    recorder.step(loss)
    _, row = written(recorder)
    assert set(row) >= REQUIRED
    assert (row["cell"], row["optimizer"], row["batch"], row["floor"]) == ("lstm", "adam", 8, None)


def test_what_was_flushed_survives_a_crash_and_its_row_says_so(tmp_path: Path) -> None:
    loop = Loop()
    recorder = Recorder(loop.model, tmp_path, "mine", every=2)
    for _ in range(3):
        recorder.step(loop.backward())
    assert len(Store(tmp_path).curves(recorder.curves.key)) == 2
    (row,) = Store(tmp_path).rows().to_dict("records")
    assert (row["key"], row["steps_done"]) == (recorder.curves.key, 2)
    assert "has not ended, or was killed" in row["warnings"]
    recorder.close()
    (row,) = Store(tmp_path).rows().to_dict("records")
    assert (row["steps_done"], row["warnings"]) == (3, None)
    assert len(Store(tmp_path).curves(recorder.curves.key)) == 3


def test_an_interrupted_loop_keeps_what_it_did(tmp_path: Path) -> None:
    loop = Loop()

    def interrupted() -> None:
        with Recorder(loop.model, tmp_path, "mine") as recorder:
            recorder.step(loop.backward())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert Store(tmp_path).rows()["steps_done"].tolist() == [1]


@pytest.mark.parametrize(
    ("name", "settings", "error"),
    [(" ", {}, ValueError), ("a", {"task": "a/b"}, ValueError), ("a", {"speed": 1}, TypeError)],
)
def test_what_cannot_be_shown_is_refused_before_training(
    tmp_path: Path, name: str, settings: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        Recorder(Loop().model, tmp_path, name, **settings)


# The traps


def test_a_clip_before_any_gradient_is_named_by_file_and_line(
    tmp_path: Path, heard: list[warnings.WarningMessage]
) -> None:
    loop = Loop()
    recorder = Recorder(loop.model, tmp_path, "mine")
    for _ in range(3):
        loop.optimizer.zero_grad()
        recorder.clip_norm(0.1)
        line = here() - 1
        loss = loop.backward()
        unclipped = loop.norm()
        loop.optimizer.step()
        recorder.step(loss)
    (warning,) = heard  # once, though the loop goes round three times
    assert issubclass(warning.category, NoGradientWarning)
    assert (warning.filename, warning.lineno) == (__file__, line)
    assert f"{__file__}:{line}: this clip changes nothing: none of its parameters has a gradient" in str(
        warning.message
    )
    curves, row = written(recorder)
    assert curves["norm_after"].iloc[-1] == pytest.approx(unclipped, **EXACT)  # what the optimizer really used
    assert (row["clip"], row["clip_fraction"]) == ("norm", 0.0)


def test_a_clip_of_the_gradients_of_the_step_before_is_named(
    tmp_path: Path, heard: list[warnings.WarningMessage]
) -> None:
    loop = Loop()
    recorder = Recorder(loop.model, tmp_path, "mine")
    recorder.step(_clipped(loop, recorder, 0.1))
    assert not heard
    with recorder.watching():
        loop.optimizer.zero_grad(set_to_none=False)
        clip_grad_norm_(loop.model.parameters(), 0.1)  # before the backward pass, where zeros still lie
        line = here() - 1
    loss = loop.backward()
    loop.optimizer.step()
    recorder.step(loss)
    assert [(one.filename, one.lineno) for one in heard] == [(__file__, line)]
    assert "already used" in str(heard[0].message)
    assert written(recorder)[0]["clipped"].tolist() == [1.0, 0.0]


def test_a_clip_after_the_update_is_named(tmp_path: Path, heard: list[warnings.WarningMessage]) -> None:
    loop = Loop()
    recorder = Recorder(loop.model, tmp_path, "mine")
    loss = loop.backward()
    loop.optimizer.step()
    recorder.clip_norm(0.1)
    recorder.step(loss)
    assert ["already used" in str(one.message) for one in heard] == [True]
    curves, _ = written(recorder)
    assert (curves["norm_before"] == curves["norm_after"]).all()


def test_a_clip_between_two_backward_passes_is_named(tmp_path: Path, heard: list[warnings.WarningMessage]) -> None:
    loop = Loop()
    recorder = Recorder(loop.model, tmp_path, "mine")
    loop.backward()
    recorder.clip_norm(0.1)
    line = here() - 1
    loss = loop.backward()
    unclipped = loop.norm()
    loop.optimizer.step()
    recorder.step(loss)
    assert [(one.filename, one.lineno) for one in heard] == [(__file__, line)]
    assert "too early" in str(heard[0].message)
    assert written(recorder)[0]["norm_after"].tolist() == pytest.approx([unclipped], **EXACT)


def test_a_clip_of_zeros_is_named(tmp_path: Path, heard: list[warnings.WarningMessage]) -> None:
    loop = Loop()
    recorder = Recorder(loop.model, tmp_path, "mine")
    loss = loop.backward(0.0)
    recorder.clip_norm(0.1)
    line = here() - 1
    loop.optimizer.step()
    recorder.step(loss)
    recorder.close()
    assert [(one.filename, one.lineno) for one in heard] == [(__file__, line)]
    assert "exactly zero" in str(heard[0].message)


def test_a_second_threshold_is_named(tmp_path: Path, heard: list[warnings.WarningMessage]) -> None:
    loop = Loop()
    recorder = Recorder(loop.model, tmp_path, "mine")
    for limit in (0.1, 0.2):
        recorder.step(_clipped(loop, recorder, limit))
    assert [issubclass(one.category, ClipWarning) and "several clips" in str(one.message) for one in heard] == [True]
    assert written(recorder)[1]["threshold"] == 0.2


def test_the_right_order_warns_of_nothing(tmp_path: Path, heard: list[warnings.WarningMessage]) -> None:
    loop = Loop()
    recorder = Recorder(loop.model, tmp_path, "mine", every=3)
    for _ in range(7):
        loop.optimizer.zero_grad()
        loop.backward()  # gradients of two batches, added up, then one clip: right as well
        recorder.step(_clipped(loop, recorder, 0.1))
    recorder.close()
    assert not heard


def _clipped(loop: Loop, recorder: Recorder, limit: float) -> Any:
    loss = loop.backward()
    recorder.clip_norm(limit)
    loop.optimizer.step()
    return loss
