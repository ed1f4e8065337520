"""The command line: ``python -m benchmarks list | run | report``.

What is imported here is imported by ``--help`` too, so pandas, pydantic and the rest wait for
the command that needs them.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from benchmarks import plugins

if TYPE_CHECKING:
    from benchmarks.case import Case
    from benchmarks.sweep import Plan, Report, Sweep

app = typer.Typer(
    help="Train the long-dependency tasks in several frameworks and publish what they did.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False, soft_wrap=True)

Only = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Keep the cases that match; repeatable.")]


@app.command("list")
def list_(
    what: Annotated[str | None, typer.Argument(metavar="[tasks|frameworks|suites]", help="Default: all.")] = None,
) -> None:
    """List the tasks, the frameworks and the suites."""
    kinds = ["tasks", "frameworks", "suites"]
    for kind in [plugins.known("list", what, kinds)] if what else kinds:
        console.print(f"[bold]{kind}[/bold]")
        for name in getattr(plugins, kind)():
            console.print(f"  {name:12} {escape(_about(kind, name))}")


@app.command()
def run(  # noqa: PLR0913 - each is an option of the command line
    suite: Annotated[str, typer.Argument(help="Name of a suite, or path of a TOML file.")],
    *,
    only: Only = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to train.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Threads of every framework.")] = 1,
    jobs: Annotated[int | None, typer.Option(min=1, help="Frameworks at work at a time. Default: cores/threads.")] = None,
    out: Annotated[Path | None, typer.Option(help="Default: results/runs/SUITE.")] = None,
) -> None:
    """Run a suite: what is missing in its folder is trained, then the report is written."""
    from benchmarks import suite as suites
    from benchmarks import sweep
    from results.store import Store, StoreError

    cases = suites.load(suite).cases(device=device, threads=threads)
    cases = suites.narrow(cases, only or [], suite)
    sweep.check(cases)
    folder = out or plugins.ROOT / "results" / "runs" / Path(suite).stem
    store = Store(folder)
    try:
        store.create()
    except StoreError as error:
        raise plugins.UsageError(str(error)) from error
    if device == "cuda":
        sweep.preflight(cases, folder / "logs")
    plan = sweep.plan(cases, store)
    console.print(f"{suite}: {len(plan.cases)} cases, {len(plan.done)} already done, {len(plan.missing)} to run")
    jobs = jobs or max(1, (os.cpu_count() or 1) // threads)
    command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
    try:
        ended = _shown(plan, sweep.Sweep(plan, store, suite=Path(suite).stem, command=command, jobs=jobs))
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: what was finished is kept, the same command carries on\n")
        raise typer.Exit(130) from None
    if store.finished():
        _report(folder)
    for failure in ended.failed:
        console.print(f"[red]failed[/red] {escape(failure.case.label())}: {escape(failure.reason)}")
    raise typer.Exit(1 if ended.failed else 0)


@app.command()
def report(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A result set.")]) -> None:
    """Write the tables, the figures and the report of a result set."""
    if not (folder / "rows").is_dir():
        message = f"no results in {folder}"
        raise plugins.UsageError(message)
    _report(folder)


def main() -> None:
    """Run a command; what the user got wrong is one line and exit status 2."""
    try:
        status = app(standalone_mode=False)
    except (typer.TyperException, plugins.UsageError) as error:
        text: str = getattr(error, "format_message", error.__str__)()
        sys.stderr.write(f"error: {' '.join(text.split())}\n")
        sys.exit(2)
    sys.exit(status)


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


def _shown(plan: Plan, sweep: Sweep) -> Report:
    """Run a sweep under one progress bar; without a terminal, a line for each case."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    done = 0
    missing = len(plan.missing)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TextColumn("{task.fields[count]} cases"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        # A step costs about as much as its sequence is long.
        work = {case: case.steps * case.load().length for case in plan.missing.values()}
        line = bar.add_task("starting", total=sum(work.values()), count=f"0/{missing}")
        reached: dict[object, int] = {}

        def progress(case: Case, steps: int) -> None:
            reached[case] = steps * case.load().length
            bar.update(line, completed=sum(reached.values()), description=f"{case.framework} {case.task} {case.cell}")

        def ended(case: Case, said: str) -> None:
            nonlocal done
            done += 1
            reached[case] = work[case]
            bar.update(line, completed=sum(reached.values()), count=f"{done}/{missing}")
            if not console.is_terminal:
                console.print(f"[{done}/{missing}] {case.label()}: {said}", markup=False)

        return sweep.run(progress, ended)


def _report(folder: Path) -> None:
    """Write the report and print its findings, its compact table and the paths."""
    from results import findings, report, speed, terminal
    from results.store import Store

    store = Store(folder)
    written = report.write(folder)
    rows = store.rows()
    console.print()
    for sentence in findings.sentences(rows, store.runs(), speed.read(folder)):
        console.print(f"- {sentence}", markup=False)
    console.print(terminal.summary(rows))
    kinds = sorted({path.parent for path in written})
    for parent in kinds:
        names = [path.name for path in written if path.parent == parent]
        console.print(f"wrote {parent}/: {', '.join(names) if len(names) < 4 else f'{len(names)} files'}")


if __name__ == "__main__":
    main()
