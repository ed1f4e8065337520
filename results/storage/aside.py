"""Work that another process does meanwhile, so that a report on a large set keeps every core busy.

The other process is a copy of this one: what was read need not be handed to it, and what it returns comes back through
a pipe. Where a copy cannot be had safely the work is done here, when its result is asked for. Nothing depends on which.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

T = TypeVar("T")


def cores() -> int:
    """Return how many processes can work at the same time: 1 where a copy of this one is not safe.

    A copy has one thread alone, and would wait forever for what another one held; so there must be no other. What
    NumPy and Arrow start they know how to start again.
    """
    if sys.platform != "linux" or threading.active_count() > 1:
        return 1
    return len(os.sched_getaffinity(0))


class Aside(Generic[T]):
    """A piece of work, begun at once where it is worth a process and a core is free for one; `result` awaits it."""

    def __init__(self, work: Callable[[], T], *, worth: bool = True) -> None:
        self._work = work
        self._receiver: Connection | None = None
        if worth and cores() > 1:
            context = multiprocessing.get_context("fork")
            self._receiver, sender = context.Pipe(duplex=False)
            self._process = context.Process(target=_copy, args=(work, sender), daemon=True)
            self._process.start()
            sender.close()

    def result(self) -> T:
        """Return what the work returned, or raise what it raised; done here where the copy came to nothing."""
        if self._receiver is None:
            return self._work()
        try:
            well, found = self._receiver.recv()
        except EOFError:  # it was killed, for want of memory perhaps
            return self._work()
        finally:
            self._receiver.close()
            self._process.join()
        if not well:
            raise found
        done: T = found
        return done


def spread(work: Callable[[list[str]], T], names: list[str], fewest: int) -> list[T]:
    """Return what the work gives of each part of some names, in order: a part a core, of at least `fewest` names."""
    share = max(fewest, -(-len(names) // cores()))
    first, *rest = [names[at : at + share] for at in range(0, len(names), share)] or [[]]
    others = [Aside(functools.partial(work, one)) for one in rest]
    return [work(first), *(one.result() for one in others)]


def _copy(work: Callable[[], T], sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is told once, by the process that was started
    try:
        sender.send((True, work()))
    except Exception as error:  # noqa: BLE001 - handed over whole
        sender.send((False, error))
