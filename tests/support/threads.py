"""One thread for TensorFlow in the processes of tests, as in a worker: it keeps the threads that it begins with."""

from __future__ import annotations

import importlib

import pytest

from farreach.benchmarks.matrix import registry

ROOMS = {"benchmarks", "farreach", "frameworks"}
"""The folders with tests that call TensorFlow in their own process, some of them without a framework's `configure`."""


def pytest_collection_finish(session: pytest.Session) -> None:
    """Set the threads before the first test of those rooms, whichever it is; a later one could not."""
    rooms = {item.path.parent.name for item in session.items}
    if rooms & ROOMS and registry.find_framework_version("tensorflow"):
        importlib.import_module("farreach.frameworks.tensorflow").configure("cpu", 1)
