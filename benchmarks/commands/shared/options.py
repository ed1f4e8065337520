"""Arguments and options that several commands share: each is declared here once, with its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer


def settle_path(path: Path | None) -> Path | None:
    """Return a path that the user gave without steps upwards: those that come later are of a name, and refused."""
    return path.resolve() if path is not None and ".." in path.parts else path


Suite = Annotated[
    str, typer.Argument(metavar="SUITE", help="Name of a suite, as `list suites` prints it, or path of a TOML file.")
]
ResultSet = Annotated[
    Path,
    typer.Argument(
        metavar="DIR", help="Folder of a result set, for example results/published/quick.", callback=settle_path
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Keep only what has this VALUE under KEY, for example cell=lstm or T=50. KEY is a field of a case or a "
        "parameter of its task. Repeat the option to narrow further; VALUEs of the same KEY are alternatives.",
    ),
]
Device = Annotated[
    Literal["cpu", "cuda"], typer.Option(help="Train on the processor (cpu) or on an NVIDIA GPU (cuda).")
]
Threads = Annotated[int, typer.Option(min=1, metavar="N", help="Let each training process use N threads.")]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Run at most N training processes at a time. Default: the cores that this process may use, divided by "
        "--threads where a command has it.",
    ),
]
Dask = Annotated[
    str | None,
    typer.Option(
        metavar="tcp://HOST:PORT", help="Send the work to the Dask cluster whose scheduler listens at this address."
    ),
]
Patience = Annotated[
    float,
    typer.Option(min=1, metavar="N", help="With --dask: abandon an unresponsive worker after N seconds."),
]
Framework = Annotated[
    str, typer.Option(metavar="NAME", help="Name of the framework that trains, as `list frameworks` prints it.")
]
Portable = Annotated[
    bool,
    typer.Option(
        "--portable",
        help="Let PyTorch's libraries take kernels that processors of all makers have; slower. See docs/lasting.md.",
    ),
]
AllowHub = Annotated[
    bool,
    typer.Option(
        "--allow-hub",
        help="Load data from the Hugging Face hub where a suite or a row names some; otherwise that is refused.",
    ),
]
Page = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write what was found to this Markdown file as well.", callback=settle_path),
]


def make_folder_option(default: str) -> Any:
    """Return the option --out of a command that writes to `default` unless it is given."""
    told = f"Write the results to this folder. Default: {default}."
    return typer.Option(metavar="DIR", help=told, callback=settle_path)
