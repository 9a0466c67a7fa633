"""Settings that are suggested for photos: their number by class is seen, and the steps are really run."""

import re
from pathlib import Path

import pytest

from src.core.errors import UserError
from src.params import Params, writing
from src.search.suggestion import suggest


def small() -> Params:
    params = writing.load_recipe("mnist")
    return params.model_copy(
        update={
            "data": params.data.model_copy(update={"image_size": 32}),
            "split": params.split.model_copy(update={"test": 0.2}),
        }
    )


def test_photos_are_counted_and_steps_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, count in (("cat", 1000), ("dog", 100)):
        folder = tmp_path / "data/images" / name
        folder.mkdir(parents=True)
        for number in range(count):
            (folder / f"{number}.jpg").touch()
    found = {key: (value, why) for key, value, why in suggest(small())}
    assert found["data.image_size"][0] == 32
    assert found["train.batch_size"] == (32, "880 images of 2 classes train: 20 steps an epoch or more")
    assert found["train.sampling"] == ("balanced", "800 images of the largest class, 80 of the least")
    assert re.match(r"features first: \d+ s for 880 photos, .* \(false\) \d+ s an epoch", found["model.freeze"][1])


def test_without_photos_there_is_nothing_to_suggest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="there are no photos in data/images"):
        next(suggest(small()))
