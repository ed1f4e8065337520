"""Updates in parts: their further curves are kept, their norm and direction are measured, and odd files are data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from farreach.frameworks.split import PART, REDUCED, TURNED, Split
from farreach.results.analysis import splits
from farreach.results.analysis.rows import label_rows
from farreach.results.analysis.selection import CLIP, SETTING
from farreach.results.figures.splits import draw_splits
from farreach.results.publishing.packing import pack_set
from farreach.results.report import result_set
from farreach.results.report.splits import HEADING, write_splits
from farreach.results.storage.files import DamagedError
from farreach.results.storage.parts import DIVIDED, is_optional
from farreach.results.storage.result_set import Store
from farreach.results.storage.sets import open_set
from tests.support import synthetic

SEEDS = 6
FLOOR = float(synthetic.FLOORS["adding"])
BEYOND = 0.3
"""The share of the steps on which the norm is planted to be beyond the threshold, where each part is clipped."""

LOSS = {"after": 0.01, "before": 0.03}


def plant(clip_at: str, seed: int, parts: int = 2, **more: Any) -> tuple[Any, dict[str, pd.DataFrame]]:
    """A case in parts with known norms and cosines, and what lies beside its row."""
    loss = LOSS[clip_at] + 0.0001 * seed
    facts: dict[str, Any] = {"replicas": parts, "clip_at": clip_at, "seed": seed, "clip": "norm", "threshold": 0.5}
    facts |= {"loss": loss, "clip_fraction": 1.0, "scale_median": 0.5, "batch": 2**10} | more
    one, found = synthetic.looked_at(synthetic.record(**facts))
    count = len(found["curves"])
    step = np.arange(count)
    norms = np.where(step < BEYOND * count, 0.9, 0.4) if clip_at == "before" else np.full(count, 0.5)
    further: dict[str, Any] = {
        "norm_reduced": np.full(count, 2.0),
        "cosine": np.where(step % 2, 0.8, 0.9) if parts > 1 else 1.0,
    }
    further |= {f"norm_part{part}": np.full(count, float(part)) for part in range(parts)}
    found["curves"] = pd.concat([found["curves"].assign(norm_after=norms), pd.DataFrame(further)], axis="columns")
    return one, found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A set of six seeds on both sides of the reduction, and one process beside them."""
    made = Store(tmp_path / "set")
    made.create()
    for seed in range(SEEDS):
        for side in ("after", "before"):
            made.write(*plant(side, seed))
        made.write(*synthetic.looked_at(synthetic.record(seed=seed, clip="norm", threshold=0.5, batch=2**10)))
    return made


def test_the_columns_that_are_kept_are_those_that_a_framework_gives() -> None:
    assert DIVIDED == (REDUCED, TURNED)
    assert all(is_optional("curves", name) for name in Split(4, 16).extra)
    for name in (f"{PART}64", f"{PART}-1", f"{PART}007", "cosine2", "norm", "skill"):
        assert not is_optional("curves", name), name
    assert not is_optional("flow", TURNED)


def test_curves_in_parts_come_back_from_a_folder_and_from_a_packed_set(store: Store, tmp_path: Path) -> None:
    pack_set(store.folder, tmp_path / "packed")
    packed = open_set(tmp_path / "packed")
    for key in store.list_finished():
        pd.testing.assert_frame_equal(packed.curves(key), store.curves(key))
    frame = store.rows()
    divided = store.curves(frame.loc[frame["replicas"] == 2, "key"].iloc[0])
    assert [*divided][5:] == ["norm_reduced", "cosine", "norm_part0", "norm_part1"]
    assert (divided["norm_part1"] == 1.0).all()
    whole = packed.curves(frame.loc[frame["replicas"] == 1, "key"].iloc[0])
    assert [*whole] == ["step", "loss", "norm_before", "norm_after", "clipped"]


def test_of_more_than_64_parts_the_first_are_kept(tmp_path: Path) -> None:
    made = Store(tmp_path)
    made.create()
    one, found = plant("before", 0, parts=64, microbatches=2)
    rest = pd.DataFrame(1.0, found["curves"].index, [f"norm_part{part}" for part in range(64, 128)])
    found["curves"] = pd.concat([found["curves"], rest], axis="columns")
    made.write(one, found)
    kept = [name for name in made.curves(one.key) if name.startswith(PART)]
    assert kept == [f"{PART}{part}" for part in range(64)]


def test_norm_direction_and_the_change_of_skill_are_what_was_planted(store: Store) -> None:
    rows = label_rows(store.rows())
    cases = splits.measure_cases(rows, store.curves)
    assert len(cases) == 2 * SEEDS
    table = splits.tabulate_splits(cases, rows).set_index("clip_at")
    assert table.loc["after", splits.LENGTH] == pytest.approx(1.0)
    assert table.loc["before", splits.LENGTH] == pytest.approx(0.8)  # the median of 30 % at .9 and 70 % at .4, over .5
    assert table.loc["before", splits.LONGER] == pytest.approx(BEYOND, abs=0.002)
    assert table.loc["after", splits.LONGER] == 0
    assert table.loc["before", splits.TURNED] == pytest.approx(0.85)
    change = (LOSS["after"] - LOSS["before"]) / FLOOR
    for name in ("change", "low", "high"):
        assert table.loc["before", name] == pytest.approx(change, abs=1e-9)
        assert np.isnan(table.loc["after", name])
    text = write_splits(splits.tabulate_splits(cases, rows))
    assert f"{change:+.3f} ({change:+.3f} to {change:+.3f})" in text
    assert "| 30 % |" in text


def test_with_five_seeds_the_change_has_no_interval(tmp_path: Path) -> None:
    made = Store(tmp_path)
    made.create()
    for seed in range(SEEDS - 1):
        for side in ("after", "before"):
            made.write(*plant(side, seed))
    rows = label_rows(made.rows())
    table = splits.tabulate_splits(splits.measure_cases(rows, made.curves), rows).set_index("clip_at")
    assert table.loc["before", "change"] == pytest.approx((LOSS["after"] - LOSS["before"]) / FLOOR)
    assert np.isnan(table.loc["before", "low"])


def test_the_sides_of_the_reduction_are_settings_of_their_own(store: Store) -> None:
    rows = label_rows(store.rows())
    assert rows.frame[SETTING].nunique() == 3
    assert len(rows.frame[CLIP].unique()) == 1


def test_a_report_has_the_section_and_the_figure_where_updates_are_in_parts(store: Store, tmp_path: Path) -> None:
    result_set.write(store.folder)
    assert f"### {HEADING}" in (store.folder / "report.md").read_text("utf-8")
    assert (store.folder / "tables" / "splits.csv").exists()
    assert (store.folder / "figures" / "norm-direction.png").stat().st_size > 1_000
    plain = synthetic.write(tmp_path / "plain", [synthetic.record()])
    result_set.write(plain.folder)
    assert HEADING not in (plain.folder / "report.md").read_text("utf-8")
    assert not (plain.folder / "figures" / "norm-direction.png").exists()


@pytest.mark.parametrize("odd", ["absent", "infinite", "texts"])
def test_odd_columns_of_a_stranger_are_left_out_and_end_no_report(odd: str, store: Store) -> None:
    frame = store.rows()
    key = str(frame.loc[frame["clip_at"] == "before", "key"].iloc[0])
    path = store.folder / "curves" / f"{key}.parquet"
    table = pq.read_table(path)
    at = table.column_names.index("cosine")
    if odd == "absent":
        table = table.drop_columns(["cosine", "norm_part0"])
    elif odd == "infinite":
        table = table.set_column(at, "cosine", pa.array([np.inf, np.nan] * (len(table) // 2)))
    else:
        table = table.set_column(at, "cosine", pa.array(["a cosine"] * len(table)))
    pq.write_table(table, path)
    if odd == "texts":
        with pytest.raises(DamagedError):
            store.curves(key)
        return
    rows = label_rows(store.rows())
    cases = splits.measure_cases(rows, store.curves)
    assert cases[splits.TURNED].isna().sum() == 1
    assert draw_splits(cases)
    result_set.write(store.folder)
