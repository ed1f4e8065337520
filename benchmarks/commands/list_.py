"""``list``: what there is."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from farreach.benchmarks.commands import common
from farreach.benchmarks.matrix import registry


def list_(
    what: Annotated[str | None, typer.Argument(metavar="[tasks|frameworks|suites]", help="Default: all.")] = None,
) -> None:
    """List the tasks, the frameworks and the suites."""
    kinds = ["tasks", "frameworks", "suites"]
    for kind in [registry.known("list", what, kinds)] if what is not None else kinds:
        common.console.print(f"[bold]{kind}[/bold]")
        for name in getattr(registry, kind)():
            common.console.print(f"  {name:12} {escape(_about(kind, name))}")


def _about(kind: str, name: str) -> str:
    """Return the line that `list` prints beside a name."""
    if kind == "suites":
        import tomllib

        return str(tomllib.loads((registry.SUITES / f"{name}.toml").read_text())["description"])
    text = registry.summary(kind, name)
    if kind == "tasks":
        return text
    version = registry.version(name)
    state = f"{registry.package(name)} {version}" if version else "not installed"
    return f"[{state}] {text}"
