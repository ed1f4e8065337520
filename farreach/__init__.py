"""Record the gradient norms of a training loop of your own, before and after the clip.

`farreach.pytorch` and `farreach.keras` each have a ``Recorder``; each needs its framework and nothing
else, and importing this package imports neither. What they write is a result folder that
``python -m benchmarks report DIR``, run in a clone of the project, turns into tables and figures.
"""

import os

from farreach.curves import ClipWarning, NoGradientWarning, Settings

__all__ = ["ClipWarning", "NoGradientWarning", "Settings"]
__version__ = "0.1.0"

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib takes 10 ms to load
if os.path.exists(os.path.join(_ROOT, "benchmarks", "worker.py")):  # noqa: PTH110, PTH118
    __path__.append(_ROOT)  # a checkout: its rooms are imported as farreach.tasks, farreach.results, ...
