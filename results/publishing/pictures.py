"""Pictures of a page for the documents, taken by a headless Chromium, and from which rows they were taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from farreach.results.publishing import chromium
from farreach.results.site import page
from farreach.results.storage import packed_set
from farreach.results.storage.files import StoreError, read_json, write_json

FOLDER = "docs/pictures"
TAKEN = "taken.json"

WIDE, PHONE = {"width": 1280, "height": 1000}, {"width": 390, "height": 844}
READY = "html[data-ready]"


def take_pictures(published: Path, folder: Path) -> list[Path]:
    """Take the pictures of the page of ``quick``; return their paths.

    Raises `StoreError` where there is no Playwright or no browser.
    """
    try:
        from playwright import sync_api  # noqa: PLC0415 - only who takes pictures needs it
    except ImportError as error:
        message = "pictures need playwright, which is not installed"
        raise StoreError(message) from error
    source = published / "quick"
    if not (source / page.PAGE).exists():
        message = f"{source} has no {page.PAGE}: python -m benchmarks report writes it"
        raise StoreError(message)
    folder.mkdir(parents=True, exist_ok=True)
    with sync_api.sync_playwright() as play:
        browser = chromium.launch(play)
        try:
            paths = [shoot(browser, source, folder) for shoot in (_shoot_page, _shoot_row, _shoot_phone)]
        finally:
            browser.close()
    write_json(folder / TAKEN, {"quick": digest(source)})
    return paths


def are_stale(published: Path, folder: Path) -> bool:
    """Return whether the pictures were taken from other rows than those that are published."""
    path = folder / TAKEN
    return not path.exists() or read_json(path) != {"quick": digest(published / "quick")}


def digest(source: Path) -> dict[str, Any]:
    """Return what tells the rows of a set from others."""
    return dict(read_json(source / packed_set.MANIFEST)["files"][packed_set.ROWS])


def _open_page(browser: Any, source: Path, fragment: str, *, size: dict[str, int], scheme: str) -> Any:
    context = browser.new_context(viewport=size, color_scheme=scheme, device_scale_factor=1.5)
    tab = context.new_page()
    tab.goto(f"{(source / page.PAGE).resolve().as_uri()}{fragment}")
    tab.wait_for_selector(READY)
    return tab


def _shoot_page(browser: Any, source: Path, folder: Path) -> Path:
    tab = _open_page(browser, source, "", size=WIDE | {"height": 1500}, scheme="light")
    path = folder / "page.png"
    tab.screenshot(path=path)
    return path


def _shoot_row(browser: Any, source: Path, folder: Path) -> Path:
    tab = _open_page(browser, source, "#task=adding&cell=gru&clip=norm+1", size=WIDE, scheme="light")
    tab.locator("#table-accuracy button.open").first.click()
    tab.wait_for_selector("#opened [data-curve=flow] .plot-container")
    tab.wait_for_timeout(500)  # plotly draws its last line after its frame is there
    path = folder / "row.png"
    tab.screenshot(path=path)
    return path


def _shoot_phone(browser: Any, source: Path, folder: Path) -> Path:
    tab = _open_page(browser, source, "", size=PHONE, scheme="dark")
    tab.locator("[data-chart]").first.scroll_into_view_if_needed()
    tab.wait_for_selector("[data-chart] .plot-container")
    tab.wait_for_timeout(500)
    path = folder / "phone.png"
    tab.screenshot(path=path)
    return path
