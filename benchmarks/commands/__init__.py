"""The commands of ``python -m benchmarks``, one file each, in the order in which ``--help`` lists them.

What a command needs is imported by its function and not by its file: ``--help`` imports every file, and pandas,
pydantic and the rest would make it slow.
"""

import inspect
import re
from collections.abc import Callable

from farreach.benchmarks.commands.advise import advise
from farreach.benchmarks.commands.budget import budget
from farreach.benchmarks.commands.calibrate import calibrate
from farreach.benchmarks.commands.certify import certify
from farreach.benchmarks.commands.cluster_cost import cluster_cost
from farreach.benchmarks.commands.compare import compare
from farreach.benchmarks.commands.coverage import coverage
from farreach.benchmarks.commands.history import history
from farreach.benchmarks.commands.ledger import ledger
from farreach.benchmarks.commands.list_ import list_
from farreach.benchmarks.commands.live_check import live_check
from farreach.benchmarks.commands.own_cost import own_cost
from farreach.benchmarks.commands.pack import pack
from farreach.benchmarks.commands.publish import publish
from farreach.benchmarks.commands.report import report
from farreach.benchmarks.commands.reproduce import reproduce
from farreach.benchmarks.commands.run import run
from farreach.benchmarks.commands.semantics import semantics
from farreach.benchmarks.commands.show import show
from farreach.benchmarks.commands.speed import speed
from farreach.benchmarks.commands.tail import tail
from farreach.benchmarks.commands.unpack import unpack
from farreach.results.vocabulary import PROGRAM

COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_,
    "run": run,
    "report": report,
    "show": show,
    "tail": tail,
    "reproduce": reproduce,
    "compare": compare,
    "history": history,
    "speed": speed,
    "advise": advise,
    "calibrate": calibrate,
    "certify": certify,
    "semantics": semantics,
    "ledger": ledger,
    "coverage": coverage,
    "live-check": live_check,
    "cluster-cost": cluster_cost,
    "own-cost": own_cost,
    "budget": budget,
    "pack": pack,
    "unpack": unpack,
    "publish": publish,
}


def format_help(command: Callable[..., None]) -> str:
    """Return the docstring of a command as its help: the lines of a paragraph are joined."""
    text = inspect.cleandoc(command.__doc__ or "").replace("python -m benchmarks", PROGRAM)
    return re.sub(r"(?<!\n)\n(?!\n) *", " ", text)
