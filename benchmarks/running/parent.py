"""A process that ends when the one that started it has ended, however that was."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import threading
import time

PR_SET_PDEATHSIG = 1
"""From <sys/prctl.h>: which signal a process gets when the thread that started it has ended."""


def end_with_parent() -> None:
    """Have this process end when the one that started it has ended.

    A parent that is killed closes our input, which nobody reads in the midst of a case: its claims would be free, and
    another run would begin what is still computed here. On Linux the system sees to it, since a process that is stopped
    cannot; then the thread is for a parent that ended before it was asked to.
    """
    with contextlib.suppress(AttributeError, OSError):  # not on Linux
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_wait_for_end, args=(os.getppid(),), daemon=True).start()


def _wait_for_end(parent: int) -> None:
    """End this process when its parent has ended."""
    try:
        ended = os.pidfd_open(parent)
    except (AttributeError, OSError):  # not on Linux
        while os.getppid() == parent:
            time.sleep(1)
    else:
        select.select([ended], [], [])
    os._exit(1)
