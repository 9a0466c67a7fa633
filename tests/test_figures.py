"""Every picture in every kind of case: nothing clipped, no words on other words, equal input gives equal bytes."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file
from src.figures.network import first_kernels, kernels

from src.evaluation.classes import confusion, per_class
from src.evaluation.predictions import predictions
from src.figures import style
from src.figures.curves import learning_curves
from src.figures.data import class_distribution, samples
from src.figures.mistakes import confident_mistakes, sample_predictions
from src.figures.results import confusion_matrix, per_class_accuracy

PICTURES = [
    "samples", "class_distribution", "learning_curves", "confusion_matrix", "per_class_accuracy", "predictions",
    "mistakes", "kernels",
]  # fmt: skip


@dataclass
class Case:
    classes: list[str]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    test: int  # how many of the images are test
    strength: float
    history: pandas.DataFrame
    kernels: NDArray[np.float32]
    shown: int = 40


def history(epochs: int, validated: bool = True) -> pandas.DataFrame:
    epoch = np.arange(1, epochs + 1)
    falling = np.exp(-epoch / 5)
    missing = np.full(epochs, np.nan)
    return pandas.DataFrame(
        {
            "epoch": epoch,
            "train_loss": 2.2 * falling,
            "train_accuracy": 1 - 0.9 * falling,
            "validation_loss": 2.1 * falling + 0.004 * epoch if validated else missing,
            "validation_accuracy": 0.97 - 0.85 * falling if validated else missing,
            "lr": 2e-3 * np.cos(np.pi * epoch / epochs / 2) + 1e-5,
        }
    )


def case(classes: list[str], shape: tuple[int, int, int], count: int, **other: Any) -> Case:
    draw = np.random.default_rng(count)
    settings = {"test": count // 3, "strength": 4.0, "history": history(20)}
    return Case(
        classes,
        draw.integers(256, size=(count, *shape), dtype=np.uint8),
        np.arange(count) % len(classes),
        kernels=draw.normal(size=(16, shape[2], 3, 3)).astype(np.float32),
        **{**settings, **other},
    )


LONG = [
    f"{name}{number}"
    for number in range(10)
    for name in (
        "aquarium_fish", "sweet_pepper", 'a very long name, with a comma and "quotes"' * 2, "$5 and $6", "two\nlines",
        "жёлтый цветок ", "犬と猫", "W" * 30, "NA", "_",
    )
]  # fmt: skip

CASES = {
    "digits": lambda: case([str(digit) for digit in range(10)], (8, 8, 1), 300),
    "photos": lambda: case(["cat", "dog"], (224, 224, 3), 60, history=history(1)),
    "hundred": lambda: case(LONG, (32, 32, 3), 600, history=history(200), shown=100),
    "one each": lambda: case(["x" * 60, "y" * 60], (32, 20, 3), 12, shown=1, strength=0.0),
    "perfect": lambda: case(["cat", "dog", "emu"], (16, 16, 1), 90, strength=99.0, history=history(3, False)),
    "hopeless": lambda: case([f"class {label}" for label in range(12)], (16, 16, 1), 90, strength=-99.0),
    "no test": lambda: case(["cat", "dog"], (16, 16, 1), 30, test=0),
    "large counts": lambda: case(["cat", "dog"], (1, 1, 1), 60_000, test=40_000),
}  # fmt: skip


def draw_picture(name: str, case: Case, path: Path) -> None:
    test, training = slice(0, case.test), slice(case.test, None)
    labels = case.labels[test]
    logits = np.random.default_rng(0).normal(size=(case.test, len(case.classes)))
    logits[np.arange(case.test), labels] += case.strength
    table = predictions(logits, labels, [str(number) for number in range(case.test)], case.classes)
    validated = bool(case.history["validation_loss"].notna().any())
    counts = np.bincount(case.labels[training], minlength=len(case.classes)).tolist()
    none = [0] * len(case.classes)
    tested = np.bincount(labels, minlength=len(case.classes)).tolist()
    model = path.with_suffix(".safetensors")
    save_file({"conv.weight": case.kernels}, model)
    pictures: dict[str, Callable[[], None]] = {
        "samples": lambda: samples(path, case.images[training], case.labels[training], case.classes, case.shown),
        "class_distribution": lambda: class_distribution(
            path, {"train": counts, "validation": counts if validated else none, "test": tested}, case.classes
        ),
        "learning_curves": lambda: learning_curves(path, case.history, len(case.history)),
        "confusion_matrix": lambda: confusion_matrix(path, confusion(table, case.classes), case.classes),
        "per_class_accuracy": lambda: per_class_accuracy(path, per_class(table, case.classes)),
        "predictions": lambda: sample_predictions(path, case.images[test], table, case.shown),
        "mistakes": lambda: confident_mistakes(path, case.images[test], table, case.shown),
        "kernels": lambda: kernels(path, first_kernels(model, case.images.shape[3])),
    }
    pictures[name]()


@dataclass
class Drawn:
    """What the last saved figure drew."""

    boxes: dict[Text, Bbox]
    size: tuple[float, float] = (0.0, 0.0)

    @property
    def words(self) -> list[tuple[str, Bbox]]:
        return [(text.get_text(), box) for text, box in self.boxes.items()]

    def text(self) -> str:
        return " ".join(" ".join(words.split()) for words, _ in self.words)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Watches every text that is really drawn, with its box in pixels."""
    record = Drawn({})
    draw, save = Text.draw, Figure.savefig

    def watch(self: Text, renderer: Any, *rest: Any, **options: Any) -> None:
        draw(self, renderer, *rest, **options)
        if self.get_visible() and self.get_text().strip():
            record.boxes[self] = self.get_window_extent(renderer)  # the last one: layout draws once before

    def start(self: Figure, *rest: Any, **options: Any) -> None:
        record.boxes = {}
        save(self, *rest, **options)
        record.size = tuple(self.get_size_inches() * self.dpi)

    monkeypatch.setattr(Text, "draw", watch)
    monkeypatch.setattr(Figure, "savefig", start)
    return record


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("picture", PICTURES)
def test_words_can_be_read(picture: str, kind: str, tmp_path: Path, drawn: Drawn) -> None:
    draw_picture(picture, CASES[kind](), tmp_path / "picture.png")
    boxes = np.array([box.extents for _, box in drawn.words])
    left, bottom, right, top = boxes.T
    width, height = drawn.size
    for (words, _), inside in zip(
        drawn.words, (left >= 0) & (bottom >= 0) & (right <= width) & (top <= height), strict=True
    ):
        assert inside, f"clipped: {words}"
    # Boxes hold the room for letters such as "g" and "É" too: only what reaches 2 pixels into another is a collision.
    across = np.minimum(right[:, None], right) - np.maximum(left[:, None], left)
    along = np.minimum(top[:, None], top) - np.maximum(bottom[:, None], bottom)
    collisions = np.argwhere(np.triu((across > 2) & (along > 2), 1))
    assert [(drawn.words[i][0], drawn.words[j][0]) for i, j in collisions] == []


@pytest.mark.parametrize("picture", PICTURES)
def test_equal_input_gives_equal_bytes(picture: str, tmp_path: Path) -> None:
    made = CASES["digits"]()
    for name in ("one.png", "two.png"):
        draw_picture(picture, made, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as image:
        assert set(image.info) <= {"dpi"}


def test_large_cases_say_that_they_are_cut(tmp_path: Path, drawn: Drawn) -> None:
    made = CASES["hundred"]()
    said = {}
    for picture in ("class_distribution", "confusion_matrix", "per_class_accuracy"):
        draw_picture(picture, made, tmp_path / "picture.png")
        said[picture] = drawn.text()
    assert "the 20 largest and 20 smallest of 100" in said["class_distribution"]
    assert "the 20 of 100 classes with the most mistakes" in said["confusion_matrix"]
    assert "the 40 lowest of 100" in said["per_class_accuracy"]
    made.shown = 40
    draw_picture("samples", made, tmp_path / "picture.png")
    assert "40 of the 100 classes" in drawn.text()
    made.kernels = np.ones((96, 3, 11, 11), np.float32)
    draw_picture("kernels", made, tmp_path / "picture.png")
    assert "first 64 of 96 kernels" in drawn.text()


def test_what_is_missing_is_said(tmp_path: Path, drawn: Drawn) -> None:
    for picture in ("confusion_matrix", "per_class_accuracy", "predictions", "mistakes"):
        draw_picture(picture, CASES["no test"](), tmp_path / "picture.png")
        assert "There are no test images." in drawn.text()
    draw_picture("mistakes", CASES["perfect"](), tmp_path / "picture.png")
    assert "No mistakes on 30 test images." in drawn.text()
    draw_picture("learning_curves", CASES["perfect"](), tmp_path / "picture.png")
    assert "no validation images" in drawn.text()


def test_samples_show_every_class(tmp_path: Path, drawn: Drawn) -> None:
    made = CASES["hopeless"]()
    draw_picture("samples", made, tmp_path / "picture.png")
    assert set(made.classes) <= {words for words, _ in drawn.words}


def test_right_and_wrong_are_told_apart_without_colour(tmp_path: Path, drawn: Drawn) -> None:
    table = predictions(np.eye(2) * 3, np.array([0, 0]), ["x", "y"], ["cat", "dog"])
    sample_predictions(tmp_path / "picture.png", np.zeros((2, 8, 8, 1), np.uint8), table, 9)
    words = [words for words, _ in drawn.words]
    assert "✓ cat  95 %" in words
    assert "✗ dog  95 %" in words
    assert "is cat  5 %" in words


def test_mistakes_are_the_most_confident_ones(tmp_path: Path, drawn: Drawn) -> None:
    logits = np.array([[0, 1.0], [0, 3.0], [0, 2.0], [9.0, 0]])
    table = predictions(logits, np.zeros(4, np.int64), list("abcd"), ["cat", "dog"])
    confident_mistakes(tmp_path / "picture.png", np.zeros((4, 8, 8, 3), np.uint8), table, 2)
    assert [words for words, _ in drawn.words if words.startswith("✗ dog")] == ["✗ dog  95 %", "✗ dog  88 %"]
    assert "The 2 most confident of 3 mistakes on 4 test images" in drawn.text()


def test_first_kernels_are_those_that_see_the_image(tmp_path: Path) -> None:
    def weights(*shape: int) -> NDArray[np.float32]:
        return np.full(shape, shape[0], np.float32)

    path = tmp_path / "model.safetensors"
    save_file(
        {"features.10.weight": weights(2, 3, 3, 3), "features.2.weight": weights(8, 3, 5, 5),
         "features.0.weight": weights(4, 3, 1, 1), "bias": weights(4)}, path)  # fmt: skip
    found = first_kernels(path, 3)
    assert found is not None
    assert found.shape == (8, 3, 5, 5)
    assert first_kernels(path, 1) is None
    kernels(tmp_path / "kernels.png", None)


def test_names_are_cut_to_the_room_they_have() -> None:
    assert style.short("two\nlines\tand   more", 99) == "two lines and more"
    assert style.short("abcdef", 4) == "abc…"
    assert style.fitting("✗ ", "W" * 40, "  99 %", 1.0).endswith("…  99 %")
    assert style.fitting("", "cat", "", 1.0) == "cat"


def test_visualize_needs_no_torch() -> None:
    code = "import sys, stages.visualize; print({'torch', 'sklearn', 'scipy', 'mlflow', 'dvc'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
