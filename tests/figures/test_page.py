"""`reports/index.html`: everything is in it, nothing is fetched, and no name can break out of its place."""

import base64
import re
from html.parser import HTMLParser
from io import BytesIO
from itertools import chain
from pathlib import Path

import figure_results
import pytest
from PIL import Image

from src.figures.gallery import draw_all
from src.figures.page import page
from src.figures.pipeline_results import PipelineResults

pytestmark = pytest.mark.slow

HOSTILE = "<script>alert('&')</script>"
SETTINGS = {
    "seed": "0",
    "data.name": "image_folder",
    "data.title": "null",
    "data.source": "https://example.org/<b>photos.zip",
    "model.name": f"net{HOSTILE}",
    "train.optimizer.lr": "0.004",
}


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def written(results: PipelineResults, folder: Path) -> tuple[str, list[Path]]:
    drawn = draw_all(results, folder / "figures")
    page(folder / "index.html", results, SETTINGS, drawn)
    return (folder / "index.html").read_text(encoding="utf-8"), [*chain(*drawn.values())]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Path]]:
    """The page of a run whose classes have odd names, and its pictures."""
    results = figure_results.make("mnist_convnet", figure_results.LONG[:10], (16, 16, 3), 90)
    return written(results, tmp_path_factory.mktemp("page"))


def test_it_holds_every_picture_without_title_and_caption(hostile: tuple[str, list[Path]]) -> None:
    text, files = hostile
    elements = Elements(text)
    shown = elements.of("img")
    pictures = [figure["id"] for figure in elements.of("figure") if figure["id"] != "layers"]  # which is a table
    assert pictures == [file.stem for file in files]
    for attributes, file in zip(shown, files, strict=True):
        kind, _, data = str(attributes["src"]).partition(",")
        assert kind == "data:image/png;base64"
        with Image.open(file) as whole, Image.open(BytesIO(base64.b64decode(data))) as cut:
            assert attributes["alt"] == whole.info["Title"].replace(" %", "\N{NO-BREAK SPACE}%")
            assert whole.info["Description"].replace(" %", "\N{NO-BREAK SPACE}%") in elements.text
            first, last = map(int, whole.info["Rows"].split())
            assert cut.size == (whole.width, last - first)
            assert 0 < first < last < whole.height


def test_nothing_is_fetched_and_nothing_runs(hostile: tuple[str, list[Path]]) -> None:
    text, _ = hostile
    elements = Elements(text)
    for _, attributes in elements.found:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert str(attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
        assert not any(name.startswith("on") for name in attributes)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {tag for tag, _ in elements.found}


def test_it_can_be_walked_through(hostile: tuple[str, list[Path]]) -> None:
    """Every link leads to a place of the page; every picture has words; one main heading; a language."""
    elements = Elements(hostile[0])
    places = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(places) == len(set(places))
    assert {str(link["href"])[1:] for link in elements.of("a")} <= set(places)
    labels = {attributes["aria-labelledby"] for _, attributes in elements.found if "aria-labelledby" in attributes}
    assert labels <= set(places)
    assert all(image["alt"] for image in elements.of("img"))
    assert len(elements.of("h1")) == len(elements.of("main")) == 1
    assert elements.of("html")[0]["lang"] == "en"


def test_numbers_settings_data_and_environment_are_said(hostile: tuple[str, list[Path]]) -> None:
    words = Elements(hostile[0]).text.replace("\N{NO-BREAK SPACE}", " ")
    assert f"net{HOSTILE}" in words, "names are text"
    assert "test accuracy" in words
    assert "accuracy with test-time augmentation" in words
    assert "calibration error (ECE), calibrated3.75 %" in words
    assert "robustness images1,234\n" in words
    assert "optimizer.lr" in words
    assert "0.004" in words
    assert "1 test images are among those of train" in words
    assert "2.15.0" in words
    assert "1features.0.0conv 5×54×16×163045×5" in words.replace("\n", ""), "the table of layers"


def test_what_was_not_recorded_is_not_spoken_of(tmp_path: Path) -> None:
    text, _ = written(figure_results.made("no test"), tmp_path)
    words = Elements(text).text.lower()
    assert "validation accuracy" in words
    for absent in ("confusion", "mistakes", "reliability", "robustness", "macro f1"):
        assert absent not in words
    results = figure_results.make("cifar_basic", ["cat", "dog"], (8, 8, 1), 30, test=0, validated=False)
    page(tmp_path / "index.html", results, SETTINGS, {})
    assert "training accuracy" in (tmp_path / "index.html").read_text(encoding="utf-8")
