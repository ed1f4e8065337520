"""The commands of ``python -m benchmarks``, one file each, in the order in which ``--help`` lists them.

What a command needs is imported by its function and not by its file: ``--help`` imports every file, and pandas,
pydantic and the rest would make it slow.
"""

from collections.abc import Callable

from benchmarks.commands.advise import advise
from benchmarks.commands.calibrate import calibrate
from benchmarks.commands.certify import certify
from benchmarks.commands.compare import compare
from benchmarks.commands.history import history
from benchmarks.commands.list_ import list_
from benchmarks.commands.publish import publish
from benchmarks.commands.report import report
from benchmarks.commands.reproduce import reproduce
from benchmarks.commands.run import run
from benchmarks.commands.semantics import semantics
from benchmarks.commands.show import show
from benchmarks.commands.speed import speed

COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_,
    "run": run,
    "report": report,
    "show": show,
    "reproduce": reproduce,
    "compare": compare,
    "history": history,
    "speed": speed,
    "advise": advise,
    "calibrate": calibrate,
    "certify": certify,
    "semantics": semantics,
    "publish": publish,
}
