"""A real browser for the tests of pages: headless Chromium, driven by Playwright, that opens them from the disk.

Without Playwright, axe or a Chromium its tests are skipped by name; the reason says how to get what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from farreach.results.publishing import chromium
from farreach.results.site import page as pages
from farreach.results.storage.files import StoreError

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
READY = "html[data-ready]"
Opened = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return a Chromium: Playwright's own where it was installed, else the machine's.

    For a module and no longer: while it lives, an event loop runs in this thread, in which others cannot start theirs.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    with sync_api.sync_playwright() as play:
        try:
            made = chromium.launch(play)
        except StoreError as error:
            pytest.skip(str(error))
        yield made
        made.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Opened]:
    """Return a function that opens a page from the disk; at the end it must have had no error and asked for nothing."""
    contexts: list[Any] = []
    errors: list[str] = []
    asked: list[str] = []

    def go(
        folder: Path, fragment: str = "", *, page: str = pages.PAGE, size: dict[str, int] = WIDE, scheme: str = "light"
    ) -> Any:
        context = browser.new_context(viewport=size, color_scheme=scheme, accept_downloads=True)
        context.set_default_timeout(60_000)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        shown = context.new_page()
        shown.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        shown.on("pageerror", lambda error: errors.append(str(error)))
        shown.on("request", lambda request: asked.append(request.url))
        shown.goto(f"{(folder / page).as_uri()}{fragment}")
        shown.wait_for_selector(READY)
        shown.asked = asked
        shown.errors = errors
        return shown

    yield go
    for context in contexts:
        context.close()
    assert not errors
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]


def column(page: Any, name: str, title: str) -> list[str]:
    """Return what a column of a table shows, on the page of it that is shown."""
    heads = page.locator(f"#table-{name} thead th").all_inner_texts()
    at = [head.strip() for head in heads].index(title)
    cells = page.locator(f"#table-{name} tbody tr td:nth-child({at + 1})").all_inner_texts()
    return [cell.strip() for cell in cells]


def until(page: Any, expression: str) -> None:
    """Wait until an expression is true; Playwright's own way of it needs eval, which the page forbids."""
    end = time.monotonic() + 60
    while not page.evaluate(f"Boolean({expression})"):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def serious(page: Any) -> list[str]:
    """Return the serious faults that axe finds, each with the places where it finds them."""
    axe_api = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="needs axe: pip install axe-playwright-python"
    )
    found = axe_api.Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {[node['target'] for node in one['nodes']][:5]}"
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]
