"""The benchmarks: what they compare is the same work, and the page shows what they keep. They hold no time."""

import copy
from typing import Any

import pytest
import torch
from torchvision import transforms

from benchmarks import contenders
from benchmarks.problems import SYSTEMS, Problem, spread, synthetic
from benchmarks.tutorials import TUTORIALS, Images
from src import params
from src.compute.batches import Batches
from src.compute.device import prepare
from src.training.loop import train
from src.training.optimizers import optimizer

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def small(recipe: str, batch_size: int = 8, **changes: Any) -> tuple[Problem, params.Train]:
    """A system with few images and small batches, in float32."""
    known = synthetic(recipe, 4 * batch_size, 64 if recipe == "dogs-vs-cats" else None)
    section = known.params.train.model_copy(update={"batch_size": batch_size, "precision": "float32", "device": "cpu"})
    return known, section.model_copy(update=changes)


@pytest.mark.parametrize("recipe", SYSTEMS)
def test_a_tutorial_has_the_optimiser_the_preparation_and_the_augmentation_of_the_recipe(recipe: str) -> None:
    """And its network: `tests/models/test_models.py`."""
    known, section = small(recipe)
    told, asked = TUTORIALS[recipe], section.augment
    ours = optimizer(section.optimizer, known.classifier().network, section.decay_biases)
    theirs = told.optimizer(told.network().parameters())
    assert type(ours).__base__ is type(theirs)  # without the decorators of its methods
    for key in ("lr", "momentum", "weight_decay", "betas", "eps"):
        assert ours.param_groups[0].get(key) == theirs.param_groups[0].get(key)

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
