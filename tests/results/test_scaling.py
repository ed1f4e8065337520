"""A planted power law is found again, with an interval that is as wide as the points are far from a line."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from farreach.benchmarks.matrix import suite
from farreach.results.figures import palette
from farreach.results.figures import scaling as scaling_figures
from farreach.results.timing import scaling
from tests.support import synthetic

VALUES = {
    "T": (50, 100, 200, 500, 1_000, 2_000),
    "hidden": (32, 64, 128, 256, 512, 1_024),
    "batch": (1, 8, 32, 128, 512),
}
CELLS = {"rnn": 1, "lstm": 4, "gru": 3}
PATHS = {"pytorch": "eager", "tensorflow": "xla", "jax": "scan"}
OVERHEADS = {"pytorch": 3e-5, "tensorflow": 1e-5, "jax": 6e-6}
"""Seconds of each time step that do not depend on what is computed in it: large in eager execution."""


def row(value: float, seconds: Any, memory: float = 1e8, **changes: Any) -> dict[str, Any]:
    curve = {"framework": "pytorch", "path": "eager", "cell": "lstm", "axis": "T"}
    return curve | {"value": value, "seconds": seconds, "peak_memory_bytes": memory} | changes


def table(cost: Callable[[float], float], values: tuple[float, ...] = VALUES["T"]) -> pd.DataFrame:
    return pd.DataFrame([row(value, cost(value)) for value in values])


def times(found: pd.DataFrame) -> Any:
    """Return the one line of step times."""
    (at,) = np.flatnonzero(found["cost"] == "step time")
    return found.iloc[at]


def plausible() -> pd.DataFrame:
    """Return a whole set: three frameworks, cells and axes; a fixed part, small products that are slow, noise."""
    lines = []
    for axis, framework, (cell, gates) in itertools.product(VALUES, PATHS, CELLS.items()):
        for value in VALUES[axis]:
            at = {"T": 50, "hidden": 64, "batch": 32} | {axis: value}
            work = 6 * at["T"] * at["batch"] * gates * at["hidden"] ** 2
            rate = 6e10 * at["hidden"] / (at["hidden"] + 100) * at["batch"] / (at["batch"] + 8)
            middle = 5e-4 + at["T"] * OVERHEADS[framework] * (1 + gates) + work / rate
            noise = synthetic.stream(axis, framework, cell, value).lognormal(0, 0.03, 20)
            states = 4 * at["T"] * at["batch"] * at["hidden"] * (2 * gates + 3) + 16 * gates * at["hidden"] ** 2
            memory = {"pytorch": 2.6e8, "tensorflow": 5.2e8, "jax": 3.4e8}[framework] + states
            more = {"framework": framework, "path": PATHS[framework], "cell": cell, "axis": axis}
            lines.append(row(value, middle * noise, memory, **more))
    return pd.DataFrame(lines)


# Exponents


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_a_power_law_gives_its_exponent_without_doubt(power: float) -> None:
    one = times(scaling.fit_exponents(table(lambda value: 3e-4 * value**power)))
    assert one[["exponent", "low", "high", "local exponent"]].tolist() == pytest.approx([power] * 4, abs=1e-9)
    assert one["largest deviation"] == pytest.approx(1)
    assert one[["points", "from", "to"]].tolist() == [6, 50, 2_000]


def test_the_interval_covers_a_planted_exponent_as_often_as_it_says() -> None:
    held = 0
    for trial in range(300):
        noise = iter(synthetic.stream("exponents", trial).lognormal(0, 0.1, len(VALUES["T"])))
        _, low, high = scaling.fit_exponent(
            np.array(VALUES["T"], float), np.array([value**0.8 * next(noise) for value in VALUES["T"]])
        )
        held += low <= 0.8 <= high
    assert 273 <= held <= 297


def test_a_fixed_part_widens_the_interval_and_the_last_octave_is_steeper() -> None:
    one = times(scaling.fit_exponents(table(lambda value: 0.1 + 1e-3 * value)))
    assert one["high"] - one["low"] > 0.2
    assert one["local exponent"] == pytest.approx(math.log2(2.1 / 1.1))
    assert one["exponent"] < one["local exponent"] < 1
    assert one["largest deviation"] > 1.1


def test_noise_within_a_point_does_not_narrow_what_the_points_say() -> None:
    spread = synthetic.stream("rounds").normal(1, 0.01, 2_000)
    seconds = {value: (0.1 + 1e-3 * value) * spread / np.median(spread) for value in VALUES["T"]}
    many = pd.DataFrame([row(value, rounds) for value, rounds in seconds.items()])
    once = times(scaling.fit_exponents(table(lambda value: 0.1 + 1e-3 * value)))
    numbers = ["exponent", "low", "high"]
    assert times(scaling.fit_exponents(many))[numbers].tolist() == pytest.approx(once[numbers].tolist())


def test_launches_of_one_value_are_one_point() -> None:
    again = pd.concat([table(lambda value, factor=factor: factor * value) for factor in (1.0, 2.0, 9.0)])
    one = times(scaling.fit_exponents(again))
    assert one["points"] == 6
    assert scaling.list_points(again)["middle"].iloc[0] == 2.0 * 50
    assert one["high"] - one["low"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("missing", [math.nan, math.inf, 0.0, np.array([]), np.array([1.0, math.nan])], ids=str)
def test_a_cost_that_is_no_number_leaves_its_point_out(missing: Any) -> None:
    whole = table(lambda value: value)
    whole["seconds"] = [*whole["seconds"][:5], missing]
    one = times(scaling.fit_exponents(whole))
    assert one[["points", "to", "exponent"]].tolist() == pytest.approx([5, 1_000, 1])


def test_two_points_have_a_slope_and_no_interval_and_one_has_neither() -> None:
    two = times(scaling.fit_exponents(table(lambda value: value**2, (8, 16))))
    assert two["exponent"] == pytest.approx(2)
    assert two[["low", "high", "largest deviation"]].isna().all()
    one = times(scaling.fit_exponents(table(lambda value: value, (8,))))
    assert one[["exponent", "low", "high", "local exponent"]].isna().all()


def test_the_last_octave_is_the_nearest_point_at_half_the_largest_or_less() -> None:
    cost = np.array([1.0, 2.0, 4.0, 32.0])
    assert scaling.measure_last_octave(np.array([1.0, 128, 400, 512]), cost) == pytest.approx(
        math.log(16) / math.log(4)
    )
    assert math.isnan(scaling.measure_last_octave(np.array([300.0, 400, 512]), cost[1:]))


def test_every_curve_has_a_line_for_each_cost_in_order() -> None:
    found = scaling.fit_exponents(plausible())
    assert len(found) == 3 * 3 * 3 * 2
    assert found["axis"].unique().tolist() == ["T", "hidden", "batch"]
    assert found["cell"].unique().tolist() == ["rnn", "lstm", "gru"]
    assert found["framework"].unique().tolist() == ["pytorch", "tensorflow", "jax"]
    assert (found["low"] <= found["exponent"]).all()
    assert (found["exponent"] <= found["high"]).all()


# Figures


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return dict(scaling_figures.draw_growth(plausible()))


def test_an_axis_has_a_figure_with_time_above_memory_and_a_column_for_each_cell(figures: dict[str, Any]) -> None:
    assert list(figures) == ["T", "hidden", "batch"]
    for figure in figures.values():
        titles = [axes.get_title() for axes in figure.axes]
        assert titles == [f"{cell} · {cost}" for cost in scaling.COSTS for cell in CELLS]
        assert {axes.get_xscale() for axes in figure.axes} == {axes.get_yscale() for axes in figure.axes} == {"log"}
        assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)


def test_every_framework_is_on_every_plot_in_its_own_colour_and_marker(figures: dict[str, Any]) -> None:
    looks = {(look.colour, look.marker) for name, look in palette.LOOKS.items() if name in PATHS}
    for figure in figures.values():
        for axes in figure.axes:
            drawn = {(line.get_color(), line.get_marker()) for line in axes.lines if line.get_marker() != "None"}
            assert drawn == looks
        legend = [text.get_text() for text in figure.legends[0].get_texts()]
        assert legend == [*PATHS, "fitted power law"]


def test_ticks_are_the_values_and_the_exponents_are_said(figures: dict[str, Any]) -> None:
    (axes, *_) = figures["T"].axes
    figures["T"].draw_without_rendering()
    assert [text.get_text() for text in axes.get_xticklabels()] == ["50", "100", "200", "500", "1000", "2000"]
    line = times(scaling.fit_exponents(plausible().query("framework == 'jax' and cell == 'rnn' and axis == 'T'")))
    said = axes.get_legend().get_texts()[2].get_text()
    assert said == f"{line['exponent']:.2f} ({line['low']:.2f} to {line['high']:.2f})"


def test_no_text_covers_a_curve_or_another_text(figures: dict[str, Any]) -> None:
    for name, figure in figures.items():
        figure.draw_without_rendering()
        above = figure.legends[0].get_window_extent()
        for axes in figure.axes:
            where = (name, axes.get_title())
            said = axes.get_legend().get_window_extent()
            inside = axes.get_window_extent()
            assert inside.x0 <= said.x0 < said.x1 <= inside.x1, where
            for line in axes.lines:
                corners = axes.transData.transform(line.get_xydata())
                assert corners[:, 1].max() < said.y0, where
            labels = [text.get_window_extent() for text in axes.get_xticklabels() if text.get_text()]
            assert all(a.x1 < b.x0 for a, b in itertools.pairwise(labels)), where
            assert not above.overlaps(axes.title.get_window_extent()), where
            assert axes.yaxis.label.get_window_extent().height <= inside.height, where


def test_paths_of_one_framework_are_told_apart_and_what_is_missing_is_left_out() -> None:
    whole = plausible().query("axis == 'batch'")
    torn = whole[whole["framework"] == "tensorflow"].assign(path="graph", peak_memory_bytes=math.nan)
    found = scaling_figures.draw_growth(pd.concat([whole, torn]))
    (figure,) = found.values()
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["pytorch", "tensorflow (graph)", "tensorflow (xla)", "jax", "fitted power law"]
    assert [len(axes.get_legend().get_texts()) for axes in figure.axes] == [4, 4, 4, 3, 3, 3]
    no_memory = scaling_figures.draw_growth(whole.assign(peak_memory_bytes=math.nan))["batch"]
    assert len(no_memory.axes) == 3


def test_a_point_by_another_path_is_hollow_and_the_table_says_where_the_path_changes() -> None:
    whole = plausible().query("axis == 'batch'").assign(ran=lambda frame: frame["path"])
    there = (whole["framework"] == "tensorflow") & (whole["cell"] == "rnn")
    whole.loc[there, "path"] = "fastest"
    whole.loc[there & (whole["value"] == 512), "ran"] = "graph"
    found = scaling.fit_exponents(whole).set_index(["framework", "cell", "cost"])["paths"]
    assert found["tensorflow", "rnn", "peak memory"] == "xla 1 to 128, graph at 512"
    assert found["tensorflow", "lstm", "peak memory"] == "xla"
    figure = scaling_figures.draw_growth(whole)["batch"]
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == scaling_figures.OTHER_PATH
    for axes in figure.axes:
        hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
        assert [line.get_xdata().tolist() for line in hollow] == ([[512]] if axes.get_title().startswith("rnn") else [])
        assert all(line.get_color() == palette.LOOKS["tensorflow"].colour for line in hollow)


# The suite


def test_the_suite_varies_one_axis_at_a_time_about_one_case() -> None:
    cases = suite.load_suite("scaling").list_cases(["pytorch"])
    points = {(case.cell, dict(case.parameters)["T"], case.hidden, case.batch) for case in cases}
    expected = {
        (cell, *({"T": 50, "hidden": 64, "batch": 32} | {axis: value}).values())
        for cell in CELLS
        for axis, values in VALUES.items()
        for value in values
    }
    assert points == expected
    assert {(case.task, case.clip, case.threshold, case.seed) for case in cases} == {("adding", "norm", 1.0, 0)}
