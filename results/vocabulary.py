"""Names and their orders: what a case can be, as rows, tables, figures and sentences call it."""

from __future__ import annotations

TASKS = ("adding", "copy", "order", "speech", "translation")
CELLS = ("rnn", "lstm", "gru")
FRAMEWORKS = ("pytorch", "tensorflow", "jax", "reference")

NONE = "none"
"""No clip, and no penalty."""

CLIPS = (NONE, "norm", "value", "variable")

MATCHED, NATIVE = "matched", "native"
"""The modes of a suite: every framework the same arithmetic, or each its own defaults."""

OWN = "own"
"""The mode of a run of the user's own, which `farreach` wrote: no floor, no skill, no criterion, nothing to match."""

MODES = (MATCHED, NATIVE, OWN)

LENGTHS = ("T", "delay", "longest")
"""The parameters that say how long a dependency is, of whichever task."""

FEWEST_SEEDS = 5
"""With fewer seeds values are listed, not tested: no interval, no p-value, no "better than"."""
