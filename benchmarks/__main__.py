"""The command line: ``python -m benchmarks COMMAND``; the commands are in ``benchmarks/commands/``."""

from __future__ import annotations

import sys

import typer

from farreach.benchmarks.commands import COMMANDS
from farreach.benchmarks.matrix import registry
from farreach.results.storage.sanitising import line

app = typer.Typer(
    help="Train the long-dependency tasks in several frameworks and publish what they did.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
for name, command in COMMANDS.items():
    app.command(name)(command)


def main() -> None:
    """Run a command; what the user got wrong is one line and exit status 2."""
    try:
        status = app(standalone_mode=False)
    except (typer.TyperException, registry.UsageError) as error:
        text: str = getattr(error, "format_message", error.__str__)()
        sys.stderr.write(f"error: {line(text, most=2_000)}\n")
        sys.exit(2)
    sys.exit(status)


if __name__ == "__main__":
    main()
