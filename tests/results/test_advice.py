"""Advice finds the threshold that was planted in the tries, and says so where there is none."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farreach.results.analysis import gradient_norms, threshold_advice
from farreach.results.analysis.labels import CELL, CLIP
from farreach.results.analysis.task_verdicts import Verdict, compare_clips
from farreach.results.figures import advice as advice_figure
from farreach.results.figures import style
from farreach.results.record import Record
from farreach.results.report import advice as advice_report
from farreach.results.report import advice_files, terminal
from farreach.results.site import advice_page
from tests.support import synthetic
from tests.support.browsing import Opened

NONE = math.nan


def tries(points: dict[float, list[float]], *, solved: float = 0.5, **changes: Any) -> pd.DataFrame:
    """Return cases of one learning rate: scores by threshold, one a seed; solved where the score is above `solved`."""
    lines = [
        {
            "learning_rate": 0.003,
            "threshold": threshold,
            "seed": seed,
            "solved": pd.NA if math.isnan(solved) else value > solved,
            "steps_to_solve": 1000 * (1 - value) if value > solved else math.nan,
            "average_skill": value,
            "skill": value,
            "clip_fraction": 0.0 if math.isnan(threshold) else 0.5,
            "diverged_at": math.nan,
        }
        for threshold, scores in points.items()
        for seed, value in enumerate(scores)
    ]
    frame = pd.DataFrame(lines).assign(**changes)
    frame["solved"] = frame["solved"].astype("boolean")
    return frame


def verdict(points: dict[float, list[float]], **changes: Any) -> threshold_advice.Recommendation:
    (one,) = threshold_advice.recommend(tries(points, **changes))
    return one


MIDDLE = {
    0.01: [0.2, 0.3, 0.2],
    0.1: [0.80, 0.81, 0.82],
    1.0: [0.82, 0.80, 0.81],
    10.0: [0.81, 0.82, 0.80],
    100.0: [0.1, 0.9, 0.2],
    NONE: [0.1, 0.2, 0.2],
}


def test_a_plateau_in_the_middle_is_found_and_its_middle_recommended() -> None:
    one = verdict(MIDDLE)
    assert one.outcome == "helps"
    assert one.plateau == (0.1, 1.0, 10.0)
    assert one.recommended == 1.0
    assert one.left_out == (1.0, 1.0, 1.0)


def test_where_only_small_thresholds_help_the_smaller_of_two_is_recommended() -> None:
    one = verdict({0.01: [0.8, 0.8], 0.1: [0.8, 0.8], 1: [0.2, 0.3], 10: [0.1, 0.1], NONE: [0.1, 0.1]})
    assert (one.outcome, one.plateau, one.recommended) == ("helps", (0.01, 0.1), 0.01)


def test_where_no_clipping_is_better_than_every_threshold_none_is_recommended() -> None:
    one = verdict({0.01: [0.1, 0.2, 0.1], 0.1: [0.6, 0.7, 0.6], 1: [0.2, 0.2, 0.3], NONE: [0.9, 0.9, 0.8]})
    assert (one.outcome, one.plateau, one.recommended) == ("harms", (), None)


def test_where_no_clipping_does_as_well_it_is_said() -> None:
    points = {0.01: [0.1, 0.1], 0.1: [0.8, 0.8], 1: [0.8, 0.8], 10: [0.8, 0.8], NONE: [0.8, 0.8]}
    one = verdict(points)
    assert (one.outcome, one.plateau, one.recommended) == ("harmless", (0.1, 1, 10), 1)
    del points[0.01]
    assert verdict(points).outcome == "indifferent"


def test_thresholds_that_never_clipped_are_left_out_of_the_middle() -> None:
    points = {0.1: [0.1, 0.1], 1: [0.8, 0.8], 10: [0.8, 0.8], 100: [0.8, 0.8], NONE: [0.8, 0.8]}
    frame = tries(points)
    frame.loc[frame["threshold"] >= 10, "clip_fraction"] = 0.0
    (one,) = threshold_advice.recommend(frame)
    assert (one.plateau, one.recommended) == ((1, 10, 100), 1)


def test_every_run_diverged() -> None:
    one = verdict({0.1: [0.0, 0.0], 1: [0.0, 0.0], NONE: [0.0, 0.0]}, diverged_at=7)
    assert (one.outcome, one.recommended) == ("diverged", None)
    assert (one.lines["diverged"] == 2).all()


def test_nothing_was_learned_anywhere() -> None:
    one = verdict({0.1: [0.01, 0.0], 1: [0.02, 0.0], NONE: [0.0, 0.0]})
    assert (one.outcome, one.recommended) == ("nothing", None)


def test_a_grid_of_one_value_leaves_nothing_to_choose_from() -> None:
    one = verdict({0.1: [0.9, 0.9], NONE: [0.1, 0.1]})
    assert (one.outcome, one.recommended) == ("single", None)


def test_without_a_threshold_there_is_no_advice() -> None:
    assert verdict({NONE: [0.9, 0.9]}).outcome == "untried"


def test_a_task_without_a_criterion_is_judged_by_the_average_skill() -> None:
    one = verdict(MIDDLE, solved=math.nan)
    assert one.plateau == (0.1, 1.0, 10.0)
    assert (one.lines["judged"] == 0).all()


def test_more_solved_seeds_beat_a_higher_average_skill() -> None:
    one = verdict({0.1: [0.6, 0.6, 0.6], 1: [0.99, 0.99, 0.4], NONE: [0.1, 0.1, 0.1]})
    assert one.recommended == 0.1


def test_a_gap_counts_where_the_seeds_agree_on_it_and_not_where_they_do_not() -> None:
    steady = verdict({0.1: [0.75, 0.76, 0.74], 1: [0.80, 0.81, 0.79], NONE: [0.1] * 3})
    assert steady.plateau == (1.0,)
    torn = verdict({0.1: [0.95, 0.60, 0.70], 1: [0.80, 0.81, 0.79], NONE: [0.1] * 3})
    assert torn.plateau == (0.1, 1.0)
    trifle = verdict({0.1: [0.795, 0.805, 0.785], 1: [0.80, 0.81, 0.79], NONE: [0.1] * 3})
    assert trifle.plateau == (0.1, 1.0)


def test_a_plateau_ends_at_the_first_threshold_that_is_worse() -> None:
    one = verdict({0.01: [0.8, 0.8], 0.1: [0.2, 0.2], 1: [0.805, 0.805], 10: [0.805, 0.805], NONE: [0.1, 0.1]})
    assert one.plateau == (1, 10)
    assert bool(one.get_line(0.01)["as good"])


def test_leaving_seeds_out_shows_a_recommendation_that_hangs_on_one() -> None:
    one = verdict({0.1: [0.9, 0.9, 0.3], 1: [0.8, 0.8, 0.8], NONE: [0.1] * 3})
    assert one.recommended == 1
    assert one.left_out == (1, 1, 0.1)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 8), st.integers(1, 5))
def test_what_is_recommended_was_tried_and_all_seeds_solve_it_where_they_solve_any(
    seed: int, count: int, seeds: int
) -> None:
    random = np.random.default_rng(seed)
    level = random.random(count)
    spread = random.random() * 0.3
    points = {10.0**at: list((level[at] + random.normal(0, spread, seeds)).clip(0, 1)) for at in range(count)}
    one = verdict(points | {NONE: [0.0] * seeds})
    if one.recommended is None:
        assert one.outcome in {"nothing", "single"}
        return
    solved = [sum(value > 0.5 for value in scores) for scores in points.values()]
    assert one.recommended in one.plateau
    assert one.get_line(one.recommended)["solved"] == max(solved)
    start, stop = one.tried.index(one.plateau[0]), one.tried.index(one.plateau[-1])
    assert tuple(one.tried[start : stop + 1]) == one.plateau


def test_the_average_skill_rises_with_speed_and_counts_what_a_diverged_run_never_reached_as_nothing() -> None:
    floor = 0.5
    assert threshold_advice.compute_average_skill(pd.Series([0.5, 0.0, 0.0, 0.0]), floor, 4) == 0.75
    assert threshold_advice.compute_average_skill(pd.Series([0.5, 0.5, 0.5, 0.0]), floor, 4) == 0.25
    assert threshold_advice.compute_average_skill(pd.Series([0.0, 0.0]), floor, 4) == 0.5
    assert threshold_advice.compute_average_skill(pd.Series([0.0, math.nan, 50.0, 0.5]), floor, 4) == 0.25
    assert threshold_advice.compute_average_skill(pd.Series([], dtype=float), floor, 4) == 0


def test_a_run_that_ended_because_it_was_solved_keeps_its_skill() -> None:
    assert threshold_advice.compute_average_skill(pd.Series([0.5, 0.0]), 0.5, 4, held=True) == 0.75
    solved = synthetic.record(until="solved", steps_done=800, learning_rate=0.003)
    whole = synthetic.record(seed=1, learning_rate=0.003)
    losses = {solved.key: [0.1] * 8, whole.key: [0.1] * 10}
    frame = threshold_advice.tabulate_tries(
        synthetic.rows(solved, whole), lambda key: pd.DataFrame({"loss": losses[key]})
    )
    assert frame["average_skill"].tolist() == pytest.approx([0.4, 0.4])


def test_a_run_that_diverged_before_its_first_evaluation_has_no_skill_and_no_column_of_losses() -> None:
    torn = synthetic.diverged(learning_rate=0.003)
    frame = threshold_advice.tabulate_tries(synthetic.rows(torn, synthetic.record(seed=1)), lambda _: pd.DataFrame())
    assert frame["average_skill"].tolist() == [0, 0]


# The rule of thumb


def test_the_rule_of_thumb_holds_where_all_its_thresholds_solve_as_many_seeds() -> None:
    held = threshold_advice.check_thumb(verdict(MIDDLE), 1.0)
    assert held
    assert held.ends == (0.5, 10.0)
    assert (held.within, held.failing, held.worse, held.inside) == ((1.0, 10.0), (), (), True)


def test_the_rule_of_thumb_fails_where_one_of_its_thresholds_solves_fewer_seeds() -> None:
    held = threshold_advice.check_thumb(verdict(MIDDLE), 10.0)
    assert held
    assert (held.within, held.failing, held.worse, held.inside) == ((10.0, 100.0), (100.0,), (100.0,), False)


def test_the_rule_of_thumb_says_nothing_without_an_average_or_a_threshold_in_its_range() -> None:
    assert threshold_advice.check_thumb(verdict(MIDDLE), math.nan) is None
    assert threshold_advice.check_thumb(verdict(MIDDLE), math.inf) is None
    held = threshold_advice.check_thumb(verdict(MIDDLE), 1e-6)
    assert held
    assert held.within == ()


# The norms and the grid


def test_norms_end_before_the_step_that_diverged() -> None:
    curves = pd.DataFrame({"norm_before": [1.0, 2.0, math.inf, 4.0], "loss": [1.0, 1.0, 1.0, 1.0]})
    assert gradient_norms.cut_divergence(curves).tolist() == [1, 2]
    assert gradient_norms.cut_divergence(
        curves.assign(norm_before=[1.0, 2, 3, 4], loss=[1, math.nan, 1, 1])
    ).tolist() == [1]
    assert gradient_norms.cut_divergence(curves.assign(norm_before=[1.0, 2, 3, 4])).tolist() == [1, 2, 3, 4]


def test_the_summary_counts_every_step_once() -> None:
    found = gradient_norms.summarise_norms([np.array([1.0]), np.array([2.0, 3.0, 6.0])])
    assert (found["steps"], found["average"], found["50 %"], found["largest"]) == (4, 3.0, 2.5, 6.0)
    assert math.isnan(gradient_norms.summarise_norms([])["average"])


def test_a_grid_goes_from_clipping_nearly_always_to_nearly_never() -> None:
    seen = np.random.default_rng(0).lognormal(-1, 1.3, 20_000)
    grid = gradient_norms.make_grid([seen[:5_000], seen[5_000:]])
    assert grid == (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    assert (seen > grid[0]).mean() > 0.98
    assert (seen > grid[-1]).mean() < 0.002


@settings(deadline=None)
@given(st.lists(st.floats(1e-12, 1e12), min_size=1, max_size=50))
def test_a_grid_ascends_has_four_to_nine_points_and_begins_at_or_below_the_norms(values: list[float]) -> None:
    grid = gradient_norms.make_grid([np.array(values)])
    assert gradient_norms.FEWEST <= len(grid) <= gradient_norms.MOST
    assert list(grid) == sorted(set(grid))
    assert grid[0] <= np.quantile(values, 0.01) * (1 + 1e-6)


def test_an_explosion_does_not_stretch_the_grid() -> None:
    assert gradient_norms.make_grid([np.array([1.0, 2, 3, 4, 5, 6, 1e9, 1e30])])[-1] <= 1000


def test_norms_that_hold_nothing_give_no_grid() -> None:
    assert gradient_norms.make_grid([]) == gradient_norms.make_grid([np.array([0.0, math.nan, math.inf])]) == ()


# In words, from a store


def records(points: dict[float | None, list[float]], clip: str = "norm", **changes: Any) -> list[Record]:
    """Return records at three learning rates whose final loss is 0.005, or the floor where the planted skill is 0."""
    return [
        synthetic.record(
            clip="none" if threshold is None else clip,
            threshold=threshold,
            learning_rate=rate,
            seed=seed,
            loss=(1 - value) / 6,
            solved=value > 0.9,
            steps_to_solve=600 if value > 0.9 else None,
            clip_fraction=0.0 if threshold is None else 0.5,
            **changes,
        )
        for rate in (0.001, 0.003, 0.009)
        for threshold, skills in points.items()
        for seed, value in enumerate(skills)
    ]


PLANTED: dict[float | None, list[float]] = {None: [0.1] * 3, 0.01: [0.1] * 3, 0.1: [0.97] * 3, 1.0: [0.1] * 3}


def gathered(folder: Path, rows: list[Record], clip: str = "norm") -> advice_report.Advice:
    store = synthetic.write(folder, rows)
    return advice_report.gather_advice(store.rows(), store.evaluations, store.curves, named=0.003, clip=clip)


def test_the_advice_names_the_planted_threshold_at_each_learning_rate(tmp_path: Path) -> None:
    found = gathered(tmp_path, records(PLANTED))
    assert [one.recommended for one in found.verdicts] == [0.1] * 3
    said = advice_report.write_findings(found)
    assert said[0].startswith("At adam 0.003 the recommended threshold is norm 0.1, with an interval of 0.1 alone, ")
    assert "chosen by the average skill: that clipping helps is not shown." in said[0]
    assert "3 of 3 seeds solved it, in 600 steps in the median, the average skill was 0." in said[0]
    assert "and 50 % of the steps were clipped. Without clipping, 0 of 3 seeds solved it" in said[0]
    assert "the same is recommended 3 of 3 times" in said[0]
    assert [text[:13] for text in said[1:3]] == ["At adam 0.001", "At adam 0.009"]
    assert "In the plateaus of all the learning rates, 0.001, 0.003 and 0.009: 0.1." in said
    assert sum("rule of thumb" in text for text in said) == 3


@pytest.mark.parametrize("seeds", [4, 5, 8])
def test_the_advice_says_of_a_threshold_what_the_report_of_the_same_folder_says(tmp_path: Path, seeds: int) -> None:
    solved = {None: 0, 0.01: seeds, 0.1: seeds - 1, 1.0: 2, 10.0: 0}
    points = {at: [0.97] * good + [0.1] * (seeds - good) for at, good in solved.items()}
    some = [one for one in records(points) if one.case.learning_rate == 0.003]
    found = gathered(tmp_path, some)
    (clips,) = compare_clips(synthetic.label(*some))
    told = {str(one["threshold"]): one["verdict"] for one in found.verdicts[0].lines.to_dict("records")}
    report = {"nan" if one.clip == "none" else one.label.removeprefix("norm "): one.verdict for one in clips.clips}
    assert {f"{float(at):g}": verdict for at, verdict in told.items()} == report
    assert (Verdict.BETTER in report.values()) == (seeds >= 5)
    said = advice_report.write_findings(found)[0]
    assert ("That more seeds solve it than without a clip is shown" in said) == (seeds >= 5)
    assert ("So few seeds are listed, not tested" in said) == (seeds < 5)


@pytest.mark.slow
@pytest.mark.parametrize("planted", [0.1, 1.0])
def test_the_page_says_the_advice_marks_the_threshold_and_draws_it(
    opened: Opened, tmp_path: Path, planted: float
) -> None:
    points = dict.fromkeys(PLANTED, [0.1] * 3) | {planted: [0.97] * 3}
    found = gathered(tmp_path, records(points))
    first, *_ = advice_page.write(tmp_path, found)
    page = opened(tmp_path, page=first.name)
    assert first.name == "advice.html"
    assert f"the recommended threshold is norm {planted:g}" in page.locator("main").inner_text()
    marked = page.locator("table tbody tr:has(.best), table tbody tr:has(b), table tbody tr:has(strong)")
    assert marked.count() == 3  # one at each learning rate
    assert all(f"norm {planted:g}" in row for row in marked.all_inner_texts())
    page.locator("[data-chart]").first.scroll_into_view_if_needed()
    page.wait_for_selector("[data-chart] .plot-container")


def test_the_files_hold_the_advice_the_tries_and_a_figure(tmp_path: Path) -> None:
    found = gathered(tmp_path, records(PLANTED))
    written = {path.name: path for path in advice_files.write_files(tmp_path, found)}
    assert set(written) == {"advice.md", "advice.png", "points.csv", "cases.csv", "norms.csv"}
    text = written["advice.md"].read_text()
    assert "the recommended threshold is norm 0.1" in text
    assert "(advice.png)" in text
    points = pd.read_csv(written["points.csv"])
    assert len(points) == 3 * 4
    assert points.loc[points["recommended"], "threshold"].tolist() == [0.1] * 3
    assert len(pd.read_csv(written["cases.csv"])) == 36
    assert written["advice.png"].stat().st_size > 10_000


@pytest.mark.parametrize(
    ("points", "changes", "said"),
    [
        ({None: [0.97] * 2, 0.1: [0.1] * 2, 1.0: [0.2] * 2}, {}, "no tried threshold is as good as no clipping"),
        ({None: [0.97] * 2, 0.1: [0.97] * 2, 1.0: [0.97] * 2}, {}, "no difference is seen, from norm 0.1 to 1"),
        ({None: [0.97] * 2, 0.1: [0.1] * 2, 1.0: [0.97] * 2}, {}, "no clipping is as good as any; the recommended"),
        ({None: [-0.5] * 2, 0.1: [-0.5] * 2, 1.0: [-0.5] * 2}, {}, "nothing was learned, at norm 0.1 to 1 or without"),
        ({None: [0.1] * 2, 0.1: [0.97] * 2}, {}, "the threshold grid is one value, so there is nothing to choose from"),
        ({None: [0.1] * 2}, {}, "no threshold was tried"),
        ({None: [0.0] * 2, 0.1: [0.0] * 2, 1.0: [0.0] * 2}, {"torn": True}, "every run diverged, at norm 0.1 to 1"),
        ({None: [0.1], 0.1: [0.97], 1.0: [0.1]}, {}, "One seed is no verdict."),
    ],
)
def test_an_advice_that_is_none_says_what_it_is(
    tmp_path: Path, points: dict[float | None, list[float]], changes: dict[str, bool], said: str
) -> None:
    rows = records(points)
    if changes:
        torn = {"diverged_at": 7, "loss": None, "score": None, "metrics": {}, "solved": False}
        rows = [
            synthetic.diverged(
                clip=one.case.clip,
                threshold=one.case.threshold,
                learning_rate=one.case.learning_rate,
                seed=one.case.seed,
                **torn,
            )
            for one in rows
        ]
    found = gathered(tmp_path, rows)
    assert said in advice_report.write_findings(found)[0]
    assert said in advice_files.write_page(found)
    assert terminal.render_advice(
        advice_report.tabulate_tried(found), clip=found.clip, setting=found.setting
    ).row_count == 3 * len(points)
    advice_figure.draw(found.verdicts, found.thumbs, found.norms, clip="norm", named=0.003).draw_without_rendering()


def test_an_average_of_exploded_norms_is_called_that_and_not_drawn(tmp_path: Path) -> None:
    torn = [synthetic.diverged(learning_rate=0.003, seed=seed, diverged_at=20, metrics={}) for seed in (0, 1)]
    kept = [one for one in records(PLANTED) if one.case.clip == "norm" and one.case.learning_rate == 0.003]
    found = gathered(tmp_path, [*torn, *kept])
    said = advice_report.write_findings(found)[-1]
    assert "That average holds the explosions of 2 runs that diverged" in said
    assert said.endswith("No tried threshold lies there.")
    figure = advice_figure.draw(found.verdicts, found.thumbs, found.norms, clip="norm", named=0.003)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["learning rate 0.003 (named)", "plateau at the named rate", "recommended"]


def test_the_rule_of_thumb_is_not_asked_about_a_clip_by_value(tmp_path: Path) -> None:
    found = gathered(tmp_path, records(PLANTED, clip="value"), clip="value")
    said = advice_report.write_findings(found)
    assert "the recommended threshold is value 0.1" in said[0]
    about = [text for text in said if "rule of thumb" in text]
    assert len(about) == 1
    assert about[0].endswith("is about the norm and says nothing of a clip by value.")
    said = advice_report.write_findings(gathered(tmp_path, records(PLANTED, clip="autoclip"), clip="autoclip"))
    assert [text for text in said if text.endswith("is about the norm and says nothing of clip autoclip.")]
    assert "the recommended threshold is autoclip 0.1" in said[0]
    advice_files.write_files(tmp_path, found)


def test_a_percentile_and_a_norm_share_no_group_of_the_axis_of_thresholds() -> None:
    clips = [("none", math.nan), ("norm", 10.0), ("autoclip", 10.0), ("autoclip", 50.0)]
    labels = ["none", "norm 10", "autoclip 10", "autoclip 50"]
    table = pd.DataFrame(clips, columns=["clip", "threshold"]).assign(**{CELL: "rnn"})
    axis = style.make_threshold_axis(table.assign(**{CLIP: pd.Categorical(labels, labels)}))
    assert [axis.groups["rnn", label] for label in labels] == ["rnn\n(norm)"] * 2 + ["rnn\n(autoclip)"] * 2
    assert [axis.at("rnn", label) for label in labels] == [0.0, 1.0, 2.5, 3.5]
    assert style.describe_kind("autoclip") == "autoclip: percentile"
