"""The command line: ``python -m benchmarks list | run | report | speed | advise | certify | semantics | calibrate``.

What is imported here is imported by ``--help`` too, so pandas, pydantic and the rest wait for
the command that needs them.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from benchmarks import plugins

if TYPE_CHECKING:
    from benchmarks import sweep
    from benchmarks.advise import Advisor
    from results.store import Store

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
def run(
    suite: Annotated[str, typer.Argument(help="Name of a suite, or path of a TOML file.")],
    *,
    only: Only = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to train.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Threads of every framework.")] = 1,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes at work at a time, one a framework. Default: cores/threads.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Default: results/runs/SUITE.")] = None,
) -> None:
    """Run a suite: what is missing in its folder is trained, then the report is written."""
    from benchmarks import suite as suites
    from benchmarks import sweep

    installed = [name for name in plugins.compared() if plugins.version(name)]
    frameworks = suites.named(only or []) or installed
    cases = suites.load(suite).cases(frameworks, device=device, threads=threads)
    cases = suites.narrow(cases, only or [], suite)
    sweep.check(cases)
    folder = out or plugins.ROOT / "results" / "runs" / Path(suite).stem
    store = _opened(folder)
    if device == "cuda":
        sweep.preflight(cases, folder / "logs")
    plan = sweep.plan(cases, store)
    facts = _facts(Path(suite).stem, jobs, threads)
    alone = len({case.framework for case in cases}) == 1
    ended = _swept(plan, store, facts, workers=facts["jobs"] if alone else 1)
    if store.finished():
        _report(folder, anew=False)
    _end(ended.failed)


@app.command()
def report(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A result set.")]) -> None:
    """Write the tables, the figures and the report of a result set."""
    if not any((folder / part).is_dir() for part in ("rows", "timings", "check")):
        message = f"no results in {folder}"
        raise plugins.UsageError(message)
    _report(folder)


@app.command()
def speed(  # noqa: PLR0913 - typer reads the options from the arguments
    suite: Annotated[str, typer.Argument(help="Name of a suite, or path of a TOML file.")] = "speed",
    *,
    only: Only = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to train.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Threads of every framework.")] = 1,
    handwritten: Annotated[bool, typer.Option(help="Time each framework against hand-written loops instead.")] = False,
    check: Annotated[int, typer.Option(min=0, help="Time identical code against itself so many times instead.")] = 0,
    width: Annotated[float, typer.Option(help="Half of a 95 % interval, as a share of the ratio.")] = 0.01,
    limit: Annotated[float, typer.Option(help="Seconds that the rounds of one step may take.")] = 120.0,
    energy: Annotated[bool, typer.Option(help="Estimate joules a step too (needs codecarbon).")] = False,
    out: Annotated[Path | None, typer.Option(help="Default: results/runs/SUITE, or results/runs/check.")] = None,
) -> None:
    """Time frameworks against each other in alternating blocks; path=auto in --only is the default."""
    from benchmarks.speed import command, pairs

    plan = pairs.Plan(width=width, limit=limit, energy=energy)
    name = "check" if check else f"{Path(suite).stem}-handwritten" if handwritten else Path(suite).stem
    folder = out or plugins.ROOT / "results" / "runs" / name
    if check:
        jobs = command.check_jobs(check, only or [], plan, folder=folder, threads=threads)
    else:
        found = command.chosen(suite, only or [], device=device, threads=threads, handwritten=handwritten)
        jobs = command.timing_jobs(found, plan, folder)
    _writable(folder)
    with _interruptible():
        command.measure_machine(folder, threads)
        failed = command.work(jobs, folder, _command(), console)
    if any(job.path.exists() for job in jobs):
        _report(folder)
    for line in failed:
        console.print(f"[red]failed[/red] {escape(line)}")
    raise typer.Exit(1 if failed else 0)


@app.command()
def advise(  # noqa: PLR0913 - typer reads the options from the arguments
    *,
    task: Annotated[str, typer.Option(help="What is learned.")],
    parameter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Of the task, T=50 say; repeatable.")
    ] = None,
    cell: Annotated[Literal["rnn", "lstm", "gru"], typer.Option(help="The recurrent cell.")] = "lstm",
    activation: Annotated[Literal["tanh", "relu", "sigmoid"], typer.Option(help="Of cell rnn.")] = "tanh",
    framework: Annotated[str | None, typer.Option(help="Default: pytorch where it is installed.")] = None,
    optimizer: Annotated[Literal["sgd", "momentum", "rmsprop", "adam"], typer.Option(help="The optimizer.")] = "adam",
    learning_rate: Annotated[float, typer.Option(help="Tried at a third, once and three times this.")] = 3e-3,
    hidden: Annotated[int, typer.Option(min=1, help="Hidden units a layer.")] = 64,
    layers: Annotated[int, typer.Option(min=1, help="Recurrent layers.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Examples a step.")] = 32,
    steps: Annotated[int, typer.Option(min=100, help="Training steps, a multiple of 100.")] = 2_000,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of every point.")] = 3,
    clip: Annotated[Literal["norm", "value"], typer.Option(help="The kind of clip.")] = "norm",
    thresholds: Annotated[
        str | None, typer.Option(metavar="0.01,0.1,...", help="Default: from the observed norms.")
    ] = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to train.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Threads of a worker.")] = 1,
    jobs: Annotated[int | None, typer.Option(min=1, help="Workers at a time. Default: cores/threads.")] = None,
    out: Annotated[Path | None, typer.Option(help="Default: results/runs/advise-TASK-CELL.")] = None,
) -> None:
    """Recommend a clip threshold: tries a ladder from small to large at three learning rates."""
    from benchmarks import advise as advising
    from benchmarks import sweep

    fields = {
        "task": task,
        "parameters": advising.parameters(parameter or []),
        "framework": advising.framework(framework),
        "cell": cell,
        "activation": activation,
        "layers": layers,
        "hidden": hidden,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "batch": batch,
        "steps": steps,
        "device": device,
        "threads": threads,
    }
    asked = advising.question(fields, clip=clip, seeds=seeds, ladder=advising.thresholds(thresholds))
    store = _opened(out or advising.folder(asked))
    if device == "cuda":
        sweep.preflight(asked.pilot(), store.folder / "logs")
    advisor = advising.Advisor(asked, store, console, _facts("advise", jobs, threads))
    with _interruptible():
        ladder = advisor.pilot()
        advisor.tries(ladder)
    _advice(advisor, ladder)
    _end(advisor.failed)


@app.command()
def calibrate(
    *,
    framework: Annotated[str, typer.Option(help="Which framework trains the planted cases.")] = "pytorch",
    first_seed: Annotated[int, typer.Option(min=0, help="Five seeds from this one.")] = 0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Workers at a time. Default: cores.")] = None,
    out: Annotated[Path | None, typer.Option(help="Default: results/runs/calibration.")] = None,
) -> None:
    """Run planted cases whose diagnosis is known, and write how often the rules are right."""
    import json

    from benchmarks import calibration, sweep
    from results import calibration as calibrated
    from results import terminal

    plugins.require(plugins.known("framework", framework, plugins.frameworks()))
    planted = {case.key(): (label, case) for label, case in calibration.planted(framework, first_seed)}
    store = _opened(out or plugins.ROOT / "results" / "runs" / "calibration")
    truth = {key: label for key, (label, _) in planted.items()}
    (store.folder / calibrated.PLANTED).write_text(json.dumps(truth, indent=1) + "\n")
    plan = sweep.plan([case for _, case in planted.values()], store)
    facts = _facts("calibration", jobs, 1)
    ended = _swept(plan, store, facts, workers=facts["jobs"])
    if store.finished():
        found, page = calibrated.write(store, facts["command"])
        console.print(terminal.confusion(found))
        console.print(f"{found.sentence()}\nwrote {page}", markup=False)
    _end(ended.failed)


@app.command()
def certify(
    *,
    only: Only = None,
    out: Annotated[Path | None, typer.Option(help="Default: results/published/certificates.")] = None,
) -> None:
    """Hold the frameworks against the NumPy reference, step by step; exit 1 beyond the bound."""
    from rich.progress import Progress

    from benchmarks import certificate as certification
    from results import certificates, terminal

    chosen = certification.chosen(only or [])
    _writable(out or certificates.PUBLISHED)
    failed = False
    logs = plugins.ROOT / "results" / "runs" / "certify"
    for framework, checks in chosen.items():
        with Progress(console=console, disable=not console.is_terminal, speed_estimate_period=600) as bar:
            certificate = certification.judge(framework, bar.track(checks, description=framework), logs)
        console.print(terminal.certificate(certificate))
        failed = failed or not certificate["passed"]
        if certificate["complete"] or out:
            console.print(f"wrote {certificates.write(out or certificates.PUBLISHED, certificate)}")
        else:
            console.print("a part proves a part: nothing was written")
    raise typer.Exit(1 if failed else 0)


@app.command()
def semantics(
    out: Annotated[Path | None, typer.Option(help="Default: results/published/semantics.md.")] = None,
) -> None:
    """Ask the frameworks' own clip functions what they do, and write the table."""
    import pandas as pd

    from benchmarks.live import CaseFailedError, Live, StartError
    from results import markdown

    path = out or plugins.ROOT / "results" / "published" / "semantics.md"
    _writable(path.parent)
    rows = []
    for framework in plugins.compared():
        has_probe = (plugins.ROOT / "frameworks" / "clips" / f"{framework}.py").exists()
        if has_probe and plugins.version(framework):
            worker = Live(framework, "cpu", 1, plugins.ROOT / "results" / "runs" / "semantics" / f"{framework}.log")
            try:
                rows += worker.ask({"do": "semantics", "framework": framework})["result"]
            except (CaseFailedError, StartError) as error:
                message = f"{framework} cannot be asked: {error}"
                raise plugins.UsageError(message) from error
            finally:
                worker.stop()
    if not rows:
        message = f"none of the frameworks is installed: {', '.join(plugins.compared())}"
        raise plugins.UsageError(message)
    versions = ", ".join(f"{name} {plugins.version(name)}" for name in dict.fromkeys(row["framework"] for row in rows))
    text = (
        "# What a clip at threshold 1 does in the frameworks' own functions\n\n"
        f"Made by `python -m benchmarks semantics` from live calls, float32, CPU: {versions}. "
        "*excess* is the norm after the clip of a gradient of norm 2, minus 1: an epsilon shows there.\n\n"
        + markdown.table(pd.DataFrame(rows))
    )
    path.write_text(text)
    console.print(text, markup=False)
    console.print(f"wrote {path}")


def main() -> None:
    """Run a command; what the user got wrong is one line and exit status 2."""
    try:
        status = app(standalone_mode=False)
    except (typer.TyperException, plugins.UsageError) as error:
        text: str = getattr(error, "format_message", error.__str__)()
        sys.stderr.write(f"error: {' '.join(text.split())}\n")
        sys.exit(2)
    sys.exit(status)


def _opened(folder: Path) -> Store:
    """Return the store of a folder, made if need be, before anything is run for it."""
    from results.store import Store, StoreError

    store = Store(folder)
    try:
        store.create()
    except StoreError as error:
        raise plugins.UsageError(str(error)) from error
    return store


def _facts(suite: str, jobs: int | None, threads: int) -> dict[str, Any]:
    """Return what every record says of this run."""
    return {
        "suite": suite,
        "command": _command(),
        "jobs": jobs or max(1, (os.cpu_count() or 1) // threads),
    }


def _command() -> str:
    """Return the command that was given, as people type it."""
    return shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end the command with one line and status 130."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: what was finished is kept, the same command carries on\n")
        raise typer.Exit(130) from None


def _swept(plan: sweep.Plan, store: Store, facts: dict[str, Any], *, workers: int = 1) -> sweep.Report:
    """Say how much there is to do and run what is missing, with a progress bar."""
    from benchmarks.progress import Progress
    from benchmarks.sweep import Sweep

    done, missing = len(plan.done), len(plan.missing)
    console.print(f"{facts['suite']}: {len(plan.cases)} cases, {done} already done, {missing} to run")
    with _interruptible(), Progress(list(plan.missing.values()), console) as shown:
        return Sweep(plan, store, listener=shown, facts=facts, workers=workers).run()


def _end(failed: list[sweep.Failure]) -> NoReturn:
    """Name the cases that failed and end the command: status 1 where there are any."""
    for failure in failed:
        console.print(f"[red]failed[/red] {escape(failure.case.label())}: {escape(failure.reason)}")
    raise typer.Exit(1 if failed else 0)


def _writable(folder: Path) -> None:
    """Make a folder that results go to, before anything is run for it."""
    from results.store import StoreError, writable

    try:
        writable(folder)
    except StoreError as error:
        raise plugins.UsageError(str(error)) from error


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


def _advice(advisor: Advisor, ladder: tuple[float, ...]) -> None:
    """Write the advice that the finished cases give, and print it with the paths."""
    from results import advice_report, terminal
    from results.store import StoreError

    try:
        found = advisor.advice(ladder)
        written = advice_report.write(advisor.store.folder, found) if found else []
    except StoreError as error:
        raise plugins.UsageError(str(error)) from error
    if found:
        console.print()
        console.print(terminal.advice(found))
        for sentence in advice_report.sentences(found):
            console.print(f"- {sentence}", markup=False)
        console.print(f"wrote {advisor.store.folder}/: {', '.join(path.name for path in written)}")


def _report(folder: Path, *, anew: bool = True) -> None:
    """Write report and page, `anew` or where they are older than what they tell of; print answers and compact table."""
    from results import findings, report, terminal, timing_report
    from results.site import page
    from results.store import StoreError

    written: list[Path] = []
    said: list[str] = []
    table = None
    try:
        results = report.read(folder)
        if (folder / "rows").is_dir():
            written += report.write(folder) if anew or not report.fresh(folder) else []
            said += [*findings.scope(results.rows, results.runs), *findings.owned(results.rows), *results.trouble]
            table = terminal.summary(results.rows)
        if timing_report.there(folder):
            written += timing_report.write(folder)
            said += timing_report.sentences(*timing_report.read(folder))
        written += page.write(folder) if written else []
        asked = report.answered(results)
    except StoreError as error:
        raise plugins.UsageError(str(error)) from error
    console.print()
    console.print(terminal.answers(asked))
    for sentence in said:
        console.print(f"- {sentence}", markup=False)
    if table:
        console.print(table)
    for parent in dict.fromkeys(path.parent for path in written):
        names = [path.name for path in written if path.parent == parent]
        few = names if len(names) <= 3 else [f"{len(names)} files"]  # noqa: PLR2004 - names that fit a line
        console.print(f"wrote {parent}/: {', '.join(few)}")
    if not written:
        console.print(f"nothing is newer than {folder}/{report.PAGE}, which was left as it is")


if __name__ == "__main__":
    main()
