"""Record the gradient norms of a training loop of your own, before and after the clip.

`farreach.pytorch`, `farreach.lightning`, `farreach.transformers`, `farreach.keras` and `farreach.jax` each have a
``Recorder``; each needs its framework and nothing else, and importing this package imports none. What they write is a
result folder that ``farreach report DIR`` turns into tables and figures, with the extra ``report`` installed.
`advise` tries thresholds in a function of your own, `load` reads results as DataFrames, `run` trains a suite: these
need the extras ``report`` and ``suite``.
"""

import os

from farreach.advising import OwnAdvice, advise
from farreach.api import Results, load, run
from farreach.curves import ClipWarning, NoGradientWarning, Settings

__all__ = ["ClipWarning", "NoGradientWarning", "OwnAdvice", "Results", "Settings", "advise", "load", "run"]
__version__ = "0.1.0"

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib takes 10 ms to load
if os.path.exists(os.path.join(_ROOT, "benchmarks", "worker.py")):  # noqa: PTH110, PTH118
    __path__.append(_ROOT)  # a checkout: its rooms are imported as farreach.tasks, farreach.results, ...
