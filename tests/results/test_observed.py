"""Reach, growth and half-life of planted gradients, and what the report says of them."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from farreach.results.analysis import observatory, reach
from farreach.results.analysis.rows import label_rows
from farreach.results.figures import gradient_flow
from farreach.results.record import POINTS
from farreach.results.report import gradient_reach, result_set
from farreach.results.storage.result_set import Store
from tests.support import synthetic


def planted(rate: float, steps: int = 50) -> np.ndarray:
    """Norms that change by the factor `rate` a step back from the last."""
    return np.asarray(rate ** np.arange(steps - 1, -1, -1.0))


@pytest.mark.parametrize(("rate", "share"), [(1.0, 1.0), (1.2, 1.0), (0.8, 20 / 49), (0.5, 6 / 49), (0.001, 0.0)])
def test_reach_is_the_share_of_steps_above_a_hundredth(rate: float, share: float) -> None:
    assert reach.measure_reach(planted(rate), 49) == pytest.approx(share)


def test_reach_ends_at_the_first_break() -> None:
    norms = planted(1.0)
    norms[30] = 0.0099
    assert reach.measure_reach(norms, 49) == pytest.approx(18 / 49)


@pytest.mark.parametrize("last", [0.0, math.nan, math.inf])
def test_without_a_gradient_at_the_scored_step_there_is_no_reach(last: float) -> None:
    norms = planted(1.0)
    norms[-1] = last
    assert reach.measure_reach(norms, 49) is None


def test_where_every_step_is_scored_there_is_no_reach() -> None:
    assert reach.measure_reach(np.ones(1), 0) is None
    assert reach.fit_growth(np.ones(1), 0) is None


@pytest.mark.parametrize("rate", [0.5, 0.9, 1.0, 1.3])
def test_growth_is_the_planted_rate(rate: float) -> None:
    noise = np.random.default_rng(0).lognormal(0, 0.1, 50)
    found = reach.fit_growth(planted(rate) * noise, 49)
    assert found is not None
    assert found.rate == pytest.approx(math.log(rate), abs=0.005)
    assert found.low < found.rate < found.high < found.low + 0.02
    expected = math.log(0.5) / math.log(rate) if rate < 1 else math.inf
    assert reach.compute_half_lives(np.array([math.log(rate)]))[0] == pytest.approx(expected)


def test_the_interval_of_growth_covers_the_truth_about_as_often_as_it_says() -> None:
    """200 planted lines with autocorrelated noise: a plain least-squares interval covers far fewer."""
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        noise = np.zeros(100)
        for t in range(1, 100):
            noise[t] = 0.3 * noise[t - 1] + random.normal(0, 0.1)
        found = reach.fit_growth(planted(0.97, 100) * np.exp(noise), 99)
        assert found is not None
        covered += found.low <= math.log(0.97) <= found.high
    assert 174 <= covered <= 200


def test_zeros_have_no_logarithm_and_are_left_out() -> None:
    norms = planted(0.5, 20)
    norms[:10] = 0
    found = reach.fit_growth(norms, 19)
    assert found is not None
    assert found.rate == pytest.approx(math.log(0.5))
    assert reach.fit_growth(np.zeros(20), 19) is None


def test_start_middle_and_end_are_probes_that_were_made() -> None:
    assert reach.find_points([0, 100, 200, 300]) == {"start": 0, "middle": 100, "end": 300}
    assert reach.find_points([0]) == {"start": 0, "middle": 0, "end": 0}
    assert reach.find_points([]) == {}


def test_a_record_without_a_flow_has_no_figures() -> None:
    empty = reach.summarise_flow(pd.DataFrame(columns=["step", "layer", "time", "h", "c"]), 10)
    assert set(empty.values()) == {None}
    assert {"reach_start", "cell_reach_end", "growth_middle_low"} <= set(empty)


def test_a_record_has_the_figures_of_the_first_layer_in_the_order_of_time() -> None:
    """Two layers, one that keeps the gradient and one that loses it, written in any order."""
    lines = [
        {"step": step, "layer": layer, "time": time, "h": rate ** (20 - time), "c": 1.0}
        for step in (0, 100)
        for layer, rate in ((1, 0.5), (0, 0.9))
        for time in reversed(range(21))
    ]
    found = reach.summarise_flow(pd.DataFrame(lines), 20)
    assert found["growth_end"] == pytest.approx(math.log(0.9))
    assert (found["reach_start"], found["reach_end"], found["cell_reach_end"]) == (1.0, 1.0, 1.0)


def test_a_record_has_the_reach_of_the_input_beside_the_first_layer_where_the_flow_has_it() -> None:
    steps, before = 21, 20
    norms = 0.7 ** np.arange(before, -1.0, -1.0)  # 1 % is left over 12 of 20 steps: 0.7^12 > 0.01 > 0.7^13
    flow = pd.DataFrame({"step": 0, "layer": 0, "time": range(steps), "h": 1.0, "c": np.nan, "x": norms})
    below = flow.assign(layer=1, x=np.nan)
    found = reach.summarise_flow(pd.concat([below, flow]), before)
    assert found["input_reach_end"] == pytest.approx(12 / 20)
    assert found["reach_end"] == 1.0
    older = reach.summarise_flow(flow.drop(columns="x"), before)
    assert (older["input_reach_end"], older["reach_end"]) == (None, 1.0)
    unknown = reach.summarise_flow(flow.assign(x=np.nan), before)
    assert unknown["input_reach_start"] is None


def test_the_figure_of_the_input_draws_the_norm_of_its_gradient_and_is_not_there_for_older_flows() -> None:
    steps = np.arange(11)
    flow = pd.DataFrame({"step": 0, "layer": 0, "time": steps, "h": 1.0, "c": np.nan, "x": 2.0 * 0.5 ** (10.0 - steps)})
    whole = pd.concat([flow.assign(run="a"), flow.assign(run="a", step=100)])
    part = gradient_flow.Part("adding T=10", "transformer", "transformer", 0, 10, whole)
    (drawn,) = gradient_flow.draw_input_profiles({"adding": [part]}).values()
    lines = [line for ax in drawn.axes for line in ax.get_lines() if len(line.get_xdata()) == len(steps)]
    assert len(lines) == 2  # before training, and at its end
    for line in lines:
        assert line.get_ydata() == pytest.approx(0.5 ** (10.0 - steps))
        assert [*line.get_xdata()] == [*(steps - 10.0)]
    older = dataclasses.replace(part, flow=whole.drop(columns="x"))
    assert gradient_flow.draw_input_profiles({"adding": [older]}) == {}


def test_the_table_has_the_reach_of_the_input_where_rows_know_it(tmp_path: Path) -> None:
    rows = solved_set(tmp_path).rows()
    told = gradient_reach.write_reach(observatory.measure_reach(label_rows(rows)))
    assert not any(name.endswith("dL/dx") for name in told)
    known = rows.assign(**{f"input_reach_{point}": 0.25 for point in POINTS})
    table = observatory.measure_reach(label_rows(known))
    assert set(table["end x"]) == {0.25}
    assert {"start dL/dx", "middle dL/dx", "end dL/dx"} <= set(gradient_reach.write_reach(table))


def solved_set(folder: Path) -> Store:
    records = [
        synthetic.record(cell=cell, seed=seed, key=f"{cell}{seed}", solved=cell != "rnn")
        for cell in ("rnn", "lstm", "gru")
        for seed in range(3)
    ]
    return synthetic.write(folder, records)


def test_the_table_gives_each_cells_reach_over_the_seeds(tmp_path: Path) -> None:
    table = observatory.measure_reach(label_rows(solved_set(tmp_path).rows())).set_index("cell")
    assert table.loc["gru", "end h"] == 1
    assert table.loc["rnn", "end h"] == pytest.approx(16 / 29)
    assert table.loc["rnn", "end h low"] == table.loc["rnn", "end h high"]  # the planted seeds are alike
    assert table.loc["lstm", "end c"] == 1
    assert np.isnan(table.loc["gru", "end c"])
    assert (table["held"] == table["solved"]).all()


def test_a_reach_over_seeds_is_their_mean_with_their_range() -> None:
    assert observatory.find_range(pd.Series([0.9, math.nan, 1.0, 0.8])) == (0.8, 1.0)
    assert all(math.isnan(end) for end in observatory.find_range(pd.Series([0.9])))


def test_a_solved_run_that_does_not_reach_is_named_with_its_figures(tmp_path: Path) -> None:
    rows = synthetic.write(tmp_path, [synthetic.record(cell="rnn", solved=True)]).rows()
    table = observatory.measure_reach(label_rows(rows))
    holding = observatory.find_short(table)
    assert holding
    assert (holding.solved, holding.holding, holding.short["cell"].tolist()) == (1, 0, ["rnn"])
    said = " ".join(gradient_reach.write_findings(table))
    assert "Of the 1 runs that solved their task, 0 reach at least 0.9" in said
    assert "rnn in adding" in said
    assert "55 %" in said


def test_an_rnn_that_reaches_farther_than_a_gated_cell_is_reported(tmp_path: Path) -> None:
    rows = solved_set(tmp_path).rows()
    assert observatory.find_surprises(observatory.measure_reach(label_rows(rows))) == []
    rows.loc[rows["cell"] == "gru", "reach_start"] = 0.1
    table = observatory.measure_reach(label_rows(rows))
    (surprise,) = observatory.find_surprises(table)
    assert (surprise.point, dict(surprise.gated)) == ("start", {"gru": pytest.approx(0.1)})
    assert "Against the textbook's expectation" in gradient_reach.write_findings(table)[-1]


def test_every_case_is_diagnosed_in_the_table(tmp_path: Path) -> None:
    rows = label_rows(solved_set(tmp_path).rows())
    assert len(observatory.list_diagnoses(rows)) == 9
    assert observatory.count_diagnoses(rows).drop(columns=["setting", "cell_label"]).to_numpy().sum() == 9


@pytest.mark.slow
def test_the_report_draws_the_flow_and_survives_its_absence(tmp_path: Path) -> None:
    store = solved_set(tmp_path)
    made = {path.name for path in result_set.write(tmp_path)}
    assert {"gradient-flow-adding.png", "gradient-heat-adding.png", "reach.csv", "diagnoses.csv"} <= made
    for path in (tmp_path / "flow").iterdir():
        path.unlink()
    made = {path.name for path in result_set.write(tmp_path)}
    assert not any(name.startswith("gradient-flow") for name in made)
    assert store.flow("rnn0").empty


def test_the_spectra_are_told_before_and_after_training(tmp_path: Path) -> None:
    store = solved_set(tmp_path)
    table = observatory.summarise_spectra(label_rows(store.rows()), store.spectra).set_index(["cell", "gate"])
    assert len(table) == 1 + 4 + 3
    assert (table["seeds"] == 3).all()
    assert (table["radius start"] == 1).all()
    steps = synthetic.record().result.steps_done
    assert table.loc[("lstm", "f"), "sigma end"] == pytest.approx(1.1 + steps / 1e4)


def test_the_figures_take_none_where_it_ran_and_leave_copies_out(tmp_path: Path) -> None:
    records = [synthetic.record(key="a"), synthetic.record(key="b", replicate=1)]
    store = synthetic.write(tmp_path, records)
    asked: list[str] = []

    def load(key: str) -> pd.DataFrame:
        asked.append(key)
        return store.flow(key)

    flows = gradient_flow.read_flows(observatory.choose_flows(label_rows(store.rows())), load)
    assert set(gradient_flow.draw_profiles(flows)) == {"adding"}
    assert asked == ["a"]
