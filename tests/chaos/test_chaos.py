"""A kill of a real pipeline run: `tests/chaos/chaos.py` for many."""

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


def test_a_killed_run_ends_with_the_bits_of_an_undisturbed_one(tmp_path: Path) -> None:
    source = chaos.template(tmp_path / "template")
    expected = chaos.undisturbed(source, tmp_path, "epochs")
    chance = random.Random(os.urandom(8))
    kind = chance.choice(["`kill -9` of `dvc`", "SIGTERM to both"])
    plan = [("epochs", kind, chance.uniform(0, 0.5) * expected.seconds["epochs"])]
    rows: dict[str, chaos.Row] = {}
    clone = chaos.prepare(source, tmp_path / "killed")
    assert [*chaos.series(clone, plan, rows, [], "epochs"), *chaos.check(clone, expected)] == [], plan
    assert sum(row.stages.total() for row in rows.values()) == 1
