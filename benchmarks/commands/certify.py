"""``certify``: frameworks against the NumPy reference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farreach.benchmarks.commands.shared import options, output, refusals
from farreach.benchmarks.matrix import registry


def certify(
    *,
    only: options.Only = None,
    device: options.Device = "cpu",
    portable: options.Portable = False,
    out: Annotated[Path | None, options.make_folder_option("results/published/certificates")] = None,
) -> None:
    """Verify each framework step by step against NumPy; exit 1 if a bound is exceeded.

    Certificates are written of those families of architectures whose checks all ran, or to --out. The published ones
    are written from a checkout without changes alone. KEY of --only is a field of a check: framework, path, cell,
    activation, layers, inputs, optimizer, clip, regulariser, scored, chunk, dtype, initial, numbers, schedule; and
    replicas, microbatches, clip_at, without which updates in parts are not checked: replicas=2 is two processes,
    microbatches=2 two parts of a batch, one after another.

    Example:
        python -m benchmarks certify --only framework=pytorch --only cell=lstm
    """
    from rich.progress import Progress

    from farreach.benchmarks.studies import certificate, certification
    from farreach.results.analysis.certificates import is_within_bounds
    from farreach.results.report.certificates import render_checks
    from farreach.results.storage import certificates, files

    refusals.make_portable(portable=portable, device=device)
    chosen = certificate.choose_checks(only or [], device)
    folder = out or (certificates.PUBLISHED if registry.HERE == registry.ROOT else registry.PUBLISHED / "certificates")
    whole = {name: certificate.find_whole(name, checks, only or [], device) for name, checks in chosen.items()}
    writes = out or any(whole.values())
    if writes and folder.resolve() == certificates.PUBLISHED.resolve():
        certificate.require_clean_commit(folder)
    files.require_writable(folder)
    logs = out / "logs" if out else registry.RUNS / "certify"
    passed = True
    for framework, checks in chosen.items():
        console = output.console
        with Progress(console=console, disable=not console.is_terminal, speed_estimate_period=600) as bar:
            tracked = bar.track(checks, description=framework)
            made, results = certificate.make_certificates(framework, tracked, logs, device)
        console.print(render_checks(framework, results, certification.STEPS))
        passed = passed and all(map(is_within_bounds, results))
        ran = {*whole[framework]}
        finished = [one for one in made if out or certificate.is_made_of(one, ran)]
        if finished:
            output.print_written([certificates.write_certificate(folder, one) for one in finished])
        else:
            output.print_line("only some of the checks ran, so no certificate was written")
    raise typer.Exit(0 if passed else 1)
