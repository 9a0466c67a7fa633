"""Suggested settings: the prepared photos are counted, and steps are really timed."""

import re
from pathlib import Path

import pytest
from data_samples import class_folders, run_stages, write_files

from src.core.errors import UserError
from src.params import Params, writing
from src.search import suggestion
from src.search.suggestion import suggest


def config(name: str = "mobilenet_v3_small", weights: str = "default") -> Params:
    params = writing.load_recipe("own-images")
    model = params.model.model_copy(update={"name": name, "weights": weights, "normalize": "half"})
    return params.model_copy(update={"model": model})


def test_what_is_prepared_is_counted_and_steps_are_timed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggestion, "_LARGER", ("mobilenet_v3_small",))
    write_files(root / "data/images", class_folders({"ant": 400, "bee": 40}))
    run_stages(None, image_size=32, validation=0.2, test=0.2, near_duplicates="ignore")
    found = {key: (present, value, why) for key, present, value, why in suggest(config())}
    assert found["train.sampling"] == ("all", "balanced", "240 images of the largest class, 24 of the least")
    assert found["data.image_size"] == (224, 224, "what mobilenet_v3_small was pretrained with")
    assert re.search(
        r"others to try, with model.normalize imagenet: mobilenet_v3_small \(67\.7 % on ImageNet\) in \d+ s$",
        found["model.name"][2],
    )
    assert found["model.freeze"][:2] == (True, True)
    assert re.match(r"features first: \d+ s for 352 photos, then", found["model.freeze"][2])
    with pytest.raises(UserError, match="cifar_vgg is not pretrained"):
        next(suggest(config("cifar_vgg", "none")))
    with pytest.raises(UserError, match=r"holds image_folder, params\.yaml names mnist: run dvc repro split"):
        next(suggest(writing.load_recipe("mnist")))
