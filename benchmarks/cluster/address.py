"""The address of a scheduler, checked without loading Dask."""

from __future__ import annotations

from urllib.parse import urlsplit

from farreach.benchmarks.matrix import registry

SCHEMES = {"tcp", "tls", "ucx", "ws", "wss"}
"""How Dask's processes talk between machines."""


def check_address(address: str) -> None:
    """Raise `UsageError` where a text is not the address of a scheduler."""
    try:
        parts = urlsplit(address)
        good = parts.scheme in SCHEMES and parts.hostname and parts.port and not parts.path
    except ValueError:  # of a port that is not a number
        good = False
    if not good:
        message = f"--dask takes the address of a scheduler, tcp://HOST:PORT, not {address!r}"
        raise registry.UsageError(message)
