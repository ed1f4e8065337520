"""A fiftieth of the campaign: kills, reports, disks and mutated inputs. Whole: `python -m tests.campaign`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.campaign import disks
from tests.campaign.__main__ import ATTACKS, run_attacks

SHARE = 0.02


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_a_fiftieth_of_the_campaign_finds_no_fault(name: str, tmp_path: Path) -> None:
    if name == "disks" and not disks.can_mount(tmp_path):
        pytest.skip("only who may mount a file system can try that")
    (told,) = run_attacks([name], SHARE)
    assert f"**{name}**" in told


def test_a_whole_campaign_is_as_large_as_its_document_says() -> None:
    assert {name: ATTACKS[name][0] for name in ATTACKS} == {
        "kills": 210,
        "reports": 30,
        "disks": 5,
        "inputs": 5_000,
        "processes": 300,
    }
