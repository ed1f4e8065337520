"""Plug-ins that lie outside of the project: in folders that the user names, and in packages that are installed.

A folder is laid out as the project is:

    DIR/tasks/NAME.py                   a task, with a class ``Task``
    DIR/frameworks/NAME/__init__.py     a framework, with a class ``Framework``
    DIR/suites/NAME.toml                a suite

A package names its own by entry points of the groups ``farreach.tasks`` and ``farreach.frameworks``, each
``NAME = "package.module"``. Both are found by their files, read without being imported, and imported under the names
that the project's own have, such as ``farreach.tasks.NAME``; in every process, since the folders are in a variable.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.abc
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from farreach.results.storage.sanitising import format_line

VARIABLE = "FARREACH_PLUGINS"
"""Names the folders, as PATH does its own; workers inherit it."""

ROOMS = ("tasks", "frameworks")
"""What can be plugged in, beside suites: the folders of a folder of plug-ins, and the ends of the groups' names."""

NOT_FOUND = Path("nowhere") / "__init__.py"


@dataclasses.dataclass(frozen=True)
class Plugin:
    """A plug-in.

    Attributes:
        path: of its file; of a package's ``__init__.py``.
        source: where it comes from, without a folder of this machine: the last part of a folder's name, or a
            distribution and its version.

    """

    path: Path
    source: str

    @property
    def is_package(self) -> bool:
        """Whether it is a folder of modules."""
        return self.path.name == "__init__.py"

    def has_file(self, path: Path) -> bool:
        """Return whether a file is of it."""
        return path == self.path or (self.is_package and path.is_relative_to(self.path.parent))

    def name_file(self, path: Path) -> str:
        """Return how messages call a file of it."""
        folder = self.path.parent.parent if self.is_package else self.path.parent
        return f"{path.relative_to(folder)} of {self.source}"

    def hash_code(self) -> str:
        """Return the first digits of the SHA-256 of its source: of its file, or of every file of its package."""
        files = sorted(self.path.parent.rglob("*.py")) if self.is_package else [self.path]
        total = hashlib.sha256()
        for file in files:
            total.update(file.relative_to(self.path.parent).as_posix().encode())
            total.update(file.read_bytes())
        return total.hexdigest()[:16]


def list_folders() -> tuple[Path, ...]:
    """Return the folders of plug-ins."""
    return tuple(Path(one) for one in os.environ.get(VARIABLE, "").split(os.pathsep) if one)


def name_folders(folders: Sequence[Path]) -> None:
    """Let this process, and those that it starts, find plug-ins in these folders instead of earlier ones."""
    os.environ[VARIABLE] = os.pathsep.join(str(folder.resolve()) for folder in folders)


def find_plugins(room: str) -> dict[str, list[Plugin]]:
    """Return the plug-ins of a room by name; more than one where several bear it."""
    found: dict[str, list[Plugin]] = {}
    for name, plugin in [*_list_in_folders(room, list_folders()), *list_entry_points(room)]:
        found.setdefault(name, []).append(plugin)
    return found


def list_suites() -> dict[str, list[Path]]:
    """Return the suites in folders of plug-ins by name."""
    found: dict[str, list[Path]] = {}
    for folder in list_folders():
        for path in sorted((folder / "suites").glob("*.toml")):
            found.setdefault(path.stem, []).append(path)
    return found


class Finder(importlib.abc.MetaPathFinder):
    """Finds plug-ins for `import`, after what the project has itself."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where the module of a plug-in lies."""
        del path, target
        package, _, rest = fullname.partition(".")
        room, _, name = rest.partition(".")
        if package != "farreach" or room not in ROOMS or not name or "." in name:
            return None
        for plugin in find_plugins(room).get(name, [])[:1]:
            places = [str(plugin.path.parent)] if plugin.is_package else None
            return importlib.util.spec_from_file_location(fullname, plugin.path, submodule_search_locations=places)
        return None


def install_finder() -> None:
    """Let this process import plug-ins."""
    if not any(type(finder).__name__ == Finder.__name__ for finder in sys.meta_path):
        sys.meta_path.append(Finder())


def _list_in_folders(room: str, folders: Sequence[Path]) -> Iterator[tuple[str, Plugin]]:
    for folder in folders:
        source = folder.name
        if room == "tasks":
            for path in sorted((folder / room).glob("*.py")):
                if path.stem != "__init__":
                    yield path.stem, Plugin(path, source)
        elif (folder / room).is_dir():
            for inner in sorted((folder / room).iterdir()):
                if [*inner.glob("*.py")]:
                    yield inner.name, Plugin(inner / "__init__.py", source)


@functools.cache
def list_entry_points(room: str) -> tuple[tuple[str, Plugin], ...]:
    """Return what installed packages name, read once a process."""
    found = []
    for point in importlib.metadata.entry_points(group=f"farreach.{room}"):
        source = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"
        try:
            spec = importlib.util.find_spec(point.module)
        except Exception as error:  # noqa: BLE001 - of the package above it, whose own code this is
            spec, source = None, f"{source}, which breaks: {format_line(f'{type(error).__name__}: {error}')}"
        path = Path(spec.origin) if spec is not None and spec.origin else NOT_FOUND
        found.append((point.name, Plugin(path, source)))
    return tuple(found)
