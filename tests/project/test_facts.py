"""Facts stay columns: no text is taken apart where results are told, except for the reasons given here."""

from __future__ import annotations

import ast

from farreach.benchmarks.matrix import registry

ROOMS = ("analysis", "report", "site", "figures", "publishing", "timing")
CUTS = {"split", "rsplit", "partition", "rpartition", "removeprefix", "removesuffix", "startswith", "endswith"}
PATTERNS = {"compile", "findall", "finditer", "fullmatch", "match", "search", "split", "sub"}

ALLOWED = {
    "analysis/labels.py format_metric sub": "a metric's name, on its way to the reader",
    "analysis/selection.py find_metrics startswith": "the name of a column",
    "figures/style.py <module> compile": "the mathematics in a picture's text, which is ours",
    "figures/style.py _format_tick split": "a number that it has written itself",
    "figures/style.py write_title sub": "where a title may break into lines",
    "publishing/packing.py <module> compile": "the names of files",
    "publishing/blocks.py _advice startswith": "the list of a page, whose set has no evaluations to make it from",
    "publishing/blocks.py fill_blocks findall": "the comments of a document",
    "publishing/blocks.py fill_blocks sub": "the comments of a document",
    "publishing/documents.py <module> compile": "the links of a document",
    "publishing/packing.py _unused split": "the name of a file",
    "publishing/packing.py write_manifest endswith": "the name of a file",
    "publishing/reports.py <module> compile": "the pictures and tables that a page links to",
    "publishing/reports.py _drop_links partition": "a heading of a page",
    "publishing/reports.py _drop_links sub": "empty lines of a page",
    "publishing/submissions.py <module> compile": "the name of a folder, and paths within a command",
    "publishing/submissions.py _find_unknown endswith": "a commit, which says so itself where it is not whole",
    "report/markdown.py code findall": "the backticks of a text",
    "report/markdown.py code split": "white space of a text",
    "report/markdown.py escape split": "white space of a text",
    "report/markdown.py escape sub": "the markup of a text",
    "report/result_set.py <module> compile": "the names of files",
    "report/result_set.py _write_shares endswith": "the name of a column",
    "report/slices.py describe_lines endswith": "the name of a column",
    "report/timing.py <module> compile": "the names of files",
    "site/bundle.py <module> compile": "the names of files",
    "site/bundle.py _wrap_module findall": "a script of a library",
    "site/bundle.py _wrap_module search": "a script of a library",
    "site/page.py _list_gallery startswith": "the name of a file",
    "site/rerun_command.py _find_option startswith": "the command that a row was made by",
    "site/rerun_command.py _find_program split": "the command that a row was made by",
    "site/rerun_command.py _parse_words partition": "the command that a row was made by",
    "site/rerun_command.py _parse_words startswith": "the command that a row was made by",
    "site/rerun_command.py _list_only partition": "the command that a row was made by",
    "site/rerun_command.py _split_command split": "the command that a row was made by",
    "site/row_dialog.py _describe_case startswith": "the name of a column",
    "timing/interleaved.py get_kind partition": "the name of a file with a hand-written loop",
}
"""Each place at which a text is taken apart: file, function and method; and what text that is."""


def find_cuts(tree: ast.AST, function: str = "<module>") -> set[tuple[str, str]]:
    """Return function and method of every call that takes a text apart."""
    found: set[tuple[str, str]] = set()
    for node in ast.iter_child_nodes(tree):
        inside = node.name if isinstance(node, ast.FunctionDef) and function == "<module>" else function
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of_re = isinstance(node.func.value, ast.Name) and node.func.value.id == "re"
            if node.func.attr in (PATTERNS if of_re else CUTS):
                found.add((inside, node.func.attr))
        found |= find_cuts(node, inside)
    return found


def test_no_label_is_read_back() -> None:
    found = set()
    for room in ROOMS:
        for path in sorted((registry.ROOT / "results" / room).rglob("*.py")):
            name = path.relative_to(registry.ROOT / "results").as_posix()
            found |= {" ".join([name, *cut]) for cut in find_cuts(ast.parse(path.read_text()))}
    assert found == {*ALLOWED}
