"""The benchmarks: what they compare is the same work, and the page shows what they keep. They hold no time."""

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import transforms

from benchmarks import choices, contenders, growth, loops, report
from benchmarks.problems import SYSTEMS, Problem, spread, synthetic
from benchmarks.tutorials import TUTORIALS, Images
from src import params
from src.compute.batches import Batches
from src.compute.device import prepare
from src.params.writing import load_recipe
from src.training.loop import train
from src.training.optimizers import optimizer

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def small(recipe: str, batch_size: int = 8, **changes: Any) -> tuple[Problem, params.Train]:
    """A system with few images and small batches, in float32."""
    known = synthetic(recipe, 4 * batch_size, 64 if recipe == "dogs-vs-cats" else None)
    section = known.params.train.model_copy(update={"batch_size": batch_size, "precision": "float32", "device": "cpu"})
    return known, section.model_copy(update=changes)


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    """The contenders change torch's settings for the process."""
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(mode)


# ---- the tutorials ----


@pytest.mark.parametrize("recipe", SYSTEMS)
def test_a_tutorial_has_the_optimiser_of_the_recipe(recipe: str) -> None:
    """And its network: `tests/models/test_models.py`."""
    known, section = small(recipe)
    own, told = known.classifier().network, TUTORIALS[recipe].network()
    ours, theirs = (
        optimizer(section.optimizer, own, section.decay_biases),
        TUTORIALS[recipe].optimizer(told.parameters()),
    )
    assert type(ours).__base__ is type(theirs)  # without the decorators of its methods
    for key in ("lr", "momentum", "weight_decay", "betas", "eps"):
        assert ours.param_groups[0].get(key) == theirs.param_groups[0].get(key)


@pytest.mark.parametrize("recipe", SYSTEMS)
def test_a_tutorial_prepares_and_augments_an_image_like_the_recipe(recipe: str) -> None:
    known, section = small(recipe)
    told, asked = TUTORIALS[recipe], section.augment
    images = Images(*known.training, told._replace(augmentation=()).transform())
    own = known.classifier().normalize(torch.from_numpy(known.training.images[:3].copy()))
    torch.testing.assert_close(torch.stack([images[n][0] for n in range(3)]), own, rtol=1e-5, atol=1e-6)
    kinds = {type(transform): transform for transform in told.augmentation}
    assert (transforms.RandomHorizontalFlip in kinds) == asked.flip
    rotation, crop = (kinds.get(kind) for kind in (transforms.RandomRotation, transforms.RandomCrop))
    assert (rotation.degrees[1] if rotation else 0) == asked.rotate  # type: ignore[attr-defined]
    assert (crop.padding if crop else 0) == round(32 * asked.crop)  # type: ignore[attr-defined]
    assert len(kinds) == sum(map(bool, (asked.flip, asked.rotate, asked.crop)))
    assert len(contenders.V2_AUGMENTATION.get(recipe, [])) == len(kinds)


# ---- the loops ----


@pytest.mark.parametrize(("recipe", "most"), [("mnist", 1e-7), ("cifar10-basic", 2e-5)])
def test_a_step_of_the_floor_is_a_step_of_the_loop(recipe: str, most: float) -> None:
    """One batch that is the whole data set, no augmentation, no dropout: the same weights afterwards.

    Adam's first step is 1e-3 wherever a gradient is not 0, so that its rounding shows in weights with nearly none.
    """
    known, section = small(recipe, batch_size=32, epochs=1, record_every=0)
    model = known.params.model.model_copy(update={"dropout": 0.0})
    known = known._replace(spec=known.spec.model_copy(update={"model": model}))
    batch = spread(known.training, 32)
    compute = prepare(section, known.params.model.name)
    looped = known.classifier()
    before = copy.deepcopy(looped.state_dict())
    list(train(looped, Batches(batch, CPU), Batches(spread(batch, 0), CPU), section, 0, compute))
    floored, images, labels = contenders.resident(known.classifier(), batch, section, compute)
    optimiser = optimizer(section.optimizer, floored, section.decay_biases)
    contenders.learn(floored.network.train(), images, labels, optimiser, compute)
    for name, weights in floored.state_dict().items():
        assert not torch.equal(weights, before[name])
        torch.testing.assert_close(weights, looped.state_dict()[name], rtol=0, atol=most)


# ---- the other scripts ----


def test_what_is_compiled_runs_after_all_others_and_is_compared_round_by_round() -> None:
    known, section = small("mnist")
    found = {name: loops.Contender(lambda _: lambda: 10.0, "floor") for name in ("floor", "ours, compiled")}
    *_, last = loops.alternated(found, known, section, 3, 0.0)
    assert list(last) == ["ours, compiled"]
    assert last["ours, compiled"]["of_floor"]["median"] == 1


def test_growth_measures_split_and_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two hundred images, of the case whose network takes least to import."""
    case = "10M arrays"
    monkeypatch.setattr(growth, "RESULTS", tmp_path / "growth.json")
    monkeypatch.setattr(sys, "argv", ["growth", case, "--share", str(200 / growth.CASES[case].images)])
    growth.main()
    (result,) = json.loads((tmp_path / "growth.json").read_text(encoding="utf-8"))
    assert (result["case"], result["images"], result["equal_bytes"]) == (case, 200, True)
    assert [run["processors"] for run in result["split"]] == [2, 1]
    assert all(part["seconds"] > 0 and part["rss_anon_mib"] > 10 for part in (*result["split"], result["epoch"]))
    assert result["of_resident"]["runs"] == growth.ROUNDS


# ---- what is kept ----


@pytest.mark.parametrize(
    ("speeds", "best"),
    [
        ((100, 109), "float32"),
        ((100, 111), "tf32"),
        ((100, 120, 130), "tf32"),
        ((100, 120, 133), "bfloat16"),
        ((100, 105, 111), "bfloat16"),
    ],
)
def test_a_coarser_precision_is_chosen_only_where_it_is_a_tenth_faster(speeds: tuple[float, ...], best: str) -> None:
    assert choices.chosen(dict(zip(("float32", "tf32", "bfloat16"), speeds, strict=False))) == best


def test_the_choices_name_the_networks_of_their_systems() -> None:
    assert set(choices.NETWORKS) == set(SYSTEMS)
    names = {system: load_recipe(system).model.name for system in SYSTEMS}
    assert names.pop("dogs-vs-cats") == "resnet18"  # for all that torchvision has
    assert names.items() <= choices.NETWORKS.items()


def test_every_table_of_the_page_is_complete() -> None:
    tables = [line for line in report.render().splitlines() if line.startswith("|")]
    heads = [number for number, line in enumerate(tables) if set(line) == {"|", "-"}]
    assert len(heads) > 9
    for start, end in zip(heads, [*(head - 1 for head in heads[1:]), None], strict=True):
        columns = {line.count("|") for line in tables[start - 1 : end]}
        assert len(columns) == 1, tables[start - 1]
