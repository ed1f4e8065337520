"""Which folders pip installs: the rooms at the top of the tree become parts of the package ``farreach``.

`results` and `tasks` are names that a user may have; `farreach.results` and `farreach.tasks` are ours. All else that
packaging needs to know stands in pyproject.toml.
"""

from setuptools import find_packages, setup

ROOMS = ("tasks", "frameworks", "benchmarks", "results")

inner = [f"{room}.{package}" for room in ROOMS for package in find_packages(room)]
setup(
    packages=["farreach", *(f"farreach.{package}" for package in (*ROOMS, *inner))],
    package_dir={f"farreach.{room}": room for room in ROOMS},
)
