"""Matched and native: a difference is put down to the defaults only where chance does not explain it."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farreach.results.analysis import certificates, matched_native, native_gaps, tables
from farreach.results.analysis.native_gaps import Explanation
from farreach.results.analysis.solved import count_solved
from farreach.results.figures import training
from farreach.results.record import Record
from farreach.results.report import result_set
from farreach.results.report.certificates import write_coverage
from farreach.results.report.matched_native import write_change, write_divergence, write_findings, write_gap
from tests.support import synthetic

CELLS = ("rnn", "lstm", "gru")
TASKS = ("adding", "copy", "speech")


def planted(
    matched: float,
    native: float,
    *,
    chance: float = 0.005,
    seeds: int = 12,
    tasks: tuple[str, ...] = TASKS,
    stream: int = 0,
) -> list[Record]:
    """Return cases in which TensorFlow stands `matched` and `native` above PyTorch in skill; `chance` is a seed's."""
    found = []
    for task, cell, seed in itertools.product(tasks, CELLS, range(seeds)):
        draw = synthetic.stream("defaults", stream, task, cell, seed)
        for mode, gap in (("matched", matched), ("native", native)):
            shared = draw.normal(0, chance)  # matched frameworks start from the same weights
            for framework in ("pytorch", "tensorflow"):
                own = shared if mode == "matched" else draw.normal(0, chance)
                skill = 0.5 + own + (gap if framework == "tensorflow" else 0)
                found.append(one(task, framework, skill, cell=cell, seed=seed, mode=mode))
    return found


def one(task: str, framework: str, skill: float, **more: Any) -> Record:
    loss = float(synthetic.FLOORS[task]) * (1 - skill)
    return synthetic.record(task=task, framework=framework, path=synthetic.PATHS[framework], loss=loss, **more)


def sentence(records: list[Record]) -> str:
    (share,) = native_gaps.explain_gaps(synthetic.label(*records))
    return write_gap(share)


# What is said of two frameworks


def test_a_gap_that_is_there_in_native_alone_is_the_defaults() -> None:
    records = planted(0.0, 0.3)
    (share,) = native_gaps.explain_gaps(synthetic.label(*records))
    assert (share.cases, share.seeds) == (9, 12)
    assert share.native == pytest.approx(0.3, abs=0.01)
    assert share.low > 0.99
    assert "The defaults explain >99 % of the mean squared native difference (95 % interval >99 %" in sentence(records)


def test_a_gap_that_is_as_large_in_matched_is_not_the_defaults() -> None:
    records = planted(0.3, 0.3)
    (share,) = native_gaps.explain_gaps(synthetic.label(*records))
    assert -0.1 < share.low <= 0 < share.high < 0.1 or share.high < 0.1
    assert share.explanation is Explanation.LITTLE
    assert "The defaults explain next to nothing" in sentence(records)
    assert "it is there without them" in sentence(records)


def test_a_gap_no_larger_than_another_seeds_is_not_sold_as_the_defaults() -> None:
    """Native frameworks draw other weights: that alone parts them, as it parts two seeds of one."""
    records = planted(0.0, 0.0, chance=0.2)
    (share,) = native_gaps.explain_gaps(synthetic.label(*records))
    assert share.matched == 0
    assert share.native > 0.1
    assert share.low < 0 < share.high
    assert share.explanation is Explanation.INCONCLUSIVE
    assert "cannot tell" in sentence(records)


@pytest.mark.slow
def test_chance_alone_is_seldom_taken_for_the_defaults() -> None:
    alarms = 0
    for trial in range(60):
        (share,) = native_gaps.explain_gaps(synthetic.label(*planted(0.0, 0.0, chance=0.1, stream=trial)))
        alarms += share.low > 0
    assert alarms <= 6


def test_the_share_is_what_exceeds_chance() -> None:
    """A gap of .2 beside a seed's noise of .1 on each side: .04 of .04 + 2 * .01 is two thirds."""
    shares = [
        native_gaps.explain_gaps(synthetic.label(*planted(0.0, 0.2, chance=0.1, stream=at)))[0].share
        for at in range(10)
    ]
    assert np.mean([share for share in shares if share is not None]) == pytest.approx(2 / 3, abs=0.08)


@pytest.mark.parametrize(
    ("records", "explanation", "said"),
    [
        (planted(0.0, 0.3, seeds=1), Explanation.ONE_SEED, "With one seed each it cannot be told from chance"),
        (
            planted(0.0, 0.3, seeds=11),
            Explanation.FEW_SEEDS,
            "cannot be told from 11 seeds (12 are needed)",
        ),
        (planted(0.0, 0.0, chance=0.0), Explanation.NO_GAP, "There is no difference to explain."),
    ],
    ids=["one seed", "few cases", "no gap"],
)
def test_too_little_to_tell_is_said_as_such(records: list[Record], explanation: Explanation, said: str) -> None:
    (share,) = native_gaps.explain_gaps(synthetic.label(*records))
    assert share.explanation is explanation
    assert said in write_gap(share)


def test_a_clip_that_never_clipped_is_no_further_evidence() -> None:
    records = planted(0.0, 0.3)
    idle = [synthetic.change(record, clip="norm", threshold=9.0, key=f"idle{at}") for at, record in enumerate(records)]
    (share,) = native_gaps.explain_gaps(synthetic.label(*records, *idle))
    assert share.cases == 9


def test_a_case_with_a_diverged_run_is_left_out_of_the_gap_and_named() -> None:
    where: dict[str, Any] = {"task": "adding", "cell": "rnn", "clip": "value", "threshold": 0.5, "clip_fraction": 0.5}
    torn = [
        synthetic.diverged(framework="pytorch", mode="matched", **where),
        one("adding", "pytorch", 0.4, mode="native", **{k: v for k, v in where.items() if k != "task"}),
        *(one("adding", "tensorflow", 0.4, mode=mode, **{k: v for k, v in where.items() if k != "task"})
          for mode in ("matched", "native")),
    ]  # fmt: skip
    frame = synthetic.label(*planted(0.0, 0.3), *torn)
    (share,) = native_gaps.explain_gaps(frame)
    assert share.cases == 9
    lines = matched_native.find_unequal_divergence(matched_native.compare_modes(frame))
    assert lines[["framework", "diverged matched", "diverged native"]].to_numpy().tolist() == [["pytorch", 1, 0]]
    (named,) = write_divergence(lines)
    assert "pytorch in adding T=50 (adam 0.003), rnn, clip value 0.5 (matched 1/1 seeds, native 0/1)" in named
    assert "tensorflow" not in named


# What is said of one framework


def test_each_framework_stands_matched_and_native_with_the_paired_change() -> None:
    table = matched_native.compare_modes(synthetic.label(*planted(0.1, 0.4)))
    assert len(table) == 2 * 9
    row = table[(table["framework"] == "tensorflow") & (table["cell"] == "lstm")].iloc[0]
    assert (row["matched skill"], row["native skill"], row["change"]) == pytest.approx((0.6, 0.9, 0.3), abs=0.02)
    assert row["low"] < 0.3 < row["high"]
    assert (row["seeds"], row["solved matched"], row["diverged native"]) == (12, "12/12", 0)
    gaps = matched_native.compare_gaps(synthetic.label(*planted(0.1, 0.4)))
    row = gaps.iloc[0]
    assert (row["matched gap"], row["native gap"], row["from defaults"]) == pytest.approx((-0.1, -0.4, -0.3), abs=0.02)
    assert row["low"] < -0.3 < row["high"]


def test_fewer_than_six_seeds_give_no_interval() -> None:
    rows = synthetic.label(*planted(0.1, 0.4, seeds=5))
    assert matched_native.compare_modes(rows)["low"].isna().all()
    assert matched_native.compare_gaps(rows)["low"].isna().all()
    _, tensorflow = matched_native.measure_changes(rows)
    assert math.isnan(tensorflow.low)
    said = write_change(tensorflow)
    assert "over 9 cases: skill changes by +0.3" in said
    assert "over 5 seeds (too few seeds for an interval, which takes 6)" in said
    assert matched_native.compare_modes(synthetic.label(*planted(0.1, 0.4, seeds=6)))["low"].notna().all()


def test_settings_and_cells_that_share_a_seed_are_one_witness() -> None:
    one, nine = planted(0.0, 0.3, seeds=6, tasks=("adding",)), planted(0.0, 0.3, seeds=6)
    changes = [matched_native.measure_changes(synthetic.label(*records))[1] for records in (one, nine)]
    assert [change.seeds for change in changes] == [6, 6]


def test_up_and_down_are_said_where_the_interval_allows() -> None:
    pytorch, tensorflow = matched_native.measure_changes(synthetic.label(*planted(0.0, 0.3, chance=0.02)))
    assert tensorflow.middle == pytest.approx(0.3, abs=0.02)
    assert tensorflow.low > 0
    said = write_change(tensorflow)
    assert "tensorflow with its own defaults instead of matched, over 9 cases: skill up by 0.3" in said
    assert "in the median of 12 seeds" in said
    assert pytorch.low < 0 < pytorch.high
    assert "cannot tell up from down" in write_change(pytorch)


# The rest of the report


def test_a_set_of_one_mode_says_nothing_of_the_other() -> None:
    assert write_findings(synthetic.label(synthetic.record())) == []
    alone = write_findings(synthetic.label(synthetic.record(mode="native")))
    assert alone == ["Matched and native cannot be compared: no case ran in both modes."]


def test_native_rows_are_settings_of_their_own_and_count_in_no_verdict() -> None:
    frame = synthetic.label(*planted(0.0, 0.3))
    assert set(frame.counted.frame["mode"]) == {"matched"}
    settings = set(tables.tabulate_summary(frame)["setting"])
    assert {"adding T=50 (adam 0.003)", "adding T=50 (adam 0.003, native)"} <= settings
    assert not any("native)" in str(setting) for setting in count_solved(frame)["setting"])


def test_native_rows_are_not_blamed_for_having_no_certificate() -> None:
    found = certificates.count_certified(synthetic.rows(synthetic.record(mode="native"), synthetic.record(seed=1)))
    assert (found.matched, found.certified, found.native) == (1, 0, 1)
    missing, native = write_coverage(found)
    assert missing.startswith("1 case stands under NO certificate and may not compare: 1 of pytorch 2.13.0")
    assert native == "1 ran with the frameworks' own defaults, which are not meant to agree"


@pytest.mark.slow
def test_the_report_shows_both_modes_side_by_side(tmp_path: Path) -> None:
    synthetic.write(tmp_path, planted(0.0, 0.3, tasks=("adding", "copy")))
    made = {path.name for path in result_set.write(tmp_path)}
    assert {"matched-native.csv", "matched-native-gaps.md", "matched-native-adding.png"} <= made
    text = (tmp_path / "report.md").read_text()
    assert "### Matched and native: each framework with its own defaults" in text
    assert "figures/matched-native-copy.png" in text
    assert "The defaults explain" in text


def test_the_figure_joins_the_two_modes_of_each_framework() -> None:
    (figure,) = training.draw_modes(
        matched_native.pair_modes(synthetic.label(*planted(0.0, 0.3, tasks=("adding",))))
    ).values()
    (axes,) = figure.axes
    ends = np.array([path.vertices[:, 1] for lines in axes.collections for path in lines.get_paths()])
    assert len(ends) == 2 * 3  # a framework and a cell
    rises = np.sort(ends[:, 1] - ends[:, 0])
    assert rises == pytest.approx([0, 0, 0, 0.3, 0.3, 0.3], abs=0.02)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["pytorch", "tensorflow", "matched", "native", "floor"]
