"""`params.yaml`: what is accepted, and the one line that a fault gets."""

from pathlib import Path
from typing import Any

import pytest

from src.core.errors import UserError
from src.params import Params, check_machine, load, parse, writing
from src.params.networks import SMALL, TORCHVISION
from src.params.writing import recipe

DIGITS = recipe("digits")


def changed(changes: dict[str, str]) -> Params:
    text = DIGITS
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new, 1)
    return parse(text, "params.yaml")


PLAIN = "    name: adam\n    lr: 4.0e-3\n    weight_decay: 1.0e-4\n"
LBFGS = "    name: lbfgs\n    lr: 1\n    iterations: 3\n"
COSINE = "    name: cosine\n    warmup_epochs: 1\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"  epochs: ": "  epoch: "}, "train: unknown key 'epoch': did you mean epochs?"),
        ({"data:": "data: null\nother:"}, "params.yaml: unknown key 'other': allowed here: seed, data, split, "),
        ({"data:": "null: 1\ndata:"}, "params.yaml: unknown key None: allowed here: seed, "),
        ({PLAIN: ""}, "train.optimizer is empty: must hold keys"),
        ({"  epochs: ": "  # "}, "train.epochs is missing: recipes/default.yaml shows what it may be"),
        ({"lr: 4.0e-3": "lr: -1"}, "train.optimizer.lr is -1: must be greater than 0"),
        ({"lr: 4.0e-3": "lr: fast"}, "train.optimizer.lr is 'fast': must be a valid number"),
        ({"name: adam\n": "name: adem\n"}, "train.optimizer.name is 'adem': must be one of 'adam', 'adamw', 'nadam'"),
        ({"name: adam\n": "name: sgd\n"}, "train.optimizer.momentum is missing"),
        ({"name: cifar_basic": "name: resnet81"}, "did you mean resnet18?"),
        ({"weights: none": "weights: default"}, "cifar_basic has no pretrained weights"),
        ({"normalize: dataset": "normalize: {mean: [1], sdt: [2]}  "}, "model.normalize: unknown key 'sdt': did you"),
        ({"normalize: dataset": "normalize: {mean: [1], std: [0.5, 1]}  "}, "mean and std must have the same length"),
        ({"  validation: 0.2": "  validation: 0.9"}, "split: validation + test must be less than 1, not 1.1"),
        ({"groups: ": "groups: '('"}, "split.groups is '(': must be a regular expression"),
        ({"device: auto": "device: gpu"}, "train.device is 'gpu': recipes/default.yaml shows what it may be"),
        ({"source: ": "source: photos.zip"}, "source must be null with the data set digits"),
        ({"sha256: ": f"sha256: {'a' * 64}"}, "data: sha256 pins source, which is null"),
        ({"- 0.005\n": "- 0.5\n"}, "evaluate.robustness.fgsm is [0.5, 0.02, 0.05, 0.1]: must ascend"),
        ({"name: adam\n": "name: rprop\n"}, "train.optimizer: unknown key 'weight_decay': allowed here: name, lr"),
        (
            {"  accumulate: 1": "  accumulate: 5"},
            "train: batch_size must be a multiple of processes × accumulate, not 32 / (1 × 5)",
        ),
        ({"freeze: false": "freeze: true"}, "model: freeze: without pretrained weights there is nothing to keep"),
        ({"crop: 0.125": "crop: 4"}, "train.augment.crop is 4: must be a share of the shorter side, at most 0.5: 4 of"),
        ({"policy: ": "policy: trivail"}, "train.augment.policy is 'trivail': must be 'trivial' or hold keys, as in"),
        ({"policy: ": "policy: {name: rand, operations: 0, magnitude: 1} "}, "train.augment.policy.operations is 0"),
        ({"threads: auto": "threads: 0"}, "train.threads is 0: must be 'auto' or greater than or equal to 1"),
        ({"precision: auto": "precision: bfloat16"}, "precision must be auto or float32 with deterministic: portable"),
        ({"  compile: false": "  compile: true"}, "compile must be false with deterministic: portable"),
        ({"patience: ": "patience: 3", "  validation: 0.2": "  validation: 0.0"}, "patience needs validation images"),
        ({PLAIN: LBFGS}, "train: precision must be float32 with the optimizer lbfgs"),
        (
            {PLAIN: LBFGS, "precision: auto": "precision: float32", "clip_gradient: ": "clip_gradient: 1"},
            "train: clip_gradient must be null with the optimizer lbfgs",
        ),
        ({PLAIN: "    name: rprop\n    lr: 1\n"}, "rprop adapts its own steps from lr on: schedule must be constant"),
        ({COSINE: "    name: one_cycle\n    warmup_epochs: 0\n"}, "train.schedule.warmup_epochs is 0: must be greater"),
        (
            {
                COSINE: "    name: plateau\n    patience: 2\n    factor: 0.1\n    warmup_epochs: 0\n",
                "  validation: 0.2": "  validation: 0.0",
            },
            "the schedule plateau needs validation images",
        ),
        (
            {
                "name: cifar_basic": "name: resnet18",
                "weights: none": "weights: default",
                "freeze: false": "freeze: true",
                PLAIN: "    name: muon\n    lr: 1\n    weight_decay: 0\n    momentum: 0.9\n",
            },
            "muon trains hidden layers, of which model.freeze leaves none",
        ),
    ],
)
def test_a_fault_is_one_line_that_names_the_key(changes: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as fault:
        changed(changes)
    assert message in str(fault.value)
    assert str(fault.value).startswith("params.yaml")
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.deterministic": True, "train.device": "cuda:99"}, r"^train\.device is cuda:99, but "),
        ({"model.name": "resnet18", "model.weights": "none.pth"}, r"^model\.weights: .*none\.pth is missing"),
    ],
)
def test_what_a_machine_lacks_stops_who_computes_there_and_nobody_else(
    changes: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model may be promoted, and a summary read, on a machine without the GPU that trained it."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(writing.changed(DIGITS, changes), encoding="utf-8")
    found = load()
    with pytest.raises(UserError, match=message):
        check_machine(found)


@pytest.mark.parametrize("text", ["", "[]", "3", "? {a: b} : c"])
def test_what_is_no_mapping_is_a_fault(text: str) -> None:
    with pytest.raises(UserError, match=r"params\.yaml"):
        parse(text, "params.yaml")


def test_conflicts_of_a_merge_are_called_so() -> None:
    text = DIGITS.replace("seed: 0 ", "<<<<<<< HEAD\nseed: 1\n=======\nseed: 0\n>>>>>>> other\n#", 1)
    with pytest.raises(UserError, match=r"^params\.yaml line \d+ has conflicts that git left: settle params\.yaml"):
        parse(text, "params.yaml")


def test_a_number_without_a_dot_is_the_number_it_looks_like() -> None:
    """YAML 1.1 readers take `1e-3` for text. DVC's reader, which writes dvc.lock, must agree with ours."""
    from dvc.utils.serialize import parse_yaml

    optimizer = changed({"lr: 4.0e-3": "lr: 1e-3"}).train.optimizer
    assert optimizer.lr == 0.001
    assert parse_yaml("lr: 1e-3", "params.yaml") == {"lr": 0.001}


def test_the_list_of_networks_is_torchvisions() -> None:
    import torchvision

    assert list(TORCHVISION) == torchvision.models.list_models(module=torchvision.models)
    assert not set(SMALL) & set(TORCHVISION)
