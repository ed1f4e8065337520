"""Record the gradient norms of a Lightning ``Trainer``, before and after the clip.

    from farreach.lightning import Recorder

    Trainer(gradient_clip_val=5.0, callbacks=[Recorder("results/runs/mine", "my lstm")]).fit(module, data)

Each ``fit`` is one run. The loss is what ``training_step`` returns, the mean over the batches of an update. Everything
else is as in `farreach.pytorch`: the same norms of the same update, with accumulated batches, loss scaling, several
optimizers and several processes.
"""

from __future__ import annotations

from typing import Any

try:
    from lightning.pytorch import Callback
except ImportError:  # the same library under its other name
    from pytorch_lightning import Callback

from farreach.torch_trainer import RunsOfTrainer
from farreach.warned import ClipWarning, NoGradientWarning

__all__ = ["ClipWarning", "NoGradientWarning", "Recorder"]


class Recorder(RunsOfTrainer, Callback):  # type: ignore[misc]
    """A callback that records one run for each ``fit``; folder, name, every and settings as in `farreach.pytorch`."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin a run."""
        del trainer
        self.begin(pl_module, self.settings)

    def on_train_batch_end(  # noqa: PLR0917 - Lightning calls it so
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the update of this batch, if it had one."""
        del trainer, pl_module, batch, batch_idx
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if loss is not None:  # its share of the update's: Lightning has divided it by the batches that are added up
            self._losses.append(loss.detach())
        if self.recorder is not None and self.recorder.updated:
            self.recorder.note_update(sum(self._losses) if self._losses else None)
            self._losses = []

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Write what is left and the row."""
        del trainer, pl_module
        self.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Write what is left and the row: what was recorded until then is kept."""
        del trainer, pl_module, exception
        self.close()
