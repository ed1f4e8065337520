"""Which clip threshold to use in a training of one's own: by trying it, and judging as the suite does.

It needs the extra ``report``: pandas, SciPy and the rest.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

MakeRun = Callable[[float | None, int, Path], float | Sequence[float]]
"""Trains once: threshold (None for no clip), seed, folder to record into; returns its loss, or one per evaluation."""

DONE = "losses.json"
"""What a try leaves in its folder when it is whole."""


@dataclasses.dataclass(frozen=True)
class OwnAdvice:
    """What the tries say.

    Attributes:
        recommended: the threshold; None where none is better than another or than no clipping.
        plateau: the thresholds as good as the best, around the best of them, ascending.
        sentences: the advice in words.
        table: what was tried as text, one line per threshold.

    """

    recommended: float | None
    plateau: tuple[float, ...]
    sentences: list[str]
    table: pd.DataFrame


def advise(
    make_run: MakeRun,
    *,
    thresholds: Sequence[float],
    folder: str | os.PathLike[str],
    floor: float,
    learning_rate: float,
    seeds: Sequence[int] = (0, 1, 2),
    optimizer: str = "learning rate",
    solved: float | None = None,
) -> OwnAdvice:
    """Recommend a clip threshold by trying each, and no clip, with each seed.

    A try that is whole is never made again: the same call goes on where another one was stopped, and with more
    thresholds or seeds it makes those that are new. A threshold is judged as `python -m benchmarks advise` judges it:
    by the skill 1 - loss / floor, averaged over the evaluations, seed by seed.

    Args:
        make_run: trains once, with a recorder of this package that writes into the folder that it is given, and returns
            its loss, lower is better, or the losses of its evaluations in order.
        thresholds: those to try, above 0.
        folder: where the tries are kept.
        floor: the loss of the best answer that ignores the inputs, above 0.
        learning_rate: of the optimizer, as the advice names it.
        seeds: of the tries.
        optimizer: what the advice calls the optimizer.
        solved: a last loss at or below this counts as solved; without it no run counts so.

    Raises:
        ValueError: thresholds, seeds or a floor that cannot be; a run that recorded nothing.

    """
    grid = sorted({float(threshold) for threshold in thresholds})
    if not grid or not all(0 < threshold < math.inf for threshold in grid):
        message = "thresholds must be some numbers above 0"
        raise ValueError(message)
    if not seeds or len({*seeds}) < len(seeds):
        message = "seeds must be some whole numbers, each once"
        raise ValueError(message)
    if not 0 < floor < math.inf:
        message = f"floor must be a number above 0, not {floor}"
        raise ValueError(message)
    points: list[tuple[float | None, int]] = [(threshold, seed) for threshold in (None, *grid) for seed in seeds]
    tries = {
        (threshold, seed): _make_try(make_run, threshold, seed, Path(folder) / f"{threshold or 'none'}-seed{seed}")
        for threshold, seed in points
    }
    return _judge(tries, floor=floor, learning_rate=learning_rate, optimizer=optimizer, solved=solved)


def _make_try(make_run: MakeRun, threshold: float | None, seed: int, place: Path) -> tuple[list[float], dict[str, Any]]:
    """Return losses and row of a try, which is made where it is not there whole."""
    if not (place / DONE).exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        losses = make_run(threshold, seed, place)
        numbers = [float(one) for one in ([losses] if isinstance(losses, int | float) else losses)]
        if not numbers or not [*place.glob("rows/*.json")]:
            message = "make_run must record into the folder that it is given, and return a loss"
            raise ValueError(message)
        part = place / f".{DONE}.part"
        part.write_text(json.dumps(numbers), encoding="utf-8")
        part.replace(place / DONE)
    row = json.loads(next(iter(sorted(place.glob("rows/*.json")))).read_text(encoding="utf-8"))
    return json.loads((place / DONE).read_text(encoding="utf-8")), row


def _judge(
    tries: dict[tuple[float | None, int], tuple[list[float], dict[str, Any]]],
    *,
    floor: float,
    learning_rate: float,
    optimizer: str,
    solved: float | None,
) -> OwnAdvice:
    import pandas as pd  # noqa: PLC0415 - the recorders need nothing of what the suite needs

    from farreach.results.analysis import threshold_advice  # noqa: PLC0415 - the same
    from farreach.results.report import advice  # noqa: PLC0415 - the same

    planned = max(len(losses) for losses, _ in tries.values())
    lines = []
    for (threshold, seed), (losses, row) in tries.items():
        last = losses[-1]
        torn = row["diverged_at"] or (None if math.isfinite(last) else row["steps_done"])
        lines.append(
            {
                "learning_rate": learning_rate,
                "threshold": math.nan if threshold is None else threshold,
                "seed": seed,
                "solved": None if solved is None else bool(last <= solved),
                "steps_to_solve": None,
                "average_skill": threshold_advice.compute_average_skill(pd.Series(losses), floor, planned),
                "skill": None if torn else 1 - last / floor,
                "clip_fraction": row["clip_fraction"],
                "diverged_at": torn,
            }
        )
    cases = threshold_advice.sort_tries(pd.DataFrame(lines, columns=threshold_advice.COLUMNS))
    (verdict,) = threshold_advice.recommend(cases)
    kinds = sorted({row["clip"] for _, row in tries.values()} - {"none"})
    clip = kinds[0] if len(kinds) == 1 else "norm"
    nothing = pd.DataFrame()
    found = advice.Advice("", optimizer, clip, learning_rate, [verdict], {}, nothing, cases, nothing)
    table = advice.tabulate_tried(found).drop(columns="recommended")
    return OwnAdvice(verdict.recommended, verdict.plateau, advice.write_findings(found), table)
