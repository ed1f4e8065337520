"""A seed counts once: what shares one adds no witness, narrows no interval and raises no count, in whatever is said."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from farreach.results.analysis import agreement, matched_native, native_gaps, observatory, overview, statistics, tables
from farreach.results.analysis.contrasts import judge_contrasts
from farreach.results.analysis.gradient_faults import find_faults
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.solved import count_solved
from farreach.results.analysis.task_verdicts import compare_clips, find_lengths, find_metrics
from farreach.results.record import Record
from farreach.results.report.answers import answer_all
from farreach.results.site import tables as lines
from tests.support import synthetic


def make_set(*, seeds: int = 6) -> list[Record]:
    """Return a set of which every answer says something: two frameworks, modes, clips, replicates, and a contrast."""
    found = []
    for framework in ("pytorch", "tensorflow"):
        place: dict[str, Any] = {"framework": framework, "path": synthetic.PATHS[framework]}
        for seed in range(seeds):
            random = synthetic.stream("witness", framework, seed)
            for clip, good, side in ((None, 0, 2), (1.0, seeds, 1)):
                found += [
                    make_case(random, seed, clip, solved=seed < good, contrast="solved", side=side, **place),
                    make_case(random, seed, clip, solved=seed < good, mode="native", **place),
                ]
                if framework == "tensorflow":
                    found.append(make_case(random, seed, clip, solved=seed < good, replicate=1, **place))
            found.append(
                synthetic.record(task="translation", seed=seed, loss=4.0, score=random.random(), solved=None, **place)
            )
    return found


def make_case(random: Any, seed: int, threshold: float | None, *, solved: bool, **more: Any) -> Record:
    one = synthetic.record(
        seed=seed,
        clip="none" if threshold is None else "norm",
        threshold=threshold,
        clip_fraction=0.0 if threshold is None else 0.4,
        loss=float((0.01 if solved else 0.15) * random.uniform(0.8, 1.2)),
        solved=solved,
        steps_to_solve=600 if solved else None,
        **more,
    )
    looked = synthetic.looked_at(one)[0] if more.get("mode") != "native" else one
    return looked if solved or looked is one else synthetic.change(looked, reach_end=0.2 + random.uniform(0, 0.05))


CHANGES: dict[str, dict[str, Any]] = {
    "framework": {"framework": "jax", "path": "scan", "framework_version": "0.10"},
    "version": {"framework_version": "9.9"},
    "length": {"parameters": '{"T": 80}'},
    "cell": {"cell": "gru"},
    "recipe": {"learning_rate": 0.001},
}
"""In what a duplicate differs; its seed, and all that came out, are the same."""


def find_verdicts(rows: Rows) -> Iterator[Any]:
    """Yield every verdict that some sentence is written from."""
    for answer in answer_all(rows):
        yield from answer.verdicts
    yield from (*find_lengths(rows), *find_metrics(rows), *compare_clips(rows), *judge_contrasts(rows))
    yield find_faults(rows)
    yield from agreement.compare_pairs(agreement.measure_gaps(rows))
    yield from (*matched_native.measure_changes(rows), *native_gaps.explain_gaps(rows))


def collect(found: Any) -> Iterator[tuple[str, float]]:
    """Yield every count of seeds, and the width of every interval, in a verdict and whatever it is made of."""
    if dataclasses.is_dataclass(found):
        names = [field.name for field in dataclasses.fields(found)]
        values = {name: getattr(found, name) for name in names}
        if "seeds" in values:
            yield "seeds", values["seeds"]
        if isinstance(interval := getattr(found, "interval", None), statistics.Interval):
            yield "width", interval.high - interval.low
        if {"low", "high"} <= values.keys():
            yield "width", values["high"] - values["low"]
        if "by_seed" in values:
            yield "seeds", len(values["by_seed"])
        for value in values.values():
            yield from collect(value)
    elif isinstance(found, tuple | list) and not isinstance(found, statistics.Interval):
        for value in found:
            yield from collect(value)


def summarise(rows: Rows) -> tuple[float, float]:
    """Return the largest count of seeds and the narrowest interval of all verdicts."""
    pairs = [pair for one in find_verdicts(rows) for pair in collect(one)]
    widths = [value for name, value in pairs if name == "width" and not math.isnan(value)]
    return max(value for name, value in pairs if name == "seeds"), min(widths, default=math.inf)


TABLES = {
    "solved": count_solved,
    "accuracy": tables.tabulate_accuracy,
    "gradients": tables.tabulate_gradients,
    "reach": observatory.measure_reach,
    "reach over lengths": overview.tabulate_reach,
    "lines": lambda rows: lines.tabulate_lines(rows, {}),
    "modes": matched_native.compare_modes,
    "gaps": matched_native.compare_gaps,
}


def duplicate(records: list[Record], changes: dict[str, Any]) -> list[Record]:
    """Return records, and all of them once more with other facts and the same outcome."""
    again = [synthetic.change(one, key=f"{at:08x}x", **changes) for at, one in enumerate(records)
             if one.case.task == "adding"]  # fmt: skip
    return [*records, *again]


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("changes", CHANGES.values(), ids=[*CHANGES])
def test_what_shares_a_seed_adds_no_witness_and_narrows_no_interval(changes: dict[str, Any]) -> None:
    records = make_set()
    once, twice = (synthetic.label(*some) for some in (records, duplicate(records, changes)))
    seeds, width = summarise(once)
    assert seeds == 6
    assert summarise(twice)[0] == 6
    assert summarise(twice)[1] >= width - 1e-9
    for name, make in TABLES.items():
        table = make(twice)
        assert (pd.to_numeric(table["seeds"]) <= 6).all(), name
        if "solved" in table:
            assert (pd.to_numeric(table["solved"]) <= 6).all(), name


@pytest.mark.slow
def test_the_same_holds_of_a_single_row() -> None:
    records = make_set()
    seeds, width = summarise(synthetic.label(*records))
    for changes in CHANGES.values():
        for one in records[::7]:
            more, least = summarise(synthetic.label(*records, synthetic.change(one, key="again", **changes)))
            assert more == seeds
            assert least >= width - 1e-9


def test_four_seeds_are_listed_wherever_they_are_said() -> None:
    rows = synthetic.label(*duplicate(duplicate(make_set(seeds=4), CHANGES["length"]), CHANGES["framework"]))
    text = " ".join(one.sentence for one in answer_all(rows)[1:])
    assert "better than" not in text
    assert "worse than" not in text
    assert "p = " not in text
    assert "95 % interval" not in text
    assert math.isinf(summarise(rows)[1])
