"""The answers at a glance say what was planted: a sentence of at most 30 words over a grid with a field a place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from farreach.benchmarks.matrix import registry
from farreach.results.analysis.clip_help import Help, judge_help
from farreach.results.analysis.rows import label_rows, make_empty
from farreach.results.record import Record
from farreach.results.report import contents, result_set
from farreach.results.report.glances import Glance, glance_at_all
from farreach.results.report.glances.base import LONGEST, Field
from farreach.results.timing import interleaved
from farreach.results.timing.winners import find_winners
from tests.support import synthetic, timings

SETS = sorted(path.parent.name for path in (registry.ROOT / "results" / "published").glob("*/documents.json"))


def look(*records: Record, groups: list[dict[str, Any]] | None = None) -> dict[str, Glance]:
    """Return the answers at a glance to records and timings, by their names."""
    rows = label_rows(synthetic.rows(*records) if records else make_empty())
    found = glance_at_all(rows, interleaved.compare_pairs(groups or []), groups or [])
    return {one.name: one for one in found}


def read(glance: Glance, row: str, column: str) -> Field:
    """Return one field of a grid."""
    assert glance.grid
    fields = dict(glance.grid.rows)
    return fields[row][glance.grid.columns.index(column)]


def plant_clips(solved: dict[float | None, int], *, seeds: int = 6, **more: Any) -> list[Record]:
    """Return cases of one cell at some thresholds, of which so many seeds solved it."""
    return [
        synthetic.record(
            clip="none" if threshold is None else "norm",
            threshold=threshold,
            clip_fraction=0.0 if threshold is None else 0.5,
            seed=seed,
            solved=seed < good,
            steps_to_solve=600 if seed < good else None,
            **more,
        )
        for threshold, good in solved.items()
        for seed in range(seeds)
    ]


def plant_step(cell: str, length: int, **seconds: float) -> dict[str, Any]:
    """Return a timing of one step: framework and its milliseconds."""
    paths = {"pytorch": "eager", "tensorflow": "graph", "jax": "scan"}
    made = [
        timings.make_contender(f"{name} ({paths[name]})", timings.make_seconds(at / 1e3, seed=seed))
        for seed, (name, at) in enumerate(seconds.items())
    ]
    return timings.make_group(*made, step=timings.STEP | {"cell": cell, "parameters": {"T": length}})


def test_the_fastest_is_named_with_its_lead_over_the_next_and_a_tie_is_grey() -> None:
    groups = [
        plant_step("lstm", 200, pytorch=3.0, tensorflow=6.0, jax=1.0),
        plant_step("gru", 200, pytorch=1.0, jax=1.001),
    ]
    speed = look(groups=groups)["faster"]
    field = read(speed, "adding T=200", "lstm")
    assert field.state == "decided"
    assert field.framework == "jax"
    assert field.text.startswith("jax 3")
    assert field.text.endswith(" times")
    assert "next: pytorch" in field.detail
    tie = read(speed, "adding T=200", "gru")
    assert (tie.state, tie.text) == ("inconclusive", "inconclusive")
    assert speed.sentence.startswith("Fastest of 2 timed steps: jax at 1, ")
    assert speed.sentence.endswith("1 is inconclusive.")


def test_a_second_path_of_the_fastest_framework_is_no_rival() -> None:
    contenders = [
        timings.make_contender(name, timings.make_seconds(at, seed=seed))
        for seed, (name, at) in enumerate(
            {"pytorch (eager)": 1.0, "pytorch (flushed)": 1.001, "jax (scan)": 2.0}.items()
        )
    ]
    (winner,) = find_winners(interleaved.compare_pairs([timings.make_group(*contenders)]))
    assert winner.fastest[0] == "pytorch"
    assert winner.next == ("jax", "scan")
    assert winner.decided
    assert winner.ratio.value == pytest.approx(2, rel=0.05)


def test_a_set_of_timings_is_asked_nothing_but_who_is_faster() -> None:
    assert [*look(groups=[plant_step("lstm", 50, pytorch=1.0, jax=2.0)])] == ["faster"]
    assert [*look(synthetic.record())] == ["faster", "lengths", "clips", "gradients", "agreement"]


def test_one_framework_alone_shows_what_its_step_takes() -> None:
    speed = look(groups=[plant_step("lstm", 50, pytorch=1.5)])["faster"]
    assert (
        speed.sentence == "Only pytorch (eager) was timed: 1.5 ms a training step. A comparison needs two frameworks."
    )
    assert read(speed, "adding T=50", "lstm").text == "1.5 ms"


@pytest.mark.parametrize(
    ("solved", "verdict"),
    [
        ({None: 0, 0.1: 6, 1.0: 2}, Help.YES),
        ({None: 6, 0.1: 0, 1.0: 0}, Help.HARMFUL),
        ({None: 6, 0.1: 6, 1.0: 0}, Help.NO),
        ({None: 3, 0.1: 4, 1.0: 2}, Help.INCONCLUSIVE),
        ({None: 0, 0.1: 0, 1.0: 0}, Help.INCONCLUSIVE),
        ({0.1: 6, 1.0: 2}, Help.UNTRIED),
        ({None: 6}, Help.UNTRIED),
    ],
)
def test_whether_clipping_helps_is_what_was_planted(solved: dict[float | None, int], verdict: Help) -> None:
    (one,) = judge_help(synthetic.label(*plant_clips(solved)))
    assert one.verdict is verdict


def test_few_seeds_are_listed_and_not_tested() -> None:
    glance = look(*plant_clips({None: 0, 0.1: 4}, seeds=4))["clips"]
    field = read(glance, "adding", "lstm")
    assert field.text == "inconclusive"
    assert "0/4 → 4/4 seeds (fewer than 5: listed, not tested)" in field.detail


def test_the_best_threshold_is_named_with_its_seeds() -> None:
    more = plant_clips({None: 0, 0.1: 2, 1.0: 6}, task="adding", cell="gru")
    glance = look(*more, *plant_clips({None: 6, 1.0: 6}))["clips"]
    assert read(glance, "adding", "gru") == Field("yes: norm 1", "0/6 → 6/6 seeds", "yes")
    assert read(glance, "adding", "lstm").text == "no"
    assert glance.sentence == "Clipping helps on adding (gru), is not needed on adding (lstm)."


def test_a_clip_that_keeps_runs_from_diverging_helps_where_nothing_is_solved() -> None:
    torn = [synthetic.diverged(seed=seed, solved=False) for seed in range(6)]
    fine = plant_clips({1.0: 0})
    (one,) = judge_help(synthetic.label(*torn, *fine))
    assert one.verdict is Help.YES
    assert one.survival
    assert read(look(*torn, *fine)["clips"], "adding", "lstm").detail == "0/6 → 6/6 seeds did not diverge"


@pytest.mark.parametrize("reached", [20, 50])
def test_the_length_at_which_a_cell_stops_is_what_was_planted(reached: int) -> None:
    cases = [
        synthetic.record(task="copy", parameters=f'{{"T": {length}}}', seed=seed, solved=length <= reached)
        for length in (10, 20, 50, 100)
        for seed in range(6)
    ]
    glance = look(*cases)["lengths"]
    field = read(glance, "copy", "lstm")
    assert field.text == f"T={reached}"
    stop = {20: 50, 50: 100}[reached]
    assert f"stops at T={stop}: 0/6 (0 % to 46 %)" in field.detail
    assert f"copy T={reached} (lstm)" in glance.sentence


def test_reach_is_a_bar_and_a_gradient_that_was_not_looked_at_is_none() -> None:
    seen = [
        synthetic.looked_at(synthetic.record(cell=cell, seed=seed))[0] for cell in ("rnn", "lstm") for seed in (0, 1)
    ]
    unseen = synthetic.record(cell="gru")
    glance = look(*seen, unseen)["gradients"]
    rnn, lstm, gru = (read(glance, "adding T=50", cell) for cell in ("rnn", "lstm", "gru"))
    assert rnn.share is not None
    assert lstm.share == pytest.approx(1.0)
    assert rnn.share < 0.7
    assert gru == Field("not looked at", "1 case", "untried")
    assert "1 were not looked at" in glance.sentence


def test_frameworks_that_agree_and_one_that_does_not() -> None:
    def run(seed: int, framework: str, loss: float, replicate: int = 0) -> Record:
        path = {"pytorch": "eager", "jax": "scan"}[framework]
        return synthetic.record(seed=seed, framework=framework, path=path, loss=loss, replicate=replicate)

    def plant(gap: float) -> Glance:
        cases = [
            one
            for seed in range(12)
            for one in (
                run(seed, "pytorch", 0.01),
                run(seed, "pytorch", 0.01 + 1e-4 * (1 + seed), 1),
                run(seed, "jax", 0.01 + gap * (1 + seed)),
            )
        ]
        return look(*cases)["agreement"]

    close, far = plant(5e-5), plant(5e-3)
    assert read(close, "pytorch and jax", "verdict").text == "not shown to differ"
    assert "times" in read(close, "pytorch and jax", "would be found").text
    assert close.sentence.startswith("Not shown to differ")
    assert read(far, "pytorch and jax", "verdict").text == "further apart"
    assert far.sentence.startswith("No: pytorch and jax are further apart")


@pytest.mark.parametrize("name", SETS)
def test_no_sentence_of_a_published_set_is_longer_than_thirty_words(name: str) -> None:
    glances = contents.read_results(registry.ROOT / "results" / "published" / name).glances
    assert glances
    for one in glances:
        assert len(one.sentence.split()) <= LONGEST, one.sentence


def test_sentences_of_many_tasks_stay_short() -> None:
    cases = [synthetic.change(one, learning_rate=rate) for one in synthetic.quick() for rate in (0.001, 0.003)]
    groups = [
        plant_step(cell, length, pytorch=1.0, tensorflow=3.0, jax=2.0)
        for cell in ("rnn", "gru")
        for length in range(20)
    ]
    found = look(*cases, groups=groups).values()
    assert max(len(one.sentence.split()) for one in found) <= LONGEST


def test_the_report_folds_the_prose_away_behind_the_grid(tmp_path: Path) -> None:
    synthetic.write(tmp_path, plant_clips({None: 0, 1.0: 6}))
    result_set.write(tmp_path)
    text = (tmp_path / "report.md").read_text("utf-8")
    glance = contents.read_results(tmp_path).glances[2]
    assert result_set.write_glance(glance) in text
    assert text.index(glance.sentence) < text.index("yes: norm 1 (0/6 → 6/6 seeds)")
    assert text.count("<details><summary>In full</summary>") == 5
