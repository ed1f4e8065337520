"""Norms of each parameter on request, computed apart, and the measurement of what recording costs."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import farreach

torch = pytest.importorskip("torch")

from farreach import cost  # noqa: E402 - after the skip
from farreach.pytorch import Recorder  # noqa: E402 - after the skip

STEPS = 12


def measure_norms(model: torch.nn.Module) -> dict[str, float]:
    """Return the norm of each gradient, in float64."""
    trained = [(name, one.grad) for name, one in model.named_parameters() if one.grad is not None]
    return {name: grad.double().norm().item() for name, grad in trained}


@pytest.mark.parametrize("how", ["model", "parameters"])
def test_per_layer_writes_the_norm_of_every_parameter_before_and_after_the_clip(tmp_path: Path, how: str) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2), torch.nn.Linear(2, 1))
    model[2].requires_grad_(requires_grad=False)  # without a gradient: an empty cell
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], 0.05)
    given = model if how == "model" else [*model.parameters()]
    names = [name for name, _ in model.named_parameters()]
    expected: list[dict[str, tuple[float, float]]] = []
    with Recorder(given, tmp_path, "mine", per_layer=True, every=5) as recorder:
        for step in range(STEPS):
            optimizer.zero_grad()
            loss = (model(torch.randn(8, 3)) - 2.0 * (step % 3)).square().mean()
            loss.backward()
            before = {
                name: one.grad.double().norm().item() for name, one in model.named_parameters() if one.requires_grad
            }
            recorder.clip_norm(1.0)
            after = {
                name: one.grad.double().norm().item() for name, one in model.named_parameters() if one.requires_grad
            }
            expected.append({name: (before[name], after[name]) for name in before})
            optimizer.step()
            recorder.step(loss)
    (path,) = (tmp_path / "layers").glob("*.csv")
    lines = [*csv.DictReader(path.open())]
    called = dict(zip(names, names if how == "model" else [f"parameter{at}" for at in range(len(names))], strict=True))
    assert [line["step"] for line in lines] == [str(step + 1) for step in range(STEPS)]
    clipped = 0
    for line, norms in zip(lines, expected, strict=True):
        for name in names:
            said = line[f"{called[name]} before"], line[f"{called[name]} after"]
            if name not in norms:
                assert said == ("", "")
                continue
            assert tuple(map(float, said)) == pytest.approx(norms[name], rel=1e-6)
            clipped += norms[name][1] < norms[name][0]
    assert clipped
    layers = farreach.load(tmp_path).layers
    assert len(layers) == STEPS * 4
    assert layers["norm_before"].iloc[0] == float(lines[0][f"{layers['parameter'].iloc[0]} before"])


def test_the_cost_of_recording_is_measured_beside_the_step_itself(capsys: pytest.CaptureFixture[str]) -> None:
    found = cost.measure_cost("pytorch", blocks=3)
    assert 0 < found.plain < 1
    assert abs(found.added) < 1
    with pytest.raises(SystemExit, match="unknown framework 'caffe'; allowed: pytorch, jax, keras"):
        cost.main(["caffe"])
    assert capsys.readouterr() == ("", "")
