"""The page of a comparison: verdicts, intervals and pictures, in a real browser."""

from __future__ import annotations

from pathlib import Path

from farreach.results.analysis import comparison
from farreach.results.analysis.comparison import WORSE
from farreach.results.site import comparison_page
from farreach.results.storage.sanitising import clean_text
from tests.support import synthetic
from tests.support.browsing import PHONE, Opened, column, serious, until
from tests.support.commands import run_command
from tests.support.comparisons import make_seeds, write_sets
from tests.support.pages import HOSTILE, accept_names

COMMAND = "python -m benchmarks compare old new"


def write_sides(tmp_path: Path) -> comparison.Comparison:
    """Write the page of two sides of six runs each, of which the new one is 10 % slower."""
    write_sets(tmp_path / "old", 6, 0.002, draw=0)
    write_sets(tmp_path / "new", 6, 0.0022, draw=1)
    found = comparison.compare_sides(*(comparison.read_side(tmp_path / side) for side in ("old", "new")))
    comparison_page.write(tmp_path, found, title="old and new", command=COMMAND)
    return found


def test_the_page_says_what_was_found_and_shows_it(opened: Opened, tmp_path: Path) -> None:
    found = write_sides(tmp_path)
    assert len(found.list_flags(WORSE)) == 2
    page = opened(tmp_path, page=comparison_page.PAGE)
    assert "Speed of 2 rows: 0 same, 0 better, 2 worse, 0 inconclusive." in page.locator("#answers").inner_text()
    page.get_by_role("tab", name="Together").click()
    assert column(page, "whole", "pairs of") == ["all"]
    page.get_by_role("tab", name="Speed").click()
    assert column(page, "speed", "verdict") == ["worse", "worse"]
    assert page.locator("#table-speed td b").count() == 4
    page.locator("[data-chart=speed-changes]").scroll_into_view_if_needed()
    until(page, "document.querySelector('[data-chart=speed-changes] .plot-container')")
    assert serious(page) == []
    page.locator("#table-speed button.open").first.click()
    page.wait_for_selector("#opened[open]")
    assert "new / old" in page.locator("#opened").inner_text()
    assert serious(page) == []


def test_it_fits_a_phone_and_shares_a_view(opened: Opened, tmp_path: Path) -> None:
    write_sides(tmp_path)
    page = opened(tmp_path, "#tab=speed&speed=worse", page=comparison_page.PAGE, size=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.get_by_role("tab", name="Speed").get_attribute("aria-selected") == "true"
    assert set(column(page, "speed", "verdict")) == {"worse"}


def test_sets_without_a_row_in_common_get_a_page_that_says_so(opened: Opened, tmp_path: Path) -> None:
    synthetic.write(tmp_path / "old", [synthetic.record(cell="lstm")])
    synthetic.write(tmp_path / "new", [synthetic.record(cell="gru")])
    found = comparison.compare_sides(*(comparison.read_side(tmp_path / side) for side in ("old", "new")))
    comparison_page.write(tmp_path, found, title="a", command=COMMAND)
    page = opened(tmp_path, page=comparison_page.PAGE)
    assert "Not compared" in page.locator("#answers").inner_text()
    assert page.locator("#tables").count() == 0


def test_hostile_names_show_as_text_in_a_comparison(opened: Opened, tmp_path: Path) -> None:
    for side in ("old", "new"):
        rows = [synthetic.record(framework=name, loss=0.01 + 0.01 * (side == "new")) for name in HOSTILE]
        synthetic.write(tmp_path / side, rows)
    with accept_names():
        found = comparison.compare_sides(*(comparison.read_side(tmp_path / side) for side in ("old", "new")))
    comparison_page.write(tmp_path, found, title=HOSTILE[0], command=HOSTILE[1])
    page = opened(tmp_path, page=comparison_page.PAGE)
    assert set(column(page, "quality", "framework")) == set(map(clean_text, HOSTILE))
    page.locator("[data-chart]").first.scroll_into_view_if_needed()
    page.wait_for_selector("[data-chart] .plot-container")
    page.locator("#table-quality button.open").first.click()
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img, main script").count() == 0


def test_the_command_writes_the_page_beside_the_text(tmp_path: Path) -> None:
    for side in ("old", "new"):
        synthetic.write(tmp_path / side, make_seeds(2))
    done = run_command("compare", str(tmp_path / "old"), str(tmp_path / "new"), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"comparison.html", "comparison", "comparison.md"} <= names
