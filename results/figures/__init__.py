"""Pictures, by matplotlib and seaborn, in our style alone: what a user set for figures of their own is not for ours.

matplotlib reads settings when it is first imported, and one that is broken ends the import. So this package imports it
before anybody else here does, with its own settings.
"""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def ignore_settings() -> Iterator[None]:
    """Hide a backend and a matplotlibrc, also one in the working directory, from what is imported meanwhile."""
    spec = importlib.util.find_spec("matplotlib")
    own = Path(spec.origin).parent / "mpl-data" / "matplotlibrc" if spec and spec.origin else ""
    given, here = dict(os.environ), os.open(".", getattr(os, "O_PATH", os.O_RDONLY))
    os.chdir(os.sep)
    os.environ |= {"MPLBACKEND": "agg", "MATPLOTLIBRC": str(own)}
    try:
        yield
    finally:
        for name in ("MPLBACKEND", "MATPLOTLIBRC"):
            del os.environ[name]
        os.environ |= given
        os.fchdir(here)
        os.close(here)


with ignore_settings():
    import matplotlib as mpl

mpl.use("agg")  # files only: no window, and none needed
