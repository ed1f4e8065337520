"""What two files must share to be twins: the names and arguments of their functions."""

from __future__ import annotations

import ast


def describe_signature(node: ast.FunctionDef | ast.ClassDef) -> str:
    if isinstance(node, ast.ClassDef):
        return f"class {node.name}"
    arguments = [argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)]
    return f"{node.name}({', '.join(arguments)})"
