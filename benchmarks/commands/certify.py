"""``certify``: frameworks against the NumPy reference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farreach.benchmarks.commands.shared import options, output
from farreach.benchmarks.matrix import registry


def certify(
    *,
    only: options.Only = None,
    device: options.Device = "cpu",
    out: Annotated[Path | None, options.make_folder_option("results/published/certificates")] = None,
) -> None:
    """Verify each framework step by step against NumPy; exit 1 if the tolerance is exceeded.

    A certificate is written where all checks of a framework ran, or to --out. KEY of --only is a field of a check:
    framework, path, cell, activation, layers, inputs, optimizer, clip, regulariser.

    Example:
        python -m benchmarks certify --only framework=pytorch --only cell=lstm
    """
    from rich.progress import Progress

    from farreach.benchmarks.studies import certificate as certificates_made
    from farreach.results.analysis import certificates
    from farreach.results.report import terminal
    from farreach.results.storage import files

    chosen = certificates_made.choose_checks(only or [], device)
    files.require_writable(out or certificates.PUBLISHED)
    passed = True
    for framework, checks in chosen.items():
        console = output.console
        with Progress(console=console, disable=not console.is_terminal, speed_estimate_period=600) as bar:
            tracked = bar.track(checks, description=framework)
            certificate = certificates_made.make_certificate(framework, tracked, registry.RUNS / "certify", device)
        console.print(terminal.render_certificate(certificate))
        passed = passed and certificate["passed"]
        if certificate["complete"] or out:
            output.print_written([certificates.write_certificate(out or certificates.PUBLISHED, certificate)])
        else:
            output.print_line("only some of the checks ran, so no certificate was written")
    raise typer.Exit(0 if passed else 1)
