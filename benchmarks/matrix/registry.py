"""What there is: tasks, frameworks and suites, found by their files and read without importing them.

Those of the project lie in its rooms, and those of others where `farreach.benchmarks.matrix.plugins` finds them.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import importlib.metadata
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import farreach
from farreach.benchmarks.matrix import plugins
from farreach.benchmarks.matrix.plugins import Plugin
from farreach.results.storage.sanitising import format_line

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the rooms: the top of a checkout, or the installed package."""

SUITES = ROOT / "benchmarks" / "suites"

HOME = Path(farreach.__file__).resolve().parents[1]
"""The folder that `farreach` is imported from: where processes are started, so that they import the same."""

HERE = ROOT if HOME == ROOT else Path.cwd()
"""What results are below, read and written: the checkout, or for an installed suite the working directory."""

PUBLISHED = HERE / "results" / "published"
"""The folder of the published sets and pages."""

RUNS = HERE / "results" / "runs"
"""Where results go by default."""

REFERENCE = "reference"
"""The reference implementation, which the others are compared with; it runs where it is asked for by name."""

EXTRAS = {"torch": "torch", "tensorflow": "tensorflow", "distributed": "cluster"} | dict.fromkeys(
    ("jax", "optax", "flax"), "jax"
)
"""Which extra of the installed suite a package belongs to that not everybody has."""

TASK, FRAMEWORK = "Task", "Framework"
FACTS = ("version", "loss", "unit", "metric", "features", "outputs", "length", "scored", "floor")
"""What the class of every task has."""

SHAPES = "NEEDS is to be a tuple of names, and PATHS a dictionary of devices, cells and tuples of paths, as literals"
MATCHED, NATIVE = "matched", "native"
"""The modes: every framework made to do the same arithmetic, or each as its own documentation has it."""


class UsageError(Exception):
    """Something that the user asked for and that cannot be; one line, exit status 2."""


plugins.install_finder()


def use_plugins(folders: Sequence[Path]) -> None:
    """Find plug-ins in these folders, in processes that this one starts too; raise `UsageError` for what is none."""
    for folder in folders:
        if not any((folder / room).is_dir() for room in (*plugins.ROOMS, "suites")):
            message = f"--plugins takes a folder with tasks/, frameworks/ or suites/, not {folder}"
            raise UsageError(message)
    plugins.name_folders(folders)
    for room in plugins.ROOMS:
        _find_plugins(room)  # refuses a name that is there more than once
        for name, (first, *_) in plugins.find_plugins(room).items():
            module = sys.modules.get(f"farreach.{room}.{name}")
            if module is not None and Path(str(module.__file__)) != first.path:
                place = first.name_file(first.path)
                message = f"another {name} was imported in this process before: start a new one for {place}"
                raise UsageError(message)


def find_plugin(room: str, name: str) -> Plugin | None:
    """Return the plug-in of a name, None where the project has it itself or where there is none."""
    return next(iter(plugins.find_plugins(room).get(name, [])), None)


def describe_plugins(task: str, framework: str) -> str | None:
    """Return where a task and a framework come from that are not the project's, as rows have it; None where both are.

    It is a JSON object of texts under ``task`` and ``framework``: the source, and the digest of its code at the end.
    """
    found = {"task": find_plugin("tasks", task), "framework": find_plugin("frameworks", framework)}
    said = {kind: f"{one.source} {one.hash_code()}" for kind, one in found.items() if one is not None}
    return json.dumps(said, sort_keys=True) if said else None


def find_source(path: str) -> Path:
    """Return where a file lies that is called as in the project, such as ``frameworks/NAME/clip.py``."""
    room, _, rest = path.partition("/")
    name, _, inner = rest.partition("/")
    plugin = find_plugin(room, name.removesuffix(".py")) if room in plugins.ROOMS else None
    if plugin is None:
        return ROOT / path
    return plugin.path.parent / inner if inner else plugin.path


def list_tasks() -> list[str]:
    """Return the names of the tasks: the files in ``tasks/`` that define a class ``Task``, and those of plug-ins."""
    return [name for name, fault in _find_plugins("tasks").items() if not fault]


def list_frameworks() -> list[str]:
    """Return the names of the frameworks: the folders in ``frameworks/`` that define a class ``Framework``."""
    return [name for name, fault in _find_plugins("frameworks").items() if not fault]


def import_task(name: str) -> Any:
    """Return the class of a task; raise `UsageError` where its file cannot be imported, or lacks what all have."""
    try:
        kind = importlib.import_module(f"farreach.tasks.{name}").Task
    except Exception as error:
        reason = format_line(f"{type(error).__name__}: {error}")
        message = f"{_name_place(find_source(f'tasks/{name}.py'))} cannot be imported: {reason}"
        raise UsageError(message) from error
    missing = [fact for fact in FACTS if not hasattr(kind, fact)]
    if missing or not dataclasses.is_dataclass(kind):
        lack = f"lacks {', '.join(missing)}" if missing else "is no data class"
        message = f"{_name_place(find_source(f'tasks/{name}.py'))} is not complete: its class Task {lack}"
        raise UsageError(message)
    return kind


def list_faulty(folder: str) -> dict[str, str]:
    """Return what is wrong with each file or folder of ``tasks`` or ``frameworks`` that is no plug-in, in one line."""
    return {name: fault for name, fault in _find_plugins(folder).items() if fault}


def list_compared() -> list[str]:
    """Return the frameworks that are compared: all but the reference."""
    return [name for name in list_frameworks() if name != REFERENCE]


def list_suites() -> list[str]:
    """Return the names of the suites: the TOML files in ``benchmarks/suites/``, and those of plug-ins."""
    return sorted({path.stem for path in SUITES.glob("*.toml")} | {*plugins.list_suites()})


def find_suite(name: str) -> Path:
    """Return the file of a suite; raise `UsageError` where there is none, or several."""
    require_name("suite", name, list_suites())
    own = SUITES / f"{name}.toml"
    paths = [*([own] if own.exists() else []), *plugins.list_suites().get(name, [])]
    if len(paths) > 1:
        message = f"suite {name} is there {len(paths)} times: give the path of its file"
        raise UsageError(message)
    return paths[0]


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
    path = find_source(f"{folder}/{name}.py" if folder == "tasks" else f"{folder}/{name}/__init__.py")
    plugin = find_plugin(folder, name)
    docstring = ast.get_docstring(_parse_file(path)) or ""
    return docstring.partition("\n")[0] + (f" (of {plugin.source})" if plugin else "")


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
        extras = name_extra(*map(name_package, list_compared()))
        message = f"none of the frameworks is installed: {', '.join(list_compared())}{extras}"
        raise UsageError(message)
    return names


def require_framework(framework: str, mode: str = MATCHED) -> None:
    """Raise `UsageError` where there is no such framework, or a distribution that it needs in this mode is missing."""
    require_name("framework", framework, list_frameworks())
    if find_framework_version(framework) is None:
        package = name_package(framework)
        message = f"framework {framework} is not installed: it needs the package {package}{name_extra(package)}"
        raise UsageError(message)
    missing = [name for name in list_needs(framework, mode) if find_version(name) is None]
    if missing:
        message = f"framework {framework} in mode {mode} needs a package that is not installed: {', '.join(missing)}"
        raise UsageError(message + name_extra(*missing))


def name_extra(*packages: str) -> str:
    """Return which extras pip installs these packages by, to stand behind their names; nothing where none does."""
    extras = dict.fromkeys(EXTRAS[package] for package in packages if package in EXTRAS)
    return f" (extra {', '.join(extras)})" if extras else ""


def has_part(framework: str, part: str) -> bool:
    """Return whether a framework's folder has a file that is welcome and not needed, by its name without ``.py``.

    Args:
        framework: a name of `frameworks`.
        part: one that `farreach.frameworks.parts` describes, such as ``gradient_flow``.

    """
    return find_source(f"frameworks/{framework}/{part}.py").exists()


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


def list_plugged_cells() -> list[str]:
    """Return the cells of the frameworks of plug-ins, each of which brings its architectures."""
    return [*_list_plugged_cells(plugins.list_folders())] if plugins.find_plugins("frameworks") else []


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
    found = {path.stem if path.stem != "__init__" else path.parent.name: [path] for path in _list_own(folder)}
    for name, others in plugins.find_plugins(folder).items():
        if not name.startswith("_"):  # a file that others import
            found.setdefault(name, []).extend(other.path for other in others)
    twice = next((name for name, paths in found.items() if len(paths) > 1), None)
    if twice is not None:
        where = " and ".join(map(_name_place, found[twice]))
        message = f"{twice} is there more than once: {where}; rename one, or leave it out"
        raise UsageError(message)
    if folder == "tasks":
        return {name: _find_fault(path, TASK) for name, (path,) in found.items()}
    return {name: _find_fault(path, FRAMEWORK) or _find_framework_fault(path) for name, (path,) in found.items()}


def _list_own(folder: str) -> list[Path]:
    """Return the files of the project that are to be tasks or frameworks."""
    if folder == "tasks":
        return sorted(path for path in (ROOT / folder).glob("*.py") if path.stem not in {"__init__", "base"})
    return [path / "__init__.py" for path in sorted((ROOT / folder).iterdir()) if [*path.glob("*.py")]]


@functools.cache
def _list_plugged_cells(folders: tuple[Path, ...]) -> tuple[str, ...]:
    """Return the cells that frameworks of plug-ins declare while these are the folders of plug-ins."""
    del folders
    there = _find_plugins("frameworks")
    files = [_find_file(name, MATCHED) for name in plugins.find_plugins("frameworks") if not there.get(name, "faulty")]
    return tuple(sorted({cell for path in files for cells in _read_literal(path, "PATHS").values() for cell in cells}))


def _name_place(path: Path) -> str:
    """Return how messages call a file: by its place in the project, or by its plug-in."""
    if path.is_relative_to(ROOT):
        return str(path.relative_to(ROOT))
    every = (one for room in plugins.ROOMS for found in plugins.find_plugins(room).values() for one in found)
    return next((one.name_file(path) for one in every if one.has_file(path)), path.name)


@functools.cache
def _find_fault(path: Path, name: str) -> str:
    """Return why a file is no plug-in, or ""."""
    where = _name_place(path)
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
        return str(error) if "declares no" in str(error) else f"{_name_place(path)}: {SHAPES}"
    return "" if good and all(isinstance(one, str) for one in texts) else f"{_name_place(path)}: {SHAPES}"


def _find_file(framework: str, mode: str) -> Path:
    return find_source(f"frameworks/{framework}/{'__init__' if mode == MATCHED else mode}.py")


@functools.cache
def _read_literal(path: Path, name: str) -> Any:
    for node in _parse_file(path).body:
        if _assigns(node, name):
            return ast.literal_eval(node.value)
    message = f"{_name_place(path)} declares no {name}"
    raise AttributeError(message)


def _declares(path: Path, name: str) -> bool:
    return any(_assigns(node, name) for node in _parse_file(path).body)


def _assigns(node: ast.stmt, name: str) -> TypeGuard[ast.Assign]:
    return isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets)
