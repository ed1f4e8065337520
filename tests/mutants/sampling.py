"""Mutants drawn at random by the operators of Cosmic Ray, spread over the files in proportion to where they can change.

A place of a file is drawn first and then one of its mutants, so that an operator with many forms does not crowd out the
others. Never drawn, by rules that were fixed before any was run:

- what is the same program: changes in docstrings, in annotations (which pydantic alone evaluates), of a cache's
  decorator or its size, of the `*` after which parameters have names, and of `strict` in `zip`, which ends a program
  that is wrong already;
- a comparison by identity in place of one by value and the reverse: the two agree on None, on True and on False;
- arithmetic of bits in place of arithmetic of numbers, which ends in a TypeError before a test looks at anything;
- what runs on a GPU alone: blocks that ask for ``cuda`` or ``cudnn``, and classes and functions named for them.
"""

from __future__ import annotations

import ast
import fnmatch
import random
import re
from collections.abc import Iterator
from typing import Any

from tests.mutants.table import ROOT, Mutant, find_tests, load_relevant

SEED, COUNT = 20_261_128, 150
SOURCES = (
    "frameworks/**/*.py",
    "tasks/*.py",
    "benchmarks/running/*.py",
    "benchmarks/matrix/*.py",
    "results/analysis/**/*.py",
    "results/storage/*.py",
    "results/timing/*.py",
)
"""Where faults are drawn from."""

LEFT_OUT: tuple[str, ...] = (
    "*/__init__.py",
    "frameworks/*/device.py",
    "frameworks/environment.py",
    "benchmarks/running/environment.py",
)
LEFT_OUT += ("benchmarks/running/progress.py", "frameworks/parts.py")
"""Files of words alone, of the machine, of a GPU, and of what is shown while a run goes on."""

KEPT = ("frameworks/*/__init__.py", "results/analysis/statistics/__init__.py")
"""Files named `__init__.py` that have more in them than words."""

ARITHMETIC = ("Add", "Sub", "Mul", "Div")
GPU = re.compile("cuda|cudnn|StepGraph|GPU")
CACHES = {"cache", "lru_cache"}


def list_sources() -> list[str]:
    """Return the files that faults are drawn from."""
    found = sorted({path.relative_to(ROOT).as_posix() for pattern in SOURCES for path in ROOT.glob(pattern)})
    return [file for file in found if _fits(file, KEPT) or not _fits(file, LEFT_OUT)]


def _fits(file: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(file, pattern) for pattern in patterns)


def sample_mutants(count: int = COUNT, seed: int = SEED) -> list[Mutant]:
    """Draw mutants; the same seed gives the same ones for the same code."""
    relevant = load_relevant()
    places = {file: _list_places((ROOT / file).read_text("utf-8")) for file in list_sources()}
    mutants: list[Mutant] = []
    for file, share in share_out(count, {file: len(found) for file, found in places.items()}).items():
        text = (ROOT / file).read_text("utf-8")
        chance = random.Random(f"{seed} {file}")  # noqa: S311 - a sample, no secret
        drawn = 0
        order = sorted(places[file])
        chance.shuffle(order)
        for place in order:
            if drawn == share:
                break
            forms = places[file][place]
            chance.shuffle(forms)
            for operator, occurrence in forms:
                changed = mutate_text(text, operator, occurrence)
                if changed is not None:
                    line = place[0]
                    breaks = f"line {line}: {_show_change(text, changed)}"
                    name = f"sampled-{seed}-{len(mutants) + 1}"
                    mutants.append(Mutant(name, file, changed, breaks, find_tests(file, relevant)))
                    drawn += 1
                    break
    return mutants


def share_out(count: int, sizes: dict[str, int]) -> dict[str, int]:
    """Share a count out in proportion to sizes, whole numbers by largest remainder."""
    whole = sum(sizes.values())
    exact = {name: count * size / whole for name, size in sizes.items()}
    shares = {name: int(share) for name, share in exact.items()}
    rest = sorted(exact, key=lambda name: (shares[name] - exact[name], name))[: count - sum(shares.values())]
    return {name: share + (name in rest) for name, share in shares.items()}


def mutate_text(text: str, operator: str, occurrence: int) -> str | None:
    """Return the text with one mutation; None where the rules leave it out or it is no program."""
    from cosmic_ray.mutating import mutate_code  # noqa: PLC0415 - the table of faults needs no Cosmic Ray
    from cosmic_ray.plugins import get_operator  # noqa: PLC0415

    try:
        changed: str | None = mutate_code(text, get_operator(operator)(), occurrence)
    except AttributeError:  # Cosmic Ray cannot replace an exception of a dotted name: `except pyarrow.ArrowException`
        return None
    if changed is None:
        return None
    try:
        return None if strip_program(changed) == strip_program(text) else changed
    except SyntaxError:
        return None


def _list_places(text: str) -> dict[tuple[int, int], list[tuple[str, int]]]:
    """Return the mutants, operator and occurrence, at each place (line, column) of a file."""
    from cosmic_ray.ast import ast_nodes, get_ast  # noqa: PLC0415
    from cosmic_ray.plugins import get_operator, operator_names  # noqa: PLC0415

    nodes = list(ast_nodes(get_ast(text)))
    places: dict[tuple[int, int], list[tuple[str, int]]] = {}
    for name in filter(_is_drawn, sorted(operator_names())):
        operator, occurrence = get_operator(name)(), 0
        for node in nodes:
            for start, _ in operator.mutation_positions(node):
                places.setdefault(start, []).append((name, occurrence))
                occurrence += 1
    return places


def _is_drawn(operator: str) -> bool:
    kind = operator.partition("/")[2]
    if kind.startswith(("Variable", "NoOp")):
        return False  # they ask for names
    if kind.startswith("ReplaceComparisonOperator"):
        return not kind.endswith(("_Is", "_IsNot")) or kind.endswith(("_Is_IsNot", "_IsNot_Is"))
    if kind.startswith("ReplaceBinaryOperator"):
        return kind.rpartition("_")[2] in ARITHMETIC
    return True


def strip_program(text: str) -> str:
    """Return what a file does, without what the rules never draw."""
    return ast.dump(_Stripping().visit(ast.parse(text)))


class _Stripping(ast.NodeTransformer):
    def visit(self, node: ast.AST) -> Any:
        stripped = node
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) if GPU.search(name):
                return None
            case ast.If(test=test) | ast.IfExp(test=test) if GPU.search(ast.unparse(test)):
                return ast.Pass() if isinstance(node, ast.If) else ast.Constant(None)
            case ast.Expr(value=ast.Constant()):
                return None
            case ast.AnnAssign(target=target, value=value):
                stripped = ast.Assign([target], value or ast.Constant(None))
            case ast.Call(func=ast.Name(id="zip")):
                node.keywords = []
            case ast.arguments():
                node.defaults = [*node.defaults, *(default for default in node.kw_defaults if default)]
                node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
                node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
            case ast.arg() | ast.FunctionDef():
                node.__dict__ |= {"annotation": None, "returns": None}
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            node.decorator_list = [part for part in node.decorator_list if not _is_cache(part)]
        return self.generic_visit(stripped)


def _is_cache(node: ast.expr) -> bool:
    called = node.func if isinstance(node, ast.Call) else node
    return ast.unparse(called).rpartition(".")[2] in CACHES


def _show_change(text: str, changed: str) -> str:
    """Return the first line that differs, before and after."""
    pairs: Iterator[tuple[str, str]] = zip(text.splitlines(), changed.splitlines(), strict=False)
    before, after = next(((old, new) for old, new in pairs if old != new), ("", ""))
    return f"`{before.strip()}` → `{after.strip()}`"
