"""The benchmarks: each runs with tiny settings, what they compare is the same work, and what they say is complete.

The tests hold no time: only that numbers are there, positive and consistent.
"""

import copy
import functools
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

from benchmarks import contenders, engine, growth, loops, report
from benchmarks.problems import Problem, synthetic
from benchmarks.systems import ARCHIVES
from benchmarks.tutorials import TUTORIALS, Images, Photos, evaluate
from src import params
from src.compute.batches import Batches
from src.compute.device import Compute, prepare
from src.data.prepared import LabelledImages
from src.params.writing import load_recipe
from src.training.loop import train
from src.training.optimizers import optimizer

CPU = torch.device("cpu")


def small(recipe: str, batch_size: int = 8, **changes: Any) -> tuple[Problem, params.Train]:
    """A system with few images and small batches, in float32."""
    known = synthetic(recipe, 4 * batch_size, 64 if recipe == "dogs-vs-cats" else None)
    section = known.params.train.model_copy(update={"batch_size": batch_size, "precision": "float32", "device": "cpu"})
    section = section.model_copy(update=changes)
    return known._replace(params=known.params.model_copy(update={"train": section})), section


def with_photos(known: Problem, folder: Path) -> Problem:
    for number, image in enumerate(known.training.images):
        Image.fromarray(image).resize((50 + number, 40)).save(folder / f"{number}.jpg")
    return known._replace(photos=[folder / f"{number}.jpg" for number in range(len(known.training.images))])


@pytest.fixture(autouse=True)
def _settings() -> Any:
    """The contenders change torch's settings for the process."""
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(mode)


# ---- the tutorials ----


@pytest.mark.parametrize("recipe", ARCHIVES)
def test_a_tutorial_has_the_network_of_the_recipe(recipe: str) -> None:
    """ReLU before pooling or after it: the same weights give the same answers."""
    known, _ = small(recipe)
    own, told = known.classifier().network.eval(), TUTORIALS[recipe].network().eval()
    weights = dict(zip(told.state_dict(), own.state_dict().values(), strict=True))
    told.load_state_dict(weights)
    images = torch.randn(2, *np.moveaxis(known.training.images[0], -1, 0).shape)
    with torch.no_grad():
        torch.testing.assert_close(told(images), own(images), rtol=1e-4, atol=1e-5)
    drop = [sorted(m.p for m in net.modules() if isinstance(m, nn.Dropout | nn.Dropout2d)) for net in (own, told)]
    assert [p for p in drop[0] if p] == pytest.approx(drop[1])


@pytest.mark.parametrize("recipe", ARCHIVES)
def test_a_tutorial_learns_like_the_recipe(recipe: str) -> None:
    known, section = small(recipe)
    network = known.classifier().network
    own, told = (
        optimizer(section.optimizer, network, section.decay_biases),
        TUTORIALS[recipe].optimizer(network.parameters()),
    )
    assert type(own) is type(told)
    for key in ("lr", "momentum", "weight_decay", "betas", "eps"):
        assert own.param_groups[0].get(key) == told.param_groups[0].get(key)
    assert TUTORIALS[recipe].every == section.record_every


@pytest.mark.parametrize("recipe", ARCHIVES)
def test_a_tutorial_prepares_an_image_like_the_recipe(recipe: str) -> None:
    known, _ = small(recipe)
    side = known.spec.image.height
    images = Images(*known.evaluation, TUTORIALS[recipe].transform(side, training=False))
    own = known.classifier().normalize(torch.from_numpy(known.evaluation.images[:3].copy()))
    torch.testing.assert_close(torch.stack([images[n][0] for n in range(3)]), own, rtol=1e-5, atol=1e-6)
    assert len(images) == len(known.evaluation.labels)


def test_a_tutorial_augments_like_the_recipe() -> None:
    for recipe, told in TUTORIALS.items():
        asked = load_recipe(recipe).train.augment
        kinds = {type(transform): transform for transform in told.augmentation}
        assert (transforms.RandomHorizontalFlip in kinds) == asked.flip
        rotation, crop = (kinds.get(kind) for kind in (transforms.RandomRotation, transforms.RandomCrop))
        assert (rotation.degrees[1] if rotation else 0) == asked.rotate  # type: ignore[attr-defined]
        assert (crop.padding if crop else 0) == asked.crop  # type: ignore[attr-defined]
        assert len(kinds) == sum(map(bool, (asked.flip, asked.rotate, asked.crop)))
        assert len(contenders.V2_AUGMENTATION.get(recipe, [])) == len(kinds)


def test_photos_are_squashed_to_the_size_asked_for(tmp_path: Path) -> None:
    known = with_photos(small("dogs-vs-cats")[0], tmp_path)
    photos = Photos(known.photos, known.training.labels, TUTORIALS["dogs-vs-cats"].transform(64, training=True))
    image, label = photos[5]
    assert image.shape == (3, 64, 64)
    assert (len(photos), label) == (len(known.photos), known.training.labels[5])


def test_the_tutorials_evaluation_is_right() -> None:
    known, _ = small("mnist")
    data = Images(*known.evaluation, TUTORIALS["mnist"].transform(28, training=False))
    loader = torch.utils.data.DataLoader(data, 5)
    network, criterion = TUTORIALS["mnist"].network(), nn.CrossEntropyLoss()
    loss, accuracy = evaluate(network, loader, criterion, CPU)
    images, labels = torch.stack([data[n][0] for n in range(len(data))]), torch.from_numpy(known.evaluation.labels)
    with torch.no_grad():
        outputs = network(images)
    assert loss == pytest.approx(criterion(outputs, labels).item(), rel=1e-5)
    assert accuracy == pytest.approx((outputs.argmax(1) == labels).float().mean().item())


# ---- the floor ----


@pytest.mark.parametrize(("recipe", "most"), [("mnist", 1e-7), ("cifar10-basic", 2e-5)])
def test_a_step_of_the_floor_is_a_step_of_the_loop(recipe: str, most: float) -> None:
    """One batch that is the whole data set, no augmentation, no dropout: the same weights afterwards.

    Adam's first step is 1e-3 wherever a gradient is not 0, so that its rounding shows in weights with nearly none.
    """
    known, section = small(recipe, batch_size=32, epochs=1, record_every=0)
    model = known.params.model.model_copy(update={"dropout": 0.0})
    known = known._replace(spec=known.spec.model_copy(update={"model": model}))
    batch = contenders.spread(known.training, 32)
    compute = prepare(section, known.params.model.name)

    looped = known.classifier()
    before = copy.deepcopy(looped.state_dict())
    list(train(looped, Batches(batch, CPU), Batches(contenders.spread(batch, 0), CPU), section, 0, compute))
    floored, images, labels = contenders.resident(known.classifier(), batch, section, compute)
    optimiser = optimizer(section.optimizer, floored, section.decay_biases)
    contenders.learn(floored.network.train(), images, labels, optimiser, compute, 1)

    for name, weights in floored.state_dict().items():
        assert not torch.equal(weights, before[name])
        torch.testing.assert_close(weights, looped.state_dict()[name], rtol=0, atol=most)


def test_the_floor_computes_in_the_precision_and_layout_of_the_loop() -> None:
    known, section = small("cifar10-basic")
    compute = Compute(CPU, torch.bfloat16)
    classifier, images, labels = contenders.resident(known.classifier(), known.training, section, compute)
    assert images.is_contiguous(memory_format=contenders.layout(classifier))
    seen = []
    classifier.network.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs.dtype))
    optimiser = optimizer(section.optimizer, classifier, section.decay_biases)
    contenders.learn(classifier.network, images, labels, optimiser, compute, 2)
    assert seen == [torch.bfloat16] * 2


def test_the_layout_of_a_network_is_found() -> None:
    network = small("cifar10-basic")[0].classifier().network
    for layout in (torch.channels_last, torch.contiguous_format):
        assert contenders.layout(network.to(memory_format=layout)) == layout


# ---- the scripts ----


def here(known: Problem, section: params.Train, rounds: int) -> dict[str, Any]:
    """The comparison in threads of this process: a new one for each loop would take seconds."""
    return loops.compare(lambda: known, section, rounds, 0.0, 0, lambda: ThreadPoolExecutor(1))


def positive(found: dict[str, float]) -> bool:
    return 0 < found["min"] <= found["quartile_1"] <= found["median"] <= found["quartile_3"] <= found["max"] < math.inf


@pytest.mark.parametrize("recipe", ARCHIVES)
def test_every_loop_of_a_system_takes_its_turns(recipe: str, tmp_path: Path) -> None:
    known, section = small(recipe)
    if recipe == "dogs-vs-cats":
        known = with_photos(known, tmp_path)
    result = here(known, section, rounds=2)
    names = {"tutorial", "DataLoader + v2", "ours, float32", "floor, float32"}
    names |= {"tutorial, from JPEG files"} if known.photos else set()
    names |= {"PyTorch Lightning"} if contenders.LIGHTNING_INSTALLED else set()
    assert set(result["rows"]) == names
    # A turn that is shorter than what its workers load ahead says nothing.
    assert "tutorial, 2 workers" in result["not_measured"]
    assert ("PyTorch Lightning" in result["not_measured"]) == (not contenders.LIGHTNING_INSTALLED)
    for name, row in result["rows"].items():
        assert row["steps"] == 1
        for key in {"images_per_second", *row} - {"steps"}:
            assert positive(row[key]), (name, key)
        assert ("of_tutorial" in row) == (name != "tutorial")
        assert ("of_floor" in row) == (name != "floor, float32")
        assert ("epoch_seconds" in row) == name.startswith(("tutorial", "ours"))


def test_what_auto_picks_runs_beside_float32_against_a_floor_of_its_own() -> None:
    known, section = small("mnist", precision="bfloat16")
    result = here(known, section, rounds=1)
    assert result["auto"] == "bfloat16"
    assert {"ours, float32", "floor, float32", "ours, bfloat16", "floor, bfloat16"} <= set(result["rows"])
    assert "of_floor" in result["rows"]["ours, bfloat16"]


def test_a_loop_has_a_process_of_its_own() -> None:
    section = small("mnist")[1]
    with loops.apart() as place:
        assert place.submit(os.getpid).result() != os.getpid()
        opening = functools.partial(synthetic, "mnist", 32)
        assert place.submit(loops.begin, opening, section, ("float32",), 0, "floor, float32", 0.0).result() == 1
        assert place.submit(loops.go_on).result().training > 0


def test_workers_load_for_the_tutorial_and_their_first_steps_do_not_count() -> None:
    known = synthetic("mnist", 32)
    section = small("mnist", batch_size=2)[1]
    turn = contenders.tutorial(known, section, CPU, workers=2)(contenders.warm(2) + 2)()
    assert turn.training > 0
    assert turn.evaluation
    data = Images(*known.training, TUTORIALS["mnist"].transform(28, training=True))
    loader = contenders.Timed(data, 2, warm=1)
    batches = iter(loader)
    next(batches)
    first = loader.started
    next(batches)
    assert loader.started > first


def test_an_epoch_is_computed_from_the_rates_and_the_evaluations_of_the_tutorial() -> None:
    known, _ = small("mnist", batch_size=2)  # 8 images: 4 steps
    many = known._replace(training=LabelledImages(known.training.images, np.zeros(400, dtype=np.int64)))
    turn = contenders.Turn(100.0, 4.0)  # 4 s to train, 2 s to look at 8 images
    assert loops.epoch_seconds("tutorial", turn, many) == pytest.approx(4 + 2 * 2)  # every 100 of 200 steps
    assert loops.epoch_seconds("ours, float32", turn, many) == pytest.approx(4 + 3 * 2)
    assert loops.epoch_seconds("floor, float32", contenders.Turn(100.0), many) is None
    plain = small("cifar10-basic", batch_size=2)[0]
    assert loops.epoch_seconds("tutorial", turn, plain) == pytest.approx(8 / 100 + 2)


def test_images_are_taken_from_all_over_the_array() -> None:
    known, _ = small("mnist")
    taken = contenders.spread(known.training, 8)
    assert np.array_equal(taken.images, known.training.images[::4])
    assert np.array_equal(taken.labels, known.training.labels[::4])
    assert len(contenders.spread(known.training, 10**6).labels) == len(known.training.labels)


def test_growth_measures_both_ways_in_processes_of_their_own(tmp_path: Path) -> None:
    growth.write(tmp_path, 300)
    device, rows = growth.measured(tmp_path, [300], 1, "cpu")
    assert device == "cpu"
    assert [(row["images"], row["way"], row["runs"]) for row in rows] == [(300, "resident", 1), (300, "streamed", 1)]
    for row in rows:
        assert positive(row["images_per_second"])
        assert positive(row["of_resident"])
        assert row["rss_anon_mib"] >= row["imports_mib"] > 10  # torch alone has more


def test_resident_and_streamed_images_are_the_same(tmp_path: Path) -> None:
    growth.write(tmp_path, 50)
    data = LabelledImages(*(np.load(tmp_path / f"{kind}.npy", mmap_mode="r") for kind in ("images", "labels")))
    order = torch.randperm(50)
    found = [list(growth.batches(data, way, CPU).take(order, 16)) for way in growth.WAYS]
    for resident, streamed in zip(*found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(resident, streamed, strict=True))


# ---- the page ----


def test_the_page_shows_every_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries as the scripts keep them, from tiny runs."""
    known, section = small("mnist")
    where = {"hardware": "2 cores", "versions": {"torch": "2"}}
    entries: dict[str, dict[str, Any]] = {
        "loops": {"system": "mnist", "device": "cpu", "threads": 1, "workers": 0, "rounds": 2}
        | here(known, section, rounds=2),
        "growth": {"device": "cpu", "threads": 1, "interpreter_mib": 5.0, "rows": []},
    }
    for name, entry in entries.items():
        (tmp_path / f"{name}.json").write_text(json.dumps([where | entry]))
    monkeypatch.setattr(engine, "FOLDER", tmp_path)
    page = "\n".join(engine.sections())
    assert "Not yet measured." not in page
    assert page.count("On CUDA: not yet measured.") == 2
    for name in entries["loops"]["rows"]:
        assert f"\n| {name} | " in page
    assert "| tutorial, 2 workers | its first 6 steps do not count" in page
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.count("|") == tables[n - 1].count("|") for n, line in enumerate(tables) if set(line) == {"|", "-"})


def test_the_page_says_what_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "FOLDER", tmp_path)
    page = "\n".join(engine.sections())
    assert page.count("Not yet measured.") == 2


def test_the_results_of_a_script_are_those_of_the_page() -> None:
    for module in (loops, growth):
        assert module.RESULTS.parent == engine.FOLDER
        assert module.RESULTS.stem == module.__name__.rpartition(".")[2]
    assert report.README.parent == engine.FOLDER
