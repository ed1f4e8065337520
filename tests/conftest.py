"""What every test starts from."""

from __future__ import annotations

import signal

# Started in the background of a shell, pytest ignores Ctrl-C, and so would the commands whose Ctrl-C is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.support.browsing", "tests.support.threads", "tests.support.tiers"]
