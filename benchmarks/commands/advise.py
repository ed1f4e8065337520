"""``advise``: a threshold, by trying a ladder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from farreach.benchmarks.commands import common
from farreach.benchmarks.matrix import registry

if TYPE_CHECKING:
    from farreach.benchmarks.studies.threshold_search import Advisor


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
    from farreach.benchmarks.running import sweep
    from farreach.benchmarks.studies import threshold_search as advising

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
    store = common.opened(out or advising.folder(asked))
    if device == "cuda":
        sweep.preflight(asked.pilot(), store.folder / "logs")
    advisor = advising.Advisor(asked, store, common.console, common.facts_of("advise", jobs, threads))
    with common.interruptible():
        ladder = advisor.pilot()
        advisor.tries(ladder)
    _advice(advisor, ladder)
    common.end(advisor.failed)


def _advice(advisor: Advisor, ladder: tuple[float, ...]) -> None:
    """Write the advice that the finished cases give, and print it with the paths."""
    from farreach.results.report import advice, terminal
    from farreach.results.storage.files import StoreError

    try:
        found = advisor.advice(ladder)
        written = advice.write(advisor.store.folder, found) if found else []
    except StoreError as error:
        raise registry.UsageError(str(error)) from error
    if found:
        common.console.print()
        common.console.print(terminal.advice(advice.shown(found), clip=found.clip, setting=found.setting))
        for sentence in advice.sentences(found):
            common.console.print(f"- {sentence}", markup=False)
        common.console.print(f"wrote {advisor.store.folder}/: {', '.join(path.name for path in written)}")
