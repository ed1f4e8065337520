"""The command line: ``python -m benchmarks list | run | report | speed | advise | certify | semantics | calibrate``.

What is imported here is imported by ``--help`` too, so pandas, pydantic and the rest wait for
the command that needs them.
"""

from __future__ import annotations

import functools
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
    from benchmarks.cluster.pool import Pool
    from results.store import Store

app = typer.Typer(
    help="Train the long-dependency tasks in several frameworks and publish what they did.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False, soft_wrap=True)

Only = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Keep the cases that match; repeatable.")]
Dask = Annotated[str | None, typer.Option(metavar="tcp://HOST:PORT", help="Send the work to a Dask cluster.")]
Patience = Annotated[float, typer.Option(min=1, help="Seconds after which a silent worker of it is given up.")]


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
def run(  # noqa: PLR0913 - typer reads the options from the arguments
    suite: Annotated[str, typer.Argument(help="Name of a suite, or path of a TOML file.")],
    *,
    only: Only = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to train.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Threads of every framework.")] = 1,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes at work at a time, one a framework. Default: cores/threads.")
    ] = None,
    shard: Annotated[str | None, typer.Option(metavar="K/N", help="Run the K-th of N parts of the cases.")] = None,
    dask: Dask = None,
    patience: Patience = 60.0,
    out: Annotated[Path | None, typer.Option(help="Default: results/runs/SUITE.")] = None,
) -> None:
    """Run a suite: what is missing in its folder is trained, then the report is written."""
    from benchmarks import suite as suites
    from benchmarks import sweep

    if dask and jobs:
        message = "--jobs is about this machine: on a cluster its workers' threads say how many cases run at a time"
        raise plugins.UsageError(message)
    installed = [name for name in plugins.compared() if plugins.version(name)]
    frameworks = suites.named(only or []) or installed
    cases = suites.load(suite).cases(frameworks, device=device, threads=threads)
    cases = suites.shard(suites.narrow(cases, only or [], suite), shard)
    sweep.check(cases)
    folder = out or plugins.ROOT / "results" / "runs" / Path(suite).stem
    store = _opened(folder)
    plan = sweep.plan(cases, store)
    facts = _facts(Path(suite).stem, jobs, threads)
    if dask and plan.missing:
        with _pool(dask, patience, folder) as pool:
            ended = _sent(plan, store, facts, pool)
    else:
        if device == "cuda" and not dask:
            sweep.preflight(cases, folder / "logs")
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
def reproduce(
    target: Annotated[str, typer.Argument(metavar="KEY|DIR", help="A row's key, DIR/KEY, or a result set.")],
    *,
    only: Only = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes at work at a time. Default: cores.")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the new rows here, to carry on after a stop.")] = None,
    page: Annotated[Path | None, typer.Option(help="Write what was found here too, as Markdown.")] = None,
) -> None:
    """Run recorded cases again and compare them bit for bit; exit 1 where one is not the same."""
    import tempfile

    from benchmarks import reproduce as reproducing
    from benchmarks import sweep
    from results import reproduction

    found = reproducing.recorded(target, only or [])
    sweep.check([*found.rows])
    with tempfile.TemporaryDirectory() as scratch:
        store = _opened(out or Path(scratch))
        plan = sweep.plan([*found.rows], store)
        facts = _facts("reproduce", jobs, 1)
        ended = _swept(plan, store, facts, workers=facts["jobs"])
        judged = reproducing.compared(found, store, ended.failed)
    if page:
        page.write_text(reproduction.page(judged, facts["command"]), encoding="utf-8")
    for sentence in reproduction.sentences(judged):
        console.print(f"- {sentence}", markup=False)
    raise typer.Exit(0 if all(one.verdict == reproduction.IDENTICAL for one in judged) else 1)


@app.command()
def compare(  # noqa: PLR0913 - typer reads the options from the arguments
    old: Annotated[str, typer.Argument(metavar="OLD", help="A result set, a folder of several, or an environment.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The same, of the other side.")],
    *,
    live: Annotated[bool, typer.Option("--live", help="OLD and NEW are Python environments: time both now.")] = False,
    fail_on: Annotated[
        list[str] | None, typer.Option(metavar="worse|changed", help="Exit 1 where a row is that; repeatable.")
    ] = None,
    suite: Annotated[str, typer.Option(help="With --live: the steps of this suite.")] = "speed",
    only: Only = None,
    launches: Annotated[int, typer.Option(min=2, help="With --live: how often both are started.")] = 5,
    limit: Annotated[float, typer.Option(help="With --live: seconds that the rounds of a launch may take.")] = 20.0,
    out: Annotated[Path | None, typer.Option(help="Default: results/runs/compare, or compare-live.")] = None,
) -> None:
    """Compare two result sets row by row, or with --live the speed of two environments."""
    from benchmarks import versions
    from results import comparison, comparison_report
    from results.files import StoreError

    folder = out or plugins.ROOT / "results" / "runs" / ("compare-live" if live else "compare")
    for verdict in fail_on or []:
        plugins.known("--fail-on", verdict, [comparison.WORSE, comparison.CHANGED])
    _writable(folder)
    failed: list[str] = []
    try:
        if live:
            failed, paths = _timed_live((old, new), suite, only or [], launches=launches, limit=limit, folder=folder)
            found = comparison.live(paths)
        else:
            now = versions.current()
            found = comparison.compared(comparison.read(Path(old), now), comparison.read(Path(new), now))
        written = comparison_report.write(folder, found, title=f"{old} and {new}", command=_command())
    except StoreError as error:
        raise plugins.UsageError(str(error)) from error
    for sentence in comparison_report.sentences(found):
        console.print(f"- {sentence}", markup=False)
    console.print(f"wrote {folder}/: {', '.join(path.name for path in written)}")
    for line in failed:
        console.print(f"[red]failed[/red] {escape(line)}")
    raise typer.Exit(1 if failed or any(found.flagged(verdict) for verdict in fail_on or []) else 0)


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
    dask: Dask = None,
    patience: Patience = 60.0,
    out: Annotated[Path | None, typer.Option(help="Default: results/runs/SUITE, or .../check; -cuda after it.")] = None,
) -> None:
    """Time frameworks against each other in alternating blocks; path=auto in --only is the default."""
    from benchmarks import sweep
    from benchmarks.speed import command, pairs

    if dask and check:
        message = "--check is about one machine: run it there, without --dask"
        raise plugins.UsageError(message)
    plan = pairs.Plan(width=width, limit=limit, energy=energy)
    name = "check" if check else f"{Path(suite).stem}-handwritten" if handwritten else Path(suite).stem
    folder = out or plugins.ROOT / "results" / "runs" / (name if device == "cpu" else f"{name}-{device}")
    if check:
        launches = command.launches(check, only or [], device=device, threads=threads)
        cases = [launch.case for launch in launches]
        jobs = command.check_jobs(launches, plan, folder)
    else:
        found = command.chosen(suite, only or [], device=device, threads=threads, handwritten=handwritten)
        cases = [one.case for group in found for one in group.contenders]
        jobs = command.timing_jobs(found, plan, folder)
    _writable(folder)
    missing = [job for job in jobs if not job.path.exists()]
    if dask and missing:
        with _pool(dask, patience, folder) as pool:
            from benchmarks.cluster import timings

            pool.workers.check(timings.work(missing).values())
            measure = functools.partial(timings.measured, pool)
            failed = command.work(jobs, folder, _command(), console, measure=measure)
    else:
        if device != "cpu" and not dask:
            sweep.preflight(cases, folder / "logs")
        with _interruptible():
            if not dask:
                command.measure_machine(folder, cases[0])
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
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where the frameworks train.")] = "cpu",
    out: Annotated[Path | None, typer.Option(help="Default: results/published/certificates.")] = None,
) -> None:
    """Hold the frameworks against the NumPy reference, step by step; exit 1 beyond the bound."""
    from rich.progress import Progress

    from benchmarks import certificate as certification
    from results import certificates, terminal

    chosen = certification.chosen(only or [], device)
    _writable(out or certificates.PUBLISHED)
    failed = False
    logs = plugins.ROOT / "results" / "runs" / "certify"
    for framework, checks in chosen.items():
        with Progress(console=console, disable=not console.is_terminal, speed_estimate_period=600) as bar:
            tracked = bar.track(checks, description=framework)
            certificate = certification.judge(framework, tracked, logs, device)
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
    from benchmarks import semantics_table

    path = out or plugins.ROOT / "results" / "published" / "semantics.md"
    _writable(path.parent)
    text = semantics_table.text(plugins.ROOT / "results" / "runs" / "semantics")
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
    from results.files import StoreError
    from results.store import Store

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
    """Let Ctrl-C end the command with one line and status 130, and a disk that takes no more with status 1."""
    from results.files import StoreError

    try:
        yield
    except StoreError as error:
        sys.stderr.write(f"error: {error}; what was finished is kept, the same command carries on\n")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: what was finished is kept, the same command carries on\n")
        raise typer.Exit(130) from None


def _swept(plan: sweep.Plan, store: Store, facts: dict[str, Any], *, workers: int = 1) -> sweep.Report:
    """Say how much there is to do and run what is missing, with a progress bar."""
    from benchmarks.progress import Progress
    from benchmarks.sweep import Sweep

    _say(plan, facts)
    with _interruptible(), Progress(list(plan.missing.values()), console) as shown:
        return Sweep(plan, store, listener=shown, facts=facts, workers=workers).run()


def _timed_live(
    environments: tuple[str, str], suite: str, only: list[str], *, launches: int, limit: float, folder: Path
) -> tuple[list[str], list[Path]]:
    """Time the steps of a suite in two environments; return a line for each that failed, and the others' files."""
    from benchmarks.speed import command, pairs, versus

    old, new = map(versus.interpreter, environments)
    steps = command.chosen(suite, only, device="cpu", threads=1, handwritten=False)
    jobs = command.live_jobs(steps, pairs.Plan(limit=limit), folder, pythons=(old, new), launches=launches)
    with _interruptible():
        failed = command.work(jobs, folder, _command(), console)
    return failed, [job.path for job in jobs if job.path.exists()]


def _sent(plan: sweep.Plan, store: Store, facts: dict[str, Any], pool: Pool) -> sweep.Report:
    """Say how much there is to do and have a cluster run what is missing, with a progress bar."""
    from benchmarks.cluster.sweep import Sweep, work
    from benchmarks.progress import Progress

    pool.workers.check(work(plan.missing).values())
    _say(plan, facts)
    with Progress(list(plan.missing.values()), console) as shown:
        return Sweep(plan, store, pool, listener=shown, facts=facts).run()


@contextmanager
def _pool(address: str, patience: float, folder: Path) -> Iterator[Pool]:
    """Yield the workers of a Dask cluster, which are let go when the block is left."""
    if plugins.installed("distributed") is None:
        message = "--dask needs the package distributed, which is not installed"
        raise plugins.UsageError(message)
    from benchmarks.cluster import connect

    def notice(line: str) -> None:
        console.print(line, markup=False)

    with (
        _interruptible(),
        connect.connect(address, patience=patience, notice=notice, log=folder / "logs" / "dask.log") as pool,
    ):
        yield pool


def _say(plan: sweep.Plan, facts: dict[str, Any]) -> None:
    """Print how much there is to do."""
    done, missing = len(plan.done), len(plan.missing)
    console.print(f"{facts['suite']}: {len(plan.cases)} cases, {done} already done, {missing} to run")


def _end(failed: list[sweep.Failure]) -> NoReturn:
    """Name the cases that failed and end the command: status 1 where there are any."""
    for failure in failed:
        console.print(f"[red]failed[/red] {escape(failure.case.label())}: {escape(failure.reason)}")
    raise typer.Exit(1 if failed else 0)


def _writable(folder: Path) -> None:
    """Make a folder that results go to, before anything is run for it."""
    from results.files import StoreError, writable

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
    from results.files import StoreError

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
    from benchmarks import versions
    from results import findings, report, terminal, timing_report
    from results.files import StoreError
    from results.site import page

    written: list[Path] = []
    said: list[str] = []
    table = None
    now = versions.current()
    try:
        results, timed = report.read(folder, now=now), timing_report.read(folder)
        if (folder / "rows").is_dir():
            written += report.write(folder, now) if anew or not report.fresh(folder) else []
            results = report.read(folder, now=now)  # once more: what was found damaged has been set aside
            said += [*findings.scope(results.rows, results.runs), *findings.owned(results.rows), *results.trouble]
            table = terminal.summary(results.rows)
        if timing_report.there(folder):
            written += timing_report.write(folder, timed)
            said += timed.sentences()
        written += page.write(folder, now) if written else []
        asked = report.answered(results, timed)
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
