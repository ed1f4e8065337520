"""Two result sets: equals are called equal, planted differences are found, and nothing else is claimed."""

from __future__ import annotations

import itertools
import json
import os
import re
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.speed import versus
from farreach.benchmarks.speed.pairs import TimingPlan
from farreach.results.analysis import comparison
from farreach.results.analysis.comparison import BETTER, CHANGED, IDENTICAL, OTHER, SAME, WORSE, Flag
from farreach.results.analysis.rows import label_rows
from farreach.results.analysis.statistics import INCONCLUSIVE
from farreach.results.record import Record
from farreach.results.report import comparison as comparison_report
from farreach.results.storage.files import StoreError, write_json
from farreach.results.timing import side_by_side
from tests.support import synthetic
from tests.support.commands import run_command
from tests.support.comparisons import make_seeds, write_sets
from tests.support.timings import CASE

PAIRS = 20


def sides(tmp_path: Path, old: list[Record], new: list[Record]) -> comparison.Comparison:
    synthetic.write(tmp_path / "old", old)
    synthetic.write(tmp_path / "new", new)
    return comparison.compare_sides(*(comparison.read_side(tmp_path / side) for side in ("old", "new")))


def test_the_same_rows_are_identical_and_nothing_is_flagged(tmp_path: Path) -> None:
    found = sides(tmp_path, make_seeds(3), make_seeds(3))
    assert found.quality["bits"].tolist() == [IDENTICAL] * 2
    assert found.quality["quality"].tolist() == [SAME] * 2
    assert found.speed["speed"].tolist() == [INCONCLUSIVE] * 2
    assert not found.list_flags(WORSE) + found.list_flags(CHANGED) + found.list_flags(BETTER)
    said = " ".join(comparison_report.write_findings(found))
    assert "2 identical, 0 changed" in said
    assert "Nothing is said about speed" in said


def test_one_changed_seed_of_one_row_is_flagged_and_no_other(tmp_path: Path) -> None:
    new = make_seeds(3)
    broken = [one for one in new if (one.case.cell, one.case.seed) == ("lstm", 1)]
    new = [one for one in new if one not in broken] + [synthetic.change(broken[0], weights_sha256="f" * 64)]
    found = sides(tmp_path, make_seeds(3), new)
    assert found.quality.set_index("cell_label")["bits"].to_dict() == {"rnn": IDENTICAL, "lstm": CHANGED}
    assert found.quality.set_index("cell_label")["quality"].to_dict() == {"rnn": SAME, "lstm": INCONCLUSIVE}
    assert len(found.list_flags(CHANGED)) == 1
    assert (found.list_flags(CHANGED)[0].kind, found.list_flags(CHANGED)[0].row[1]) == ("bits", "lstm")


@pytest.mark.parametrize("changed", [{"framework_version": "9.9"}, {"variables": '{"MKL_CBWR": "AVX2"}'}])
def test_across_environments_bits_are_not_compared_and_few_seeds_tell_nothing(
    tmp_path: Path, changed: dict[str, str]
) -> None:
    found = sides(tmp_path, make_seeds(9), make_seeds(9, draw=1, skill=0.1, **changed))
    assert found.quality["bits"].tolist() == [OTHER] * 2
    assert found.quality["quality"].tolist() == [INCONCLUSIVE] * 2
    assert "too few to tell" in " ".join(comparison_report.write_findings(found))


@pytest.mark.parametrize(("skill", "verdict"), [(0.6, WORSE), (1.0, BETTER), (0.9, SAME)])
def test_ten_seeds_a_side_tell_what_was_planted(tmp_path: Path, skill: float, verdict: str) -> None:
    found = sides(tmp_path, make_seeds(12), make_seeds(12, draw=1, skill=skill, framework_version="9.9"))
    assert found.quality["quality"].tolist() == [verdict] * 2


def test_runs_that_diverge_count_as_the_worst(tmp_path: Path) -> None:
    torn = make_seeds(12, draw=1, loss=None, status="diverged", diverged_at=3, framework_version="9.9")
    assert sides(tmp_path, make_seeds(12), torn).quality["quality"].tolist() == [WORSE] * 2


@pytest.mark.slow
def test_twenty_pairs_of_equals_flag_nothing(tmp_path: Path) -> None:
    flagged = 0
    for pair in range(PAIRS):
        new = make_seeds(12, draw=100 + pair, spread=0.2, framework_version="9.9")
        found = sides(tmp_path / str(pair), make_seeds(12, draw=pair, spread=0.2), new)
        flagged += len(found.list_flags(WORSE) + found.list_flags(BETTER))
    assert flagged == 0


def test_seeds_that_one_side_alone_has_are_compared_with_nothing_and_are_told(tmp_path: Path) -> None:
    collapsed = [one for one in make_seeds(21, draw=1, skill=0.1) if one.case.seed > 0]
    found = sides(tmp_path, make_seeds(1), make_seeds(1) + collapsed)
    assert found.quality["bits"].tolist() == [IDENTICAL] * 2
    assert found.quality["quality"].tolist() == [INCONCLUSIVE] * 2
    assert (
        found.quality[["seeds", "seeds identical", "old alone", "new alone"]].to_numpy().tolist() == [[1, 1, 0, 20]] * 2
    )
    assert (found.quality["skill old"] == found.quality["skill new"]).all()
    assert found.quality["skill new alone"].to_numpy() == pytest.approx(0.1, abs=0.01)
    said = " ".join(comparison_report.write_findings(found))
    assert "Quality of 2 rows: 0 same, 0 better, 0 worse, 2 inconclusive." in said
    assert (
        "Seeds of the new set alone, not compared: adding T=50 (adam 0.003) rnn none pytorch (20 seeds of mean" in said
    )
    assert re.search(r"0\.\d\d over the 1 shared seed\)", said)


def test_only_seeds_of_both_sides_are_averaged_and_each_is_held_against_itself(tmp_path: Path) -> None:
    old = make_seeds(12, spread=0.2, skill=0.7, framework_version="9.9")
    losses = [(one.result.loss or 0) + 0.05 / 6 for one in old]
    figures = [{"loss": loss, "score": loss, "metric.mse": loss} for loss in losses]
    worse = [synthetic.change(one, **more) for one, more in zip(old, figures, strict=True)]
    found = sides(tmp_path, old, worse + [one for one in make_seeds(30, skill=1.0) if one.case.seed >= 12])
    assert found.quality["seeds"].tolist() == [12, 12]
    assert found.quality["difference"].to_numpy() == pytest.approx(-0.05)
    assert found.quality["quality"].tolist() == [WORSE] * 2  # beside a spread of .2 from seed to seed


def test_two_runs_of_one_seed_that_differ_are_not_identical(tmp_path: Path) -> None:
    synthetic.write(tmp_path / "new" / "a", make_seeds(1))
    synthetic.write(tmp_path / "new" / "b", make_seeds(1, draw=1))
    synthetic.write(tmp_path / "old", make_seeds(1, draw=1))
    found = comparison.compare_sides(*(comparison.read_side(tmp_path / side) for side in ("old", "new")))
    assert found.quality["bits"].tolist() == [CHANGED] * 2


@pytest.mark.parametrize("names", [("speed", "quick"), ("quick", "scaling")])
def test_a_set_of_timings_is_refused_for_what_it_is(names: tuple[str, str], tmp_path: Path) -> None:
    folders = [str(registry.ROOT / "results" / "published" / name) for name in names]
    done = run_command("compare", *folders, "--out", str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "holds timings and no trained cases: two versions are timed by compare --live" in done.stderr


# All pairs together


def published(name: str, **changes: Any) -> pd.DataFrame:
    """Return the matched rows of a published set, as another machine might have written them where that is asked."""
    rows = comparison.read_side(registry.ROOT / "results" / "published" / name)
    return rows[rows["mode"] == "matched"].assign(**changes)


ELSEWHERE = {"platform": "elsewhere", "weights_sha256": "f" * 64}
"""What rows of another machine differ in."""


def of(rows: pd.DataFrame, framework: str, replicate: int = 0) -> pd.DataFrame:
    """Return the rows of one framework, or of its renumbered copies, under one name: the same code to the eye."""
    kept = rows[(rows["framework"] == framework) & (rows["replicate"] == replicate)]
    return kept.assign(framework="one", path="eager", replicate=0)


def test_a_night_in_which_nothing_is_learned_is_worse_though_no_row_tells() -> None:
    new = published("nightly", skill=-2.0, solved=False, **ELSEWHERE)
    found = comparison.compare_sides(published("nightly"), new)
    assert set(found.quality["quality"]) == {INCONCLUSIVE}
    assert found.whole.loc[found.whole["pairs of"] == comparison.ALL, "skill"].tolist() == [WORSE]
    assert found.list_flags(WORSE)[0] == Flag("skill", ("all",), len(found.quality))
    assert re.match(r"Over all \d+ pairs of one case and seed: worse; ", comparison_report.write_findings(found)[0])
    back = comparison.compare_sides(new, published("nightly"))
    assert back.list_flags(BETTER)[0] == Flag("skill", ("all",), len(found.quality))
    assert not back.list_flags(WORSE)


def together(old: pd.DataFrame, new: pd.DataFrame) -> dict[str, str]:
    """Return the verdict over all pairs, and over each part of them."""
    found = comparison.compare_pairs(
        label_rows(pd.concat([old.assign(side="old"), new.assign(side="new")])).as_drawn.frame
    )
    return dict(zip(found["pairs of"], found["skill"], strict=True))


@pytest.mark.parametrize("name", ["nightly", "quick", "native"])
def test_published_equals_flag_nothing_over_all_pairs(name: str) -> None:
    """Each framework as the other's old code, and renumbered copies as another night: the same arithmetic, rounded."""
    rows = published(name)
    frameworks = sorted(rows["framework"].unique())
    found = [together(of(rows, a), of(rows, b)) for a, b in itertools.permutations(frameworks, 2)]
    found += [together(of(rows, one), copies) for one in frameworks if len(copies := of(rows, one, 1))]
    assert all(found)
    told = [each for each in found if len(each) > 1]
    assert told
    assert not {verdict for each in found for verdict in each.values()} & {WORSE, BETTER}


def night(draw: int, damage: Callable[[pd.DataFrame], pd.Series[float]] | None = None) -> dict[str, str]:
    """Judge two nights of three seeds, five settings and three frameworks; `damage` changes the skill of the new one.

    Of a start some solve it and some do not, as chance has it on each side; a clip of 10 never bites, so that its runs
    are those without one, and half of the runs repeat themselves.
    """
    random, lines = synthetic.stream("night", draw), []
    starts = itertools.product(LENGTHS, ("rnn", "lstm", "gru"), range(3), ("pytorch", "tensorflow", "jax"))
    for length, cell, seed, framework in starts:
        chance = {"rnn": 0.1, "lstm": 0.5, "gru": 0.9}[cell]
        facts = {"parameters": json.dumps({"T": length}), "cell": cell, "seed": seed, "framework": framework}
        for thresholds in ((None, 10.0), (0.1,)):
            old, new = random.choice([0.99, 0.3], 2, p=[chance, 1 - chance]) - random.exponential(0.03, 2)
            new = old if random.random() < 0.5 else new
            for threshold in thresholds:
                more = facts | {"threshold": threshold, "clip": "none" if threshold is None else "norm"}
                lines += [more | {"side": "old", "skill": old}, more | {"side": "new", "skill": new}]
    frame = pd.DataFrame([synthetic.record().to_row() | line for line in lines])
    frame["solved"] = frame["skill"] > SOLVED
    old, new = (frame[frame["side"] == side] for side in ("old", "new"))
    return together(old, new if damage is None else new.assign(skill=damage(new)))


LENGTHS = (20, 50, 100, 200, 400)
EQUALS = 20
SOLVED = 0.94


@pytest.mark.slow
def test_nights_of_equals_flag_nothing_over_all_pairs() -> None:
    """The figure is printed; `WHOLE_LEVEL` would flag one in five hundred."""
    found = [night(draw) for draw in range(EQUALS)]
    flagged = [verdict for each in found for verdict in each.values() if verdict in {WORSE, BETTER}]
    print(f"{len(flagged)} flags in {EQUALS} comparisons of equals, {len(found[0])} verdicts each")  # noqa: T201
    assert flagged == []


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        (lambda new: new["skill"] - 0.2, "all"),
        (lambda new: new["skill"].where(new["threshold"] != 0.1, 0.0), "clip norm 0.1"),
        (lambda new: new["skill"].where(new["framework"] != "jax", 0.1), "framework jax"),
        (lambda new: new["skill"].where(new["cell"] != "gru", 0.3), "cell gru"),
        (lambda new: new["skill"].where((new["cell"] == "rnn") | (new["seed"] == 1)), "all"),
    ],
    ids=["everything a little", "a broken clip", "a framework", "a cell", "most of the gated cells diverge"],
)
def test_planted_damage_is_found_where_it_is(damage: Callable[[pd.DataFrame], pd.Series[float]], where: str) -> None:
    found = night(7, damage)
    assert found[where] == WORSE
    assert BETTER not in found.values()


@pytest.mark.slow
def test_the_gate_fails_on_the_whole_and_says_where_it_could_tell_nothing(tmp_path: Path) -> None:
    rows = [synthetic.record(parameters=json.dumps({"T": T}), loss=0.005) for T in range(5, 17)]
    worse = [synthetic.change(one, loss=0.5, weights_sha256="f" * 64, platform="elsewhere") for one in rows]
    for name, records in (("old", rows), ("few", rows[:3]), ("worse", worse), ("few-worse", worse[:3])):
        synthetic.write(tmp_path / name, records)
    gate = ["--fail-on", "worse", "--out", str(tmp_path / "out")]
    done = run_command("compare", str(tmp_path / "old"), str(tmp_path / "worse"), *gate)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.startswith("- Over all 12 pairs of one case and seed: worse; mean skill 0.97 old and -1.00 new")
    text = (tmp_path / "out" / comparison_report.PAGE).read_text()
    assert re.search(r"\n- Over all 12 pairs of one case and seed: worse", text)
    assert "## Whole" in text
    done = run_command("compare", str(tmp_path / "few"), str(tmp_path / "few-worse"), *gate)
    assert done.returncode == 0
    assert "a verdict over all takes 10 starts (setting, cell and seed), and these have 3" in done.stdout
    assert "no row could be judged, so nothing was flagged" in done.stdout
    done = run_command("compare", str(tmp_path / "old"), str(tmp_path / "old"), *gate)
    assert "Over all 12 pairs of one case and seed: same" in done.stdout
    assert "could be judged" not in done.stdout


def test_speed_takes_five_runs_a_side(tmp_path: Path) -> None:
    write_sets(tmp_path / "old", 4, 0.002, 0)
    write_sets(tmp_path / "new", 5, 0.004, 1)
    found = comparison.compare_sides(*(comparison.read_side(tmp_path / side) for side in ("old", "new")))
    assert found.speed["speed"].tolist() == [INCONCLUSIVE] * 2
    assert found.speed["new / old"].iloc[0] == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize(("factor", "verdict"), [(1.1, WORSE), (1 / 1.1, BETTER)])
def test_a_step_ten_percent_slower_or_faster_is_found(tmp_path: Path, factor: float, verdict: str) -> None:
    write_sets(tmp_path / "old", 6, 0.002, 0)
    write_sets(tmp_path / "new", 6, 0.002 * factor, 1)
    found = comparison.compare_sides(*(comparison.read_side(tmp_path / side) for side in ("old", "new")))
    assert found.speed["speed"].tolist() == [verdict] * 2
    assert (found.speed["low"] < factor).all()
    assert (found.speed["high"] > factor).all()


def test_rows_of_one_side_alone_are_named(tmp_path: Path) -> None:
    found = sides(tmp_path, make_seeds(2), [one for one in make_seeds(2) if one.case.cell == "rnn"])
    assert len(found.alone) == 1
    assert (found.alone[0].row[1], found.alone[0].side) == ("lstm", "old")
    assert "lstm none pytorch is in the old set alone." in comparison_report.write_findings(found)[-1]


@pytest.mark.slow
def test_the_gate_exits_1_and_the_page_is_written(tmp_path: Path) -> None:
    synthetic.write(tmp_path / "old", make_seeds(12))
    synthetic.write(tmp_path / "new", make_seeds(12, draw=1, skill=0.5, framework_version="9.9"))
    paths = [str(tmp_path / side) for side in ("old", "new")]
    done = run_command("compare", *paths, "--fail-on", "worse", "--out", str(tmp_path / "out"))
    assert done.returncode == 1, done.stderr
    assert re.search(r"Worse: skill over all 24 pairs; .*quality of adding", done.stdout)
    assert (tmp_path / "out" / comparison_report.PAGE).exists()
    assert run_command("compare", *paths, "--out", str(tmp_path / "out")).returncode == 0
    assert (
        run_command("compare", paths[0], paths[0], "--fail-on", "worse", "--out", str(tmp_path / "out")).returncode == 0
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/nowhere", "/nowhere"], "no results in /nowhere"),
        (["/nowhere", "/nowhere", "--live"], "is not a Python environment"),
        (["a", "b", "--fail-on", "better"], "unknown --fail-on 'better'; allowed: worse, changed"),
        ([sys.executable, sys.executable, "--live", "--suite", "none"], "unknown suite 'none'"),
        ([sys.executable, sys.executable, "--live", "--launches", "1"], "--launches"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = run_command("compare", *arguments, "--out", str(tmp_path / "out"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr


CLIPPED = """
description = "clipped and not"
[[block]]
task = "adding"
parameters = { T = 5 }
framework = "reference"
cell = ["rnn", "lstm"]
clip = [{ kind = "none" }, { kind = "norm", threshold = 0.05 }, { kind = "value", threshold = 0.005 }]
seed = [0, 1]
hidden = 4
steps = 100
dtype = "float64"
"""

BROKEN = """
import sys
if "farreach.benchmarks.worker" in " ".join(sys.orig_argv):
    from farreach.frameworks import reference
    whole = reference.clip_gradients
    reference.clip_gradients = lambda kind, gradients, threshold, **rest: whole(
        kind, gradients, threshold * (1 + 1e-9) if kind == "norm" else threshold, **rest
    )
"""


@pytest.mark.slow
def test_a_broken_clip_is_flagged_where_it_clips_and_nowhere_else(tmp_path: Path) -> None:
    """The norm's threshold is off by a billionth in the workers of the second run, and nothing else is."""
    (tmp_path / "clipped.toml").write_text(CLIPPED)
    (tmp_path / "plant").mkdir()
    (tmp_path / "plant" / "sitecustomize.py").write_text(BROKEN)
    broken = {"PYTHONPATH": f"{tmp_path / 'plant'}{os.pathsep}{registry.ROOT}"}
    for name, environ in (("old", {}), ("same", {}), ("broken", broken)):
        done = run_command("run", str(tmp_path / "clipped.toml"), "--out", str(tmp_path / name), **environ)
        assert done.returncode == 0, done.stderr
    gate = ["--fail-on", "changed", "--fail-on", "worse", "--out", str(tmp_path / "out")]
    assert run_command("compare", str(tmp_path / "old"), str(tmp_path / "same"), *gate).returncode == 0
    done = run_command("compare", str(tmp_path / "old"), str(tmp_path / "broken"), *gate)
    assert done.returncode == 1
    found = comparison.compare_sides(*(comparison.read_side(tmp_path / name) for name in ("old", "broken")))
    flagged = found.quality.loc[found.quality["bits"] == CHANGED, ["cell_label", "clip_label"]].to_numpy().tolist()
    assert flagged == [["rnn", "norm 0.05"], ["lstm", "norm 0.05"]]
    assert (found.quality["bits"] == IDENTICAL).sum() == 4
    assert not found.list_flags(WORSE)


# Side by side


def slower(folder: Path, share: float) -> str:
    """Make an environment whose training steps take longer by a share: the same packages, a step that then waits."""
    (folder / "bin").mkdir(parents=True)
    (folder / "plant").mkdir()
    (folder / "plant" / "sitecustomize.py").write_text(
        "import sys, time\n"
        "if 'farreach.benchmarks.worker' in ' '.join(sys.orig_argv):\n"
        "    from farreach.benchmarks.speed import timed\n"
        "    whole = timed.OurStep.chunk\n"
        "    def chunk(self):\n"
        "        began = time.perf_counter()\n"
        "        whole(self)\n"
        f"        end = time.perf_counter() + {share} * (time.perf_counter() - began)\n"
        "        while time.perf_counter() < end: pass\n"
        "    timed.OurStep.chunk = chunk\n"
    )
    script = folder / "bin" / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}/plant:$PWD" exec "{sys.executable}" "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(folder)


LIVE = [
    *("--live", "--only", "framework=pytorch", "--only", "T=50"),
    *("--only", "cell=rnn", "--launches", "5", "--limit", "3"),
]


@pytest.mark.slow
def test_a_step_that_takes_twice_as_long_is_found_live(tmp_path: Path) -> None:
    """Twice, so that no other load on the machine decides; ten percent is found on made-up launches, above."""
    planted = slower(tmp_path / "slow", 1.0)
    done = run_command("compare", sys.executable, planted, *LIVE, "--fail-on", "worse", "--out", str(tmp_path / "out"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Worse: speed of adding T=50 rnn" in done.stdout
    done = run_command("compare", planted, sys.executable, *LIVE, "--fail-on", "worse", "--out", str(tmp_path / "back"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Better: speed of adding T=50 rnn" in done.stdout


def test_an_environment_is_a_folder_or_an_interpreter(tmp_path: Path) -> None:
    assert versus.find_interpreter(sys.executable) == sys.executable
    assert versus.find_interpreter(slower(tmp_path, 0)) == str(tmp_path / "bin" / "python")


def test_a_live_comparison_is_judged_by_its_launches(tmp_path: Path) -> None:
    step = {"task": "adding", "parameters": {"T": 50}, "cell": "lstm", "layers": 1, "hidden": 64, "batch": 32}
    step |= {"dtype": "float32", "device": "cpu", "threads": 1}
    paths = []
    for at, (count, factor) in enumerate([(5, 1.1), (5, 1.0), (4, 1.1)]):
        noise = stats.norm.ppf(np.linspace(0.1, 0.9, count)) * 0.01
        launches = [{"old": [0.002] * 30, "new": [0.002 * factor * float(np.exp(one))] * 30} for one in noise]
        facts = {"framework_version": "1.0"}
        found = {"schema": 1, "step": step | {"hidden": 64 + at}, "framework": "jax", "path": "scan"}
        paths.append(tmp_path / f"{at}.json")
        write_json(paths[-1], found | {"old": facts, "new": facts, "launches": launches})
    assert side_by_side.compare_environments(paths).speed["speed"].tolist() == [WORSE, SAME, INCONCLUSIVE]
    paths[0].write_text("{}")
    with pytest.raises(StoreError, match=r"0\.json is damaged"):
        side_by_side.compare_environments(paths)


def test_everything_that_changes_a_live_file_changes_its_name() -> None:
    names = {
        versus.Versus(CASE, pythons, launches).name_file(TimingPlan(limit=limit))
        for pythons in (("a", "b"), ("a", "c"))
        for launches in (5, 6)
        for limit in (10.0, 20.0)
    }
    assert len(names) == 8
