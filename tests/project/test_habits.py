"""The files that a visitor's tools look for say what the project says: citation, pins, templates, container, cards."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from farreach.benchmarks.matrix import registry

ROOT = registry.ROOT
CARDS = sorted((ROOT / "tasks" / "data").glob("*.croissant.json"))


def load_yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text("utf-8"))


def test_the_citation_has_the_version_and_the_licence_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found = load_yaml("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= {*found}
    assert (str(found["version"]), found["license"]) == (project["version"], project["license"])
    assert found["authors"][0]["name"] in (ROOT / "LICENSE").read_text("utf-8")


def test_pre_commit_runs_the_ruff_that_is_pinned() -> None:
    (repo,) = load_yaml(".pre-commit-config.yaml")["repos"]
    (pinned,) = re.findall(r"^ruff==(.*)$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    assert repo["rev"] == f"v{pinned}"
    assert {hook["id"] for hook in repo["hooks"]} == {"ruff-check", "ruff-format"}


def test_dependabot_looks_after_pins_and_actions() -> None:
    found = load_yaml(".github/dependabot.yml")
    assert found["version"] == 2
    assert {one["package-ecosystem"] for one in found["updates"]} == {"pip", "github-actions"}


@pytest.mark.parametrize("name", ["fault", "number", "addition"])
def test_a_template_asks_for_what_is_needed(name: str) -> None:
    found = load_yaml(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert found["name"]
    assert found["description"]
    assert [one["id"] for one in found["body"] if one["validations"]["required"]]


def test_the_container_runs_environments_that_tox_has() -> None:
    tox = (ROOT / "tox.ini").read_text("utf-8")
    named = re.findall(r"tox -e ([\w-]+)", (ROOT / "Containerfile").read_text("utf-8"))
    assert sorted(named) == ["bench", "bench-gpu"]
    assert all(f"[testenv:{name}]" in tox for name in named)


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.name.partition(".")[0])
def test_a_card_describes_the_corpus_that_is_shipped(path: Path) -> None:
    card = json.loads(path.read_text("utf-8"))
    assert card["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    folder = path.parent / path.name.partition(".")[0]
    listed = {one["contentUrl"]: one["sha256"] for one in card["distribution"]}
    shipped = {f"{folder.name}/{one.name}": one for one in folder.iterdir() if one.suffix in {".parquet", ".json"}}
    assert listed == {name: hashlib.sha256(one.read_bytes()).hexdigest() for name, one in shipped.items()}
    assert {one["name"] for one in card["recordSet"]} == {"train", "evaluation"}
    for records in card["recordSet"]:
        assert [one["name"] for one in records["field"]] == pq.read_schema(folder / f"{records['name']}.parquet").names


def test_every_corpus_has_a_card() -> None:
    folders = {path.parent.name for path in (ROOT / "tasks" / "data").glob("*/train.parquet")}
    assert {path.name.partition(".")[0] for path in CARDS} == folders
