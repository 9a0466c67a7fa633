"""Kills of real pipeline runs, a few (`tests/chaos/chaos.py` for many), and two runs at once."""

import os
import random
import sys
from pathlib import Path

import chaos
import pytest
from clones import call

LAST = "evaluate"  # the pictures are made of what is compared here
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="process groups as Linux has them")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, chaos.Undisturbed]:
    folder = tmp_path_factory.mktemp("chaos")
    return folder, chaos.undisturbed(chaos.template(folder / "template"), folder, LAST)


def test_killed_runs_end_with_the_bits_of_an_undisturbed_one(
    undisturbed: tuple[Path, chaos.Undisturbed], tmp_path: Path
) -> None:
    folder, expected = undisturbed
    chance = random.Random(os.urandom(8))
    harms = ["`kill -9` of `dvc`", "`kill -9` of both", "SIGTERM to both"]
    plan = [("epochs", harm, chance.uniform(0, 0.5) * expected.seconds["epochs"]) for harm in harms]
    rows: dict[str, chaos.Row] = {}
    clone = chaos.prepare(folder / "template", tmp_path)
    assert [*chaos.series(clone, plan, rows, [], LAST), *chaos.check(clone, expected)] == [], plan
    assert sum(row.stages.total() for row in rows.values()) >= 1


def test_a_second_dvc_repro_is_told_why_not_and_the_first_is_unharmed(
    undisturbed: tuple[Path, chaos.Undisturbed],
) -> None:
    folder, expected = undisturbed
    clone = folder / "clone"
    first = chaos.Repro(clone, "--force", LAST)
    assert first.reach("train"), first.output
    told = call(clone, "dvc", "repro", "--force", LAST, fails=True)
    assert f"(PID {first.process.pid}): " in told, told
    assert first.process.wait() == 0, first.output
    assert len(chaos.epochs_told(first.output)) == chaos.EPOCHS, (
        "what is forced is computed, not taken from a checkpoint"
    )
    assert chaos.results(clone) == expected.results
