"""What a command refuses before anything is run for it, each fault in one line."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import typer

from farreach.benchmarks.matrix import registry

if TYPE_CHECKING:
    from farreach.results.storage.result_set import Store

SCHEMES = {"tcp", "tls", "ucx", "ws", "wss"}
"""How Dask's processes talk between machines."""


def is_user_error(error: Exception) -> bool:
    """Say whether an error is the user's to mend: a bad option or value, a folder that cannot be read or written."""
    from farreach.results.storage.files import StoreError

    # Typer's own have a method for what they say; their class is click's, or since 0.28 its own.
    return isinstance(error, registry.UsageError | StoreError) or hasattr(error, "format_message")


def check_words(words: list[str]) -> None:
    """Refuse bytes that are no text here: they could not be recorded, nor be the name of a Parquet file."""
    for word in words:
        if re.search("[\ud800-\udfff]", word):  # how Python has bytes that it cannot decode
            message = f"{word!r} is no text in this locale; with PYTHONUTF8=1, words of the command are UTF-8"
            raise registry.UsageError(message)


def refuse_options(context: typer.Context, names: tuple[str, ...], why: str) -> None:
    """Refuse those of the named arguments that were given and would have no effect; `why` follows their names."""
    useless = [name for name in names if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"]
    if useless:
        words = {parameter.name: parameter.opts[0] for parameter in context.command.params}
        texts = [words[name] if words[name].startswith("-") else words[name].upper() for name in useless]
        verb = "has no effect" if len(useless) == 1 else "have no effect"
        message = f"{' and '.join(texts)} {verb} {why}"
        raise registry.UsageError(message)


def check_dask(context: typer.Context, dask: str | None) -> None:
    """Refuse what is not an address, as a variable that is not set, and --patience without an address."""
    if dask is None and getattr(context.get_parameter_source("patience"), "name", "") == "COMMANDLINE":
        message = "--patience requires --dask"
        raise registry.UsageError(message)
    if dask is not None:
        check_address(dask)


def check_address(address: str) -> None:
    """Raise `UsageError` where a text is not the address of a scheduler."""
    try:
        parts = urlsplit(address)
        good = parts.scheme in SCHEMES and parts.hostname and parts.port and not parts.path
    except ValueError:  # of a port that is not a number
        good = False
    if not good:
        message = f"--dask takes the address of a scheduler, tcp://HOST:PORT, not {address!r}"
        raise registry.UsageError(message)


def allow_hub(*, allowed: bool) -> None:
    """Let the tasks of this command, and of its workers, load data from the network, or keep them from it."""
    from farreach.tasks import data

    os.environ[data.ALLOWED] = "1" if allowed else "0"


def make_portable(*, portable: bool, device: str = "cpu", dask: str | None = None) -> None:
    """Set the variables of a portable run where one is wanted; refuse it where they have no effect."""
    from farreach.benchmarks.running.portable import VARIABLES, want_portable

    if not portable:
        return
    if device != "cpu":
        message = f"--portable has no effect with --device {device}: it chooses kernels of the processor"
        raise registry.UsageError(message)
    if dask:
        settings = " ".join(f"{name}={value}" for each in VARIABLES.values() for name, value in each.items())
        message = f"--portable has no effect with --dask: start each worker of PyTorch with {settings}"
        raise registry.UsageError(message)
    want_portable()


def require_distributed(name: str) -> None:
    """Refuse a command or an option that needs Dask where it is not installed."""
    if registry.find_version("distributed") is None:
        message = f"{name} needs the package distributed{registry.name_extra('distributed')}, which is not installed"
        raise registry.UsageError(message)


def check_result_set(folder: Path) -> None:
    """Refuse a folder that holds no results."""
    from farreach.results.storage.sets import is_set

    if not is_set(folder):
        message = f"no results in {folder}"
        raise registry.UsageError(message)


def check_page(path: Path | None) -> None:
    """Refuse a page that could not be written; make its folder."""
    from farreach.results.storage import files

    if path is not None:
        files.require_writable(path.parent)
        if path.is_dir():
            message = f"cannot write to {path}: it is a folder"
            raise registry.UsageError(message)


def open_store(folder: Path) -> Store:
    """Return the store of a folder, which is made where it is not there; refuse one that holds a packed set."""
    from farreach.results.storage.sets import open_run_folder

    store = open_run_folder(folder)
    store.create()
    return store
