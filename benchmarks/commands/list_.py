"""``list``: what there is."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from benchmarks import plugins
from benchmarks.commands import common


def list_(
    what: Annotated[str | None, typer.Argument(metavar="[tasks|frameworks|suites]", help="Default: all.")] = None,
) -> None:
    """List the tasks, the frameworks and the suites."""
    kinds = ["tasks", "frameworks", "suites"]
    for kind in [plugins.known("list", what, kinds)] if what is not None else kinds:
        common.console.print(f"[bold]{kind}[/bold]")
        for name in getattr(plugins, kind)():
            common.console.print(f"  {name:12} {escape(_about(kind, name))}")


def _about(kind: str, name: str) -> str:
    """Return the line that `list` prints beside a name."""
    if kind == "suites":
        import tomllib

        return str(tomllib.loads((plugins.SUITES / f"{name}.toml").read_text())["description"])
    text = plugins.summary(kind, name)
    if kind == "tasks":
        return text
    version = plugins.version(name)
    state = f"{plugins.package(name)} {version}" if version else "not installed"
    return f"[{state}] {text}"
