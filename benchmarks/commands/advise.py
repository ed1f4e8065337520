"""``advise``: a clip threshold, by trying a grid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from farreach.benchmarks.commands.shared import options, output, refusals, runs

if TYPE_CHECKING:
    from farreach.benchmarks.studies.threshold_search import ThresholdSearch


def advise(  # noqa: PLR0913 - typer reads the options from the arguments
    *,
    task: Annotated[str, typer.Option(metavar="TASK", help="Name of the task, as `list tasks` prints it.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Give a parameter of the task this VALUE, for example T=50; repeat it for others.",
        ),
    ] = None,
    cell: Annotated[Literal["rnn", "lstm", "gru"], typer.Option(help="Train this recurrent cell.")] = "lstm",
    activation: Annotated[
        Literal["tanh", "relu", "sigmoid"], typer.Option(help="With --cell rnn: use this activation.")
    ] = "tanh",
    framework: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the framework that trains. Default: pytorch if it is installed."),
    ] = None,
    optimizer: Annotated[
        Literal["sgd", "momentum", "rmsprop", "adam"], typer.Option(help="Update the weights with this optimizer.")
    ] = "adam",
    learning_rate: Annotated[
        float,
        typer.Option(metavar="RATE", help="Try this learning rate, a third of it and three times it."),
    ] = 3e-3,
    hidden: Annotated[int, typer.Option(min=1, metavar="N", help="Give each layer N hidden units.")] = 64,
    layers: Annotated[int, typer.Option(min=1, metavar="N", help="Stack N recurrent layers.")] = 1,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Train on N examples per step.")] = 32,
    steps: Annotated[int, typer.Option(min=100, metavar="N", help="Train for N steps, a multiple of 100.")] = 2_000,
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Train each grid point with N seeds.")] = 3,
    clip: Annotated[
        Literal["norm", "value"], typer.Option(help="Clip the global norm of the gradient, or each of its elements.")
    ] = "norm",
    thresholds: Annotated[
        str | None,
        typer.Option(
            metavar="C1,C2,...",
            help="Try these thresholds, for example 0.01,0.1,1. Default: a grid over the observed gradient norms.",
        ),
    ] = None,
    device: options.Device = "cpu",
    threads: options.Threads = 1,
    jobs: options.Jobs = None,
    allow_hub: options.AllowHub = False,
    out: Annotated[Path | None, options.make_folder_option("results/runs/advise-TASK-CELL")] = None,
) -> None:
    """Recommend a clip threshold for a task, from training runs over a grid of thresholds and learning rates.

    First it trains without a clip, then at each threshold from small to large, at three learning rates.

    Example:
        python -m benchmarks advise --task adding --parameter T=50 --cell lstm --steps 1000 --seeds 3
    """
    from farreach.benchmarks.running import sweep
    from farreach.benchmarks.studies import threshold_search

    refusals.allow_hub(allowed=allow_hub)
    fields = {
        "task": task,
        "parameters": threshold_search.parse_parameters(parameter or []),
        "framework": threshold_search.choose_framework(framework),
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
    grid = threshold_search.parse_thresholds(thresholds)
    question = threshold_search.make_question(fields, clip=clip, seeds=seeds, thresholds=grid)
    store = refusals.open_store(out or threshold_search.choose_folder(question))
    if device == "cuda":
        sweep.try_devices(question.list_unclipped(), store.folder / "logs")
    facts = runs.collect_facts("advise", jobs, threads)
    search = threshold_search.ThresholdSearch(question, store, output.console, facts)
    with runs.end_on_interruption():
        grid = search.run_unclipped()
        search.run_grid(grid)
    _print_advice(search, grid)
    output.end_run(search.failed)


def _print_advice(search: ThresholdSearch, grid: tuple[float, ...]) -> None:
    """Write the advice that the finished cases give, and print it with the paths."""
    from farreach.results.report import advice, advice_files, terminal

    verdict = search.judge_cases(grid)
    if verdict is None:
        return
    paths = advice_files.write_files(search.store.folder, verdict)
    tried = advice.tabulate_tried(verdict)
    output.console.print()
    output.console.print(terminal.render_advice(tried, clip=verdict.clip, setting=verdict.setting))
    output.print_list(advice.write_findings(verdict))
    output.print_written(paths)
