"""Records come back as they were written, and the tables say what was planted in them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from farreach.benchmarks.matrix.case import Case
from farreach.results.analysis import agreement, labels, run_times, tables, task_verdicts
from farreach.results.analysis.rows import label_rows
from farreach.results.record import Record
from farreach.results.report import contents, markdown, result_set
from farreach.results.storage.files import StoreError
from farreach.results.storage.parts import PARTS
from farreach.results.storage.result_set import Store
from tests.support import synthetic
from tests.support.synthetic import rows

TABLES = (tables.tabulate_accuracy, tables.tabulate_gradients, tables.tabulate_divergence, tables.tabulate_summary)


def seeds(solved: int, of: int, **changes: Any) -> list[Record]:
    """Return `of` seeds of a case, the first `solved` of them at skill .97, the others on the floor."""
    return [
        synthetic.record(
            seed=seed,
            solved=seed < solved,
            loss=0.005 if seed < solved else 1 / 6,
            steps_to_solve=100 * (seed + 1) if seed < solved else None,
            **changes,
        )
        for seed in range(of)
    ]


def norm(threshold: float, fraction: float = 0.5) -> dict[str, Any]:
    return {"clip": "norm", "threshold": threshold, "clip_fraction": fraction}


def line(frame: pd.DataFrame, **wanted: str) -> pd.Series[Any]:
    """Return the one line of a table that has these values."""
    found = frame
    for name, value in wanted.items():
        found = found[found[name] == value]
    assert len(found) == 1
    return found.iloc[0]


# The store


def test_a_record_and_its_curves_are_read_back_equal(tmp_path: Path) -> None:
    one, parts = synthetic.looked_at(synthetic.record(metrics={"mse": 0.005, "share": None}))
    store = synthetic.write(tmp_path, [one])
    back = store.rows().iloc[0].to_dict()
    for name, value in one.to_row().items():
        assert back[name] == value or (value is None and back[name] is None), name
    for part, frame in parts.items():
        pd.testing.assert_frame_equal(getattr(store, part)(one.key), frame.reset_index(drop=True))


def test_a_row_with_the_first_name_of_a_column_is_read(tmp_path: Path) -> None:
    store = synthetic.write(tmp_path, [synthetic.record(key="k", replicate=3)])
    path = tmp_path / "rows" / "k.json"
    path.write_text(path.read_text().replace('"replicate"', '"renumbering"'))
    (row,) = store.rows().to_dict("records")
    assert row["replicate"] == 3
    assert "renumbering" not in row


def test_a_case_is_finished_only_when_its_row_is_there(tmp_path: Path) -> None:
    store = synthetic.write(tmp_path, [synthetic.record(key="a"), synthetic.record(key="b", seed=1)])
    assert store.list_finished() == {"a", "b"}
    (tmp_path / "rows" / "a.json").unlink()
    assert store.list_finished() == {"b"}


def test_a_case_whose_damaged_row_cannot_be_set_aside_is_not_finished(tmp_path: Path) -> None:
    store = synthetic.write(tmp_path, [synthetic.record(key="a"), synthetic.record(key="b", seed=1)])
    (tmp_path / "rows" / "a.json").write_text("{")
    (tmp_path / "damaged").write_text("a file where the folder would be")
    assert store.rows()["key"].tolist() == ["b"]
    assert (tmp_path / "rows" / "a.json").exists()
    assert store.list_finished() == {"b"}


@pytest.mark.parametrize("part", [*PARTS, "rows"])
def test_a_write_that_fails_in_the_middle_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    one = synthetic.record()
    store = synthetic.write(tmp_path, [])

    def half(*_: object) -> None:
        (next(iter(tmp_path.glob(f"{part}/.*.part")), tmp_path / part / ".lost.part")).write_text("hal")
        message = "disk full"
        raise OSError(message)

    def replace(path: Path, target: Path) -> Path:
        if target.parent.name == part:
            half()
        return Path(path.rename(target))

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(StoreError, match="disk full"):
        store.write(*synthetic.looked_at(one))
    assert store.list_finished() == set()
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".part"]


def test_a_non_finite_figure_never_reaches_a_row(tmp_path: Path) -> None:
    store = synthetic.write(tmp_path, [])
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.write(synthetic.record(loss=math.nan), synthetic.looked_at(synthetic.record())[1])
    assert store.list_finished() == set()


def test_a_folder_without_rows_is_one_line_of_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no results in"):
        Store(tmp_path).rows()


def test_a_runs_log_that_is_damaged_does_not_hide_the_others(tmp_path: Path) -> None:
    store = synthetic.write(tmp_path, [], runs=[synthetic.run_line()])
    (tmp_path / "runs" / "20260101T000000-x.json").write_text('{"started": "2026-')
    assert [run["finished"] for run in store.runs()] == [49]


# Tables


def test_the_accuracy_table_gives_the_planted_shares_and_steps() -> None:
    table = tables.tabulate_accuracy(synthetic.label(*seeds(2, 3, **norm(0.1)), *seeds(0, 3)))
    clipped, free = line(table, clip_label="norm 0.1"), line(table, clip_label="none")
    assert (clipped["solved"], clipped["judged"], clipped["steps to solve"]) == (2, 3, 150)
    assert (free["solved"], free["judged"]) == (0, 3)
    assert math.isnan(free["steps to solve"])
    assert clipped["skill"] == pytest.approx((2 * 0.97 + 0) / 3)
    assert (clipped["skill low"], clipped["skill high"]) == pytest.approx((0, 0.97))
    assert (clipped["clipped"], free["clipped"]) == ("50 %", labels.DASH)


def test_no_table_depends_on_the_order_of_the_rows() -> None:
    frame = rows(*[one for one in synthetic.quick() if one.case.task == "adding"])
    shuffled = frame.sample(frac=1, random_state=3)
    for make in (*TABLES, agreement.measure_gaps):
        pd.testing.assert_frame_equal(make(label_rows(frame)), make(label_rows(shuffled)))


def test_copies_and_native_runs_do_not_count_as_solved() -> None:
    frame = synthetic.label(*seeds(0, 2), *seeds(2, 2, replicate=1), *seeds(2, 2, mode="native"))
    assert len(frame.counted) == 2
    matched = line(tables.tabulate_accuracy(frame), setting="adding T=50 (adam 0.003)")
    assert (matched["solved"], matched["judged"]) == (0, 2)
    assert [cell.reached for task in task_verdicts.find_lengths(frame) for cell in task.cells] == [None]


def test_a_threshold_that_never_clipped_is_marked_in_every_table_of_cases() -> None:
    frame = synthetic.label(
        *seeds(1, 1, **norm(10, 0.0)),
        *seeds(1, 1, framework="tensorflow", **norm(10, 0.0)),
        *seeds(1, 1, replicate=1, **norm(10, 0.0)),
        synthetic.diverged(seed=0),
    )
    for make in (*TABLES, tables.tabulate_metrics):
        table = make(frame)
        table = table if make is tables.tabulate_summary else tables.show_labels(table)
        assert set(table.loc[table["clip"] == "norm 10", "clipped"]) == {labels.NEVER}, make.__name__
    assert agreement.measure_gaps(frame).empty  # it is the case without clipping once more, no evidence of its own
    _, wide = next(tables.tabulate_wide(tables.tabulate_accuracy(frame)))
    assert line(wide, clip="norm 10")["pytorch clipped"] == labels.NEVER


def test_a_rare_clip_is_not_rounded_to_never() -> None:
    assert labels.describe_clipping("norm", 0.0004) == "<1 %"
    assert labels.describe_clipping("norm", 0.9996) == ">99 %"


def test_a_setting_is_named_by_its_penalty_where_it_has_one() -> None:
    frame = synthetic.label(synthetic.record(), synthetic.record(regulariser="l2", strength=1e-4)).frame
    assert {name.partition("(")[2] for name in frame["setting"].astype(str)} == {
        "adam 0.003)",
        "adam 0.003, l2 0.0001)",
    }


def test_settings_are_named_apart_by_whatever_differs() -> None:
    frame = synthetic.label(
        synthetic.record(),
        synthetic.record(hidden=128),
        synthetic.record(parameters='{"T": 200}'),
        synthetic.record(optimizer="sgd", learning_rate=0.1),
        synthetic.record(mode="native"),
    )
    assert list(frame.frame["setting"].cat.categories) == [
        "adding T=50 (adam 0.003, hidden 64)",
        "adding T=50 (adam 0.003, hidden 128)",
        "adding T=50 (adam 0.003, native)",
        "adding T=50 (sgd 0.1)",
        "adding T=200 (adam 0.003)",
    ]


def test_clips_are_ordered_none_then_ascending() -> None:
    ladder = [synthetic.record(clip="norm", threshold=at) for at in (10.0, 0.01, 1.0, 0.1)]
    frame = synthetic.label(*ladder, synthetic.record(), synthetic.record(clip="value", threshold=0.001))
    assert list(tables.tabulate_accuracy(frame)["clip_label"]) == [
        *("none", "norm 0.01", "norm 0.1", "norm 1", "norm 10"),
        "value 0.001",
    ]


def test_two_paths_of_one_framework_are_two_learners() -> None:
    frame = synthetic.label(
        synthetic.record(), synthetic.record(path="compiled"), synthetic.record(framework="jax", path="scan")
    )
    assert list(tables.tabulate_accuracy(frame)["learner"]) == ["pytorch (compiled)", "pytorch (eager)", "jax"]


# Wall time and failures


def test_time_shares_are_those_of_the_newest_run_that_finished_cases() -> None:
    old = synthetic.run_line(seconds={"training": 50, "imports": 50})
    new = synthetic.run_line(started="2026-01-02T10:00:00+00:00")
    idle = synthetic.run_line(started="2026-01-03T10:00:00+00:00", finished=0, seconds={"imports": 9})
    table = run_times.tabulate_shares([new, old, idle])
    assert run_times.sum_useful(table, "newest") == pytest.approx(840 / 960)
    assert run_times.sum_useful(table, "all") == pytest.approx(890 / 1060)
    assert table["newest share"].sum() == pytest.approx(1)


def test_a_failure_that_the_same_command_got_over_is_not_reported() -> None:
    failed = [{"case": "a", "reason": "killed"}]
    old = synthetic.run_line(failed=failed)
    again = synthetic.run_line(started="2026-01-02T10:00:00+00:00")
    other = synthetic.run_line(started="2026-01-02T10:00:00+00:00", command="python -m benchmarks run quick --only x=y")
    assert run_times.list_failures([old, again]).empty
    assert run_times.list_failures([old, other])["case"].tolist() == ["a"]


# Markdown


def test_markup_in_a_table_is_escaped() -> None:
    frame = pd.DataFrame({"a|b": ["x | y", "<b>*c*_d_`e`", "two\nlines"], "n": [0.123456, None, 1234.5]})
    assert markdown.table(frame) == (
        "| a\\|b | n |\n| --- | ---: |\n| x \\| y | 0.123 |\n| &lt;b&gt;\\*c\\*\\_d\\_\\`e\\` | – |\n"  # noqa: RUF001
        "| two lines | 1234 |\n"
    )


def test_a_metric_s_name_is_written_in_words() -> None:
    assert [labels.format_metric(name) for name in ("source_gain", "within_0_04")] == ["source gain", "within 0.04"]


def test_code_keeps_its_backticks() -> None:
    assert markdown.code("a `b` c") == "`` a `b` c ``"


def test_a_zero_has_no_sign() -> None:
    assert [tables.format_skill(value) for value in (-0.001, 0.0, -0.01, 1.0)] == ["0.00", "0.00", "-0.01", "1.00"]


# Stale rows


def test_rows_of_another_version_are_left_out_and_said(tmp_path: Path) -> None:
    planted = [
        synthetic.record(key="now", seed=0),
        synthetic.record(key="old", seed=1, task_version=0),
        synthetic.record(key="scored", seed=2, metric_version=2),
        synthetic.record(key="copy", task="copy"),
    ]
    synthetic.write(tmp_path, planted)
    now = {"adding": (1, 1)}
    found = contents.read_results(tmp_path, now=now)
    assert found.rows.frame["key"].tolist() == ["now", "copy"]
    (sentence,) = found.trouble
    assert sentence.startswith("2 rows of adding left out as stale")
    assert "it is now 1.1, and the same command runs them again" in sentence
    result_set.write(tmp_path, now)
    assert "left out as stale" in (tmp_path / contents.PAGE).read_text()
    assert len(contents.read_results(tmp_path, now={"adding": (2, 1), "copy": (1, 1)}).rows) == 1


def test_a_new_version_of_a_metric_makes_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(task="adding", parameters=(("T", 5),), framework="reference", cell="rnn", path="numpy")
    before = case.key()
    monkeypatch.setattr(type(case.load()), "metric_version", 2)
    assert case.key() != before
    monkeypatch.undo()
    assert case.key() == before
