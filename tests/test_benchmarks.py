"""The benchmarks: each runs with tiny settings, what they compare is the same work, and the page shows what they keep.

The tests hold no time: only that numbers are there, positive and consistent.
"""

import copy
import json
import math
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import transforms

from benchmarks import augmentation, choices, common, compare, contenders, growth, loops, pipeline, report
from benchmarks.problems import SYSTEMS, Problem, prepared, spread, synthetic
from benchmarks.tutorials import TUTORIALS, Images
from src import params
from src.compute.batches import Batches
from src.compute.device import Compute, prepare
from src.core.errors import UserError
from src.params.writing import load_recipe
from src.training.loop import train
from src.training.optimizers import optimizer

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
def test_a_tutorial_has_the_network_and_the_optimiser_of_the_recipe(recipe: str) -> None:
    """ReLU before pooling or after it: the same weights give the same answers."""
    known, section = small(recipe)
    own, told = known.classifier().network.eval(), TUTORIALS[recipe].network().eval()
    told.load_state_dict(dict(zip(told.state_dict(), own.state_dict().values(), strict=True)))
    images = torch.randn(2, *np.moveaxis(known.training.images[0], -1, 0).shape)
    with torch.no_grad():
        torch.testing.assert_close(told(images), own(images), rtol=1e-4, atol=1e-5)
    drop = [sorted(m.p for m in net.modules() if isinstance(m, nn.Dropout | nn.Dropout2d)) for net in (own, told)]
    assert [p for p in drop[0] if p] == pytest.approx(drop[1])
    ours, theirs = (
        optimizer(section.optimizer, own, section.decay_biases),
        TUTORIALS[recipe].optimizer(told.parameters()),
    )
    assert type(ours) is type(theirs)
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
    assert (crop.padding if crop else 0) == asked.crop  # type: ignore[attr-defined]
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


def test_the_floor_computes_in_the_precision_and_layout_of_the_loop() -> None:
    known, section = small("cifar10-basic")
    compute = Compute(CPU, torch.bfloat16)
    classifier, images, labels = contenders.resident(known.classifier(), known.training, section, compute)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert next(classifier.network.parameters()).is_contiguous(memory_format=torch.channels_last)
    seen = []
    classifier.network.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs.dtype))
    optimiser = optimizer(section.optimizer, classifier, section.decay_biases)
    contenders.learn(classifier.network, images, labels, optimiser, compute)
    assert seen == [torch.bfloat16]


def positive(found: dict[str, float]) -> bool:
    return 0 < found["min"] <= found["quartile_1"] <= found["median"] <= found["quartile_3"] <= found["max"] < math.inf


def test_what_is_compiled_runs_after_all_others_and_is_compared_round_by_round() -> None:
    known, section = small("mnist")
    found = {name: loops.Contender(lambda _: lambda: 10.0, "floor") for name in ("floor", "ours, compiled")}
    *_, last = loops.alternated(found, known, section, 3, 0.0)
    assert list(last) == ["ours, compiled"]
    assert last["ours, compiled"]["of_floor"]["median"] == 1


@pytest.mark.parametrize("recipe", SYSTEMS)
def test_every_loop_of_a_system_takes_its_turns(recipe: str) -> None:
    known, section = small(recipe)
    found = loops.contestants(known, section, ("float32",))
    rows: dict[str, Any] = {}
    for more in loops.alternated(found, known, section, 2, 0.0):
        rows |= more
    assert set(rows) == {
        *("tutorial", "tutorial, 2 workers", "DataLoader + v2", "ours, float32", "floor, float32"),
        *(["PyTorch Lightning"] if contenders.LIGHTNING_INSTALLED else []),
    }
    # A turn that is shorter than what its workers load ahead says nothing.
    assert rows.pop("tutorial, 2 workers") == {"failed": "its first 6 steps do not count, and there are 4"}
    for name, row in rows.items():
        assert all(map(positive, row.values())), name
        assert ("of_tutorial" in row) == (name != "tutorial")
        assert ("of_floor" in row) == (name != "floor, float32")


def test_a_loop_that_fails_is_a_row_that_says_why() -> None:
    known, section = small("mnist")
    found = loops.contestants(known, section, ("float32",))

    def breaks(steps: int) -> contenders.Turn:
        raise ValueError("not this one")

    broken = {"tutorial": found["tutorial"], "ours": loops.Contender(breaks, "floor")}
    rows = list(loops.alternated(broken, known, section, 1, 0.0))
    assert rows[0] == {"ours": {"failed": "ValueError: not this one"}}
    assert set(rows[1]) == {"tutorial"}


def test_the_first_turn_of_a_loop_says_nothing() -> None:
    """It compiles and tunes: of a rate of 10 images a second no turn would get more steps."""
    made: list[int] = []

    def make(steps: int) -> contenders.Turn:
        made.append(steps)
        return partial(next, iter([10.0] + [1000.0] * 10))

    loops.fitted(make, 10, 1.0, 1, 1000)
    assert made == [1, 100]


def test_workers_load_for_the_tutorial_and_their_first_steps_do_not_count() -> None:
    known, section = synthetic("mnist", 32), small("mnist", batch_size=2)[1]
    assert contenders.tutorial(known, section, CPU, 2, contenders.warm(2) + 2)() > 0
    loader = contenders.Timed(Images(*known.training, TUTORIALS["mnist"].transform()), 2, warm=1)
    batches = iter(loader)
    next(batches)
    first = loader.started
    next(batches)
    assert loader.started > first


def test_a_tutorial_finds_tf32_as_torch_sets_it() -> None:
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    try:
        torch.backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("high")
        contenders.defaults(torch.get_num_threads())
        assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (True, "highest")
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


# ---- images ----


def test_images_are_prepared_once_without_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.problems.CACHE", tmp_path)
    folder = prepared("digits", {"data.limit": 100})
    (folder / "mark").touch()
    assert json.loads((folder / "data/prepared/dataset.json").read_text())["classes"]
    assert (prepared("digits", {"data.limit": 100}) / "mark").exists()
    assert not (prepared("digits", {"data.limit": 90}) / "mark").exists()


def test_images_are_taken_from_all_over_the_array() -> None:
    known, _ = small("mnist")
    taken = spread(known.training, 8)
    assert np.array_equal(taken.images, known.training.images[::4])
    assert np.array_equal(taken.labels, known.training.labels[::4])
    assert len(spread(known.training, 10**6).labels) == len(known.training.labels)


# ---- the other scripts ----


def test_growth_measures_both_ways_in_processes_of_their_own(tmp_path: Path) -> None:
    growth.write(tmp_path, 300)
    rows = growth.measured(tmp_path, 300, 1, "cpu")
    assert [(row["images"], row["way"], row["runs"]) for row in rows] == [(300, "resident", 1), (300, "streamed", 1)]
    for row in rows:
        assert positive(row["images_per_second"])
        assert positive(row["of_resident"])
        assert row["rss_anon_mib"] > 50  # torch alone has more


@pytest.mark.parametrize("operator", ["affine", "centre crop"])
def test_augmentation_is_timed_in_every_library(operator: str) -> None:
    row = augmentation.measure(operator, 2, CPU, 3)
    assert 0 < row["ours"]["min"] <= row["ours"]["median"]
    assert 0 < row["torchvision per image"]["min"] <= row["torchvision per image"]["median"]
    assert row["kornia"] == "not installed" or row["kornia"]["min"] > 0


def test_a_pipeline_is_timed_stage_by_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With another dvc in its place: of its processes those of stages count."""
    (tmp_path / "dvc").write_text(
        "#!/bin/sh\n[ -e done ] && exit\ntouch done\n"
        f"for stage in split train; do {sys.executable} -c 'import time; time.sleep(1)' stages.$stage; done\n"
    )
    (tmp_path / "dvc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    stages, read = pipeline.run("mnist", ["train.epochs=7"], lambda clone: (clone / "params.yaml").read_text())
    assert list(stages) == ["split", "train", "all, by dvc repro", "again, nothing to do"]
    assert "epochs: 7" in read
    for stage in ("split", "train"):
        seconds, memory = stages[stage]
        assert seconds > 0.8
        assert 1 < memory < 50
    assert stages["again, nothing to do"][0] < 1 < stages["all, by dvc repro"][0]
    (tmp_path / "dvc").write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(UserError, match="dvc repro ended with exit code 3"):
        pipeline.run("mnist", [])


def test_archives_that_are_missing_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["compare", "mnist", "mnist-modern", "--data", str(tmp_path)])
    monkeypatch.setattr(compare, "cloned", lambda clone, recipe, changes: clone)
    with pytest.raises(UserError, match=r"mnist-idx.tar.xz is missing: name the folder of the archives with --data"):
        compare.main()


# ---- what is kept ----


def test_what_another_machine_measured_stays(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    for hardware, value in (("processor", 1), ("processor, GPU", 2), ("processor", 3)):
        common.keep(file, {"recipe": "mnist", "hardware": hardware, "value": value}, same=("recipe",))
    kept = [(entry["hardware"], entry["value"]) for entry in common.kept(file)]
    assert kept == [("processor, GPU", 2), ("processor", 3)]


def test_hardware_names_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = common.hardware()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100")
    assert common.hardware() == f"{alone}, NVIDIA H100"


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
