"""The command line: ``python -m benchmarks COMMAND``; the commands are in ``benchmarks/commands/``."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import farreach
from farreach.benchmarks.commands import COMMANDS, format_help
from farreach.benchmarks.commands.shared import refusals
from farreach.benchmarks.commands.shared.words import GIVEN, split_plugins
from farreach.benchmarks.matrix import registry
from farreach.results.storage.sanitising import format_line

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
for name, command in COMMANDS.items():
    app.command(name, help=format_help(command))(command)


def start(
    context: typer.Context,
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version, and the commit of a checkout.")
    ] = False,
) -> None:
    """Train recurrent networks on long-dependency tasks in several frameworks, and report how far and how fast.

    `python -m benchmarks COMMAND --help` explains a command and gives an example. `--plugins DIR`, anywhere behind
    it, adds the tasks, frameworks and suites of a folder of yours; repeat it for several.

    Example:
        python -m benchmarks run quick
    """
    if version:
        sys.stdout.write(f"{format_version()}\n")
        raise typer.Exit
    if context.invoked_subcommand is None:
        sys.stdout.write(context.get_help() + "\n")


app.callback(invoke_without_command=True, help=format_help(start))(start)


def format_version() -> str:
    """Return the version of Farreach, with the commit where it runs from a checkout."""
    from farreach.benchmarks.running import environment  # noqa: PLC0415 - it loads NumPy

    commit = environment.read_commit()
    return f"farreach {farreach.__version__}" + ("" if commit == environment.RELEASE else f" (commit {commit})")


def call(words: list[str]) -> Any:
    """Run the command of these words in this process and return its status; what the user got wrong is raised."""
    refusals.check_words(words)
    rest, folders = split_plugins(words)
    if folders:
        registry.use_plugins([*map(Path, folders)])
    token = GIVEN.set(words)
    try:
        return app(rest, standalone_mode=False)
    finally:
        GIVEN.reset(token)


def main() -> None:
    """Run a command; what the user got wrong is one line and exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a character that the terminal lacks becomes a question mark
            stream.reconfigure(errors="replace")
    try:
        status = call(sys.argv[1:])
    except Exception as error:
        if not refusals.is_user_error(error):
            raise
        text: str = getattr(error, "format_message", error.__str__)()
        sys.stderr.write(f"error: {format_line(text, most=2_000)}\n")
        sys.exit(2)
    sys.exit(status)


if __name__ == "__main__":
    main()
