"""One process of an update in parts: ``FRAMEWORK NUMBER RANK ADDRESS...``; the last line it writes is its answer."""

from __future__ import annotations

import importlib
import json
import os
import sys
import warnings

from farreach.frameworks.own_updates import Place


def main(framework: str, number: str, rank: str, *addresses: str) -> None:
    """Make the update, write the gradient that reached the optimizer, and end without the libraries' farewells."""
    warnings.simplefilter("ignore")  # of a trainer that finds few workers or an old loader
    update = importlib.import_module(f"farreach.frameworks.{framework}.own_updates").UPDATES[int(number)]
    reached = update.run(Place(int(rank), addresses))
    sys.stdout.write("\n" + json.dumps([float(value) for value in reached]) + "\n")
    sys.stdout.flush()
    os._exit(0)  # groups of processes are not left in one order in any framework


if __name__ == "__main__":
    main(*sys.argv[1:])
