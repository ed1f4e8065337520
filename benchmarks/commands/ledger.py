"""``ledger``: published claims, each with a verdict."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farreach.benchmarks.commands.shared import options, output, refusals, runs
from farreach.benchmarks.matrix import registry

if TYPE_CHECKING:
    from farreach.benchmarks.matrix.claims import Entry
    from farreach.benchmarks.running.sweep import Failure
    from farreach.results.storage.result_set import Store


def ledger(
    context: typer.Context,
    *,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Keep only the claims with this VALUE under KEY: id, year, read, task, cell or framework. Repeat the "
            "option to narrow further; VALUEs of the same KEY are alternatives.",
        ),
    ] = None,
    list_claims: Annotated[
        bool, typer.Option("--list", help="List the claims with their planned cost; train and write nothing.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Check that each claim was committed before its rows ran, and that ledger.md follows from the rows. "
            "Default folder: results/published/ledger.",
        ),
    ] = False,
    budget_minutes: Annotated[
        float,
        typer.Option(min=0, metavar="N", help="Begin no case after N minutes, so that a run ends within the hour."),
    ] = 50.0,
    jobs: options.Jobs = None,
    out: Annotated[Path | None, options.make_folder_option("results/runs/ledger")] = None,
) -> None:
    """Run what is missing of the ledger of published claims, cheapest first, and give each claim a verdict.

    After a stop, and when the budget is over, the same command carries on.

    Example:
        python -m benchmarks ledger --only id=graves-2013-derivative-clip --budget-minutes 10
    """
    from farreach.benchmarks.matrix import claims
    from farreach.benchmarks.running import sweep
    from farreach.benchmarks.studies import ledger as study
    from farreach.results.analysis.ledger import judge_ledger
    from farreach.results.report import ledger as report

    if list_claims and check:
        message = "--list and --check contradict each other: one lists the claims, the other checks their rows"
        raise registry.UsageError(message)
    if list_claims or check:
        refused = ("budget_minutes", "jobs", *(("only",) if check else ("out",)))
        refusals.refuse_options(context, refused, "with --check" if check else "with --list")
    entries = claims.load_ledger()
    if check:
        _check_set(entries, out or registry.PUBLISHED / "ledger")
    chosen = study.choose_claims(entries, only or [])
    if list_claims:
        output.print_list(report.write_plan(entry.describe()) for entry in chosen)
        planned = sum(entry.content.minutes or 0 for entry in chosen) / 60
        output.print_line(f"{len(chosen)} claims, {planned:.1f} hours of one core planned")
        return
    sweep.require_frameworks([case for entry in chosen for case in entry.list_cases()])
    store = refusals.open_store(out or registry.RUNS / "ledger")
    study.write_claims(store, entries)
    failed = _run_claims(chosen, store, runs.collect_facts("ledger", jobs), budget=budget_minutes)
    page = report.write_page(store)
    output.print_line(report.write_summary(judge_ledger(store)))
    output.print_written([page])
    output.end_run(failed)


def _run_claims(chosen: list[Entry], store: Store, facts: dict[str, Any], *, budget: float) -> list[Failure]:
    """Run claims one after the other until the budget of minutes is over, and print the verdict on each."""
    from farreach.benchmarks.studies import ledger as study
    from farreach.results.report import ledger as report

    ends = time.perf_counter() + 60 * budget
    failed: list[Failure] = []
    left = 0
    for entry in chosen:
        plan = runs.plan_run(entry.list_cases(), store)
        if plan.missing:
            seconds = ends - time.perf_counter()
            own = study.find_seconds(entry, study.judge_entry(entry, store))
            if seconds > 0 and own > 0:
                each = facts | {"suite": entry.name}
                done = runs.run_cases(plan, store, each, workers=facts["jobs"], seconds=min(seconds, own))
                failed += done.failed
                missing = done.left
            else:
                missing = len(plan.missing)
            late = time.perf_counter() >= ends
            left += missing if late else 0
            if missing and not late:
                most = study.SLACK * (entry.content.minutes or 0)
                output.print_line(
                    f"{entry.name} has taken its {most:g} minutes, {study.SLACK:g} times its plan: {missing} cases "
                    "were not begun; what is finished stays"
                )
        output.print_line(report.write_verdict(study.judge_entry(entry, store)))
    if left:
        output.print_line(
            f"the budget of {budget:g} minutes is over: {left} cases were not begun; what is finished stays, and the "
            "same command carries on"
        )
    return failed


def _check_set(entries: list[Entry], folder: Path) -> None:
    """Print what is wrong with a set, and end the command, with status 1 where anything is."""
    from farreach.benchmarks.studies import ledger as study
    from farreach.results.report import ledger as report
    from farreach.results.storage.sets import open_set

    refusals.check_result_set(folder)
    store = open_set(folder)
    lines = [report.write_fault(fault) for fault in study.check_order(entries, store)]
    lines += report.list_stale(store)
    output.print_list(lines)
    if not lines:
        output.print_line("every claim was committed before its rows, and every verdict follows from them")
    raise typer.Exit(1 if lines else 0)
