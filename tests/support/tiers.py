"""Which cases of a large product run in the default tier: a sample; the others are slow."""

from __future__ import annotations

import collections
import os

import pytest

EVERY_CASE = "FARREACH_EVERY_CASE"
"""The variable that, where it is set, leaves every case in the default tier: what plants faults wants them all."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "sampled(every): of this test's cases each so-many-th is in the default tier, the first included; the others "
        "are slow. A number that shares no factor with the sizes of the product brings up each of its values.",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `sampled` leaves out as slow, before pytest chooses by markers."""
    seen: collections.Counter[str] = collections.Counter()
    for item in items:
        marker = item.get_closest_marker("sampled")
        if marker is None or os.environ.get(EVERY_CASE):
            continue
        function = item.nodeid.partition("[")[0]
        if seen[function] % marker.kwargs["every"]:
            item.add_marker(pytest.mark.slow)
        seen[function] += 1
