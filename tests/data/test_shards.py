"""Images in shards: which one follows from the content alone, and reading them is reading one array."""

import contextlib
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
import torch
from data_samples import check_promises, class_folders, pack_tar, png, run_stages
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from src.compute.batches import Batches
from src.core.errors import UserError
from src.data.prepared import SPLITS, Shards, open_split, read_names, split_folder
from src.data.shards import by_shard
from src.training.order import shuffled

ONE_IMAGE = 6 * 6 * 3 / 2**20  # MiB


@given(st.lists(st.integers(0, 60), max_size=300), st.integers(1, 40))
@settings(deadline=None)
def test_each_image_is_in_one_shard_in_the_order_of_the_source(images: list[int], most: int) -> None:
    digests = np.array([list(blake2b(bytes([image])).digest()[:16]) for image in images], np.uint8).reshape(-1, 16)
    shards = by_shard(digests, most)
    assert sorted(np.concatenate(shards).tolist()) == list(range(len(images)))
    for shard in shards:
        assert len(shard) <= most
        assert (np.diff(shard) > 0).all()
        assert len(shard) or not images
    if len(images) <= most:
        assert len(shards) == 1


@pytest.mark.parametrize("most", [1, 2, 5, 100])
def test_shards_of_few_images_are_no_more_than_are_needed(most: int) -> None:
    digests = np.random.default_rng(0).integers(0, 256, (20_000, 16), np.uint8)
    assert len(by_shard(digests, most)) <= 3 * len(digests) / most
    assert len(by_shard(np.repeat(digests[:1], 1000, axis=0), most)) == 1000 / most, "equal images"


@pytest.mark.usefixtures("root")
def test_a_new_image_changes_five_shards_at_most() -> None:
    """One of its own, and two of each of the two images that it moves at the borders of its class."""
    files = class_folders({"cat": 190, "dog": 190})
    before = run_stages(pack_tar(Path("x.tar"), files), shard_mib=20 * ONE_IMAGE)
    check_promises(before)
    where = {name: split for split in SPLITS for name in read_names(split)}
    assert len(before.splits["train"].md5) >= 16 + 2
    after = run_stages(pack_tar(Path("x.tar"), files | {"cat/new.png": png(999)}), shard_mib=20 * ONE_IMAGE)
    moved = [name for split in SPLITS for name in read_names(split) if where.get(name, split) != split]
    changed = [
        name
        for split in SPLITS
        for name, md5 in after.splits[split].md5.items()
        if name.startswith("images") and md5 != before.splits[split].md5.get(name)
    ]
    assert len(moved) <= 2
    assert 1 <= len(changed) <= 1 + 2 * len(moved)


def test_shards_are_read_like_one_array() -> None:
    whole = np.random.default_rng(0).integers(0, 256, (50, 4, 3, 1), np.uint8)
    shards = Shards(np.split(whole, [7, 7, 20]))
    assert (len(shards), shards.shape, shards.nbytes) == (50, whole.shape, whole.nbytes)
    for key in (0, -1, 19, np.int64(20), slice(None), slice(5, 25), slice(2), np.array([49, 0, 20, 20, 6])):
        assert np.array_equal(shards[key], whole[key])
    assert np.array_equal(np.stack(list(shards)), whole)


@given(st.integers(0, 127), st.binary(min_size=1, max_size=64))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(60, b"\xff")
@example(10, b"\xff" * 118)
@pytest.mark.filterwarnings("ignore:Reading `.npy`")
def test_a_damaged_header_is_one_error_line(root: Path, at: int, damage: bytes) -> None:
    path = root / split_folder("train") / "images-00000.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.zeros((1, 2, 2, 1), np.uint8))
    np.save(path.with_name("labels.npy"), np.zeros(1, np.int64))
    content = path.read_bytes()
    path.write_bytes(content[:at] + damage + content[at + len(damage) :])
    with contextlib.suppress(UserError):  # or the header says the same, or another shape that fits
        open_split("train")


def test_training_shuffles_a_few_shards_together() -> None:
    """Four of six, then the other two."""
    order = shuffled([5] * 6, torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == list(range(30))
    shards = order.numpy() // 5
    assert set(shards[:20]).isdisjoint(shards[20:])
    assert len(set(shards[:5])) > 1
    assert torch.equal(order, shuffled([5] * 6, torch.Generator().manual_seed(0)))
    one = torch.randperm(28, generator=torch.Generator().manual_seed(0))
    assert torch.equal(shuffled([28], torch.Generator().manual_seed(0)), one)


@pytest.mark.usefixtures("root")
def test_batches_of_shards_are_those_of_one_array() -> None:
    run_stages(pack_tar(Path("x.tar"), class_folders({"cat": 60, "dog": 60})), shard_mib=20 * ONE_IMAGE)
    data, order = open_split("train"), torch.randperm(72)
    assert isinstance(data.images, Shards)
    for resident in (True, False):
        batches = Batches(data, torch.device("cpu"), resident)
        assert sum(batches.shards) == 72
        images = torch.cat([images for images, _ in batches.take(order, 16)])
        assert np.array_equal(images.numpy(), data.images[order.numpy()])
