"""What several commands share: options, the console, folders, interruptions, and the end of a run."""

from __future__ import annotations

import gc
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.markup import escape

from farreach.benchmarks.matrix import registry
from farreach.results.report.console import Screen
from farreach.results.storage.sanitising import line

if TYPE_CHECKING:
    from farreach.benchmarks.cluster.pool import Pool
    from farreach.benchmarks.running import sweep
    from farreach.results.report.answers import Answer
    from farreach.results.storage.result_set import Store

console = Screen()

Only = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Keep the cases that match; repeatable.")]
Dask = Annotated[str | None, typer.Option(metavar="tcp://HOST:PORT", help="Send the work to a Dask cluster.")]
Patience = Annotated[float, typer.Option(min=1, help="Seconds after which a silent worker of it is given up.")]


Page = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the table to this Markdown file too.")]


def refused(context: typer.Context, why: str, *names: str) -> None:
    """Refuse arguments that were given and that nothing would be done with; `why` follows their names."""
    given = [name for name in names if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"]
    if given:
        written = {
            one.name: one.opts[0] if one.opts[0].startswith("-") else one.opts[0].upper()
            for one in context.command.params
        }
        message = f"{', '.join(written[name] for name in given)}: {why}"
        raise registry.UsageError(message)


def remote(context: typer.Context, dask: str | None) -> None:
    """Refuse an address that is empty, as that of a variable that is not set, and --patience without an address."""
    if dask is None:
        refused(context, "of no use without --dask", "patience")
    elif not dask.strip():
        message = f"--dask takes the address of a scheduler, tcp://HOST:PORT, not {dask!r}"
        raise registry.UsageError(message)


def opened(folder: Path) -> Store:
    """Return the store of a folder, made if need be, before anything is run for it."""
    from farreach.results.storage.files import StoreError
    from farreach.results.storage.result_set import Store

    store = Store(folder)
    try:
        store.create()
    except StoreError as error:
        raise registry.UsageError(str(error)) from error
    return store


def writable(folder: Path) -> None:
    """Make a folder that results go to, before anything is run for it."""
    from farreach.results.storage import files

    try:
        files.writable(folder)
    except files.StoreError as error:
        raise registry.UsageError(str(error)) from error


def saved(path: Path, text: str) -> None:
    """Write a text that was asked for; a link of that name is replaced."""
    from farreach.results.storage import files

    try:
        files.write_text(path, text)
    except files.StoreError as error:
        raise registry.UsageError(str(error)) from error


def place(path: Path) -> Path:
    """Return the path of a file that is going to be written, before anything is run for it."""
    writable(path.parent)
    if path.is_dir():
        message = f"cannot write {path}: it is a folder"
        raise registry.UsageError(message)
    return path


def check_page(path: Path | None) -> None:
    """Refuse a page that could not be written, before anything is measured for it."""
    if path is not None:
        place(path)


def say_line(text: str) -> None:
    """Print a line."""
    console.print(text, markup=False)


def facts_of(suite: str, jobs: int | None, threads: int) -> dict[str, Any]:
    """Return what every record says of this run."""
    return {
        "suite": suite,
        "command": command_line(),
        "jobs": jobs or max(1, (os.cpu_count() or 1) // threads),
    }


def command_line() -> str:
    """Return the command that was given, as people type it.

    Of an absolute path the last part stays: rows are published, and where a machine keeps its files says nothing.
    """
    return shlex.join(["python", "-m", "benchmarks", *map(_named, sys.argv[1:])])


def _named(word: str) -> str:
    option, equals, path = word.partition("=") if word.startswith("-") else ("", "", word)
    return f"{option}{equals}{Path(path).name}" if Path(path).is_absolute() else word


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end the command with one line and status 130, and a disk that takes no more with status 1."""
    from farreach.results.storage.files import StoreError

    try:
        yield
    except StoreError as error:
        sys.stderr.write(f"error: {line(error)}; what was finished is kept, the same command carries on\n")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: what was finished is kept, the same command carries on\n")
        raise typer.Exit(130) from None


def say(plan: sweep.Plan, facts: dict[str, Any]) -> None:
    """Print how much there is to do."""
    done, missing = len(plan.done), len(plan.missing)
    say_line(f"{facts['suite']}: {len(plan.cases)} cases, {done} already done, {missing} to run")


def swept(plan: sweep.Plan, store: Store, facts: dict[str, Any], *, workers: int = 1) -> sweep.Report:
    """Say how much there is to do and run what is missing, with a progress bar."""
    from farreach.benchmarks.running.progress import Progress
    from farreach.benchmarks.running.sweep import Sweep

    say(plan, facts)
    with interruptible(), Progress(list(plan.missing.values()), console) as shown:
        return Sweep(plan, store, listener=shown, facts=facts, workers=workers).run()


@contextmanager
def cluster(address: str, patience: float, folder: Path) -> Iterator[Pool]:
    """Yield the workers of a Dask cluster, which are let go when the block is left."""
    if registry.installed("distributed") is None:
        message = "--dask needs the package distributed, which is not installed"
        raise registry.UsageError(message)
    from farreach.benchmarks.cluster import connect

    def notice(line: str) -> None:
        console.print(line, markup=False)

    with (
        interruptible(),
        connect.connect(address, patience=patience, notice=notice, log=folder / "logs" / "dask.log") as pool,
    ):
        yield pool


def end(failed: list[sweep.Failure]) -> NoReturn:
    """Name the cases that failed and end the command: status 1 where there are any."""
    for failure in failed:
        console.print(f"[red]failed[/red] {escape(failure.case.label())}: {escape(failure.reason)}")
    raise typer.Exit(1 if failed else 0)


def told(folder: Path, *, anew: bool = True) -> None:
    """Write report and page, `anew` or where they are older than what they tell of; print answers and compact table."""
    from farreach.benchmarks.matrix import versions
    from farreach.results.report import contents, findings, terminal, timing_contents
    from farreach.results.storage.files import StoreError
    from farreach.results.timing import interleaved

    written: list[Path] = []
    said: list[str] = []
    table = begun = asked = None
    now = versions.current()
    gc.set_threshold(100_000)  # tables are no cycles: to look for some among them takes a tenth of the time
    try:
        results, timed = contents.read(folder, now=now), timing_contents.read(folder)
        if (folder / "rows").is_dir():
            if anew or not contents.fresh(folder):
                from farreach.results.report import (
                    result_set,  # which takes a second to import, and a finished suite needs none
                )

                def beside(known: contents.Results, answers: list[Answer]) -> None:
                    from farreach.results.site import page

                    nonlocal begun, asked
                    begun, asked = page.begun(folder, page.whole(known, timed, answers)), answers

                written, results = result_set.put(results, timed, now, beside)
            said += [*findings.scope(results.rows, results.runs), *findings.owned(results.rows), *results.trouble]
            table = terminal.summary(results.rows)
        if timing_contents.there(folder):
            from farreach.results.report import timing

            written += timing.write(folder, timed)
            said += [*timed.sentences(), *interleaved.older(timed.groups)]
        if written:
            from farreach.results.site import page

            written += page.finished(begun or page.begun(folder, page.whole(results, timed)))
        asked = asked or contents.answered(results, timed)
    except StoreError as error:
        raise registry.UsageError(str(error)) from error
    console.print()
    console.print(terminal.answers(asked))
    for sentence in said:
        say_line(f"- {sentence}")
    if table:
        console.print(table)
    wrote(written)
    if not written:
        say_line(f"nothing is newer than {folder}/{contents.PAGE}, which was left as it is")


def wrote(paths: list[Path]) -> None:
    """Print what was written, a line a folder."""
    for parent in dict.fromkeys(path.parent for path in paths):
        names = [path.name for path in paths if path.parent == parent]
        few = names if len(names) <= 3 else [f"{len(names)} files"]  # noqa: PLR2004 - names that fit a line
        say_line(f"wrote {parent}/: {', '.join(few)}")
