"""What the callbacks of the libraries with a trainer share: one run of `farreach.pytorch` for each training."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Unpack

from farreach import pytorch
from farreach.curves import Settings


class RunsOfTrainer:
    """Begins a run with a training and ends it with that.

    Args:
        folder, name, every, settings: as `farreach.pytorch.Recorder` has them.

    Attributes:
        recorder: of the training that goes on, if one does.
        path: the row of the last run that ended.

    """

    def __init__(
        self, folder: str | os.PathLike[str], name: str, *, every: int = 100, **settings: Unpack[Settings]
    ) -> None:
        super().__init__()
        self.folder, self.name, self.every, self.settings = folder, name, every, settings
        self.recorder: pytorch.Recorder | None = None
        self.path: Path | None = None
        self._watching = ExitStack()
        self._losses: list[Any] = []  # of the batches since the last update

    def begin(self, model: Any, settings: Settings) -> None:
        """End the run before, if one is left, and begin one."""
        self.close()
        self.recorder = pytorch.Recorder(model, self.folder, self.name, every=self.every, **settings)
        self._watching.enter_context(self.recorder.watching())

    def close(self) -> Path | None:
        """Write what is left and the row, as the end of the training does; return its path, None without steps."""
        self._watching.close()
        if self.recorder is not None:
            self.path, self.recorder = self.recorder.close(), None
        return self.path
