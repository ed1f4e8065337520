"""The gradient through time of layers of one's own: the same states, the gradients of central differences, reach."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from farreach import flow as flows  # noqa: E402 - after the skip
from farreach.pytorch import Recorder, measure_flow  # noqa: E402 - after the skip
from farreach.results.analysis import reach, statistics  # noqa: E402 - after the skip
from farreach.results.report import result_set  # noqa: E402 - after the skip
from farreach.results.storage.result_set import Store  # noqa: E402 - after the skip

T, BATCH = 12, 3


class Reader(torch.nn.Module):
    """A recurrent layer that says something after its last step."""

    def __init__(self, layer: Any, *, tokens: bool = False, ways: int = 1, out: int = 4) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(7, 2) if tokens else None
        self.layer = layer
        self.linear = torch.nn.Linear(ways * out, 1)

    def forward(self, inputs: Any) -> Any:
        states, _ = self.layer(inputs if self.embedding is None else self.embedding(inputs))
        return self.linear(states[:, -1])


def make(kind: str, **options: Any) -> Any:
    torch.manual_seed(0)
    ways = 2 if options.get("bidirectional") else 1
    layer = getattr(torch.nn, kind)(2, 4, batch_first=True, **options)
    return Reader(layer, ways=ways, out=options.get("proj_size", 4)).double()


def find_loss(model: Any) -> Any:
    return lambda inputs: model(inputs).square().sum()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("RNN", {}),
        ("RNN", {"nonlinearity": "relu", "bias": False}),
        ("GRU", {"num_layers": 2}),
        ("LSTM", {"num_layers": 2}),
        ("LSTM", {"proj_size": 3}),
        ("LSTM", {"bidirectional": True, "num_layers": 2}),
    ],
    ids=str,
)
def test_layers_that_run_step_by_step_are_the_same_function(kind: str, options: dict[str, Any]) -> None:
    model = make(kind, **options)
    inputs = torch.rand(BATCH, T, 2, dtype=torch.float64)
    inside = []

    def loss(given: Any) -> Any:
        inside.append(model.layer(given))
        return model(given).square().sum()

    flow = measure_flow(model, loss, inputs)
    outputs, last = model.layer(inputs)
    torch.testing.assert_close(inside[0][0], outputs)
    for one, other in zip(*([*part] if kind == "LSTM" else [part] for part in (inside[0][1], last)), strict=True):
        torch.testing.assert_close(one, other)
    given = inputs.clone().requires_grad_()
    loss(given).backward()
    assert given.grad is not None
    assert flow.x == pytest.approx(given.grad.square().sum((0, 2)).sqrt().tolist())
    assert all(len(norms) == T for norms in (*flow.h.values(), *flow.c.values()))
    assert len(flow.h) >= options.get("num_layers", 1)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_the_gradients_of_states_are_those_of_central_differences(kind: str) -> None:
    model = make(kind)
    inputs = torch.rand(BATCH, T, 2, dtype=torch.float64)
    flow = measure_flow(model, find_loss(model), inputs)
    for part, found in enumerate([next(iter(flow.h.values())), *flow.c.values()]):
        for t in (0, 5, 10):
            _, start = model.layer(inputs[:, : t + 1])
            state = [*start] if kind == "LSTM" else [start]

            def rest(changed: Any, state: Any = state, part: int = part, t: int = t) -> float:
                now = [changed if at == part else one for at, one in enumerate(state)]
                if t + 1 < T:
                    states, _ = model.layer(inputs[:, t + 1 :], tuple(now) if kind == "LSTM" else now[0])
                return float(model.linear(states[:, -1]).square().sum().detach())

            small, slopes = 1e-6, []
            for at in np.ndindex(*state[part].shape):
                away = torch.zeros_like(state[part])
                away[at] = small
                slopes.append((rest(state[part] + away) - rest(state[part] - away)) / (2 * small))
            if part == 1:  # c_t acts through h_t as well, which central differences of the rest leave out
                continue
            assert found[t] == pytest.approx(float(np.linalg.norm(slopes)), rel=1e-5)


def test_the_gradient_of_an_lstms_cell_counts_its_way_through_h() -> None:
    model = make("LSTM")
    inputs = torch.rand(BATCH, T, 2, dtype=torch.float64)
    flow = measure_flow(model, find_loss(model), inputs)
    h = c = torch.zeros(BATCH, 4, dtype=torch.float64)
    cells = []
    layer = model.layer
    for t in range(T):
        gates = inputs[:, t] @ layer.weight_ih_l0.T + layer.bias_ih_l0 + h @ layer.weight_hh_l0.T + layer.bias_hh_l0
        i, f, g, o = gates.chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        cells.append(c)
        h = torch.sigmoid(o) * torch.tanh(c)
    expected = torch.autograd.grad(model.linear(h).square().sum(), cells)
    assert next(iter(flow.c.values())) == pytest.approx([float(one.norm()) for one in expected])


def test_tokens_and_packed_sequences_are_measured_too() -> None:
    torch.manual_seed(0)
    model = Reader(torch.nn.GRU(2, 4, batch_first=True), tokens=True).double()
    tokens = torch.randint(0, 7, (BATCH, T))
    flow = measure_flow(model, find_loss(model), tokens)
    assert len(flow.x) == T
    assert min(flow.x) > 0
    lengths = torch.tensor([T, 5, 8])
    padded = torch.rand(BATCH, T, 2, dtype=torch.float64)
    layer = torch.nn.LSTM(2, 4, batch_first=True).double()

    def packed(inputs: Any) -> Any:
        pack = torch.nn.utils.rnn.pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        states, (last, _) = layer(pack)
        return last.square().sum() + 0 * states.data.sum()

    whole = measure_flow(layer, packed, padded)
    given = padded.clone().requires_grad_()
    packed(given).backward()
    assert given.grad is not None
    assert whole.x == pytest.approx(given.grad.square().sum((0, 2)).sqrt().tolist())


def test_measuring_changes_nothing_of_the_training() -> None:
    model = make("LSTM", num_layers=2, dropout=0.5)
    model.layer.flatten_parameters()
    inputs = torch.rand(BATCH, T, 2, dtype=torch.float64)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    measure_flow(model, find_loss(model), inputs)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(one, model.state_dict()[name]) for name, one in before.items())
    assert model.training
    assert model.layer.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert "forward" not in model.layer.__dict__


@pytest.mark.parametrize("shape", ["falls", "grows", "breaks"])
@pytest.mark.parametrize("before", [0, 3, 19])
def test_reach_and_growth_are_those_of_a_report(shape: str, before: int) -> None:
    rate = {"falls": 0.3, "grows": -0.4, "breaks": 0.1}[shape]
    norms = [math.exp(rate * t) * (1 + 0.1 * math.sin(t)) for t in range(20)]
    if shape == "breaks":
        norms[8] = 0.0
    array = np.array(norms)
    assert flows.measure_reach(norms, before) == reach.measure_reach(array, before)
    mine, theirs = flows.fit_growth(norms, before), reach.fit_growth(array, before)
    assert (mine is None) == (theirs is None)
    if mine is not None and theirs is not None:
        assert (mine.rate, mine.low, mine.high) == pytest.approx((theirs.rate, theirs.low, theirs.high), rel=5e-3)


def test_the_quantile_of_students_t_is_near_enough() -> None:
    for freedom in range(3, 200):
        exact = float(statistics.compute_t_quantile(freedom))
        assert flows.compute_t_quantile(freedom) == pytest.approx(exact, rel=2e-3)


def test_a_loss_that_does_not_depend_on_the_model_is_refused() -> None:
    model = make("RNN")
    inputs = torch.rand(BATCH, T, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="one number that depends on the model"):
        measure_flow(model, lambda inputs: inputs.detach().sum(), inputs)
    with pytest.raises(ValueError, match="scored must lie between 1 and the 12 steps"):
        measure_flow(model, find_loss(model), inputs, scored=13)


@pytest.mark.parametrize(("radius", "label"), [(0.05, "vanishing"), (3.0, "exploding")])
def test_a_recorded_run_with_a_probe_is_diagnosed_by_it(tmp_path: Path, radius: float, label: str) -> None:
    torch.manual_seed(0)
    layer = torch.nn.RNN(2, 4, batch_first=True, nonlinearity="relu").double()
    with torch.no_grad():
        layer.weight_hh_l0.copy_(radius * torch.eye(4))
        layer.weight_ih_l0.abs_()  # so that no unit is at rest
        layer.bias_ih_l0.abs_()
        layer.bias_hh_l0.abs_()
    model = Reader(layer).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)  # the gradient would end the training at once
    inputs = torch.rand(BATCH, 30, 2, dtype=torch.float64)
    with Recorder(model, tmp_path, "mine") as recorder:
        for step in range(6):
            loss = find_loss(model)(inputs)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss)
            if step % 2:
                recorder.note_flow(measure_flow(model, find_loss(model), inputs))
    path = recorder.close()
    assert path is not None
    row = json.loads(path.read_text())
    assert row["steps_before"] == 29
    assert (row["reach_end"] < 0.5) == (label == "vanishing")
    assert row["growth_end"] == pytest.approx(math.log(radius), rel=0.2)
    result_set.write(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert label in text
    assert sorted(set(Store(tmp_path).flow(row["key"])["step"])) == [2, 4, 6]
    assert [*(tmp_path / "figures").glob("gradient-flow*.png")]
