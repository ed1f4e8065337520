"""The site: a page for every set, the answers over the newest of them, a page for each claim."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from farreach.benchmarks.matrix import claims
from farreach.results.analysis.ledger import judge_claim
from farreach.results.publishing import packing, website
from farreach.results.report.answers.base import FASTER, THRESHOLD
from tests.support import synthetic, timings
from tests.support.browsing import PHONE, serious
from tests.support.commands import run_command

CLAIMS = 3


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a site of two trained sets, of which the newer one clips, a timed one and three claims."""
    root = tmp_path_factory.mktemp("site")
    old = [synthetic.record(seed=seed, started="2026-01-01T10:00:00+00:00") for seed in range(6)]
    new = [
        synthetic.record(
            seed=seed,
            clip=clip,
            threshold=threshold,
            clip_fraction=0.4 if threshold else 0.0,
            solved=bool(threshold),
            steps_to_solve=600 if threshold else None,
            started="2026-02-01T10:00:00+00:00",
        )
        for seed in range(6)
        for clip, threshold in (("none", None), ("norm", 1.0))
    ]
    for name, records in (("old", old), ("new", new)):
        synthetic.write(root / name, records)
        packing.pack_set(root / name, root / "published" / name)
    timings.write_groups(root / "timed", timings.make_pair(2.0))
    packing.pack_set(root / "timed", root / "published" / "timed")
    (root / "published" / "semantics.md").write_text("# What clips do\n\n| a | b |\n| --- | --- |\n| 1 | <b>2</b> |\n")
    verdicts = [judge_claim(entry.describe(), {}) for entry in claims.load_ledger()[:CLAIMS]]
    website.write_site(root / "published", root / "site", verdicts)
    return root / "site"


def test_the_front_page_answers_from_the_newest_set_that_can(site: Path) -> None:
    text = (site / "index.html").read_text("utf-8")
    parts = {re.findall(r"<h2>(.*?)</h2>", part)[0]: part for part in text.split('<li id="answer-')[1:]}
    assert len(parts) == 5
    assert 'href="sets/timed/report.html"' in parts[FASTER]
    assert "jax 2" in parts[FASTER]
    assert 'href="sets/new/report.html"' in parts[THRESHOLD]
    assert "yes: norm 1" in parts[THRESHOLD]


def test_every_claim_has_a_page_that_says_that_no_verdict_is_there_yet(site: Path) -> None:
    pages = sorted((site / "claims").glob("*.html"))
    assert len(pages) == CLAIMS + 1
    whole = (site / "claims" / "index.html").read_text("utf-8")
    assert "No verdict is published yet" in whole
    for entry in claims.load_ledger()[:CLAIMS]:
        assert f'href="{entry.name}.html"' in whole
        assert entry.name in (site / "claims" / f"{entry.name}.html").read_text("utf-8")


def test_pages_are_small_load_nothing_from_elsewhere_and_link_to_what_is_there(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) == 3 + 1 + 1 + CLAIMS + 1 + 2
    for path in pages:
        text = path.read_text("utf-8")
        assert len(text.encode()) <= website.LARGEST
        plain = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", text, flags=re.DOTALL)
        assert not re.search(r'(?:src|srcset)="(?:https?:)?//', plain)
        for target in re.findall(r'href="([^"#]+)"', plain):
            if not re.match(r"https?:", target) and "docs/" not in target and target != "tables/":
                assert (path.parent / target).exists(), (path, target)


def test_html_in_a_text_is_shown_and_not_obeyed(site: Path) -> None:
    assert "<b>2</b>" not in (site / "semantics.html").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "light"), ({"width": 1400, "height": 900}, "dark")])
def test_axe_finds_no_serious_fault_on_pages_to_read(
    browser: Any, site: Path, size: dict[str, int], scheme: str
) -> None:
    context = browser.new_context(viewport=size, color_scheme=scheme)
    for name in ("index.html", "claims/index.html", "certificates.html"):
        shown = context.new_page()
        shown.goto((site / name).as_uri())
        assert serious(shown) == [], name
        assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
    context.close()


def test_the_site_is_built_alone() -> None:
    done = run_command("publish", "--site", "somewhere", "--check")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
