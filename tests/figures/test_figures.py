"""Every picture of every kind of run: nothing clipped, no words on other words."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import figure_results
import numpy as np
import pandas
import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from src.evaluation.predictions import predictions
from src.figures.confusions import largest_confusions
from src.figures.curves import error_by_step, learning_curves
from src.figures.data import samples as draw_samples
from src.figures.gallery import draw_all, pictures
from src.figures.kernels import kernels, kernels_by_channel, kernels_by_epoch
from src.figures.mistakes import confident_mistakes, sample_predictions
from src.figures.pipeline_results import PipelineResults
from src.figures.style import add_fonts, fitting, in_percent


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

    def faults(self) -> Iterator[str]:
        """Words beyond the picture's edge, and words on other words."""
        boxes = np.array([box.extents for _, box in self.words])
        left, bottom, right, top = boxes.T
        width, height = self.size
        inside = (left >= 0) & (bottom >= 0) & (right <= width) & (top <= height)
        yield from (f"clipped: {words}" for (words, _), fits in zip(self.words, inside, strict=True) if not fits)
        # Boxes hold the room for letters such as "g" and "É" too: only what reaches 2 pixels into another collides.
        across = np.minimum(right[:, None], right) - np.maximum(left[:, None], left)
        along = np.minimum(top[:, None], top) - np.maximum(bottom[:, None], bottom)
        for i, j in np.argwhere(np.triu((across > 2) & (along > 2), 1)):
            yield f"collide: {self.words[i][0]!r} and {self.words[j][0]!r}"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Watches every text that is really drawn, with its box in pixels."""
    record = Drawn({})
    draw = Text.draw

    def watch(self: Text, renderer: Any, *rest: Any, **options: Any) -> None:
        draw(self, renderer, *rest, **options)
        if self.get_visible() and self.get_text().strip():
            record.boxes[self] = self.get_window_extent(renderer)  # the last one: layout draws once before

    def start(self: Figure, path: Path, **_: Any) -> None:
        record.boxes = {}
        self.draw_without_rendering()  # pixels, which nobody here looks at, would take half of the time
        path.touch()
        record.size = tuple(self.get_size_inches() * self.dpi)

    monkeypatch.setattr(Text, "draw", watch)
    monkeypatch.setattr(Figure, "savefig", start)
    return record


@pytest.mark.slow
@pytest.mark.parametrize("kind", figure_results.KINDS)
def test_words_can_be_read(kind: str, tmp_path: Path, drawn: Drawn) -> None:
    faults = {}
    for picture in pictures(figure_results.made(kind)):
        picture.draw(tmp_path / "picture.png")
        faults[picture.name] = list(drawn.faults())
    assert {name: found for name, found in faults.items() if found} == {}


def test_a_run_shows_what_it_recorded(tmp_path: Path) -> None:
    def names(results: PipelineResults) -> set[str]:
        return {picture.name for picture in pictures(results)}

    everything = names(figure_results.made("hundred"))
    assert len(everything) == 19
    assert names(figure_results.made("one each")) == everything - {
        "error_by_step", "reliability", "robustness"
    }  # fmt: skip
    assert everything - names(figure_results.made("no test")) == {
        "confusion_matrix", "confusions", "mistakes", "nearly_equal", "per_class_accuracy",
        "predictions", "reliability", "robustness", "second_kernels",
    }  # fmt: skip
    perfect = figure_results.made("perfect")
    assert everything - names(perfect) == {"confusions", "mistakes"}
    snapshots = {name: values[:1].repeat(2, axis=0) for name, values in perfect.snapshots.items()}
    frozen = replace(perfect, snapshots=snapshots, augmented=perfect.augmented[:1].repeat(24, axis=0))
    assert names(perfect) - names(frozen) == {"augmentation", "kernels_by_epoch"}
    (tmp_path / "robustness.png").touch()
    drawn = draw_all(figure_results.made("one each"), tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in chain(*drawn.values())}


def test_samples_show_every_class(tmp_path: Path, drawn: Drawn) -> None:
    results = figure_results.made("hopeless")
    (samples,) = (picture for picture in pictures(results) if picture.name == "samples")
    samples.draw(tmp_path / "picture.png")
    assert set(results.dataset.classes) <= {words for words, _ in drawn.words}
    many = np.arange(120)
    draw_samples(tmp_path / "picture.png", np.zeros((120, 4, 4, 1), np.uint8), many, [str(label) for label in many], 40)
    assert "100 of the 120 classes" in drawn.text()


def test_right_and_wrong_are_told_apart_without_colour(tmp_path: Path, drawn: Drawn) -> None:
    table = predictions(np.eye(2) * 3, np.array([0, 0]), ["x", "folder/with a long name.jpg"], ["cat", "dog"])
    sample_predictions(tmp_path / "picture.png", np.zeros((2, 8, 8, 1), np.uint8), table, 9)
    words = [words for words, _ in drawn.words]
    assert "✓ cat  95 %" in words
    assert "✗ dog  95 %" in words
    assert "is cat  4.7 %" in words, "not 0 % where it is less than a half"
    assert "x" in words
    assert "folder/wit…name.jpg" in words, "the file under each"
    height = drawn.size[1]
    sample_predictions(tmp_path / "picture.png", np.zeros((2, 2, 8, 1), np.uint8), table, 9)
    less = 0.75 * 1.25 * 130  # of 1.25 inches, at 130 pixels an inch
    assert height - drawn.size[1] == pytest.approx(less), "wide images leave no room empty"


def test_mistakes_are_the_most_confident_ones(tmp_path: Path, drawn: Drawn) -> None:
    logits = np.array([[0, 1.0], [0, 3.0], [0, 2.0], [9.0, 0]])
    table = predictions(logits, np.zeros(4, np.int64), list("abcd"), ["cat", "dog"])
    confident_mistakes(tmp_path / "picture.png", np.zeros((4, 8, 8, 3), np.uint8), table, 2)
    assert [words for words, _ in drawn.words if words.startswith("✗ dog")] == ["✗ dog  95 %", "✗ dog  88 %"]
    assert "The 2 most confident of 3 mistakes on 4 test images" in drawn.text()
    assert "before temperature scaling" in drawn.text()


@pytest.mark.parametrize(
    ("share", "words"),
    [(1, "100"), (0.9996, ">99"), (0.996, ">99"), (0.994, "99"), (0.0996, "10"), (0.034, "3.4"), (0.0004, "<0.1")],
)
def test_only_all_is_100_percent(share: float, words: str) -> None:
    assert in_percent(share) == words


def test_confusions_count_images_and_their_share_of_the_class(tmp_path: Path, drawn: Drawn) -> None:
    table = pandas.DataFrame(
        [("cat", "cat", 6), ("cat", "dog", 2), ("dog", "cat", 1), ("dog", "dog", 3)],
        columns=["label", "prediction", "count"],
    )
    rows = table.loc[table.index.repeat(table["count"]), ["label", "prediction"]].reset_index(drop=True)
    rows["index"], rows["confidence"] = rows.index, 0.9
    largest_confusions(tmp_path / "picture.png", np.zeros((12, 8, 8, 1), np.uint8), table, rows)
    words = [words for words, _ in drawn.words]
    assert words.index("cat") < words.index("dog")
    assert {"taken for dog", "2  (25.0 %)", "taken for cat", "1  (25.0 %)"} <= set(words)
    assert "together 3 of 3 mistakes" in drawn.text()


def test_kernels_keep_their_signs_and_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[Any] = []
    monkeypatch.setattr("src.figures.kernels.sheet", lambda path, groups, *rest, **other: rows.extend(groups))
    weights: NDArray[np.float32] = np.array([[[[1.0]], [[-2.0]]], [[[0.0]], [[4.0]]]], np.float32)
    kernels_by_channel(tmp_path / "picture.png", weights)
    assert [[tile.image.item() for tile in group] for group in rows] == [[0.5, -1.0], [0.0, 1.0]]
    rows.clear()
    snapshots = {"epochs": np.array([0, 1]), "first": np.stack([weights[:, :1], 2 * weights[:, :1]])}
    kernels_by_epoch(tmp_path / "picture.png", snapshots)
    assert [[tile.image.item() for tile in group] for group in rows] == [[0.5, 1.0], [0.0, 0.0]]
    rows.clear()
    kernels(tmp_path / "picture.png", np.array([[[[0.0]], [[0.5]], [[-0.5]]]], np.float32), "first")
    assert rows[0][0].image.tolist() == [[[128, 255, 0]]], "colour kernels are grey where they are 0"


@pytest.mark.parametrize("validated", [True, False])
def test_curves_say_which_loss_they_show(validated: bool, tmp_path: Path, drawn: Drawn) -> None:
    """A training loss that is no cross entropy, such as bce, stands beside a validation loss that always is."""
    table = figure_results.history(3, validated)
    learning_curves(tmp_path / "picture.png", table, 3)
    assert "Loss" in [words for words, _ in drawn.words]
    assert "loss is the one that train.loss names" in drawn.text()
    assert ("validation loss always cross entropy, in nats" in drawn.text()) == validated


def test_a_few_recorded_steps_have_whole_numbers_and_two_errors_on_the_axes(tmp_path: Path, drawn: Drawn) -> None:
    table = pandas.DataFrame({"step": [2, 3, 4], "epoch": 1, "train_error": 0.9, "validation_error": [0.9, 0.88, 0.8]})
    error_by_step(tmp_path / "picture.png", table)
    words = [words for words, _ in drawn.words]
    assert [word for word in words if word.isdecimal()] == ["2", "3", "4"]
    assert "80.0 % of the validation images at the last record" in drawn.text()
    assert "Vertical lines: last records of epochs." in drawn.text(), "which end later, if not all steps are recorded"
    assert {"50 %", "100 %"} <= set(words)


def test_a_name_in_hebrew_turns_no_line_around() -> None:
    assert fitting("✗ ", "cat", "  98 %", 9.0) == "✗ cat  98 %"
    assert fitting("✗ ", "חתול 1", "  98 %", 9.0) == "\u200e✗ \u2068חתול 1\u2069  98 %"


def test_letters_that_no_font_has_are_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = [font for font in fontManager.ttflist if font.name.startswith(("DejaVu", "Last Resort"))]
    monkeypatch.setattr("src.figures.style.fontManager", SimpleNamespace(ttflist=ours))
    monkeypatch.setattr("src.figures.style._looked_for", set())
    add_fonts(["cat", "жёлтый", "\n"])
    assert not capsys.readouterr().err
    add_fonts(["cat", "猫/1.jpg"])
    assert capsys.readouterr().err.startswith("no font has 猫: pictures show boxes")
    add_fonts(["cat", "猫/2.jpg"])
    assert not capsys.readouterr().err
