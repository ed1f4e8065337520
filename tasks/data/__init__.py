"""The small real corpora, how each was built, and how they and their larger public kin are read."""

from __future__ import annotations

import dataclasses
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farreach.tasks import base

HERE = Path(__file__).parent
SHIPPED = "shipped"
TENTH = 10

ALLOWED = "FARREACH_ALLOW_HUB"
"""The variable that allows data from the hub where it is 1; ``--allow-hub`` sets it, a Dask worker is given it."""

_PART = r"\w[\w.-]*"
_HUB = re.compile(
    rf"hub:(?P<repo>{_PART}/{_PART})(:(?P<config>{_PART}))?(@(?P<revision>{_PART}(/{_PART})*))?", re.ASCII
)


@dataclasses.dataclass(frozen=True)
class Hub:
    """A data set on the Hugging Face hub, as written in ``hub:OWNER/NAME[:CONFIG][@REVISION]``."""

    repo: str
    config: str | None
    revision: str | None


def parse(source: object) -> Hub | None:
    """Return where the data come from, None for the shipped files.

    Raises:
        base.TaskError: The source is neither ``shipped`` nor ``hub:OWNER/NAME[:CONFIG][@REVISION]``.

    """
    if source == SHIPPED:
        return None
    match = _HUB.fullmatch(source) if isinstance(source, str) else None
    if match is None:
        message = f"source is {source!r}; it must be 'shipped' or 'hub:OWNER/NAME[:CONFIG][@REVISION]'"
        raise base.TaskError(message)
    return Hub(match["repo"], match["config"], match["revision"])


def is_allowed() -> bool:
    """Return whether this process may load data from the hub."""
    return os.environ.get(ALLOWED) == "1"


def _quiet() -> Any:
    """Return `datasets` without its progress bars, and without telling the hub what is loaded."""
    import datasets

    datasets.disable_progress_bars()
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    return datasets


def load_shipped(name: str) -> dict[str, Any]:
    """Return the splits ``train`` and ``evaluation`` of a shipped corpus, held in memory.

    The Arrow cache that `datasets` writes lives in a temporary folder for as long as the call
    lasts, so that nothing is left behind and the home folder may be read-only.
    """
    files = {split: str(HERE / name / f"{split}.parquet") for split in ("train", "evaluation")}
    with tempfile.TemporaryDirectory(prefix="farreach-") as cache:
        return dict(_quiet().load_dataset("parquet", data_files=files, cache_dir=cache, keep_in_memory=True))


def load_hub(hub: Hub) -> Mapping[str, Any]:
    """Return every split of a data set on the hub; code that comes with one is never run.

    A row or a suite may be a stranger's, and names what is loaded: so nothing is unless the user allowed it, and
    nothing from the disk, where `datasets` looks first.

    Raises:
        base.TaskError: It is not allowed, or cannot be read, for whatever reason; the message is one line.

    """
    if not is_allowed():
        message = f"source hub:{hub.repo} is on the network, which nothing is loaded from without --allow-hub"
        raise base.TaskError(message)
    if os.path.lexists(hub.repo):
        message = f"source hub:{hub.repo} cannot be read: a file of this name is here, which would be taken for it"
        raise base.TaskError(message)
    try:
        splits: Mapping[str, Any] = _quiet().load_dataset(hub.repo, hub.config, revision=hub.revision)
    except Exception as error:  # the hub, the network and the readers raise whatever they like
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        message = f"source hub:{hub.repo} cannot be read ({reason}); check the name, the network, or use 'shipped'"
        raise base.TaskError(message) from error
    return splits


def held_out(splits: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the training and the evaluation split: test, else validation, else the last tenth.

    Raises:
        base.TaskError: There is no ``train`` split.

    """
    if "train" not in splits:
        message = f"source has the splits {sorted(splits)}; one of them must be 'train'"
        raise base.TaskError(message)
    train = splits["train"]
    for name in ("evaluation", "test", "validation"):
        if name in splits:
            return train, splits[name]
    first = len(train) - max(1, len(train) // TENTH)
    return train.select(range(first)), train.select(range(first, len(train)))
