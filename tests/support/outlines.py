"""What two files must share to be twins: their public names, in order, with the arguments of each function."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

Definition = ast.FunctionDef | ast.ClassDef


def describe_signature(node: Definition) -> str:
    if isinstance(node, ast.ClassDef):
        return f"class {node.name}"
    arguments = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    keywords = [argument.arg for argument in node.args.kwonlyargs]
    return f"{node.name}({', '.join([*arguments, *(['*'] if keywords else []), *keywords])})"


def list_outline(path: Path) -> list[str]:
    """Return the public names of a file, in order: constants, functions with arguments, classes with their methods.

    Of a class the public methods count, ``__init__`` and ``__call__``.
    """
    return list(_outline(path.read_text()))


@functools.cache
def _outline(source: str) -> tuple[str, ...]:
    return tuple(line for node in ast.parse(source).body for line in _describe(node))


def _describe(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from (target.id for target in targets if isinstance(target, ast.Name) and not target.id.startswith("_"))
    elif isinstance(node, Definition) and not node.name.startswith("_"):
        yield describe_signature(node)
        for method in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(method, ast.FunctionDef) and not _is_private(method.name):
                yield f"{node.name}.{describe_signature(method)}"


def _is_private(name: str) -> bool:
    return name.startswith("_") and name not in {"__init__", "__call__"}
