"""The history of many sets: what moved is found where it moved, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from farreach.results.analysis import history, statistics
from farreach.results.analysis.comparison import CHANGED, IDENTICAL
from farreach.results.record import Record
from farreach.results.report import history as history_report
from farreach.results.site import history_page
from farreach.results.storage.files import StoreError
from tests.support import synthetic
from tests.support.browsing import Opened, serious, until
from tests.support.commands import run_command
from tests.support.pages import HOSTILE, accept_names

NIGHTS = 24


def night(
    at: int, *, slower: dict[str, float] | None = None, changed: tuple[str, ...] = (), **more: Any
) -> list[Record]:
    """Return what one night's run gave: three cells, two seeds, step times that spread by 2 % from night to night."""
    made = []
    for cell in ("rnn", "lstm", "gru"):
        noise = float(np.exp(synthetic.stream(at, cell, "night").normal(0, 0.02)))
        seconds = 0.002 * noise * (slower or {}).get(cell, 1.0)
        for seed in (0, 1):
            moved = {"loss": 0.05, "weights_sha256": "f" * 64} if cell in changed else {}
            facts = {"cell": cell, "seed": seed, "step_seconds": seconds, "commit": f"commit{at:02d}"}
            facts |= {"started": f"2026-01-{at + 1:02d}T01:17:00+00:00"}
            made.append(synthetic.record(**(facts | moved | more)))
    return made


def nights(folder: Path, count: int = NIGHTS, **changes: Any) -> Path:
    """Write so many sets; `changes` gives for a kind of change the night from which on it holds and what it is."""
    for at in range(count):
        more = {name: value for name, (since, value) in changes.items() if at >= since}
        synthetic.write(folder / f"night{at:02d}", night(at, **more))
    return folder


def trace(folder: Path) -> history.History:
    return history.trace_rows(history.read_sets([folder]))


@pytest.mark.slow
def test_where_nothing_moved_nothing_is_said_to_have_moved(tmp_path: Path) -> None:
    seen = trace(nights(tmp_path))
    assert seen.lines["bits"].tolist() == [IDENTICAL] * 3
    assert seen.lines["speed"].tolist() == [history.STEADY] * 3
    said = " ".join(history_report.write_findings(seen))
    assert "24 sets" in said
    assert "No result changed within one environment; 3 of 3 rows" in said
    assert "No step in the times was found." in said


@pytest.mark.slow
def test_a_slower_step_is_found_near_its_commit_in_its_row_alone(tmp_path: Path) -> None:
    seen = trace(nights(tmp_path, slower=(13, {"gru": 1.1})))
    by_cell = seen.lines.set_index("cell_label")
    assert by_cell["speed"].to_dict() == {"rnn": history.STEADY, "lstm": history.STEADY, "gru": history.MOVED}
    assert abs(by_cell.loc["gru", "times moved near"] - 13) <= 2
    assert by_cell.loc["gru", "new / old"] == pytest.approx(1.1, abs=0.03)
    assert "Step times moved near commit" in " ".join(history_report.write_findings(seen))


def test_a_changed_result_is_found_at_its_commit(tmp_path: Path) -> None:
    seen = trace(nights(tmp_path, 5, changed=(3, ("lstm",))))
    line = seen.lines.set_index("cell_label").loc["lstm"]
    assert (line["bits"], line["result moved at"]) == (CHANGED, 3)
    assert line["skills"] == pytest.approx([0.97] * 3 + [0.7] * 2)
    said = " ".join(history_report.write_findings(seen))
    assert (
        "Results changed, last at commit03 (2026-01-04 01:17): adding T=50 (adam 0.003) lstm none pytorch (skill 0.97"
        in said
    )
    assert "cannot be told of 3 of 3 rows: that takes 8 sets of one machine" in said


def test_another_environment_is_no_change_and_another_machine_is_another_series(tmp_path: Path) -> None:
    seen = trace(nights(tmp_path, 10, changed=(5, ("rnn", "lstm", "gru")), framework_version=(5, "9.9"), cores=(5, 64)))
    assert seen.lines["bits"].tolist() == [IDENTICAL] * 3  # within each of the two environments
    assert seen.lines["speed"].tolist() == [statistics.INCONCLUSIVE] * 3
    assert seen.lines["machines"].tolist() == [2] * 3


def test_equals_move_no_more_often_than_the_level_says() -> None:
    random = np.random.default_rng(3)
    smallest = [statistics.find_step(np.exp(random.normal(0, 0.02, 20)))[2] for _ in range(400)]
    assert np.mean(np.array(smallest) < 0.05) <= 0.08
    assert np.mean(np.array(smallest) < 0.05) >= 0.02


def test_sets_stand_in_the_order_of_their_time_whatever_their_names(tmp_path: Path) -> None:
    for name, at in (("z", 0), ("a", 2), ("m", 1)):
        synthetic.write(tmp_path / name, night(at))
    assert trace(tmp_path).points["name"].tolist() == ["z", "m", "a"]


def test_a_row_that_came_later_has_gaps_before(tmp_path: Path) -> None:
    synthetic.write(tmp_path / "a", [one for one in night(0) if one.case.cell == "lstm"])
    synthetic.write(tmp_path / "b", night(1))
    line = trace(tmp_path).lines.set_index("cell_label").loc["gru"]
    assert np.isnan(line["skills"][0])
    assert line["sets"] == 1


def test_one_set_has_no_history(tmp_path: Path) -> None:
    synthetic.write(tmp_path / "a", night(0))
    with pytest.raises(StoreError, match="two result sets at least"):
        history.read_sets([tmp_path])


def test_the_command_writes_page_text_and_table(tmp_path: Path) -> None:
    nights(tmp_path / "nights", 3)
    done = run_command("history", str(tmp_path / "nights"), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert (
        "3 sets from 2026-01-01 01:17 (commit commit00) to 2026-01-03 01:17 (commit commit02), 3 rows." in done.stdout
    )
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"history.html", "history", "history.md", "history.csv"} <= names
    assert len(pd.read_csv(tmp_path / "out" / "history.csv")) == 3
    assert len(pd.read_parquet(tmp_path / "out" / "history" / "rows.parquet")) == 3
    refused = run_command("history", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out2"))
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 3.0], "\N{LOWER THREE EIGHTHS BLOCK}\N{LOWER THREE QUARTERS BLOCK}\N{FULL BLOCK}"),
        ([5.0, float("nan"), 4.0], "\N{FULL BLOCK} \N{LOWER SEVEN EIGHTHS BLOCK}"),
        ([-1.0, 1.0], "\N{LOWER ONE EIGHTH BLOCK}\N{FULL BLOCK}"),
        ([0.0, 0.0], "\N{LOWER ONE EIGHTH BLOCK}" * 2),
        ([float("nan")], ""),
    ],
)
def test_a_line_of_blocks_runs_from_least_to_largest(values: list[float], expected: str) -> None:
    assert history_report.draw_blocks(values) == expected


def test_a_skill_that_moves_by_a_thousandth_is_a_level_line() -> None:
    assert history_report.draw_blocks([0.9934, 0.9931, 0.9929], history_report.SKILL_SPAN) == "\N{FULL BLOCK}" * 3
    assert len({*history_report.draw_blocks([0.9, 0.42], history_report.SKILL_SPAN)}) == 2


def test_a_history_averages_the_seeds_that_every_set_has_and_names_each_commit(tmp_path: Path) -> None:
    synthetic.write(tmp_path / "a", night(0))
    more = [synthetic.record(seed=seed, loss=0.15, commit="commit01", started="2026-01-02") for seed in range(2, 12)]
    synthetic.write(tmp_path / "b", [*night(1), *more])
    seen = trace(tmp_path)
    line = seen.lines[seen.lines["cell_label"] == "lstm"].iloc[0]
    assert (line["seeds"], line["other seeds"]) == (2, 10)
    assert line["skills"] == pytest.approx([0.97, 0.97])
    assert history_report.write_places(seen)["commits"].tolist() == ["commit00; commit01"] * 3
    said = " ".join(history_report.write_findings(seen))
    assert "(commit commit00) to 2026-01-02 " in said
    assert "of 1 row some sets have further seeds, which are left out" in said


@pytest.mark.slow
def test_the_page_draws_each_row_names_the_commit_and_opens_it(opened: Opened, tmp_path: Path) -> None:
    nights(tmp_path / "nights", slower=(13, {"gru": 1.2}), changed=(6, ("lstm",)))
    history_page.write(tmp_path, trace(tmp_path / "nights"), command="python -m benchmarks history nights")
    page = opened(tmp_path, page=history_page.PAGE)
    assert page.locator("#table-rows svg.spark").count() == 6
    assert "commit06" in page.locator("#table-rows tbody").inner_text()
    page.locator("#table-rows button.open").first.click()
    until(page, "document.querySelectorAll('#opened [data-curve] .plot-container').length === 2")
    points = page.evaluate("document.querySelector('#opened [data-curve]').data[0].text")
    assert len(points) == NIGHTS
    places, names = page.evaluate(
        "(({tickvals, ticktext}) => [tickvals, ticktext])(document.querySelector('#opened [data-curve]').layout.xaxis)"
    )
    assert all(place == int(place) for place in places)  # 1.5 is no night
    assert [*names] == [f"commit{place - 1:02d}"[:7] for place in places]
    assert serious(page) == []


@pytest.mark.slow
def test_hostile_names_show_as_text_in_a_history(opened: Opened, tmp_path: Path) -> None:
    for at in range(2):
        rows = [
            synthetic.record(framework=name, commit=name, started=f"2026-01-0{at + 1}T00:00:00") for name in HOSTILE
        ]
        synthetic.write(tmp_path / "sets" / f"<img src=x onerror=window.hacked=1>{at}", rows)
    with accept_names():
        history_page.write(tmp_path, trace(tmp_path / "sets"), command="python -m benchmarks history sets")
    page = opened(tmp_path, page=history_page.PAGE)
    page.locator("#table-rows button.open").first.click()
    page.wait_for_selector("#opened[open] .plot-container")
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img, main b").count() == 0
    text = (tmp_path / history_page.PAGE).read_text()
    assert json.dumps(HOSTILE[0]) not in text
