"""A headless Chromium, for whoever takes pictures of a page, times it or tests it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from farreach.results.storage.files import StoreError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def launch(play: Any) -> Any:
    """Return Playwright's own browser where it was installed, else the machine's; `StoreError` where there is none."""
    own = Path(play.chromium.executable_path)
    browser = str(own) if own.exists() else next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        message = "no Chromium: `playwright install chromium`, or `apt-get install chromium`"
        raise StoreError(message)
    args = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return play.chromium.launch(executable_path=browser, args=args)
