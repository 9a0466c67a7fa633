"""Prepared arrays that are not those that the split stage wrote are found before anything is kept of them."""

from pathlib import Path

import pytest
from data_samples import run_stages

from src.core.errors import UserError
from src.data import verify
from src.data.prepared import open_split, split_folder
from src.data.verify import open_checked


def test_damage_of_images_is_found_beside_the_work_and_told_before_anything_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = run_stages(None, "digits")
    with verify.verifying(dataset, "train", "validation") as verified:
        verified()
    path = split_folder("train") / "images-00000.npy"
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert open_checked(dataset, "train")[0].images.shape == open_split("train").images.shape
    told = r"train/images-00000\.npy is not the file"
    with pytest.raises(UserError, match=told), verify.verifying(dataset, "train") as verified:
        verified()
    with pytest.raises(UserError, match=told), verify.verifying(dataset, "train"):
        pass
    with verify.verifying(dataset, "validation"):
        pass
