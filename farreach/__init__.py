"""Record the gradient norms of a training loop of your own, before and after the clip.

`farreach.pytorch` and `farreach.keras` each have a ``Recorder``; each needs its framework and nothing
else, and importing this package imports neither. What they write is a result folder that
``python -m benchmarks report DIR``, run in a clone of the project, turns into tables and figures.
"""

from farreach.curves import ClipWarning, NoGradientWarning, Settings

__all__ = ["ClipWarning", "NoGradientWarning", "Settings"]
__version__ = "0.1.0"
