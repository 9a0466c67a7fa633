"""Kills of a real pipeline run, a few: `tests/chaos/chaos.py` for many."""

import os
import random
import sys
from pathlib import Path

import chaos
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="process groups as Linux has them"),
]


def test_killed_runs_end_with_the_bits_of_an_undisturbed_one(tmp_path: Path) -> None:
    source = chaos.template(tmp_path / "template")
    expected = chaos.undisturbed(source, tmp_path, "epochs")
    chance = random.Random(os.urandom(8))
    harms = ["`kill -9` of `dvc`", "SIGTERM to both"]
    plan = [("epochs", harm, chance.uniform(0, 0.5) * expected.seconds["epochs"]) for harm in harms]
    rows: dict[str, chaos.Row] = {}
    clone = chaos.prepare(source, tmp_path / "killed")
    assert [*chaos.series(clone, plan, rows, [], "epochs"), *chaos.check(clone, expected)] == [], plan
    assert sum(row.stages.total() for row in rows.values()) >= 1
