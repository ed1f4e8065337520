"""Record the gradient norms of a Hugging Face ``Trainer``, before and after the clip.

    from farreach.transformers import Recorder

    Trainer(model, TrainingArguments(..., max_grad_norm=1.0), callbacks=[Recorder("results/runs/mine", "bert")], ...)

Each ``train`` is one run. The loss is what the model returns under the name ``loss``, over the batches of an update; of
a loss that is computed outside the model none is recorded. Everything else is as in `farreach.pytorch`. A loop of one's
own with ``accelerate`` needs nothing of this: `farreach.pytorch.Recorder`, and ``recorder.step(loss)`` where
``accelerator.sync_gradients`` is true.
"""

from __future__ import annotations

import os
from typing import Any, Unpack

from transformers import TrainerCallback

from farreach.curves import Settings
from farreach.torch_trainer import RunsOfTrainer
from farreach.warned import ClipWarning, NoGradientWarning

__all__ = ["ClipWarning", "NoGradientWarning", "Recorder"]


class Recorder(RunsOfTrainer, TrainerCallback):  # type: ignore[misc]
    """A callback that records one run for each ``train``.

    Args:
        folder, name, every, settings: as `farreach.pytorch.Recorder` has them; seed and batch are read from the
            arguments of training where they are not given.

    """

    def __init__(
        self, folder: str | os.PathLike[str], name: str, *, every: int = 100, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(folder, name, every=every, **settings)
        self._is_sum = False  # the model divides by the examples of the whole update

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **rest: Any) -> None:
        """Begin a run."""
        del state, control, rest
        settings = self.settings.copy()
        settings.setdefault("seed", int(args.seed))
        settings.setdefault("batch", int(args.train_batch_size * args.gradient_accumulation_steps))
        self.begin(model, settings)
        self._watching.callback(model.register_forward_hook(self._keep_loss, with_kwargs=True).remove)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Record the update that was done just now."""
        del args, state, control, rest
        losses, self._losses = self._losses, []
        if self.recorder is not None and self.recorder.updated:
            total = sum(losses) if losses else None
            self.recorder.note_update(total if total is None or self._is_sum else total / len(losses))

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Write what is left and the row."""
        del args, state, control, rest
        self.close()

    def _keep_loss(self, model: Any, arguments: tuple[Any, ...], named: dict[str, Any], outputs: Any) -> None:
        del arguments
        loss = outputs.get("loss") if hasattr(outputs, "get") else getattr(outputs, "loss", None)
        if model.training and loss is not None and loss.numel() == 1:
            self._losses.append(loss.detach())
            self._is_sum = named.get("num_items_in_batch") is not None
