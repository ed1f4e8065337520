"""What every framework asks before it trains in parts, and what one replica has of a batch."""

from __future__ import annotations

from farreach.frameworks.base import OMEGAS, Training, UnsupportedError
from farreach.frameworks.split import Split
from farreach.tasks.base import Batch


def require_split(training: Training, split: Split, joined: int) -> None:
    """Refuse an update that is not defined in parts, and replicas that did not meet.

    Args:
        training: the recipe.
        split: how its batches are divided.
        joined: processes of the group that this one is of; 1 without a group.

    Raises:
        UnsupportedError: a clip before the reduction that has no threshold of a part's own, a clip or a penalty of the
            derivatives of a whole batch, or another number of processes than of replicas.

    """
    clip = training.clip.kind if training.clip else "none"
    penalty = training.regulariser.kind if training.regulariser else "none"
    message = ""
    if clip == "backprop" or penalty in OMEGAS:
        message = f"{clip if clip == 'backprop' else penalty} is of the derivatives of a whole batch, not of its parts"
    elif split.clip_at == "before" and clip in {"none", "autoclip"}:
        message = f"clip_at before is not defined for clip {clip}"
    elif split.replicas > 1 and joined != split.replicas:
        message = f"{split.replicas} replicas need a group of {split.replicas} processes, not of {joined}"
    if message:
        raise UnsupportedError(message)


def take_part(batch: Batch, split: Split, rank: int) -> Batch:
    """Return what one replica has of a batch: its rows of inputs and targets, and the mask of all rows.

    The mask says how much of the whole batch's loss each part is.
    """
    rows = len(batch.inputs) // split.replicas
    own = slice(rank * rows, (rank + 1) * rows)
    return Batch(batch.inputs[own], batch.targets[own], batch.mask)
