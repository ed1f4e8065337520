"""What tests of the recorder read of a run: its curves, its row and the warnings on its way."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pandas as pd

from farreach.results.storage.result_set import Store
from farreach.warned import ClipWarning


def read_run(recorder: Any) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Close a recorder; return its curves, skipped steps too, and its row."""
    path = recorder.close()
    assert path is not None
    store = Store(path.parent.parent)
    assert len(store.rows()) == 1, store.list_trouble()
    return pd.read_csv(recorder.curves.path), json.loads(path.read_text())


def list_texts(heard: list[warnings.WarningMessage]) -> list[str]:
    """Return what the recorder warned of."""
    return [str(one.message) for one in heard if issubclass(one.category, ClipWarning)]
