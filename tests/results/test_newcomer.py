"""From the page alone a newcomer answers five questions, on three sets with other answers planted."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from farreach.results.record import Record
from tests.support import synthetic, timings
from tests.support.browsing import PHONE, Opened, until
from tests.support.pages import write_page

PATHS = {"pytorch": "eager", "tensorflow": "graph", "jax": "scan"}


@dataclasses.dataclass(frozen=True)
class Planted:
    """What a set holds: milliseconds of an LSTM's step, seeds of six that solved it by threshold, the longest copy."""

    milliseconds: dict[str, float]
    adding: dict[float | None, int]
    recall: dict[float | None, int]
    copied: int
    faster: str
    threshold: str
    helps: str


SETS = {
    "jax": Planted(
        {"pytorch": 3, "jax": 1}, {None: 0, 0.1: 6, 10.0: 1}, {None: 6, 1.0: 6}, 20, "jax", "norm 0.1", "no"
    ),
    "pytorch": Planted(
        {"pytorch": 1, "tensorflow": 2},
        {None: 1, 0.1: 2, 10.0: 6},
        {None: 6, 1.0: 0},
        50,
        "pytorch",
        "norm 10",
        "harmful",
    ),
    "nobody": Planted(
        {"jax": 2, "tensorflow": 2.001},
        {None: 0, 1.0: 6},
        {None: 3, 1.0: 4},
        10,
        "inconclusive",
        "norm 1",
        "inconclusive",
    ),
}


def plant_clips(task: str, counts: dict[float | None, int]) -> list[Record]:
    return [
        synthetic.record(
            task=task,
            clip="none" if threshold is None else "norm",
            threshold=threshold,
            clip_fraction=0.0 if threshold is None else 0.4,
            seed=seed,
            solved=seed < good,
            steps_to_solve=600 if seed < good else None,
        )
        for threshold, good in counts.items()
        for seed in range(6)
    ]


@pytest.fixture(scope="module", params=SETS)
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Planted]:
    """Return the folder of a page, and what was planted there."""
    planted = SETS[request.param]
    copies = [
        synthetic.record(task="copy", parameters=f'{{"T": {length}}}', seed=seed, solved=length <= planted.copied)
        for length in (10, 20, 50, 100)
        for seed in range(6)
    ]
    contenders = [
        timings.make_contender(f"{name} ({PATHS[name]})", timings.make_seconds(at / 1e3, seed=seed))
        for seed, (name, at) in enumerate(planted.milliseconds.items())
    ]
    step = timings.STEP | {"cell": "lstm", "parameters": {"T": 200}}
    folder = tmp_path_factory.mktemp("newcomer")
    records = [*plant_clips("adding", planted.adding), *plant_clips("speech", planted.recall), *copies]
    write_page(folder, records, groups=[timings.make_group(*contenders, step=step)])
    return folder, planted


def read_field(page: Any, name: str, row: str, column: str) -> str:
    """Return what a reader sees in one field of an answer."""
    table = page.locator(f"#glance-{name}")
    heads = [text.strip() for text in table.locator("thead th").all_inner_texts()]
    line = table.locator("tbody tr", has=page.locator("th", has_text=row)).first
    return str(line.locator("th, td").nth(heads.index(column)).inner_text())


@pytest.mark.slow
def test_a_newcomer_answers_from_what_is_seen(asked: tuple[Path, Planted], opened: Opened) -> None:
    folder, planted = asked
    page = opened(folder)
    faster = read_field(page, "faster", "adding T=200", "lstm")
    assert faster.startswith(planted.faster)
    assert " to " in faster  # how sure: the interval
    adding = read_field(page, "clips", "adding", "lstm")
    assert adding.startswith(f"yes: {planted.threshold}")
    assert f"{planted.adding[None]}/6 → 6/6 seeds" in adding
    assert read_field(page, "clips", "speech", "lstm").startswith(planted.helps)
    copied = read_field(page, "lengths", "copy", "lstm")
    assert copied.startswith(f"T={planted.copied}")
    following = {10: 20, 20: 50, 50: 100}[planted.copied]
    assert f"stops at T={following}: 0/6" in copied
    assert max(len(text.split()) for text in page.locator("p.short").all_inner_texts()) <= 30
    page.locator("#table-accuracy button.open").first.click()
    page.wait_for_selector("#opened[open] [data-command]")
    assert "python -m benchmarks run quick --only" in page.locator("#opened .command").inner_text()


@pytest.mark.sampled(every=5)
@pytest.mark.parametrize("size", [PHONE, {"width": 1400, "height": 900}, {"width": 2560, "height": 1300}])
def test_a_table_shows_its_result_at_every_width(
    asked: tuple[Path, Planted], opened: Opened, size: dict[str, int]
) -> None:
    page = opened(asked[0], size=size)
    heads = [text.strip() for text in page.locator("#table-accuracy thead th").all_inner_texts()]
    assert heads[0] == "setting"
    assert {"solved", "skill"} <= {*heads}
    place = "document.querySelector('#panel-accuracy .scroll')"
    assert page.evaluate(f"{place}.scrollWidth <= {place}.clientWidth + 1")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    unfold = page.locator("#panel-accuracy .unfold")
    if size == PHONE:
        assert "its value" not in heads
        unfold.click()
        assert "its value" in [text.strip() for text in page.locator("#table-accuracy thead th").all_inner_texts()]
        unfold.click()
        until(page, f"{place}.scrollWidth <= {place}.clientWidth + 1")
