"""What every recorder of a loop does: write now and then, never raise after the first step, end with the program."""

from __future__ import annotations

import atexit
import contextlib
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from farreach.curves import Curves
from farreach.flow import Flow
from farreach.warned import ClipWarning, Warner

CLOSED = "this recorder is closed, and records nothing more"


class Recording(ABC):
    """A run that is being recorded.

    Args:
        curves: where it is written.
        every: steps between two flushes, once there are so many; before, steps 1, 2, 4 and so on are followed by one.

    """

    def __init__(self, curves: Curves, every: int) -> None:
        if every < 1:
            message = f"every must be at least 1, not {every}"
            raise ValueError(message)
        self.curves, self.every = curves, every
        self._warner: Warner = curves.warner
        self._count = 0  # updates, recorded or not yet
        self._flushed = 0
        self._open = True
        self._stops: list[Callable[[], None]] = []
        mine = weakref.ref(self)
        self._at_exit = lambda: (recording := mine()) and recording.close()
        atexit.register(self._at_exit)

    def flush(self) -> None:
        """Bring what is recorded from the device and append it to the curves; this waits for the device."""
        self._try(self._flush)

    def write_to(self, writer: Any) -> None:
        """Give every step to a writer as well that has TensorBoard's ``add_scalar``; it is the user's to close."""
        self.curves.writers.append(writer)

    def note_flow(self, flow: Flow) -> None:
        """Keep a gradient through time that was measured now, by the framework's `measure_flow`, for the report."""
        if self._is_first():
            self._try(self.curves.probes.add, self._count, flow)

    def close(self) -> Path | None:
        """Write what is left and the row, stop watching; return the row's path, None without steps."""
        if self._open:
            self._try(self._end)
        self._stop()
        try:
            return self.curves.close() if self._is_first() else None
        except OSError as error:
            self._warner.warn(f"the row of this run could not be written: {error}")
            return None

    def __enter__(self) -> Self:
        """Return the recorder."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, also where the loop was interrupted: what was recorded until then is kept."""
        self.close()

    def _try(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a part of the recording; what it raises after the first step ends the recording and not the loop."""
        if not self._open:
            return None
        try:
            return function(*arguments)
        except ClipWarning:  # by a filter of the user's, who wants it
            raise
        except Exception as error:
            if not self._count:
                raise
            self._stop()
            self._warner.warn(f"recording ended after step {self._count}, and what it has is kept: {error!r}")
            with contextlib.suppress(Exception):
                self._flush()
            return None

    def _stop(self) -> None:
        self._open = False
        for stop in self._stops:
            stop()
        self._stops = []
        atexit.unregister(self._at_exit)

    def _is_due(self) -> bool:
        """Return whether enough steps wait to be written."""
        if self._count < self.every:
            return self._count & (self._count - 1) == 0
        return self._count // self.every > self._flushed // self.every

    def _is_first(self) -> bool:
        """Return whether this is the process that writes, of several that train together."""
        return True

    @abstractmethod
    def _flush(self) -> None:
        """Bring the steps since the last flush from the device, and give them to the curves."""

    def _end(self) -> None:
        self._flush()
