"""Which cases of a large product run in the default tier: a sample; the others are slow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def thin_cases(cases: Iterable[Any], every: int) -> list[Any]:
    """Mark all cases as slow but each `every`-th, the first included.

    Args:
        cases: what a test is parametrized by: values, or tuples of values.
        every: a number that shares no factor with the sizes of the product, so that each of its values comes up.

    """
    return [
        case
        if at % every == 0
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for at, case in enumerate(cases)
    ]
