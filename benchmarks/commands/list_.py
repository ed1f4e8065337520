"""``list``: what there is."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from farreach.benchmarks.commands.shared import output
from farreach.benchmarks.matrix import registry

KINDS = ["tasks", "frameworks", "architectures", "suites"]


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="[tasks|frameworks|architectures|suites]", help="List only these. Default: all four."),
    ] = None,
) -> None:
    """List the tasks, the frameworks, the architectures and the suites, each with one line about it.

    Example:
        python -m benchmarks list suites
    """
    for name in [registry.require_name("list", kind, KINDS)] if kind is not None else KINDS:
        output.console.print(f"[bold]{name}[/bold]")
        for plugin in getattr(registry, f"list_{name}")():
            output.console.print(f"  {plugin:14} {escape(_describe_plugin(name, plugin))}")
        for plugin, fault in (registry.list_faulty(name) if name in {"tasks", "frameworks"} else {}).items():
            output.console.print(f"  {plugin:14} [red]faulty[/red] {escape(fault)}")


def _find_task_fault(name: str) -> str:
    """Return why a task cannot be imported, or ""; those of the project need no more than NumPy for that."""
    try:
        registry.import_task(name)
    except registry.UsageError as error:
        return f"faulty {error}"
    return ""


def _describe_plugin(kind: str, name: str) -> str:
    """Return the line that stands beside a name."""
    if kind == "suites":
        import tomllib

        return str(tomllib.loads(registry.find_suite(name).read_text("utf-8-sig"))["description"])
    if kind == "architectures":
        from farreach.frameworks.layouts import LAYOUTS

        return f"{LAYOUTS[name].title}; in {', '.join(registry.list_offering(name))}"
    text = registry.read_summary(kind, name)
    if kind == "tasks":
        return _find_task_fault(name) or text
    version = registry.find_framework_version(name)
    state = f"{registry.name_package(name)} {version}" if version else "not installed"
    return f"[{state}] {text}"
