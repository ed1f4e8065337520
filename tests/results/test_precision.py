"""Mixed precision beside float32: what is paired, what is shown, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farreach.frameworks import scaling
from farreach.results.analysis.precision import judge_precision, tabulate_precision
from farreach.results.analysis.rows import Rows
from farreach.results.publishing.packing import pack_set
from farreach.results.record import Record
from farreach.results.report.contents import read_results
from farreach.results.report.precision import write_findings
from farreach.results.report.result_set import write
from farreach.results.storage.parts import SCALED
from farreach.results.storage.result_set import Store
from farreach.results.storage.sets import open_set
from tests.support import synthetic

MEASURED = "float16 products and layer output, float32 weights"


def pair(changes: list[float], *, reach: float = 0.0, **facts: Any) -> list[Record]:
    """Return a float32 row and a float16 row a seed, whose skills and reaches differ by that much."""
    found = []
    for seed, change in enumerate(changes):
        half = {"dtype": "float16", "precision": MEASURED, "steps_skipped": seed}
        for dtype, by in (({}, 0.0), (half, 1.0)):
            loss = (1 - 0.9 - by * change) / 6  # of a floor of 1 / 6
            figures = {"loss": loss, "score": loss, "reach_end": 0.5 + by * reach}
            found.append(synthetic.record(seed=seed, **(figures | dtype | facts)))
    return found


def label(*records: Record) -> Rows:
    return synthetic.label(*records)


def test_a_loss_of_skill_is_shown_with_its_bounds() -> None:
    changes = [-0.05, -0.02, -0.04, -0.01, -0.03]
    (one,) = judge_precision(label(*pair(changes, reach=0.1)))
    assert (one.dtype, one.precision, one.seeds) == ("float16", MEASURED, 5)
    assert one.skill.change == pytest.approx(-0.03)
    # With five seeds the median lies below the largest, or above the smallest, but for one time in 32.
    assert (one.skill.low, one.skill.high) == (pytest.approx(-0.05), pytest.approx(-0.01))
    assert (one.skill.verdict, one.reach.verdict) == ("lower", "higher")
    assert one.skipped == (0, 1, 2, 3, 4)
    (said,) = write_findings(label(*pair(changes, reach=0.1)))
    assert "float16 against float32 over 5 seeds: skill lower, by -0.03 in the median of seeds" in said
    assert "reach higher, by +0.1" in said
    assert "0 to 4 of 1,000 steps skipped" in said
    (line,) = tabulate_precision([one]).to_dict("records")
    assert line["skill float32"] == pytest.approx(0.9)
    assert line["skill"] == pytest.approx(0.87)
    assert line["skipped steps"] == 2


def test_one_seed_that_goes_the_other_way_leaves_it_open() -> None:
    (one,) = judge_precision(label(*pair([-0.05, -0.02, -0.04, 0.01, -0.03])))
    assert one.skill.verdict == "unclear"
    assert "skill not told apart" in write_findings(label(*pair([-0.05, -0.02, -0.04, 0.01, -0.03])))[0]


def test_fewer_than_five_seeds_are_listed() -> None:
    rows = label(*pair([-0.05, -0.02]))
    (one,) = judge_precision(rows)
    assert one.skill.verdict == "listed"
    (said,) = write_findings(rows)
    assert "skill 0.85 (0.9), 0.88 (0.9), too few seeds for an interval" in said


def test_a_pair_is_the_same_case_in_all_but_the_dtype() -> None:
    alone = pair([-0.1])[1:]
    other = pair([-0.1], optimizer="sgd")[:1]
    assert judge_precision(label(*alone, *other)) == []
    assert judge_precision(label(*pair([-0.1])[:1])) == []
    assert write_findings(label(*other)) == []
    both = judge_precision(label(*pair([-0.1] * 5), *pair([0.1] * 5, optimizer="sgd")))
    assert sorted(one.skill.verdict for one in both) == ["higher", "lower"]


def test_a_seed_that_diverged_is_counted_and_has_no_change() -> None:
    records = pair([-0.05, -0.02, -0.04])
    torn = {"dtype": "float16", "precision": MEASURED, "steps_skipped": 0, "status": "diverged", "diverged_at": 7}
    whole = synthetic.record(seed=3, loss=0.1 / 6, score=0.1 / 6)
    rows = label(*records, whole, synthetic.record(seed=3, **torn))
    (one,) = judge_precision(rows)
    assert (one.seeds, len(one.skill.plain), one.diverged, one.diverged_plain) == (4, 3, 1, 0)
    assert "1 diverged, 0 in float32" in write_findings(rows)[0]


def test_the_report_has_a_section(tmp_path: Path) -> None:
    synthetic.write(tmp_path, pair([-0.05, -0.02, -0.04, -0.01, -0.03]))
    write(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "### Precision: mixed beside float32" in text
    assert "- Precision: pytorch, lstm on adding T=50" in text
    assert (tmp_path / "tables" / "precision.csv").read_text().count("float16 products") == 1
    assert any(one.startswith("Precision:") for one in read_results(tmp_path).findings)


def test_a_set_of_one_dtype_has_none(tmp_path: Path) -> None:
    synthetic.write(tmp_path, pair([0.0])[:1])
    write(tmp_path)
    assert "Precision:" not in (tmp_path / "report.md").read_text()
    assert not (tmp_path / "tables" / "precision.csv").exists()


def test_curves_of_a_scaled_loss_keep_what_was_skipped_and_the_scale(tmp_path: Path) -> None:
    assert scaling.list_extra("float16") == SCALED
    one, parts = synthetic.looked_at(synthetic.record(dtype="float16", steps_skipped=1))
    curves = parts["curves"]
    skipped = np.where(curves["step"] == 1, 1.0, 0.0)
    parts |= {"curves": curves.assign(skipped=skipped, scale=65_536.0 - 32_768.0 * (curves["step"] > 1))}
    store = Store(tmp_path / "run")
    store.create()
    store.write(one, parts)
    pack_set(store.folder, tmp_path / "packed")
    for there in (store, open_set(tmp_path / "packed")):
        kept = there.curves(one.key)
        assert kept["skipped"].sum() == 1
        assert kept["scale"].tolist() == parts["curves"]["scale"].tolist()
