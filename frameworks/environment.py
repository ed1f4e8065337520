"""The variables of the environment that a framework wants on a device, beside those that the user has set."""

from __future__ import annotations

from collections.abc import Mapping

FLAGS = "_FLAGS"
"""How the name of a variable ends that holds several settings: ours join those that the user has there."""


def merge_environment(wanted: Mapping[str, str], here: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the environment that a framework wants, as they are to be set where `here` is set.

    Args:
        wanted: the framework's ``ENVIRONMENT`` on a device.
        here: the environment now; of a variable that ends in `FLAGS` its settings stay, before the framework's.

    """
    merged = {}
    for name, value in wanted.items():
        flags = here.get(name, "").split() if name.endswith(FLAGS) else []
        merged[name] = " ".join([*flags, *([] if value in flags else [value])])
    return merged


def describe_environment(environment: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Return those variables as they are really set, for a record."""
    return ", ".join(f"{name}={here[name]}" for name in environment if name in here)
