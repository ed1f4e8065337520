"""The pages of docs/ as a site: built without a warning, complete without a network, readable on a phone."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from farreach.benchmarks.matrix import registry
from tests.support.browsing import browser, serious
from tests.support.documents import PAGES

__all__ = ["browser"]

THEME = ("aria-required-attr", "scrollable-region-focusable")
"""What axe says of the theme: captions of the list of pages have no rank, and wide code scrolls without a tab stop."""


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Build the site with the command of `tox -e docs`."""
    pytest.importorskip("sphinx", reason="needs sphinx, myst-parser and furo: pip install -c constraints.txt ...")
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(registry.ROOT / "tox.ini")
    line = tox["testenv:docs"]["commands"].strip()
    assert line.startswith("sphinx-build -W ")
    words = [{"docs": str(source), "docs/_build/html": str(target)}.get(word, word) for word in line.split()[1:-1]]
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "sphinx", *words], cwd=registry.ROOT, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target: Path = tmp_path_factory.mktemp("site")
    done = build(registry.ROOT / "docs", target)
    assert done.returncode == 0, done.stderr
    return target


def test_every_page_is_built_and_in_the_list_of_pages(site: Path) -> None:
    index = (site / "index.html").read_text()
    for path in PAGES:
        assert (site / f"{path.stem}.html").exists()
        assert path.stem == "index" or f'href="{path.stem}.html"' in index


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|link|iframe)[^>]*?(?:src|href)="([^"]+)"', path.read_text())
        assert loaded
        assert [one for one in loaded if one.startswith(("http:", "https:", "//"))] == [], path
    for path in site.rglob("*.css"):
        assert not re.findall(r"url\([\"']?(?:https?:)?//|@import", path.read_text()), path


def test_a_link_to_a_page_that_is_not_there_fails_the_build(tmp_path: Path) -> None:
    source = tmp_path / "docs"
    source.mkdir()
    (source / "conf.py").write_text((registry.ROOT / "docs" / "conf.py").read_text().replace('["static"]', "[]"))
    (source / "index.md").write_text("# A page\n\n[nowhere](nowhere.md)\n")
    done = build(source, tmp_path / "site")
    assert done.returncode != 0
    assert "nowhere" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (390, "light"), (1400, "dark"), (2560, "light")])
def test_a_page_is_as_wide_as_the_window(site: Path, browser: Any, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    for path in PAGES:
        page.goto((site / f"{path.stem}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path.stem
        assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth)"), path.stem
    assert errors == []
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_what_we_wrote(site: Path, browser: Any, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    for name in ("index", "architecture", "results", "words"):
        page.goto((site / f"{name}.html").as_uri())
        assert [fault for fault in serious(page) if not fault.startswith(THEME)] == [], name
    context.close()


def test_a_scheduler_listens_to_its_own_machine_or_to_who_has_a_key() -> None:
    """Who reaches a scheduler runs what he likes: each page that starts one says so beside the command."""
    found = 0
    for path in [*PAGES, *registry.ROOT.glob("*.md")]:
        text = path.read_text("utf-8")
        for match in re.finditer(r"dask scheduler.*", text):
            found += 1
            assert "--host 127.0.0.1" in match[0] or all(
                f"--tls-{one}" in match[0] for one in ("ca-file", "cert", "key")
            )
            assert re.search(r"reach a scheduler can run\s+any program", text), path
    assert found >= 3
