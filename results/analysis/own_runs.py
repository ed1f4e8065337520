"""The user's own runs: what their recorder warned of."""

from __future__ import annotations

import dataclasses
import json

from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import CELL, CLIP, LEARNER, SETTING
from farreach.results.storage.sanitising import format_line

LONGEST = 400
"""Characters of a warning that are shown."""


@dataclasses.dataclass(frozen=True)
class RunWarning:
    """What the recorder of some runs of one setting warned of.

    Attributes:
        setting, cell, learner, clip: the labels of the runs.
        kind: of their clip.
        text: the warning, one line.
        runs: how many of them it is of.

    """

    setting: str
    cell: str
    learner: str
    clip: str
    kind: str
    text: str
    runs: int


def list_warnings(rows: Rows) -> list[RunWarning]:
    """Return the warnings of the user's own runs, in the order of the rows, each once for runs of one line."""
    counts: dict[tuple[str, str, str, str, str, str], int] = {}
    frame = rows.own.frame
    for row in frame[frame["warnings"].notna()].to_dict("records"):
        setting, cell, learner, clip, kind = (str(row[name]) for name in (SETTING, CELL, LEARNER, CLIP, "clip"))
        for text in dict.fromkeys(_read_texts(str(row["warnings"]))):
            line = setting, cell, learner, clip, kind, text
            counts[line] = counts.get(line, 0) + 1
    return [RunWarning(*line, runs) for line, runs in counts.items()]


def _read_texts(text: str) -> list[str]:
    """Return the texts of a row's warnings, each as one line; a stranger's, which is no list, as it is."""
    try:
        texts = json.loads(text)
    except (ValueError, RecursionError):
        texts = [text]
    return [format_line(str(one), most=LONGEST) for one in (texts if isinstance(texts, list) else [texts])]
