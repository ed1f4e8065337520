"""Recipes that a suite draws: the same every time, within their ranges, each study with seeds of its own."""

from __future__ import annotations

import collections
from pathlib import Path

import pytest

from farreach.benchmarks.matrix import registry, suite
from farreach.benchmarks.matrix.case import Case
from farreach.results.storage.sets import open_set
from tests.support.commands import call_command

DRAWN = """
description = "drawn recipes"

[[block]]
task = "adding"
parameters = { T = 5 }
framework = "reference"
cell = "lstm"
chrono_length = "length"
hidden = 4
steps = 100
seed = [0, 1, 4]

[block.draw]
recipes = 4
studies = 3
learning_rate = { low = 1e-3, high = 0.1, scale = "log" }
clip = ["none", "norm"]
threshold = { low = 0.5, high = 2 }
initial = ["default", "chrono"]
forget_bias = { low = 0, high = 4 }
"""


def expand(folder: Path, text: str = DRAWN) -> dict[Case, dict[str, object]]:
    path = folder / "drawn.toml"
    path.write_text(text)
    return suite.load_suite(str(path)).expand()


def test_a_draw_gives_every_study_its_recipes_and_seeds_of_its_own(tmp_path: Path) -> None:
    rows = expand(tmp_path)
    assert len(rows) == 3 * 4 * 3
    seeds = collections.defaultdict(set)
    recipes = collections.defaultdict(set)
    for case, said in rows.items():
        seeds[said["study"]].add(case.seed)
        recipes[said["study"], said["recipe"]].add((case.learning_rate, case.clip, case.threshold, case.initial))
    assert seeds == {1: {0, 1, 4}, 2: {5, 6, 9}, 3: {10, 11, 14}}
    assert {len(one) for one in recipes.values()} == {1}
    assert len({case.learning_rate for case in rows}) == 3 * 4


def test_what_is_drawn_lies_within_its_range_and_suits_its_words(tmp_path: Path) -> None:
    rows = expand(tmp_path, DRAWN.replace("recipes = 4", "recipes = 64"))
    rates = sorted({case.learning_rate for case in rows})
    assert 1e-3 <= rates[0] < 1.1e-3
    assert 0.09 < rates[-1] <= 0.1
    assert sum(rate < 1e-2 for rate in rates) == pytest.approx(len(rates) / 2, abs=3)  # half of a logarithmic range
    assert {case.clip for case in rows} == {"none", "norm"}
    for case in rows:
        assert (case.threshold is None) == (case.clip == "none")
        assert (case.chrono_length == 5) == (case.initial == "chrono")
        assert case.initial == "default" or case.forget_bias is None
        assert case.learning_rate == float(f"{case.learning_rate:.3g}")


def test_a_draw_is_the_same_whenever_it_is_read_and_another_of_another_seed(tmp_path: Path) -> None:
    first = expand(tmp_path)
    assert expand(tmp_path) == first
    assert sorted({case.learning_rate for case, said in first.items() if said["study"] == 1}) == PINNED
    other = expand(tmp_path, DRAWN.replace("recipes = 4", "recipes = 4\nseed = 1"))
    assert {case.learning_rate for case in other}.isdisjoint({case.learning_rate for case in first})


def test_cells_that_draw_more_share_what_all_draw(tmp_path: Path) -> None:
    plain = DRAWN.replace('"lstm"', '"rnn"').replace('initial = ["default", "chrono"]\n', "")
    plain = plain.replace("forget_bias = { low = 0, high = 4 }\n", "radius = { low = 0.5, high = 1.5 }\n")
    shared = [{(case.learning_rate, case.threshold) for case in expand(tmp_path, text)} for text in (DRAWN, plain)]
    assert shared[0] == shared[1]


PINNED = [0.00212, 0.00671, 0.0212, 0.0671]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("high = 0.1,", "high = 1e-3,", "learning_rate.range: the range from 0.001 to 0.001 is empty"),
        ("low = 1e-3", "low = 0", "learning_rate.range: a range on scale log begins above 0, not at 0"),
        ("low = 1e-3", "low = nan", "learning_rate.range.low: Input should be a finite number"),
        ("studies = 3", "studis = 3", "unknown key block.0.draw.studis; allowed: recipes, studies, seed, "),
        ("low = 0.5", "least = 0.5", "unknown key block.0.draw.threshold.range.least; allowed: low, high, scale"),
        ("recipes = 4", "recipes = 0", "draw.recipes: Input should be greater than 0"),
        ('["none", "norm"]', "[]", "clip is drawn from an empty list"),
        ('["none", "norm"]', '["none", "nrm"]', "unknown clip 'nrm'; allowed: none, norm, "),
        ('clip = ["none", "norm"]\n', "", 'a drawn threshold needs the clip drawn too, such as clip = ["norm"]'),
        ('["default", "chrono"]', "{ low = 0, high = 1 }", "initial is drawn from a list of words, not from a range"),
        ("{ low = 0, high = 4 }", "[true]", "forget_bias is a number, not True"),
        ("hidden = 4", "hidden = 4\nlearning_rate = 0.1", "learning_rate is drawn, and given beside it: leave one out"),
        ('"lstm"', '"gru"', "forget_bias is for cell lstm, not for gru"),
        ("recipes = 4", "recipes = 1001", "draw.recipes: Input should be less than or equal to 1000"),
    ],
)  # fmt: skip
def test_a_faulty_draw_is_refused_in_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in DRAWN
    with pytest.raises(registry.UsageError) as fault:
        expand(tmp_path, DRAWN.replace(old, new))
    assert said in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_draw_without_anything_to_draw_is_refused(tmp_path: Path) -> None:
    with pytest.raises(registry.UsageError, match="a draw needs a field to draw; allowed: learning_rate, clip, "):
        expand(tmp_path, DRAWN.partition("learning_rate")[0])


def test_a_length_of_chrono_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(registry.UsageError, match=r"block\.0\.chrono_length"):
        expand(tmp_path, DRAWN.replace('"length"', '"longest"'))


@pytest.mark.slow
def test_drawn_cases_run_carry_on_and_keep_their_study_in_the_row(tmp_path: Path) -> None:
    path, out = tmp_path / "drawn.toml", tmp_path / "out"
    path.write_text(DRAWN.replace("recipes = 4", "recipes = 2").replace("[0, 1, 4]", "[0]"))
    arguments = ("run", str(path), "--out", str(out))
    assert call_command(*arguments, "--shard", "1/2")[0] == 0
    status, printed, _ = call_command(*arguments)
    assert status == 0
    assert "6 cases, 3 already done, 3 to run" in printed
    rows = open_set(out).rows()
    assert sorted(zip(rows["study"], rows["recipe"], rows["seed"], strict=True)) == [
        *((1, 1, 0), (1, 2, 0), (2, 1, 1), (2, 2, 1), (3, 1, 2), (3, 2, 2))
    ]
