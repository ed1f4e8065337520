"""Faults that visitors met on the page, each with what is right."""

from __future__ import annotations

import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.speed import command
from farreach.results.report import contents, timing_contents
from farreach.results.report.markdown import plain
from farreach.results.report.speed_sentences import name_steps
from farreach.results.site import charts, page, rerun_command
from farreach.results.site import tables as lines
from farreach.results.storage.sets import open_set
from farreach.results.timing import interleaved, side_by_side
from tests.support import synthetic, timings
from tests.support.browsing import Opened
from tests.support.commands import run_command
from tests.support.pages import write_page

PUBLISHED = registry.ROOT / "results" / "published"


def draw_forest(ratio: float) -> dict[str, Any]:
    """Return the plotly picture of PyTorch taking `ratio` times as long as JAX."""
    return charts.draw_forest(name_steps(interleaved.compare_pairs([timings.make_pair(ratio)]))).figure


def test_right_of_one_favours_the_framework_that_is_named_and_coloured() -> None:
    (trace,) = draw_forest(3.0)["data"]
    assert trace["name"] == "jax"
    assert trace["y"] == ["jax (scan) over<br>pytorch (eager)"]
    assert trace["x"][0] == pytest.approx(3.0, rel=0.05)
    (tie,) = draw_forest(1.0)["data"]
    assert (tie["name"], tie["marker"]["color"]) == ("inconclusive", charts.GREY)


def test_every_panel_has_numbers_on_its_axis() -> None:
    steps = [timings.STEP | {"parameters": {"T": length}} for length in (50, 100, 200)]
    groups = [timings.make_pair(2.0) | {"step": step} for step in steps]
    layout = charts.draw_forest(name_steps(interleaved.compare_pairs(groups))).figure["layout"]
    axes = [layout[name] for name in layout if name.startswith("xaxis")]
    assert len(axes) == 3
    assert all(axis["showticklabels"] for axis in axes)


def test_two_paths_of_one_framework_have_two_colours() -> None:
    groups = []
    for length in (50, 100, 200):
        names = ("pytorch (eager)", "pytorch (flushed)")
        made = [
            timings.make_contender(name, timings.make_seconds(length / 1e5, seed=at)) for at, name in enumerate(names)
        ]
        groups.append(timings.make_group(*made, step=timings.STEP | {"parameters": {"T": length}}))
    (chart,) = charts.draw_growth(interleaved.list_growth(groups))
    looks = {trace["name"]: trace["line"]["color"] for trace in chart.figure["data"]}
    assert len(looks) == 2
    assert len({*looks.values()}) == 2


def test_nobody_is_bold_beside_one_that_more_seeds_solved() -> None:
    def plant(framework: str, path: str, solved: int) -> list[Any]:
        rough = np.random.default_rng(0).uniform(0.01, 0.05, 8)
        return [
            synthetic.record(framework=framework, path=path, seed=seed, loss=float(rough[seed]), solved=seed < solved)
            for seed in range(8)
        ]

    table = lines.tabulate_lines(synthetic.label(*plant("pytorch", "eager", 8), *plant("jax", "scan", 0)), {})
    assert dict(zip(table["learner"].astype(str), table["best skill"], strict=True)) == {"pytorch": True, "jax": False}


def test_a_line_of_diverged_runs_says_so_in_a_word(tmp_path: Path) -> None:
    text = write_page(tmp_path, [synthetic.diverged(seed=seed) for seed in range(3)])
    data = json.loads(re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)[0])
    (column,) = (one for one in data["tables"][0]["columns"] if one["key"] == "skill")
    words = data["sources"]["lines"][column["word"]]
    assert [words["words"][code] for code in words["codes"]] == ["diverged"]


def test_a_page_of_timings_links_to_its_own_text_and_names_versions_machine_and_commit(tmp_path: Path) -> None:
    made = {"processor": "Some Processor", "cores": 4, "cores_granted": 2}
    group = timings.make_pair(2.0)
    group["facts"] |= made
    group["contenders"][0]["facts"] = {"framework_version": "2.13.0"}
    (tmp_path / "speed.md").write_text("# Speed\n")
    text = write_page(tmp_path, [], groups=[group])
    assert 'href="speed.md"' in text
    assert 'href="report.md"' not in text
    head = text[text.index('class="facts"') : text.index("<nav")]
    for said in ("1 timed step", "pytorch 2.13.0", "Some Processor, 4 cores, of which 2 were granted", "commit abc"):
        assert said in head
    assert text.count('<li id="answer-') == 1


@pytest.mark.parametrize("name", ["speed", "scaling", "quick"])
def test_the_command_of_a_timed_row_times_that_step_and_these_frameworks_alone(name: str) -> None:
    groups = timing_contents.read_timings(open_set(PUBLISHED / name)).groups
    for group in groups[:: max(1, len(groups) // 4)]:
        frameworks = sorted({one["framework"] for one in group["contenders"]})[:2]
        words = shlex.split(rerun_command.write_timing_command(group["facts"]["command"], group["step"], frameworks))
        assert words[:4] == ["python", "-m", "benchmarks", "speed"]
        suite = words[4] if words[4] != "--only" else "speed"
        only = [words[at + 1] for at, word in enumerate(words) if word == "--only"]
        found = command.choose_groups(suite, only, device="cpu", threads=1, handwritten=False)
        assert len(found) == 1, words
        assert {one.case.framework for one in found[0].implementations} == {*frameworks}


def test_a_row_that_speed_did_not_time_shows_the_command_that_did() -> None:
    assert rerun_command.write_timing_command("python mine.py", {}, ["jax"]) == "python mine.py"


def test_one_framework_alone_has_its_step_time_said(tmp_path: Path) -> None:
    group = timings.make_group(timings.make_contender("pytorch (eager)", timings.make_seconds(1.5e-3)))
    folder = timings.write_groups(tmp_path, group)
    (said,) = timing_contents.write_findings(timing_contents.read_timings(open_set(folder)))
    assert re.search(r"pytorch \(eager\) takes 1\.5 ms \(95 % interval in this launch 1\.\d+ to 1\.\d+\)\.$", said)


@pytest.mark.parametrize(("value", "text"), [(1_560_000.0, "1560000"), (433_400.0, "433400"), (1.5e12, "1.50e+12")])
def test_large_numbers_are_written_alike(value: float, text: str) -> None:
    assert plain(value) == text


def test_two_sets_of_timings_are_compared_step_by_step(tmp_path: Path) -> None:
    for side, factor in (("old", 1.0), ("new", 1.5)):
        for run in range(6):
            seconds = timings.make_seconds(1e-3 * factor, seed=run)
            group = timings.make_group(timings.make_contender("pytorch (eager)", seconds))
            timings.write_groups(tmp_path / side / str(run), group)
    sides = [[open_set(path) for path in sorted((tmp_path / side).iterdir())] for side in ("old", "new")]
    (line,) = side_by_side.compare_timings(*sides).speed.to_dict("records")
    assert line["speed"] == "worse"
    assert line["new / old"] == pytest.approx(1.5, rel=0.02)
    assert (line["runs old"], line["runs new"]) == (6, 6)
    out = ("--out", str(tmp_path / "out"))
    done = run_command("compare", str(tmp_path / "old" / "0"), str(tmp_path / "new" / "0"), *out)
    assert done.returncode == 0
    assert "Speed of 1 row: 0 same, 0 better, 0 worse, 1 inconclusive." in done.stdout


def test_show_knows_the_tables_of_timings_by_their_names_in_the_report() -> None:
    done = run_command("show", str(PUBLISHED / "speed"), "--table", "speed", "--top", "2")
    assert done.returncode == 0
    assert "pytorch" in done.stdout


@pytest.mark.slow
def test_pictures_for_paper_are_dark_on_a_dark_page(opened: Opened, tmp_path: Path) -> None:
    synthetic.write(tmp_path, [synthetic.record()])
    (tmp_path / "figures").mkdir()
    Image.new("RGB", (300, 200), "white").save(tmp_path / "figures" / "skill-adding.png")
    page.write_page(contents.read_results(tmp_path))
    for scheme, low, high in (("light", 240, 255), ("dark", 0, 60)):
        shown = opened(tmp_path, scheme=scheme)
        shown.locator("details.gallery summary").first.click()
        picture = shown.locator("details.gallery img").first
        picture.scroll_into_view_if_needed()
        shown.wait_for_timeout(300)
        middle = Image.open(io.BytesIO(picture.screenshot())).convert("L").getpixel((20, 20))
        assert low <= middle <= high, (scheme, middle)
