"""``advise``: a clip threshold, by trying a grid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from farreach.benchmarks.commands.shared import options, output, refusals, reports, runs
from farreach.benchmarks.matrix import registry

if TYPE_CHECKING:
    from farreach.benchmarks.studies.threshold_search import ThresholdSearch


def advise(  # noqa: PLR0913 - typer reads the options from the arguments
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN",
            help="Folder of runs that are there, your own for example: advise from their norms, and train nothing.",
            callback=options.settle_path,
        ),
    ] = None,
    *,
    task: Annotated[
        str | None, typer.Option(metavar="TASK", help="Name of the task, as `list tasks` prints it.")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Give a parameter of the task this VALUE, for example T=50; repeat it for others.",
        ),
    ] = None,
    cell: Annotated[
        str, typer.Option(metavar="NAME", help="Train this architecture, as `list architectures` prints it.")
    ] = "lstm",
    activation: Annotated[
        Literal["tanh", "relu", "sigmoid"], typer.Option(help="With --cell rnn or indrnn: use this activation.")
    ] = "tanh",
    framework: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the framework that trains. Default: pytorch if it is installed."),
    ] = None,
    optimizer: Annotated[
        Literal["sgd", "momentum", "rmsprop", "adam", "adagrad", "adamw"],
        typer.Option(help="Update the weights with this optimizer."),
    ] = "adam",
    weight_decay: Annotated[
        float | None, typer.Option(metavar="DECAY", help="With --optimizer adamw, which needs it: decay the weights.")
    ] = None,
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
        Literal["norm", "value", "variable", "agc", "autoclip", "backprop"],
        typer.Option(help="Search the threshold of this kind of clip; docs/thresholds.md says what each is."),
    ] = "norm",
    thresholds: Annotated[
        str | None,
        typer.Option(
            metavar="C1,C2,...",
            help="Try these thresholds, for example 0.01,0.1,1. Default: a grid over the observed gradient norms; of "
            "agc, autoclip and backprop a fixed one.",
        ),
    ] = None,
    device: options.Device = "cpu",
    threads: options.Threads = 1,
    jobs: options.Jobs = None,
    allow_hub: options.AllowHub = False,
    out: Annotated[Path | None, options.make_folder_option("results/runs/advise-TASK-CELL")] = None,
) -> None:
    """Recommend a clip threshold for a task, from training runs over a grid of thresholds and learning rates.

    First it trains without a clip, then at each threshold from small to large, at three learning rates. Given a RUN it
    trains nothing: it says which thresholds the recorded norms suggest, and what share of the steps each would clip.

    Example:
        python -m benchmarks advise --task adding --parameter T=50 --cell lstm --steps 1000 --seeds 3
        python -m benchmarks advise results/runs/mine
    """
    if folder is not None:
        refusals.check_result_set(folder)
        others = tuple(name for name in context.params if name != "folder")
        refusals.refuse_options(context, others, "with a RUN, whose norms are there")
        _advise_from_norms(folder)
        return
    if task is None:
        message = "advise needs --task TASK, or a RUN whose norms were recorded"
        raise registry.UsageError(message)
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
        "weight_decay": weight_decay,
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
    told = reports.try_report(
        store.folder, lambda: _print_advice(search, grid), "the advice", "the same command, which trains nothing again,"
    )
    output.end_run(search.failed, told=told)


def _advise_from_norms(folder: Path) -> None:
    """Print what the recorded norms of a result set suggest."""
    from farreach.benchmarks.matrix import versions
    from farreach.results.analysis.norm_advice import advise_norms
    from farreach.results.report import contents, norm_advice, slices, terminal

    results = contents.read_results(folder, now=versions.collect_versions())
    found = advise_norms(results.rows, results.store.curves)
    if not found:
        message = f"no results in {folder}"
        raise registry.UsageError(message)
    lines, shared = slices.split_shared(norm_advice.tabulate_candidates(found))
    if len(lines):
        output.console.print(terminal.render_groups(lines, f"{folder.name}: thresholds", shared))
    output.print_list(norm_advice.write_findings(found))


def _print_advice(search: ThresholdSearch, grid: tuple[float, ...]) -> None:
    """Write the advice that the finished cases give, and print it with the paths."""
    from farreach.results.report import advice, advice_files, terminal
    from farreach.results.site import advice_page

    verdict = search.judge_cases(grid)
    if verdict is None:
        return
    paths = advice_files.write_files(search.store.folder, verdict)
    paths += advice_page.write(search.store.folder, verdict)
    tried = advice.tabulate_tried(verdict)
    output.console.print()
    output.console.print(terminal.render_advice(tried, clip=verdict.clip, setting=verdict.setting))
    output.print_list(advice.write_findings(verdict))
    output.print_written(paths)
