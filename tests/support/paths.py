"""The path on which a framework's programs compile fastest; all paths of a framework compute the same."""

from __future__ import annotations

from farreach.benchmarks.matrix import registry

QUICK = {"tensorflow": "graph"}


def quickest(framework: str, cell: str) -> str:
    """Return the path on the CPU."""
    offered = registry.list_paths(framework, "cpu", cell)
    quick = QUICK.get(framework)
    return quick if quick in offered else offered[0]
