"""A digest of source code that stands for what the code does: comments, docstrings and layout do not count.

It is the same on every Python from 3.11 to 3.13, and needs nothing but Python.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

Find = Callable[[str], Path]
"""Returns where a file lies, given its path below the folder that holds the rooms."""

PACKAGE = "farreach"
"""What the absolute names of our modules begin with."""


def hash_source(text: str) -> str:
    """Return the SHA-256 of a module's syntax tree without its comments, docstrings and layout."""
    return hashlib.sha256(_write_tree(ast.parse(text)).encode()).hexdigest()


def find_closure(
    find: Find, starts: Iterable[str], rooms: Iterable[str], cut: Mapping[str, Container[str]] = MappingProxyType({})
) -> list[str]:
    """Return the files that these files import, and those that those import, by the import statements in them.

    Args:
        find: where a file lies.
        starts: files with which it begins.
        rooms: how the paths begin of the files that are followed; others are left out.
        cut: which files are not followed from a file, for one that imports all of what it chooses from.

    Returns:
        Their paths as `find` takes them, sorted; imports that only a type checker sees are none.

    """
    begins, found, queue = tuple(rooms), set[str](), [*starts]
    while queue:
        path = queue.pop()
        if path in found:
            continue
        found.add(path)
        modules, passed = _list_imports(ast.parse(find(path).read_text("utf-8"))), cut.get(path, ())
        files = (one for module in modules for one in _find_files(find, module))
        queue += [one for one in files if one.startswith(begins) and one not in passed]
    return sorted(found)


def hash_files(find: Find, paths: Iterable[str]) -> str:
    """Return one digest of these files: of their paths and of what each does."""
    lines = [f"{path} {hash_source(find(path).read_text('utf-8'))}\n" for path in sorted(paths)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _write_tree(node: object) -> str:
    """Return a node as text: the names of its fields and what they hold, empty ones left out.

    `ast.dump` is not used: what it writes of an empty field, and which fields there are, differs between Pythons.
    """
    if isinstance(node, list):
        return f"[{','.join(_write_tree(one) for one in node if not _is_text(one))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: getattr(node, name, None) for name in node._fields if name not in {"kind", "type_comment"}}
    if isinstance(node, ast.JoinedStr):
        fields["values"] = [*_join_texts(node.values)]
    held = [f"{name}={_write_tree(value)}" for name, value in sorted(fields.items()) if value not in (None, [])]
    return f"{type(node).__name__}({','.join(held)})"


def _is_text(node: object) -> bool:
    """Say whether a statement is a text and nothing else: a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _join_texts(values: list[ast.expr]) -> Iterator[ast.expr]:
    """Yield the parts of an f-string, neighbouring texts as one: Pythons cut them differently."""
    text = ""
    for value in values:
        if isinstance(value, ast.Constant):
            text += str(value.value)
            continue
        if text:
            yield ast.Constant(text)
        text = ""
        yield value
    if text:
        yield ast.Constant(text)


def _list_imports(tree: ast.Module) -> Iterator[str]:
    """Yield the names of our modules that a file may import; a name within a module is taken for a module too."""
    queue: list[ast.AST] = [tree]
    while queue:
        node = queue.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        queue += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _find_files(find: Find, module: str) -> Iterator[str]:
    """Yield the files of a module of ours: its own, and those of the packages above it."""
    package, *parts = module.split(".")
    for count in range(1, len(parts) + 1) if package == PACKAGE else ():
        place = "/".join(parts[:count])
        yield from (name for name in (f"{place}.py", f"{place}/__init__.py") if find(name).is_file())
