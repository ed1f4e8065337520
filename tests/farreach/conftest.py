"""What tests of the recorder share."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture
def heard() -> Iterator[list[warnings.WarningMessage]]:
    """Return the warnings that the test has met so far."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield found
