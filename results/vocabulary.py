"""Names and their orders: what a case can be, as rows, tables, figures and sentences call it."""

from __future__ import annotations

from pathlib import Path

PROGRAM = "farreach" if (Path(__file__).parents[1] / "__init__.py").exists() else "python -m benchmarks"
"""How the command line is called: installed, where this folder lies in the package, or in a checkout."""

TASKS = (
    *("adding", "multiplication", "copy", "selective_copy", "recall"),
    *("order", "digits", "speech", "translation"),
)
CELLS = ("rnn", "lstm", "gru", "mingru", "minlstm", "indrnn", "lru", "attention", "transformer")
FRAMEWORKS = ("pytorch", "tensorflow", "jax", "reference")

NONE = "none"
"""No clip, and no penalty."""

CLIPS = (NONE, "norm", "value", "variable", "agc", "autoclip", "backprop")

THRESHOLDS = {"variable": "norm of each variable", "agc": "ratio of norms", "autoclip": "percentile"}
THRESHOLDS |= {"backprop": "size of a derivative", "part": "norm of a part of the parameters"}
"""What the threshold of a clip is, where its name does not say it."""

SOLVED = "solved"
UNTIL = ("steps", SOLVED)
"""When training ends: after all its steps, or as soon as the task is solved."""

MATCHED, NATIVE = "matched", "native"
"""The modes of a suite: every framework the same arithmetic, or each its own defaults."""

OWN = "own"
"""The mode of a run of the user's own, which `farreach` wrote: no floor, no skill, no criterion, nothing to match."""

MODES = (MATCHED, NATIVE, OWN)

LENGTHS = ("T", "delay", "longest")
"""The parameters that say how long a dependency is, of whichever task."""

FEWEST_SEEDS = 5
"""With fewer seeds values are listed, not tested: no interval, no p-value, no "better than"."""
