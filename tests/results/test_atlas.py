"""What an atlas says: success against length, clip by learning rate, penalties and tuned cells, from planted rows."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farreach.results.analysis import atlas, overview, penalties, statistics, tuning
from farreach.results.analysis.rows import Rows
from farreach.results.figures import atlas as figures
from farreach.results.figures.captions import CAPTIONS, OPTIONAL
from farreach.results.figures.overview import draw_atlas
from farreach.results.record import Record
from farreach.results.report.answers import answer_all
from farreach.results.report.answers.base import GRADIENTS, SOLVED
from farreach.results.report.penalties import write_penalties
from farreach.results.report.tuning import write_tuning
from tests.support import synthetic

LENGTHS = (20, 50, 100)


def plant_lengths(cell: str, solved: Iterable[int], *, seeds: int = 5, **more: Any) -> list[Record]:
    """Return rows at each length, of which so many seeds solved the task."""
    return [
        synthetic.record(cell=cell, parameters=json.dumps({"T": T}), seed=seed, solved=seed < good, **more)
        for (T, good), seed in itertools.product(zip(LENGTHS, solved, strict=False), range(seeds))
    ]


def read_shares(rows: Rows) -> dict[tuple[str, str, float], float]:
    table = atlas.tabulate_success(rows)
    keys = zip(table["cell"], table["initial"], table["length"], strict=True)
    return dict(zip(keys, table["share"], strict=True))


def test_success_against_length_is_counted_by_cell_and_first_weights_with_its_interval() -> None:
    chrono = [synthetic.change(one, initial="chrono", chrono_length=json.loads(one.to_row()["parameters"])["T"])
              for one in plant_lengths("lstm", (5, 5, 4))]  # fmt: skip
    rows = synthetic.label(*plant_lengths("lstm", (5, 2, 0)), *plant_lengths("rnn", (3, 0, 0)), *chrono)
    shares = read_shares(rows)
    assert [shares["lstm", "default", T] for T in LENGTHS] == [1, 0.4, 0]
    assert [shares["lstm", "chrono", T] for T in LENGTHS] == [1, 1, 0.8]
    assert [shares["rnn", "default", T] for T in LENGTHS] == [0.6, 0, 0]
    table = atlas.tabulate_success(rows)
    line = table[(table["initial"] == "chrono") & (table["length"] == 100)].iloc[0]
    assert (line["low"], line["high"]) == statistics.bound_share(4, 5)
    (figure,) = figures.draw_success(table).values()
    (axes,) = figure.axes
    drawn = {tuple(np.round(np.asarray(bars[0].get_ydata(), float), 2)) for bars in axes.containers}
    assert drawn == {(1, 0.4, 0), (1, 1, 0.8), (0.6, 0, 0)}


def test_the_answer_says_up_to_which_length_for_each_kind_of_first_weights() -> None:
    plain = plant_lengths("lstm", (5, 0, 0))
    drawn = [synthetic.change(one, initial="chrono", chrono_length=50) for one in plant_lengths("lstm", (5, 5, 0))]
    (answer,) = (one for one in answer_all(synthetic.label(*plain, *drawn)) if one.question == SOLVED)
    none = "0 of 5 seeds, 95 % interval 0 % to 52 %"
    (text,) = answer.parts
    assert text == (
        f"adding: lstm with chrono weights up to T=50 (5 of 5 seeds, 95 % interval 48 % to 100 %; at 100 {none}), "
        f"lstm up to T=20 (5 of 5 seeds, 95 % interval 48 % to 100 %; at 50 {none}; at 100 {none})"
    )


def test_a_seed_counts_as_solved_where_every_framework_solved_it() -> None:
    mine = plant_lengths("lstm", (5, 4, 3))
    other = plant_lengths("lstm", (4, 5, 1), framework="tensorflow", path="graph")
    shares = read_shares(synthetic.label(*mine, *other))
    assert [shares["lstm", "default", T] for T in LENGTHS] == [0.8, 0.8, 0.2]
    assert set(atlas.tabulate_success(synthetic.label(*mine, *other))["seeds"]) == {5}


def test_one_length_fewer_than_five_seeds_and_other_parameters() -> None:
    assert atlas.tabulate_success(synthetic.label(*plant_lengths("lstm", (5,)))).empty
    assert figures.draw_success(atlas.tabulate_success(synthetic.label(*plant_lengths("lstm", (5,))))) == {}
    few = atlas.tabulate_success(synthetic.label(*plant_lengths("lstm", (4, 1, 0), seeds=4)))
    assert few["low"].isna().all()
    copies = [synthetic.record(task="copy", parameters=json.dumps({"T": T, "symbols": symbols}), seed=0)
              for T in LENGTHS for symbols in (5, 10)]  # fmt: skip
    assert set(atlas.tabulate_success(synthetic.label(*copies))["place"]) == {"symbols=5", "symbols=10"}


def test_a_line_over_lengths_is_of_the_recipe_and_clip_that_ran_at_most() -> None:
    whole = plant_lengths("lstm", (3, 2, 1), learning_rate=0.01)
    better = plant_lengths("lstm", (5, 5), learning_rate=0.001)
    shares = read_shares(synthetic.label(*whole, *better))
    assert [shares["lstm", "default", T] for T in LENGTHS] == [0.6, 0.4, 0.2]


def test_the_best_of_several_recipes_is_drawn_without_an_interval() -> None:
    first = plant_lengths("lstm", (5, 0, 0), learning_rate=0.1)
    second = plant_lengths("lstm", (5, 3, 1), learning_rate=0.01)
    table = atlas.tabulate_success(synthetic.label(*first, *second))
    assert table["solved"].tolist() == [5, 3, 1]
    assert set(table["tried"]) == {2}
    assert table["low"].isna().all()
    assert atlas.tabulate_success(synthetic.label(*first))["low"].notna().all()


def test_of_two_lengths_of_training_the_longer_counts_and_a_seed_counts_once() -> None:
    short = plant_lengths("lstm", (5, 0, 0), steps=500)
    shares = read_shares(synthetic.label(*short, *plant_lengths("lstm", (5, 4, 2), steps=2000)))
    assert [shares["lstm", "default", T] for T in LENGTHS] == [1, 0.8, 0.4]


def test_drawn_recipes_are_in_none_of_these_pictures() -> None:
    rows = synthetic.label(*plant_studies(2))
    assert atlas.tabulate_rates(rows).empty
    assert overview.tabulate_atlas(rows).empty


def plant_rates(torn: int) -> list[Record]:
    """Return rows of two clips and two rates; without a clip at the larger rate `torn` seeds diverge."""
    found = []
    for clip, rate, seed in itertools.product(("none", "norm"), (0.01, 0.1), range(5)):
        facts: dict[str, Any] = {"clip": clip, "threshold": None if clip == "none" else 1.0, "learning_rate": rate}
        broken = clip == "none" and rate == 0.1 and seed < torn
        solved = {} if broken else {"solved": clip == "norm" and seed < 4}
        make = synthetic.diverged if broken else synthetic.record
        found.append(make(seed=seed, optimizer="sgd", **facts, **solved))
    return found


@pytest.mark.parametrize("torn", [0, 3])
def test_clip_by_learning_rate_counts_the_seeds_that_solved_and_marks_those_that_diverged(torn: int) -> None:
    table = atlas.tabulate_rates(synthetic.label(*plant_rates(torn)))
    lines = {(str(one.clip), one.learning_rate): (one.solved, one.diverged) for one in table.itertuples()}
    assert lines == {("none", 0.01): (0, 0), ("none", 0.1): (0, torn), ("norm", 0.01): (4, 0), ("norm", 0.1): (4, 0)}
    (figure,) = figures.draw_rates(table).values()
    field = figure.axes[0]
    assert [text.get_text() for text in field.texts] == ["0/5", "4/5", "0/5", "4/5"]
    assert len([line for line in field.lines if line.get_marker() == "x"]) == (torn > 0)
    assert np.asarray(field.collections[0].get_array()).ravel().tolist() == [0, 0.8, 0, 0.8]


def test_one_rate_or_one_clip_makes_no_such_picture() -> None:
    records = plant_rates(0)
    assert atlas.tabulate_rates(synthetic.label(*[one for one in records if one.case.learning_rate == 0.1])).empty
    assert atlas.tabulate_rates(synthetic.label(*[one for one in records if one.case.clip == "norm"])).empty
    assert figures.draw_rates(atlas.tabulate_rates(synthetic.label(*records[:5]))) == {}


def plant_penalties(torn: dict[tuple[str, float | None], int], *, seeds: int = 10, **more: Any) -> list[Record]:
    """Return rows of each penalty, of which so many seeds diverged."""
    found = []
    for (kind, strength), seed in itertools.product(torn, range(seeds)):
        broken = seed < torn[kind, strength]
        facts = {"cell": "rnn", "regulariser": kind, "strength": strength, "seed": seed, "optimizer": "sgd"} | more
        largest = 100.0 + seed if kind == "none" else 4.0 + seed
        found.append(synthetic.diverged(**facts) if broken else synthetic.record(**facts, norm_before_max=largest))
    return found


def test_a_penalty_bounds_a_gradient_where_no_seed_diverges_and_the_test_tells_it() -> None:
    rows = synthetic.label(*plant_penalties({("none", None): 10, ("l2", 0.01): 9, ("l2", 0.1): 0, ("omega", 1.0): 0}))
    (found,) = penalties.judge_penalties(rows)
    assert found.explodes
    assert [(one.kind, one.strength, one.diverged, found.find_change(one), found.is_bound(one))
            for one in found.penalties] == [
        ("l2", 0.01, 9, "unclear", False), ("l2", 0.1, 0, "smaller", True), ("omega", 1.0, 0, "smaller", True)
    ]  # fmt: skip
    assert found.plain.median == math.inf
    text = write_penalties(found)
    assert "rnn on adding T=50 (sgd 0.003) without clipping? shown for l2 0.1 and omega 1 (none: 10 of 10" in text
    assert "l2 0.1: largest norm 8.5, 0 of 10 seeds diverged, 10 solved, smaller than without, p = " in text
    (answer,) = (one for one in answer_all(rows) if one.question == GRADIENTS)
    assert text in answer.parts
    assert found in answer.verdicts


def test_p_of_penalties_is_that_of_the_exact_tests_corrected_for_their_number() -> None:
    (found,) = penalties.judge_penalties(
        synthetic.label(*plant_penalties({("none", None): 10, ("l1", 0.1): 4, ("l2", 0.1): 0}))
    )
    first, second = found.penalties
    assert second.p_diverged == pytest.approx(2 * statistics.compare_counts(0, 10, 10, 10))
    assert first.p_diverged == pytest.approx(statistics.compare_counts(4, 10, 10, 10))
    assert not found.is_bound(first)


def test_without_an_explosion_a_penalty_bounds_nothing_and_few_seeds_are_not_tested() -> None:
    (calm,) = penalties.judge_penalties(synthetic.label(*plant_penalties({("none", None): 0, ("l2", 0.1): 0})))
    assert calm.find_change(calm.penalties[0]) == "smaller"
    assert "no seed diverges without one (none: largest norm 104, 0 of 10" in write_penalties(calm)
    few = plant_penalties({("none", None): 4, ("l2", 0.1): 0}, seeds=4)
    (listed,) = penalties.judge_penalties(synthetic.label(*few))
    assert listed.find_change(listed.penalties[0]) == "listed"
    assert "shown for none of those tried" in write_penalties(listed)
    assert "not tested" in write_penalties(listed)
    (worse,) = penalties.judge_penalties(synthetic.label(*plant_penalties({("none", None): 0, ("l2", 0.1): 10})))
    assert worse.find_change(worse.penalties[0]) == "larger"


def test_penalties_without_a_plain_run_beside_them_say_nothing() -> None:
    rows = synthetic.label(*plant_penalties({("l2", 0.01): 9, ("l2", 0.1): 0}))
    assert penalties.judge_penalties(rows) == []
    assert penalties.judge_penalties(synthetic.label(synthetic.record())) == []


SHARES = {"rnn": 0.2, "lstm": 0.9, "gru": 0.8}


def plant_studies(studies: int = 8, *, steps: dict[str, int] | None = None, **more: Any) -> list[Record]:
    """Return rows of studies of three recipes, of which the second is best; `SHARES` of its seeds solve the task."""
    found = []
    for study, recipe, nth, cell in itertools.product(range(1, studies + 1), (1, 2, 3), range(10), SHARES):
        share = SHARES[cell] if recipe == 2 else SHARES[cell] / 4
        good = (nth * 7 + study * 3) % 10 < 10 * share
        facts = {"study": study, "recipe": recipe, "seed": 10 * (study - 1) + nth, "cell": cell} | more
        rate = 0.001 * recipe + study * 1e-5
        took = (steps or {}).get(cell, 400) if good else None
        found.append(synthetic.record(learning_rate=rate, solved=good, steps_to_solve=took, **facts))
    return found


def test_a_tuned_cell_is_judged_on_the_seeds_that_chose_nothing() -> None:
    (found,) = tuning.judge_tuning(synthetic.label(*plant_studies()))
    assert (found.recipes, found.steps, found.chosen_on) == (3, 1000, 5)
    cells = {one.cell: one for one in found.cells}
    assert {study.recipe for cell in ("lstm", "gru") for study in cells[cell].studies} == {2}
    assert {study.seeds for one in found.cells for study in one.studies} == {5}
    for at, study in enumerate(cells["lstm"].studies, start=1):
        judged = [nth for nth in range(1, 10, 2) if (nth * 7 + at * 3) % 10 < 9]
        assert (study.study, study.solved) == (at, len(judged))
    share = cells["lstm"].share
    assert share.interval == statistics.bound_median([one.share for one in cells["lstm"].studies])


def test_a_recipe_that_only_the_judging_seeds_like_is_not_chosen() -> None:
    records = [
        synthetic.record(learning_rate=0.001 * recipe, study=1, recipe=recipe, seed=seed,
                         solved=(seed % 2 == 0) == (recipe == 1))
        for recipe, seed in itertools.product((1, 2), range(10))
    ]  # fmt: skip
    (found,) = tuning.judge_tuning(synthetic.label(*records))
    (study,) = found.cells[0].studies
    assert (study.recipe, study.solved, study.seeds, study.steps) == (1, 0, 5, math.inf)


def test_cells_are_compared_by_study_and_the_answer_says_so() -> None:
    rows = synthetic.label(*plant_studies())
    (found,) = tuning.judge_tuning(rows)
    pairs = {(one.first, one.second): one for one in found.pairs}
    assert pairs["rnn", "lstm"].winner == 2
    assert pairs["rnn", "lstm"].p == pytest.approx(3 * 2 / 2**8)
    assert pairs["lstm", "gru"].winner is None
    text = write_tuning(found)
    assert text.startswith(
        "adding T=50 in pytorch, each cell tuned with the same budget: 3 drawn recipes of 1,000 steps per study, "
        "chosen on 5 seeds and judged on 5 others: rnn solves a median of 10 % of them (8 studies, 95 % interval 0 %"
    )
    assert "lstm better than rnn (signs flipped over studies, corrected p = 0.023)" in text
    assert text.endswith("not told apart: lstm and gru")
    (answer,) = (one for one in answer_all(rows) if one.question == SOLVED)
    assert answer.parts == (text,)
    assert not answer.missing
    (few,) = tuning.judge_tuning(synthetic.label(*plant_studies(5)))
    assert [pair.winner for pair in few.pairs] == [None] * 3
    assert "too few studies for a test (6 are needed)" in write_tuning(few)


def test_tuned_rows_beside_others_leave_the_answer_of_the_others_as_it_is() -> None:
    plain = [synthetic.record(seed=seed, learning_rate=0.5) for seed in range(5)]
    (alone,) = (one for one in answer_all(synthetic.label(*plain)) if one.question == SOLVED)
    (both,) = (one for one in answer_all(synthetic.label(*plain, *plant_studies())) if one.question == SOLVED)
    assert both.parts[: len(alone.parts)] == alone.parts
    assert len(both.parts) == len(alone.parts) + 1


def test_a_study_that_is_not_whole_or_has_too_few_seeds_is_left_out() -> None:
    records = plant_studies()
    cut = [one for one in records if not (one.environment.study == 8 and one.case.seed == 79)]
    (found,) = tuning.judge_tuning(synthetic.label(*cut))
    assert {len(one.studies) for one in found.cells} == {7}
    few = [one for one in records if one.case.seed % 10 < 8]
    assert tuning.judge_tuning(synthetic.label(*few)) == []
    assert tuning.judge_tuning(synthetic.label(synthetic.record())) == []


def test_a_profile_is_the_share_of_tasks_solved_within_a_factor_of_the_fewest_steps() -> None:
    rows = synthetic.label(*plant_studies(steps={"gru": 200, "lstm": 500}))
    table = tuning.tabulate_profile(rows)
    at = {(one.cell, one.factor): one.share for one in table.itertuples()}
    assert at == {("rnn", 1): 0, ("lstm", 1): 0, ("gru", 1): 1, ("rnn", 2.5): 0, ("lstm", 2.5): 1, ("gru", 2.5): 1}
    (figure,) = figures.draw_profile(table).values()
    ends = {tuple(line.get_ydata()) for line in figure.axes[0].lines}
    assert ends == {(0, 0, 0), (0, 1, 1), (1, 1, 1)}
    assert figures.draw_profile(tuning.tabulate_profile(synthetic.label(synthetic.record()))) == {}


@pytest.mark.slow
def test_the_report_of_any_set_with_such_rows_has_the_figures(tmp_path: Path) -> None:
    from farreach.results.report import contents, gallery  # noqa: PLC0415 - loads what draws

    store = synthetic.write(tmp_path / "set", [*plant_lengths("lstm", (5, 2, 0)), *plant_rates(1), *plant_studies(2)])
    results = contents.read_results(store.folder)
    (tmp_path / "figures").mkdir()
    names = {name for name, _ in gallery.draw_figures(results, tmp_path / "figures")}
    assert {"success-length", "clip-rate", "profile"} <= names
    assert names <= {*CAPTIONS}
    assert {"success-length", "clip-rate", "profile"} <= OPTIONAL
    assert (tmp_path / "figures" / "clip-rate-adding.svg").exists()


@pytest.mark.parametrize("kind", ["clips", "rates"])
def test_no_title_of_a_heat_map_runs_into_its_colour_bar(kind: str) -> None:
    """Beside a recipe as long as that of chrono weights, on a figure of two clips."""
    plain = plant_lengths("lstm", (3, 2, 1), learning_rate=0.01)
    rates = [synthetic.change(one, learning_rate=0.02) for one in plain]
    drawn = [synthetic.change(one, initial="chrono", chrono_length=100) for one in [*plain, *rates]]
    clipped = [synthetic.change(one, clip="norm", threshold=1.0) for one in [*plain, *rates, *drawn]]
    rows = synthetic.label(*plain, *rates, *drawn, *clipped)
    clips, by_rate = overview.tabulate_atlas(rows), atlas.tabulate_rates(rows)
    (figure,) = (draw_atlas(clips) if kind == "clips" else figures.draw_rates(by_rate)).values()
    figure.draw_without_rendering()
    *fields, bar = figure.axes
    titles = [ax.title if ax.title.get_text() else ax._left_title for ax in fields]  # noqa: SLF001 - as it is drawn
    assert any("chrono" in title.get_text() for title in titles)
    assert max(title.get_window_extent().x1 for title in titles) < bar.get_window_extent().x0
