"""What the tests of the cluster have Dask workers do, which import this file by its name."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from distributed import get_worker


def hold(asked: str, topic: str, alone: bool) -> dict[str, Any]:
    """Answer when a file is there."""
    del alone
    get_worker().log_event(topic, {"key": get_worker().get_current_task(), "reached": 0})
    while not Path(asked).exists():
        time.sleep(0.05)
    return {"worker": get_worker().address}
