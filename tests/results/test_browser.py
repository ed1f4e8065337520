"""The page of a result set in a real browser, opened from the disk: headless Chromium, driven by Playwright.

Without Playwright, axe or a Chromium these tests are skipped by name; the reason says how to get what is missing.
"""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from farreach.benchmarks.matrix import registry
from farreach.results.analysis import tables
from farreach.results.analysis.rows import label_rows
from farreach.results.site import page as pages
from farreach.results.storage.result_set import Store
from farreach.results.storage.sanitising import clean_text
from tests.support import synthetic
from tests.support.browsing import PHONE, READY, WIDE, Opened, column, serious, until
from tests.support.pages import HOSTILE, read_shards, write_hostile


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the made-up quick set and its page."""
    folder = tmp_path_factory.mktemp("browser") / "quick"
    synthetic.main(folder)
    pages.write(folder)
    return folder


def choose(page: Any, name: str, value: str) -> None:
    """Set a filter as a reader does: open it, tick a value."""
    box = page.locator(f"#filters details:has(summary[data-title='{name}'])")
    box.locator("summary").click()
    box.locator(f"input[value='{value}']").check()
    page.locator("h1").click()


def total(page: Any, name: str) -> int:
    """Return how many rows pass the filters, as the table says it."""
    said = page.locator(f"#panel-{name} .dt-info").inner_text()
    found = re.search(r"of ([\d,]+) entries", said)
    assert found, said
    return int(found[1].replace(",", ""))


def lines(folder: Path) -> pd.DataFrame:
    return tables.tabulate_accuracy(label_rows(Store(folder).rows()))


# Reading


def test_the_page_opens_from_the_disk_and_shows_answers_and_tables(quick: Path, opened: Opened) -> None:
    page = opened(quick)
    assert page.locator("#answers ol.answers > li").count() == 5
    assert total(page, "accuracy") == len(lines(quick))
    assert page.locator("#table-accuracy tbody tr").count() == 25


def test_filters_narrow_the_table_and_add_up(quick: Path, opened: Opened) -> None:
    page, whole = opened(quick), lines(quick)
    choose(page, "task", "adding")
    assert total(page, "accuracy") == (whole["task"] == "adding").sum()
    choose(page, "cell", "lstm")
    assert total(page, "accuracy") == ((whole["task"] == "adding") & (whole["cell"] == "lstm")).sum()
    assert set(column(page, "accuracy", "cell")) == {"lstm"}
    choose(page, "threshold", "norm 0.1")
    choose(page, "threshold", "norm 1")
    assert set(column(page, "accuracy", "clip")) == {"norm 0.1", "norm 1"}
    page.get_by_role("tab", name="Gradients").click()
    assert set(column(page, "gradients", "cell")) == {"lstm"}
    page.get_by_role("button", name="Show all").click()
    assert total(page, "gradients") == len(whole)


def test_columns_sort_by_value_and_thresholds_by_size(quick: Path, opened: Opened) -> None:
    page = opened(quick)
    head = page.locator("#table-accuracy thead th", has_text="skill")
    head.click()
    page.wait_for_selector("#table-accuracy thead th[aria-sort=descending]")  # a busy browser sorts a moment later
    shown = [float(text.split()[0]) for text in column(page, "accuracy", "skill")]
    assert shown == sorted(shown, reverse=True)
    assert shown[0] == pytest.approx(lines(quick)["skill"].max(), abs=0.006)
    choose(page, "cell", "lstm")
    choose(page, "task", "adding")
    page.locator("#table-accuracy thead th", has_text="clip").first.click()
    page.wait_for_selector("#table-accuracy thead th[aria-sort=ascending]")
    assert list(dict.fromkeys(column(page, "accuracy", "clip"))) == [
        "none",
        "norm 0.01",
        "norm 0.1",
        "norm 1",
        "norm 10",
    ]


def test_the_search_looks_into_every_column(quick: Path, opened: Opened) -> None:
    page = opened(quick)
    page.locator("#panel-accuracy input[type=search]").fill("translation")
    assert all(text.startswith("translation") for text in column(page, "accuracy", "setting"))
    assert total(page, "accuracy") == (lines(quick)["task"] == "translation").sum()


# Opening a row


def test_a_row_opens_its_curves_diagnosis_environment_and_command(quick: Path, opened: Opened) -> None:
    page = opened(quick, "#task=adding&cell=lstm&clip=norm+0.1&framework=pytorch")
    assert not [url for url in page.asked if "curves-" in url]
    page.locator("#table-accuracy tbody tr").first.click()
    page.wait_for_selector("#opened [data-curve=flow] .plot-container")
    assert page.locator("#opened [data-curve] .plot-container").count() == 3
    assert [url for url in page.asked if "curves-" in url]
    dialog = page.locator("#opened")
    assert "adding T=50, lstm, norm 0.1, pytorch, seed 0" in dialog.inner_text()
    assert "healthy: solved at step" in dialog.inner_text()
    assert "Some Processor" in dialog.inner_text()
    dialog.get_by_role("button", name="seed 2").click()
    until(page, "document.getElementById('opened-title').textContent.includes('seed 2')")
    key = re.search(r"row=(\w+)", page.url)
    assert key
    dialog.get_by_role("button", name="Copy").click()
    until(page, "document.querySelector('#opened [data-command]').textContent === 'Copied'")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == read_shards(quick)[key[1]]["again"]
    assert "--only seed=2" in copied
    page.keyboard.press("Escape")
    until(page, "!document.getElementById('opened').open")
    assert "row=" not in page.url


def test_rows_of_speed_open_their_figures(quick: Path, opened: Opened) -> None:
    page = opened(quick, "#tab=ratios&cell=rnn")
    page.locator("#table-ratios button.open").first.click()
    text = page.locator("#opened").inner_text()
    assert "python -m benchmarks speed" in text
    assert "tensorflow (graph)" in text


def test_a_page_without_its_folder_still_answers_and_says_what_is_missing(
    quick: Path, opened: Opened, tmp_path: Path
) -> None:
    shutil.copy(quick / pages.PAGE, tmp_path)
    page = opened(tmp_path)
    page.locator("#table-accuracy button.open").first.click()
    page.wait_for_selector("#opened[open]")
    assert "the folder report/ belongs beside this page" in page.locator("#opened").inner_text()
    assert all("ERR_FILE_NOT_FOUND" in text for text in page.errors)
    page.errors.clear()  # the browser's own word for the missing file


# Sharing


@pytest.mark.slow
def test_a_shared_link_shows_the_same_view(quick: Path, opened: Opened) -> None:
    page = opened(quick)
    page.get_by_role("tab", name="Gradients").click()
    choose(page, "task", "adding")
    choose(page, "framework", "tensorflow")
    page.locator("#table-gradients thead th", has_text="largest norm").click()
    page.locator("#table-gradients button.open").nth(1).click()
    page.wait_for_selector("#opened[open] [data-curve=learning] .plot-container")
    title, shown = page.locator("#opened-title").inner_text(), column(page, "gradients", "largest norm")
    other = opened(quick, f"#{page.url.partition('#')[2]}")
    other.wait_for_selector("#opened[open] [data-curve=learning] .plot-container")
    assert other.locator("#opened-title").inner_text() == title
    assert column(other, "gradients", "largest norm") == shown
    assert other.get_by_role("tab", name="Gradients", include_hidden=True).get_attribute("aria-selected") == "true"
    assert set(column(other, "gradients", "framework")) == {"tensorflow"}


def test_a_link_to_a_case_that_is_not_there_says_so(quick: Path, opened: Opened) -> None:
    page = opened(quick, "#row=0123456789abcdef")
    assert "not in this set" in page.locator("#opened").inner_text()


def test_a_link_with_nonsense_shows_the_page(quick: Path, opened: Opened) -> None:
    page = opened(quick, "#tab=%3Cscript%3E&sort=nothing:up&task=nobody&row=ratios:9999")
    assert page.locator("#table-accuracy").count() == 1
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Show all").click()
    assert total(page, "accuracy") == len(lines(quick))


# Taking away


@pytest.mark.slow
def test_a_view_is_saved_as_csv_with_the_intervals(quick: Path, opened: Opened) -> None:
    page = opened(quick, "#task=adding&cell=lstm")
    with page.expect_download() as waiting:
        page.locator("#panel-accuracy").get_by_role("button", name="CSV").click()
    back = pd.read_csv(io.BytesIO(Path(waiting.value.path()).read_bytes()))
    whole = lines(quick)
    chosen = whole[(whole["task"] == "adding") & (whole["cell"] == "lstm")]
    assert back["clip"].tolist() == chosen["clip_label"].astype(str).tolist()
    assert back["skill"].to_numpy() == pytest.approx(chosen["skill"].to_numpy(float), rel=1e-3)
    assert back["skill low"].notna().all()


@pytest.mark.slow
def test_no_text_of_a_view_that_is_saved_is_a_formula(quick: Path, opened: Opened, tmp_path: Path) -> None:
    folder = shutil.copytree(quick, tmp_path / "quick")
    written = (folder / pages.PAGE).read_text()
    assert '"norm 1"' in written
    (folder / pages.PAGE).write_text(written.replace('"norm 1"', '"=1+1"'))
    page = opened(folder, "#task=adding&cell=lstm")
    with page.expect_download() as waiting:
        page.locator("#panel-accuracy").get_by_role("button", name="CSV").click()
    back = pd.read_csv(io.BytesIO(Path(waiting.value.path()).read_bytes()))
    assert "'=1+1" in {*back["clip"]}
    assert "=1+1" not in {*back["clip"]}
    assert pd.api.types.is_float_dtype(back["skill"])
    cells = ["=1+1", "-1.5", "+x", "@x", "\t=1", " =1", "-0.4 0.5", "-2+3", "a=b", ""]
    script = registry.ROOT / "results" / "site" / "static" / "format.js"
    [function] = re.findall(r"function quoteFormula\(.*?\n\}\n", script.read_text(), re.DOTALL)
    quoted = page.evaluate(f"cells => {{ {function} return cells.map(quoteFormula); }}", cells)
    assert [before for before, after in zip(cells, quoted, strict=True) if after == f"'{before}"] == [
        *("=1+1", "+x", "@x", "\t=1", " =1", "-2+3")
    ]


def test_a_table_copies_as_markdown_and_as_latex(opened: Opened, tmp_path: Path) -> None:
    floor = float(synthetic.FLOORS["adding"])
    clips: list[dict[str, Any]] = [
        {"clip": "norm", "threshold": at, "clip_fraction": 1.0} for at in (0.1, 1.0, 3.0, 9.0)
    ]
    records = [
        synthetic.record(seed=seed, loss=floor * (1 - skill - seed / 1000), **clip)
        for clip, skill in zip([{}, *clips], (0.9, 0.5, 0.4, 0.3, 0.2), strict=True)
        for seed in range(6)
    ]
    synthetic.write(tmp_path, records)
    pages.write(tmp_path)
    page = opened(tmp_path, "#task=adding&cell=lstm&framework=pytorch")
    panel = page.locator("#panel-accuracy")
    for name in ("Markdown", "LaTeX"):
        panel.get_by_role("button", name=name).click()
        until(page, "document.querySelector('#panel-accuracy [role=status]').textContent.startsWith('Copied 5')")
        text = page.evaluate("navigator.clipboard.readText()")
        if name == "Markdown":
            head, rule, *body = text.splitlines()
            assert len(body) == 5
            assert all(one.count("|") == head.count("|") == rule.count("|") for one in body)
            assert "**0." in text
        else:
            assert "\\toprule" in text
            assert text.count("\\\\\n") == 6
            assert "\\textbf{0." in text
            assert "100 \\%" in text
        page.evaluate("document.querySelector('#panel-accuracy [role=status]').textContent = ''")


def test_the_whole_table_lies_beside_as_parquet(quick: Path, opened: Opened) -> None:
    page = opened(quick)
    link = page.locator("#panel-accuracy a[download]").get_attribute("href")
    assert len(pd.read_parquet(quick / link)) == len(lines(quick))


# Looks


@pytest.mark.slow
def test_the_theme_follows_the_system_switches_and_is_remembered(quick: Path, opened: Opened) -> None:
    def paper(page: Any) -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    page = opened(quick)
    light = paper(page)
    assert paper(opened(quick, scheme="dark")) != light
    page.locator("[data-chart]").first.scroll_into_view_if_needed()
    page.wait_for_selector("[data-chart] .plot-container")
    font = "document.querySelector('[data-chart]').layout.font.color"
    before = page.evaluate(font)
    page.locator("#theme").click()
    page.locator("#theme").click()
    assert page.locator("#theme").inner_text() == "Theme: dark"
    assert paper(page) != light
    until(page, f"{font} !== '{before}'")
    page.reload()
    page.wait_for_selector(READY)
    assert page.locator("#theme").inner_text() == "Theme: dark"


def test_every_picture_is_drawn(quick: Path, opened: Opened) -> None:
    page = opened(quick)
    places = page.locator("[data-chart]")
    for at in range(places.count()):
        places.nth(at).scroll_into_view_if_needed()
        until(page, f"document.querySelectorAll('[data-chart]')[{at}].querySelector('.plot-container')")
    assert places.count() == 6
    overview = places.filter(has_text="3/3")
    assert overview.count() == 1
    assert "100 %" in overview.inner_text()


@pytest.mark.slow
def test_a_phone_shows_it_without_scrolling_sideways(quick: Path, opened: Opened) -> None:
    page = opened(quick, size=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.locator("[data-chart]").first.scroll_into_view_if_needed()
    page.wait_for_selector("[data-chart] .plot-container")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    choose(page, "task", "copy")
    page.locator("#table-accuracy button.open").first.click()
    page.wait_for_selector("#opened[open] [data-curve=flow] .plot-container")
    box = page.locator("#opened").bounding_box()
    assert box["width"] == PHONE["width"]
    assert page.evaluate("document.getElementById('opened').scrollWidth") <= PHONE["width"]
    page.get_by_role("button", name="Close").click()
    until(page, "!document.getElementById('opened').open")


# Everyone, and everything


def test_the_keyboard_is_enough(quick: Path, opened: Opened) -> None:
    page = opened(quick)
    page.get_by_role("tab", name="Accuracy").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tab", name="Gradients").get_attribute("aria-selected") == "true"
    page.locator("#table-gradients button.open").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#opened[open]")
    assert page.evaluate("document.getElementById('opened').contains(document.activeElement)")
    page.keyboard.press("Escape")
    until(page, "!document.getElementById('opened').open")


@pytest.mark.slow
@pytest.mark.parametrize(("size", "scheme"), [(WIDE, "light"), (WIDE, "dark"), (PHONE, "light")])
def test_axe_finds_no_serious_fault(quick: Path, opened: Opened, size: dict[str, int], scheme: str) -> None:
    page = opened(quick, size=size, scheme=scheme)
    page.locator("[data-chart]").first.scroll_into_view_if_needed()
    page.wait_for_selector("[data-chart] .plot-container")
    faults = serious(page)
    page.locator("#filters summary").first.click()
    faults += serious(page)
    page.locator("h1").click()
    page.locator("#table-accuracy button.open").first.click()
    page.wait_for_selector("#opened[open] [data-curve=learning] .plot-container")
    assert faults + serious(page) == []


@pytest.mark.slow
def test_hostile_names_show_as_text_and_run_nothing(opened: Opened, tmp_path: Path) -> None:
    write_hostile(tmp_path)
    page = opened(tmp_path)
    assert page.evaluate("window.hacked") is None
    assert set(column(page, "accuracy", "framework")) == set(map(clean_text, HOSTILE))
    assert page.locator("#table-accuracy img, #table-accuracy script, #answers b").count() == 0
    page.locator("#table-accuracy button.open").first.click()
    page.wait_for_selector("#opened[open] [data-curve=learning] .plot-container")
    page.locator("#opened [data-command]").first.click()
    page.keyboard.press("Escape")
    page.locator("#filters summary[data-title=framework]").click()
    assert page.locator("#filters details[open] label").count() == len(HOSTILE)
    page.locator("[data-chart]").first.scroll_into_view_if_needed()
    page.wait_for_selector("[data-chart] .plot-container")
    assert page.evaluate("window.hacked") is None
    isolated = page.locator("#table-accuracy bdi", has_text="txt.exe")
    assert isolated.count()


@pytest.mark.slow
@pytest.mark.parametrize("records", [[], [synthetic.record()], [synthetic.diverged()]], ids=["empty", "one", "failed"])
def test_a_set_that_carries_little_opens_without_an_error(opened: Opened, tmp_path: Path, records: list[Any]) -> None:
    synthetic.write(tmp_path, records, runs=[synthetic.run_line()])
    pages.write(tmp_path)
    page = opened(tmp_path)
    assert page.locator("#answers ol.answers > li").count() == 5
    if records:
        page.locator("button.open").first.click()
        page.wait_for_selector("#opened[open] .plot-container")
