"""What there is: tasks, frameworks and suites, found by their files and read without importing them."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import importlib.metadata
from pathlib import Path
from typing import Any, TypeGuard

import farreach
from farreach.results.storage.sanitising import format_line

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the rooms: the top of a checkout, or the installed package."""

SUITES = ROOT / "benchmarks" / "suites"

HOME = Path(farreach.__file__).resolve().parents[1]
"""The folder that `farreach` is imported from: where processes are started, so that they import the same."""

PUBLISHED = ROOT / "results" / "published"
"""The folder of the published sets and pages."""

RUNS = (ROOT if HOME == ROOT else Path.cwd()) / "results" / "runs"
"""Where results go by default: the checkout, or for an installed suite the working directory."""

REFERENCE = "reference"
"""The reference implementation, which the others are compared with; it runs where it is asked for by name."""

TASK, FRAMEWORK = "Task", "Framework"
FACTS = ("version", "loss", "unit", "metric", "features", "outputs", "length", "scored", "floor")
"""What the class of every task has."""

SHAPES = "NEEDS is to be a tuple of names, and PATHS a dictionary of devices, cells and tuples of paths, as literals"
MATCHED, NATIVE = "matched", "native"
"""The modes: every framework made to do the same arithmetic, or each as its own documentation has it."""


class UsageError(Exception):
    """Something that the user asked for and that cannot be; one line, exit status 2."""


def list_tasks() -> list[str]:
    """Return the names of the tasks: the files in ``tasks/`` that define a class ``Task``."""
    return [name for name, fault in _find_plugins("tasks").items() if not fault]


def list_frameworks() -> list[str]:
    """Return the names of the frameworks: the folders in ``frameworks/`` that define a class ``Framework``."""
    return [name for name, fault in _find_plugins("frameworks").items() if not fault]


def import_task(name: str) -> Any:
    """Return the class of a task; raise `UsageError` where its file cannot be imported, or lacks what all have."""
    try:
        kind = importlib.import_module(f"farreach.tasks.{name}").Task
    except Exception as error:
        message = f"tasks/{name}.py cannot be imported: {format_line(f'{type(error).__name__}: {error}')}"
        raise UsageError(message) from error
    missing = [fact for fact in FACTS if not hasattr(kind, fact)]
    if missing or not dataclasses.is_dataclass(kind):
        lack = f"lacks {', '.join(missing)}" if missing else "is no data class"
        message = f"tasks/{name}.py is not complete: its class Task {lack}"
        raise UsageError(message)
    return kind


def list_faulty(folder: str) -> dict[str, str]:
    """Return what is wrong with each file or folder of ``tasks`` or ``frameworks`` that is no plug-in, in one line."""
    return {name: fault for name, fault in _find_plugins(folder).items() if fault}


def list_compared() -> list[str]:
    """Return the frameworks that are compared: all but the reference."""
    return [name for name in list_frameworks() if name != REFERENCE]


def list_suites() -> list[str]:
    """Return the names of the suites: the TOML files in ``benchmarks/suites/``."""
    return [path.stem for path in sorted(SUITES.glob("*.toml"))]


def list_architectures() -> list[str]:
    """Return the names of the architectures, by `farreach.frameworks.layouts`."""
    return [*importlib.import_module("farreach.frameworks.layouts").LAYOUTS]


def list_offering(cell: str) -> list[str]:
    """Return the frameworks that have an architecture on some device."""
    return [
        name
        for name in list_frameworks()
        if any(cell in cells for cells in _read_literal(_find_file(name, MATCHED), "PATHS").values())
    ]


def read_summary(folder: str, name: str) -> str:
    """Return the first line of a plug-in's docstring."""
    path = ROOT / folder / f"{name}.py"
    docstring = ast.get_docstring(_parse_file(path if path.exists() else ROOT / folder / name / "__init__.py")) or ""
    return docstring.partition("\n")[0]


def name_package(framework: str) -> str:
    """Return the distribution that is the framework itself, the first of those that it needs."""
    return list_needs(framework)[0]


def list_needs(framework: str, mode: str = MATCHED) -> tuple[str, ...]:
    """Return the distributions that a framework needs in a mode."""
    return tuple(_read_literal(_find_file(framework, mode), "NEEDS"))


@functools.cache
def find_version(distribution: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def find_framework_version(framework: str) -> str | None:
    """Return the installed version of a framework's distribution, or None."""
    return find_version(name_package(framework))


def list_installed() -> list[str]:
    """Return the frameworks that are compared and installed."""
    return [name for name in list_compared() if find_framework_version(name)]


def require_any() -> list[str]:
    """Return the frameworks that are compared and installed; raise `UsageError` where there are none."""
    names = list_installed()
    if not names:
        message = f"none of the frameworks is installed: {', '.join(list_compared())}"
        raise UsageError(message)
    return names


def require_framework(framework: str, mode: str = MATCHED) -> None:
    """Raise `UsageError` where there is no such framework, or a distribution that it needs in this mode is missing."""
    require_name("framework", framework, list_frameworks())
    if find_framework_version(framework) is None:
        message = f"framework {framework} is not installed: it needs the package {name_package(framework)}"
        raise UsageError(message)
    missing = [name for name in list_needs(framework, mode) if find_version(name) is None]
    if missing:
        message = f"framework {framework} in mode {mode} needs a package that is not installed: {', '.join(missing)}"
        raise UsageError(message)


def has_part(framework: str, part: str) -> bool:
    """Return whether a framework's folder has a file that is welcome and not needed, by its name without ``.py``.

    Args:
        framework: a name of `frameworks`.
        part: one that `farreach.frameworks.parts` describes, such as ``gradient_flow``.

    """
    return (ROOT / "frameworks" / framework / f"{part}.py").exists()


def has_mode(framework: str, mode: str) -> bool:
    """Return whether a framework has a mode."""
    return _find_file(framework, mode).exists()


def list_activations(framework: str) -> tuple[str, ...]:
    """Return the activations that a framework's own rnn takes; raise `UsageError` where it has no mode native."""
    if not has_mode(framework, NATIVE):
        message = f"{framework} has no defaults of its own, so no mode {NATIVE}"
        raise UsageError(message)
    return tuple(_read_literal(_find_file(framework, NATIVE), "ACTIVATIONS"))


def list_cells(framework: str, device: str, mode: str = MATCHED) -> dict[str, tuple[str, ...]]:
    """Return the cells that a framework has on a device in a mode, and the paths of each, its default first."""
    devices = _read_literal(_find_file(framework, mode), "PATHS")
    if device not in devices:
        message = f"{framework} does not run on {device}; it runs on: {', '.join(devices)}"
        raise UsageError(message)
    return {cell: tuple(offered) for cell, offered in devices[device].items()}


def list_paths(framework: str, device: str, cell: str, mode: str = MATCHED) -> tuple[str, ...]:
    """Return the paths that a framework offers for a cell on a device in a mode, its default first."""
    offered = list_cells(framework, device, mode)
    if cell not in offered:
        message = f"{framework} has no cell {cell} on {device}; it has: {', '.join(offered)}"
        raise UsageError(message)
    return offered[cell]


def list_looped(framework: str, device: str, cell: str) -> tuple[str, ...]:
    """Return the paths on which a cell runs step by step in a framework, so that each step back can be reached."""
    path = _find_file(framework, MATCHED)
    return tuple(_read_literal(path, "LOOPED").get(device, {}).get(cell, ())) if _declares(path, "LOOPED") else ()


def choose_path(framework: str, device: str, cell: str, clip: str) -> str:
    """Return the default path of a cell in mode matched; under clip ``backprop`` the first that runs step by step."""
    offered = list_paths(framework, device, cell)
    looped = list_looped(framework, device, cell)
    return next((path for path in offered if clip != "backprop" or path in looped), offered[0])


def read_environment(framework: str, device: str) -> dict[str, str]:
    """Return the variables that a framework wants to be set before its process starts on a device."""
    path = _find_file(framework, MATCHED)
    return dict(_read_literal(path, "ENVIRONMENT").get(device, {})) if _declares(path, "ENVIRONMENT") else {}


def find_gap(framework: str, device: str, cell: str, mode: str) -> str:
    """Return why a framework has no such cell on a device in a mode, or ""."""
    if not has_mode(framework, mode):
        return f"{framework} has no mode {mode}"
    try:
        list_paths(framework, device, cell, mode)
    except UsageError as error:
        return str(error)
    return ""


def require_name(kind: str, name: str, names: list[str]) -> str:
    """Return `name` if it is one of `names`; raise `UsageError` with what is wrong or what is allowed otherwise."""
    if name not in names:
        if kind in {"task", "framework"} and (fault := list_faulty(f"{kind}s").get(name)):
            raise UsageError(fault)
        message = f"unknown {kind} {name!r}; allowed: {', '.join(names)}"
        raise UsageError(message)
    return name


@functools.cache
def _parse_file(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def _find_plugins(folder: str) -> dict[str, str]:
    """Return the names of what is to be a task or a framework, and what is wrong with each, "" where nothing is."""
    if folder == "tasks":
        paths = (path for path in (ROOT / folder).glob("*.py") if path.stem not in {"__init__", "base"})
        return {path.stem: _find_fault(path, TASK) for path in sorted(paths)}
    inits = (path / "__init__.py" for path in sorted((ROOT / folder).iterdir()) if [*path.glob("*.py")])
    return {path.parent.name: _find_fault(path, FRAMEWORK) or _find_framework_fault(path) for path in inits}


@functools.cache
def _find_fault(path: Path, name: str) -> str:
    """Return why a file is no plug-in, or ""."""
    where = path.relative_to(ROOT)
    try:
        # To parse all is what `list` takes longest over.
        if f"class {name}" in path.read_text("utf-8") and any(
            isinstance(node, ast.ClassDef) and node.name == name for node in _parse_file(path).body
        ):
            return ""
    except (OSError, SyntaxError, ValueError) as error:
        return f"{where} cannot be read: {error.strerror if isinstance(error, OSError) else error}"
    return f"{where} has no class {name}"


@functools.cache
def _find_framework_fault(path: Path) -> str:
    """Return which of its literals a framework lacks, or has in another shape, or ""."""
    try:
        needs, devices = _read_literal(path, "NEEDS"), _read_literal(path, "PATHS")
        offered = [paths for cells in devices.values() for paths in cells.values()]
        texts = [*needs, *(one for paths in offered for one in paths)]
        good = isinstance(needs, tuple) and needs and all(isinstance(paths, tuple) and paths for paths in offered)
    except (AttributeError, TypeError, ValueError) as error:
        return str(error) if "declares no" in str(error) else f"{path.relative_to(ROOT)}: {SHAPES}"
    return "" if good and all(isinstance(one, str) for one in texts) else f"{path.relative_to(ROOT)}: {SHAPES}"


@functools.cache
def _find_file(framework: str, mode: str) -> Path:
    return ROOT / "frameworks" / framework / ("__init__.py" if mode == MATCHED else f"{mode}.py")


@functools.cache
def _read_literal(path: Path, name: str) -> Any:
    for node in _parse_file(path).body:
        if _assigns(node, name):
            return ast.literal_eval(node.value)
    message = f"{path.relative_to(ROOT)} declares no {name}"
    raise AttributeError(message)


def _declares(path: Path, name: str) -> bool:
    return any(_assigns(node, name) for node in _parse_file(path).body)


def _assigns(node: ast.stmt, name: str) -> TypeGuard[ast.Assign]:
    return isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets)
