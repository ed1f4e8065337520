"""The path on which a framework's programs compile fastest; all paths of a framework compute the same."""

from __future__ import annotations

from farreach.benchmarks.matrix import registry

QUICK = {"tensorflow": "graph"}


def quickest(framework: str, cell: str) -> str:
    """Return the path on the CPU."""
    return QUICK.get(framework) or registry.list_paths(framework, "cpu", cell)[0]
