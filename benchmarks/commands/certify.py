"""``certify``: frameworks against the NumPy reference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from farreach.benchmarks.commands import common
from farreach.benchmarks.matrix import registry


def certify(
    *,
    only: common.Only = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where the frameworks train.")] = "cpu",
    out: Annotated[Path | None, typer.Option(help="Default: results/published/certificates.")] = None,
) -> None:
    """Hold the frameworks against the NumPy reference, step by step; exit 1 beyond the bound."""
    from rich.progress import Progress

    from farreach.benchmarks.studies import certificate as certification
    from farreach.results.analysis import certificates
    from farreach.results.report import terminal

    chosen = certification.chosen(only or [], device)
    common.writable(out or certificates.PUBLISHED)
    failed = False
    logs = registry.RUNS / "certify"
    for framework, checks in chosen.items():
        with Progress(console=common.console, disable=not common.console.is_terminal, speed_estimate_period=600) as bar:
            tracked = bar.track(checks, description=framework)
            certificate = certification.judge(framework, tracked, logs, device)
        common.console.print(terminal.certificate(certificate))
        failed = failed or not certificate["passed"]
        if certificate["complete"] or out:
            common.console.print(f"wrote {certificates.write_certificate(out or certificates.PUBLISHED, certificate)}")
        else:
            common.console.print("a part proves a part: nothing was written")
    raise typer.Exit(1 if failed else 0)
