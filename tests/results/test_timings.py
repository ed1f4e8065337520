"""Paired timings: intervals that keep their promise, verdicts the data carry, faults that are said."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.speed import run
from farreach.benchmarks.speed.implementations import Group, Implementation
from farreach.benchmarks.speed.pairs import TimingPlan
from farreach.results.analysis import statistics
from farreach.results.figures import timing
from farreach.results.record import use_first_names
from farreach.results.report import timing as timing_report
from farreach.results.report import timing_contents
from farreach.results.report.speed_sentences import title_steps, write_test, write_trouble
from farreach.results.storage.files import StoreError
from farreach.results.storage.sets import open_set
from farreach.results.timing import interleaved
from farreach.results.timing.ratios import RATIO
from tests.support.timings import (
    CASE,
    STEP,
    make_contender,
    make_group,
    make_pair,
    make_seconds,
    write_check,
    write_groups,
)


def read_ratios(folder: Path) -> list[float]:
    return [*map(float, timing_contents.read_timings(open_set(folder)).pairs["times as fast"])]


def page(folder: Path) -> list[Path]:
    return timing_report.write_page(folder, timing_contents.read_timings(open_set(folder)))


# Intervals


def test_the_interval_of_identical_code_seldom_excludes_1() -> None:
    alarms = 0
    for seed in range(300):
        _, low, high = statistics.estimate_ratio(make_seconds(1.0, seed=seed), make_seconds(1.0, seed=10_000 + seed))
        alarms += low > 1 or high < 1
    assert alarms / 300 < 0.075  # 5 % would be right; 300 trials of that stay below 7.5 % in 98 of 100
    assert alarms > 3


def test_the_interval_finds_a_difference_and_holds_it() -> None:
    held = found = 0
    for seed in range(50):
        _, low, high = statistics.estimate_ratio(make_seconds(1.05, seed=seed), make_seconds(1.0, seed=500 + seed))
        found += low > 1
        held += low < 1.05 < high
    assert found >= 48
    assert held >= 43


def test_a_load_that_lasts_widens_the_interval() -> None:
    random = np.random.default_rng(1)
    waves = np.exp(np.repeat(random.normal(0, 0.05, (40, 12)), 25, axis=1) + random.normal(0, 0.02, (40, 300)))
    shuffled = random.permuted(waves, axis=1)
    lasting, calm = (
        np.median(np.log(one.high / one.low))
        for one in (statistics.estimate_ratio(waves, 1.0), statistics.estimate_ratio(shuffled, 1.0))
    )
    assert lasting > 2 * calm


def test_too_few_rounds_have_no_interval() -> None:
    middle, low, high = statistics.estimate_ratio(make_seconds(2.0, rounds=99), 1.0)
    assert middle == pytest.approx(2, rel=0.05)
    assert math.isnan(low)
    assert math.isnan(high)


# Tables


def test_the_faster_one_comes_first_and_the_ratio_is_how_many_times() -> None:
    pair, turned = make_pair(1.5), make_pair(1.5)
    turned["contenders"].reverse()
    for group in (pair, turned):
        row = interleaved.compare_pairs([group]).iloc[0]
        assert row[RATIO[:4]].tolist() == ["jax", "scan", "pytorch", "eager"]
        assert row["verdict"] == "faster"
        assert row["low"] < 1.5 < row["high"]


def test_nobody_is_called_faster_within_what_launches_differ_by() -> None:
    close = make_pair(1.05)
    assert interleaved.compare_pairs([close]).iloc[0]["verdict"] == "faster"
    assert interleaved.compare_pairs([make_pair(1.02)]).iloc[0]["verdict"] == statistics.INCONCLUSIVE
    assert interleaved.compare_pairs([close], launches=1.08).iloc[0]["verdict"] == statistics.INCONCLUSIVE
    assert interleaved.compare_pairs([make_pair(1.0)]).iloc[0]["verdict"] == statistics.INCONCLUSIVE


@pytest.mark.parametrize(("ratio", "verdict"), [(0.97, "kept"), (1.02, statistics.INCONCLUSIVE), (1.1, "missed")])
def test_an_overhead_is_kept_missed_or_cannot_be_told(ratio: float, verdict: str) -> None:
    ours = make_contender("pytorch (eager)", make_seconds(ratio, seed=3))
    loop = make_contender("loop_pytorch", make_seconds(1.0, seed=4), loop="loop_pytorch", framework="pytorch")
    row = interleaved.compare_overheads([make_group(ours, loop)]).iloc[0]
    assert row["verdict"] == verdict
    assert row["low"] < ratio < row["high"]
    assert interleaved.compare_pairs([make_group(ours, loop)]).empty  # a loop is no framework's step


def test_steps_that_differ_in_their_recipe_are_told_apart() -> None:
    ours = make_contender("pytorch (eager)", make_seconds(0.9, seed=3))
    loop = make_contender("loop_pytorch", make_seconds(1.0, seed=4), loop="loop_pytorch", framework="pytorch")
    recipes: list[dict[str, Any]] = [{}, {"clip": "agc"}, {"clip": "norm", "optimizer": "sgd"}]
    groups = [make_group(ours, loop, step=STEP | recipe) for recipe in recipes]
    found = title_steps(interleaved.compare_overheads(groups))
    assert [*found["clip"]] == ["norm", "agc", "norm"]
    assert len(set(found["setting"])) == 3
    assert len(interleaved.list_costs(groups).groupby(["clip", "optimizer"])) == 3
    assert {"schedule", "regulariser", "initial"}.isdisjoint(found)  # which are the usual ones in every row
    assert "clip" not in interleaved.compare_overheads(groups[:1])


def test_an_overhead_is_kept_by_its_interval_and_not_by_its_ratio() -> None:
    ours = make_contender("pytorch (eager)", make_seconds(0.9, spread=0.5, seed=3))
    loop = make_contender("loop_pytorch", make_seconds(1.0, seed=4), loop="loop_pytorch", framework="pytorch")
    row = interleaved.compare_overheads([make_group(ours, loop)]).iloc[0]
    assert row["ours / loop"] < interleaved.ALLOWED["loop"] < row["high"]
    assert row["verdict"] == statistics.INCONCLUSIVE


def test_costs_are_per_step_and_per_second() -> None:
    table = interleaved.list_costs(
        [make_group(make_contender("jax (scan)", np.full(120, 0.002)))], {"gflops": {"float32": 5.0}}
    )
    row = table.iloc[0]
    assert row["ms a step"] == pytest.approx(2)
    assert row["sequences/s"] == pytest.approx(32 / 0.002)
    assert row["time steps/s"] == pytest.approx(32 * 50 / 0.002)
    assert row["GFLOP/s"] == pytest.approx(0.5)
    assert row["share of peak"] == pytest.approx(0.1)
    assert row["peak MiB"] == pytest.approx(1024)
    assert row["above idle MiB"] == pytest.approx(512)


def test_compiling_pays_off_after_the_steps_that_win_its_time_back() -> None:
    slow = {"path": "graph", "seconds": 0.003, "compile_seconds": 1.0}
    fast = {"path": "xla", "seconds": 0.002, "compile_seconds": 3.0}
    assert interleaved.count_steps_to_pay_off({"path": "xla", "tried": [slow, fast]}) == pytest.approx(2_000)
    assert interleaved.count_steps_to_pay_off({"path": "graph", "tried": [slow, fast]}) == 0
    assert interleaved.count_steps_to_pay_off({"path": "xla", "tried": [slow, fast | {"seconds": 0.004}]}) == math.inf
    assert interleaved.count_steps_to_pay_off({"path": "xla", "tried": []}) is None


# What must be said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rounds_wanted": 700}, "the time limit of 60 s was reached: 120 rounds of the 700"),
        ({"waiting": 0.3}, "the waiting processes took 30%"),
        ({"clock_step": -3600.0}, "the clock of the day moved by -3600.0 s"),
        ({"failed": [{"contender": "tensorflow (xla)", "reason": "no memory"}]}, "tensorflow (xla) failed: no memory."),
    ],
)
def test_what_disturbed_a_timing_is_said(changes: dict[str, Any], said: str) -> None:
    assert not write_trouble([make_pair(1.5)])
    (sentence,) = write_trouble([make_pair(1.5) | changes])
    assert said in sentence


def test_another_process_that_hogs_the_machine_is_noticed() -> None:
    starved = make_contender("jax (scan)", make_seconds(1.0), cpu_to_wall=0.6)
    spread = make_contender("jax (scan)", make_seconds(1.0, spread=0.3))
    for one in (starved, spread):
        (sentence,) = write_trouble([make_group(make_contender("pytorch (eager)", make_seconds(1.0)), one)])
        assert "busy with something else while jax (scan) ran" in sentence


# Files


def test_a_damaged_file_is_named_in_one_line(tmp_path: Path) -> None:
    write_groups(tmp_path, make_pair(1.5))
    for text in ("{", "[]", json.dumps({"schema": 99}), json.dumps({"schema": 1, "contenders": [{}]})):
        (tmp_path / interleaved.FOLDER / "x.json").write_text(text)
        with pytest.raises(StoreError, match=r"x\.json") as fault:
            interleaved.read_groups(open_set(tmp_path))
        assert "\n" not in str(fault.value)


def test_a_step_with_the_first_name_of_a_field_is_the_same_step(tmp_path: Path) -> None:
    old, new = make_pair(1.5), make_pair(1.5)
    old["step"], new["step"] = old["step"] | {"renumbering": 0}, new["step"] | {"replicate": 0}
    write_groups(tmp_path, old, new)
    first, second = (group["step"] for group in interleaved.read_groups(open_set(tmp_path)))
    assert str(first) == str(second)


def test_the_page_says_who_is_faster_and_survives_a_lone_implementation(tmp_path: Path) -> None:
    write_groups(
        tmp_path,
        make_pair(1.5),
        make_group(make_contender("jax (scan)", make_seconds(1.0)), step=STEP | {"hidden": 128}),
    )
    first, *others = page(tmp_path)
    text = first.read_text()
    assert "jax (scan) is 1.5" in text
    assert "(95 % interval 1.4" in text
    assert {path.name for path in others} == {"pairs.md", "costs.md", "ratios.png", "ratios.svg"}
    assert all(path.stat().st_size for path in others)


def test_a_page_leaves_no_figure_of_an_earlier_one(tmp_path: Path) -> None:
    page(write_groups(tmp_path, make_pair(1.5)))
    assert (tmp_path / "figures" / "ratios.png").exists()
    (tmp_path / "figures" / "skill.png").write_text("of the report of the rows")
    write_groups(tmp_path, make_group(make_contender("jax (scan)", make_seconds(1.0))))
    for old in (tmp_path / interleaved.FOLDER).glob("*.json"):
        if len(json.loads(old.read_text())["contenders"]) > 1:
            old.unlink()
    page(tmp_path)
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["skill.png"]
    assert not (tmp_path / "tables" / "pairs.csv").exists()


def test_a_page_without_pairs_says_so(tmp_path: Path) -> None:
    write_groups(tmp_path, make_group(failed=[{"contender": "jax (scan)", "reason": "no memory"}]))
    assert "jax (scan) failed: no memory" in page(tmp_path)[0].read_text()


# The A/A test


def test_an_aa_test_counts_false_positives_and_detected_slowdowns(tmp_path: Path) -> None:
    found = write_check(tmp_path, planted=0.04)
    assert len(found.equals) == 30
    assert len(found.slowed) == 10
    assert set(found.launches["rounds"]) == {180}
    assert found.false_positives <= 4
    assert found.detected >= 9
    assert 0.01 < found.minimum_effect < 0.04
    assert found.ratio_spread < 0.01


def test_launches_that_differ_show_as_false_positives_and_as_a_spread(tmp_path: Path) -> None:
    found = write_check(tmp_path, bias=0.03)
    assert found.false_positives_within >= 15
    assert found.false_positives <= 4
    assert 0.02 < found.ratio_spread < 0.05
    assert 1.03 < found.factor < 1.12
    assert any("From launch to launch" in sentence for sentence in write_test(found))


def test_the_aa_test_stands_on_the_page_beside_what_it_qualifies(tmp_path: Path) -> None:
    write_check(tmp_path, bias=0.03)
    write_groups(tmp_path, make_pair(1.04))
    text = page(tmp_path)[0].read_text()
    assert "jax (scan) against pytorch (eager) is inconclusive" in text
    assert "injected slowdown of 2.0 % was detected" in text
    assert "minimum detectable effect at 95 % power" in text
    assert "a false positive rate of" in text


def test_a_curve_of_the_fastest_paths_is_one_and_two_paths_at_one_size_are_two() -> None:
    def step(length: int, *paths: str) -> dict[str, Any]:
        lines = [make_contender(f"pytorch ({path})", make_seconds(length)) for path in paths]
        return make_group(*lines, step=STEP | {"parameters": {"T": length}})

    one = interleaved.list_growth([step(50, "eager"), step(100, "eager"), step(200, "compiled")])
    assert set(one["path"]) == {interleaved.FASTEST}
    two = interleaved.list_growth([step(length, "eager", "compiled") for length in (50, 100, 200)])
    assert set(two["path"]) == {"eager", "compiled"}
    same = interleaved.list_growth([step(length, "eager") for length in (50, 100, 200)])
    assert set(same["path"]) == {"eager"}


def test_growth_is_fitted_where_one_size_alone_changes_and_drawn(tmp_path: Path) -> None:
    sizes = [*((T, 64) for T in (50, 100, 200, 400)), *((50, hidden) for hidden in (32, 128)), (800, 16)]
    found = []
    for length, hidden in sizes:
        line = make_contender("jax (scan)", make_seconds(length * hidden**2.0, seed=length + hidden))
        found.append(make_group(line, step=STEP | {"parameters": {"T": length}, "hidden": hidden}))
    table = interleaved.list_growth(found)
    assert {(row["axis"], row["value"]) for _, row in table.iterrows()} == {
        *(("T", T) for T in (50, 100, 200, 400)),
        *(("hidden", hidden) for hidden in (32, 64, 128)),
    }
    made = page(write_groups(tmp_path, *found))
    assert {"growth.md", "growth-T.png", "growth-hidden.png"} <= {path.name for path in made}
    text = (tmp_path / "tables" / "growth.csv").read_text()
    exponents = {line.split(",")[0]: float(line.split(",")[8]) for line in text.splitlines()[1:] if "step time" in line}
    assert exponents["T"] == pytest.approx(1, abs=0.1)
    assert exponents["hidden"] == pytest.approx(2, abs=0.1)


def test_a_raised_version_of_the_step_is_timed_anew_and_published_names_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Group((Implementation(CASE),))
    names = []
    for version in (1, 2, 3):
        monkeypatch.setattr(interleaved, "STEP_VERSION", version)
        names.append(run.name_group(one, TimingPlan()))
    assert len(set(names)) == 3
    later = {name for name, _ in run.LATER}
    fields = {name: value for name, value in use_first_names(CASE.to_json()).items() if name not in later}
    facts = {
        "contenders": [(CASE.framework + f" ({CASE.path})", fields, registry.find_framework_version(CASE.framework))],
        "auto": [],
        "plan": dataclasses.asdict(TimingPlan()),
        "numerics": 1,
        "schema": interleaved.SCHEMA,
    }  # what a name was made of before there was a version of the step
    assert names[0] == hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def test_timings_of_an_older_step_are_shown_and_said_to_be_stale(tmp_path: Path) -> None:
    write_groups(tmp_path, make_pair(2.0))
    assert "Stale: 1 of 1 timings are of version 1 of our step" in page(tmp_path)[0].read_text()
    assert read_ratios(tmp_path)[0] == pytest.approx(2, rel=0.05)
    write_groups(tmp_path, make_pair(2.0), make_pair(3.0) | {"step_version": interleaved.STEP_VERSION})
    assert read_ratios(tmp_path) == pytest.approx([3], rel=0.05)
    assert "Stale" not in page(tmp_path)[0].read_text()


def test_loops_have_an_axis_about_1_and_trainers_one_of_their_own(tmp_path: Path) -> None:
    ours = make_contender("pytorch (eager)", make_seconds(1.0, seed=1))
    loop = make_contender("loop_pytorch", make_seconds(0.96, seed=2), loop="loop_pytorch", framework="pytorch")
    trainer = make_contender(
        "trainer_lightning", make_seconds(6.0, seed=3), loop="trainer_lightning", framework="pytorch"
    )
    found = timing_contents.read_timings(open_set(write_groups(tmp_path, make_group(ours, loop, trainer))))
    left, right = timing.draw_overheads(title_steps(found.overheads)).axes
    assert (left.get_xscale(), right.get_xscale()) == ("linear", "log")
    low, high = left.get_xlim()
    assert 0.9 < low < 1
    assert interleaved.ALLOWED["loop"] < high < 1.1
    assert [text.get_text() for text in left.get_yticklabels()] == ["pytorch (eager): missed"]
    assert [text.get_text() for text in right.get_yticklabels()] == ["trainer_lightning: kept"]


def test_a_set_of_many_steps_has_no_picture_of_its_ratios(tmp_path: Path) -> None:
    def step(hidden: int) -> dict[str, Any]:
        return make_pair(2.0) | {"step": STEP | {"hidden": hidden}}

    few, many = (write_groups(tmp_path / str(count), *map(step, range(1, count + 1))) for count in (12, 13))
    assert (few / "figures" / "ratios.png") in page(few)
    page(many)
    assert not (many / "figures" / "ratios.png").exists()
    assert (many / "tables" / "pairs.csv").exists()
