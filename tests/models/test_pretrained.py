"""Networks of torchvision and timm, trained weights in every usual form of a file, and the new last layer."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from network_samples import image_format, model_section, untrained
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from src.core.errors import UserError
from src.models.classifier import Classifier
from src.models.inspection import inspect_network
from src.models.layers import last_layer
from src.models.model_file import ModelSpec, load, save
from src.params.networks import check_timm

LITE = "timm/tf_efficientnet_lite0"
WEIGHTS = Path(__file__).parents[3] / "shared/weights/tf_efficientnet_lite0.safetensors"


def built(side: int = 64, classes: int = 2, name: str = LITE, **changes: Any) -> Classifier:
    return untrained(name, side, classes=classes, **changes)


def pixels(count: int, side: int = 64, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, side, side, channels), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    ("name", "normalize"),
    [
        ("cifar_vgg", "half"),
        (LITE, "backbone"),
        ("timm/swin_tiny_patch4_window7_224", "half"),
        ("timm/coat_tiny", "backbone"),
        ("swin_t", "half"),
    ],
)
def test_a_network_takes_any_images_and_comes_back_from_its_file(name: str, normalize: str, tmp_path: Path) -> None:
    """Also with tables that are computed when it is built, which its file lacks, with indices, and shared weights."""
    model = model_section(name, normalize=normalize, dropout=0.1)
    classes = ["0", 'no, "really"', "дом"]
    spec = ModelSpec(model=model, classes=classes, image=image_format(64, 64, 1), mean=[0.5], std=[0.2])
    classifier = spec.build(0).eval()
    save(tmp_path / "model.safetensors", classifier, spec)
    loaded, read = load(tmp_path / "model.safetensors")
    assert read == spec
    save(tmp_path / "again.safetensors", loaded, read)
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()
    with torch.no_grad():
        logits = classifier(pixels(2, channels=1))
        assert logits.shape == (2, 3)
        assert logits.any()
        assert torch.equal(loaded(pixels(2, channels=1)), logits)


def test_the_backbones_own_preprocessing_brings_images_to_its_size() -> None:
    classifier = built(32, normalize="backbone")
    constant = classifier.normalize(torch.full((1, 32, 32, 3), 255, dtype=torch.uint8))
    assert constant.shape == (1, 3, 224, 224)
    torch.testing.assert_close(constant, torch.ones(1, 3, 224, 224))  # (1 − 0.5) / 0.5
    as_stored = pixels(1, 224)
    half = built(224, normalize="half").normalize(as_stored)
    assert torch.equal(built(224, normalize="backbone").normalize(as_stored), half), "images of its size stay"


def test_colours_are_resized_as_pillow_does() -> None:
    from PIL import Image

    image = pixels(1, 300)  # noise: what bicubic makes of it would be below 0 or above 255 at many places
    ours = (built(300, normalize="backbone").normalize(image)[0].permute(1, 2, 0) * 0.5 + 0.5) * 255
    theirs = Image.fromarray(image[0].numpy()).resize((224, 224), Image.Resampling.BICUBIC)
    difference = (ours - torch.tensor(bytearray(theirs.tobytes())).view(224, 224, 3)).abs()
    assert difference.max() < 1.5, "Pillow rounds twice"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("timm/tf_eficientnet_lite0", "has no network tf_eficientnet_lite0: did you mean timm/tf_efficientnet_lite0?"),
        ("timm/resnet18.a1_in2k", r"did you mean timm/resnet18.a1_in1k\?"),
    ],
)
def test_a_network_that_timm_does_not_have_is_one_line(name: str, hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        check_timm(name)
    with pytest.raises(UserError, match=hint):
        built(name=name)


@pytest.mark.parametrize(
    "change",
    [{"name": "timm/"}, {"name": "timm/../x"}, {"activation": "relu"}, {"name": "resnet18", "normalize": "backbone"}],
)
def test_what_cannot_be_is_refused_without_timm(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"timm/NAME|activation must be null|backbone is known"):
        model_section(**{"name": LITE, **change})


def test_a_network_with_several_last_layers_is_one_line() -> None:
    with pytest.raises(UserError, match=r"levit_128s has several last layers"):
        built(name="timm/levit_128s")


def test_a_pickle_among_the_weights_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor in torch's cache: torch only compares the digest of what it downloads."""

    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    name = get_model_weights("resnet18").DEFAULT.url.rpartition("/")[2]
    file = tmp_path / "hub/checkpoints" / name
    torch.save({"conv1.weight": Bomb()}, file)
    for weights, message in ("default", "cannot be downloaded"), (str(file), "cannot be read"):
        with pytest.raises(UserError, match=message):
            built(name="resnet18", weights=weights, normalize="imagenet")
    assert not (tmp_path / "ran").exists()


def test_weights_that_cannot_be_downloaded_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once: timm would ask twelve times, and wait 50 seconds in between."""

    def offline(hub: str, file: str) -> bool:
        raise OSError(f"no route to {file} of {hub}")

    monkeypatch.setattr("huggingface_hub.file_exists", offline)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda hub, file: None)
    monkeypatch.setattr("timm.models._builder.load_pretrained", None)
    with pytest.raises(UserError, match=r"timm/tf_efficientnet_lite0 cannot be downloaded \(no route .*\): set model"):
        built(weights="default")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "missing: give none, default or"),
        (b"no weights", "cannot be read"),
        ([torch.zeros(3)], "is not a state dict"),
        ({"bn1.weight": torch.zeros(64)}, r'fit resnet18: .* Missing key\(s\) in state_dict: "conv1.weight"'),
    ],
)
def test_weights_that_do_not_fit_are_one_line(
    content: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if isinstance(content, bytes):
        Path("weights.pth").write_bytes(content)
    elif content is not None:
        torch.save(content, "weights.pth")
    with pytest.raises(UserError, match=message) as fault:
        built(name="resnet18", weights="weights.pth")
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("form", ["plain", "module.", "_orig_mod.module.", "state_dict", "model", "safetensors"])
def test_weights_are_understood_in_every_usual_form(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trained = built(classes=1000).network.state_dict()
    trained["conv_stem.weight"] = trained["conv_stem.weight"].clone()  # channels last would not be contiguous
    weights, file = dict(trained), "weights.pth"
    if form.endswith("."):
        weights = {f"{form}{key}": tensor for key, tensor in trained.items()}
    if form == "safetensors":
        file = "weights.safetensors"
        save_file(weights, file)
    else:
        torch.save({form: weights, "epoch": 3} if form in ("state_dict", "model") else weights, file)
    found = built(weights=file).network.state_dict()
    assert all(torch.equal(found[key], tensor) for key, tensor in trained.items() if not key.startswith("classifier."))
    assert found["classifier.weight"].shape == (2, 1280)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "resnet18"])
def test_trained_weights_see_the_images_that_torchvision_gives_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two networks want other pixels than all others, which torchvision hides where it loads their weights itself."""
    monkeypatch.chdir(tmp_path)
    side = 96
    weights = get_model(name, **({} if name == "resnet18" else {"init_weights": False})).state_dict()
    torch.save(weights, "weights.pth")
    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", lambda *_, **__: weights)
    theirs = get_model(name, weights="DEFAULT").eval()
    ours = built(side, name=name, weights="weights.pth", normalize="imagenet").eval()
    images = pixels(2, side)
    found: list[Tensor] = []
    for network in theirs, ours.network:
        last_layer(network)[1].register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    with torch.no_grad():
        theirs(get_model_weights(name).DEFAULT.transforms(crop_size=side, resize_size=side)(images.permute(0, 3, 1, 2)))
        ours(images)
    torch.testing.assert_close(found[1] / found[0].std(), found[0] / found[0].std())


@pytest.mark.parametrize("name", [LITE, "resnet18", "efficientnet_b0"])
def test_a_new_last_layer_starts_nearly_at_zero(name: str) -> None:
    """The first loss is that of guessing, and its gradient hardly changes the other layers."""
    classifier = built(name=name, dropout=0.2).train()
    _, head = last_layer(classifier.network)
    assert 0 < head.weight.abs().max() < 0.03
    assert head.bias is not None
    assert not head.bias.any()
    loss = nn.functional.cross_entropy(classifier(pixels(8)), torch.arange(8) % 2)
    assert abs(loss.item() - 0.693) < 0.05


def test_a_network_of_timm_is_inspected_layer_by_layer() -> None:
    found = inspect_network(built(), pixels(1)[0].numpy(), shift=1, layer=1)
    kinds = [layer.kind for layer in found.layers]
    assert kinds[:2] == ["conv 3×3, stride 2", "batch norm"]
    assert sum(layer.parameters for layer in found.layers) == found.parameters


@pytest.mark.skipif(not WEIGHTS.exists(), reason="the weights of ../shared are absent")
def test_trained_weights_of_imagenet_fit() -> None:
    classifier = built(224, weights=str(WEIGHTS), normalize="backbone").eval()
    assert classifier(pixels(1, 224)).isfinite().all()
