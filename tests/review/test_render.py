"""The report as Markdown and as a page, in repositories made by hand."""

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from answer_tables import TEST, VALIDATION, answered, commit, lock, results, with_flips, write
from clones import substitute
from PIL import Image

from src.core.errors import UserError
from src.review.charts import BASE, HEAD


def test_nothing_changed(repo: Path, tell: Any) -> None:
    out = tell()
    assert "## Equivalent (the same model)\n" in out
    assert out.count("images, and every answer is the same.") == 2
    assert "No parameters, no data, and no code that a stage uses." in out
    assert "WARNING" not in out
    found = json.loads(tell("--json"))
    assert (found["verdict"], found["failure"], found["judged"]) == ("equivalent", None, 1)
    assert not any(found[key] for key in ("metrics", "parameters", "data", "code", "packages", "environment"))


def test_a_worse_model(repo: Path, tell: Any) -> None:
    validation, test = answered(359, 0.99, seed=1), answered(359, 0.97, seed=2)
    results(repo, validation, test, "base")
    commit(repo, "small")
    substitute(repo / "params.yaml", "lr: 0.01", "lr: 0.1")
    write(repo / "src/models/net.py", "layers = 2\nmore = 3\n")
    results(repo, with_flips(validation, 9, 1), with_flips(test, 4, 0), "head")
    out = tell("--base", "HEAD")
    first, second = out.splitlines()[4:7:2]
    assert first.endswith("not the recipes that made them; other seeds might answer otherwise.")
    # The p-value of the headline is the adjusted one, by which the verdict is made.
    found = json.loads(tell("--base", "HEAD", "--json"))
    assert (found["verdict"], found["same_model"], found["judged"]) == ("worse", False, 2)
    accuracy = found["validation"]["comparison"]["differences"][0]
    assert f"{accuracy['adjusted']:.3f}" != f"{accuracy['p']:.3f}"
    headline = "Validation accuracy 98.05 → 95.82 % (−2.23; 9 newly wrong, 1 newly right of 359): worse"
    assert second == f"**{headline}, p = {accuracy['adjusted']:.3f} (Holm)**"
    assert "| accuracy | 98.05 % | 95.82 % | −2.23 points | " in out
    # What was not tested has no verdict.
    metrics = out[out.index("Metrics that differ") : out.index("Classes and images")]
    assert "| `test_accuracy` | `94.71 %` | `93.59 %` | −1.11 points ↓ |" in metrics
    assert "worse" not in out[out.index("Metrics that differ") :]
    assert "▼ worse" not in out[out.index("### Test") :]
    # Which image is what, and taken for what, needs no legend.
    assert "- `images/00000.png`: `class 8`, taken for `class 0`" in out
    assert ", before taken for `class " in out
    assert "| `train.lr` | `0.01` | `0.1` |" in out
    assert "| `src/models/net.py` | +2 −1 | `train` |" in out
    assert "not for choosing" in out.lower()


def test_no_evidence_and_equivalent(repo: Path, tell: Any) -> None:
    results(repo, with_flips(VALIDATION, 12, 9), TEST, "second model")
    out = tell()
    assert "accuracy 79.85 → 79.70 % (−0.15; 12 newly wrong, 9 newly right of 2,000): no evidence of a diff" in out
    assert (
        "The accuracies differ by less than 1 point: the 90 % interval of the difference is −0.56 to +0.24 points.\n"
        in out
    )
    results(repo, answered(2_000, 0.8, seed=3), TEST, "third model")
    assert "and the accuracies may differ by more than 1 point: the 90 % interval of the difference is " in tell()
    patients = [f"patient {number // 50}" for number in range(2_000)]
    results(repo, with_flips(VALIDATION, 80, 0).assign(group=patients), TEST, "worse for two of forty patients")
    out = tell()
    assert "80 newly wrong, 0 newly right of 2,000): no evidence of a difference" in out
    assert "2,000 images in 40 groups, which alone count as independent: 80 newly wrong" in out
    results(repo, with_flips(VALIDATION, 80, 0), TEST, "worse")
    out = tell()
    assert ": worse, p < 0.001 (Holm)**" in out
    assert " | < 0.001 | < 0.001 | ▼ worse |" in out
    results(repo, VALIDATION.head(60), TEST, "of few images")
    commit(repo, "of few images")
    results(repo, with_flips(VALIDATION.head(60), 60, 0), TEST, "of few images, worse")
    assert "The rarest class has 3 images: too few for macro F1, whose interval is too narrow." in tell(
        "--base", "HEAD"
    )


def test_stale_numbers_and_another_environment_are_warned_of(repo: Path, tell: Any) -> None:
    results(repo, VALIDATION, TEST, "first model", environment="2.15.0")
    write(repo / "src/figures.py", "colour = 2\n")
    out = tell()
    assert "> [!WARNING]\n>\n> `the working tree`: its figures are stale, its numbers are not" in out
    assert "\n>\n> Trained in another environment" in out
    assert ": `torch` `2.14.1` → `2.15.0`.\n" in out
    assert "numbers are stale" not in out
    write(repo / "src/models/net.py", "layers = 2\n")
    out = tell()
    assert "## Not run (the numbers are the base's)\n" in out
    assert (
        "its numbers are stale: dvc.lock does not match `train` (`src/models`), `visualize` (`src/figures.py`)." in out
    )
    (repo / "reports/validation_predictions.csv").unlink()
    assert "## Not comparable (the same model); the head's numbers are stale\n" in tell()
    commit(repo, "without running")
    results(repo, with_flips(VALIDATION, 100, 0), TEST, "second model")
    substitute(repo / "params.yaml", "lr: 0.01", "lr: 0.1")
    found = json.loads(tell("--base", "HEAD", "--json"))
    assert found["title"] == "Not comparable; the base's and the head's numbers are stale"
    assert found["title"] == found["annotations"][0]["title"]
    assert "## Worse; the head's numbers are stale\n" in tell("--base", "HEAD^")


STRANGE = [
    "a|b",
    "`tick`",
    "<script>alert(1)</script>",
    "@everyone",
    "_under_ **bold**",
    "new\nline",
    "[x](http://e.x)",
]


def strange_answers(repo: Path) -> None:
    tables = []
    for seed in (1, 2):
        table = answered(200, 0.5, seed=seed, classes=len(STRANGE))
        names = {f"class {number}": name for number, name in enumerate(STRANGE)}
        for column in ("label", "prediction"):
            table[column] = table[column].map(names)
        table["name"] = [f"photo {STRANGE[row % len(STRANGE)]} {row}" for row in range(len(table))]
        tables.append(table)
    results(repo, tables[0], tables[0], "strange base")
    commit(repo, "strange base")
    results(repo, tables[1], tables[1], "strange head")


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.pictures = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.pictures += tag == "img" and (dict(attrs)["src"] or "").startswith("data:image/webp;base64,")


def test_names_are_never_markup(repo: Path, tell: Any) -> None:
    """Names of classes and images, and of keys, stages and files that a branch invents."""
    strange_answers(repo)
    for path in ("reports/environment.json", "reports/training.json"):
        content = json.loads((repo / path).read_text(encoding="utf-8"))
        (repo / path).write_text(json.dumps({**content, **{f"{name} key": 1 for name in STRANGE}}))
    pipeline = (repo / "dvc.yaml").read_text(encoding="utf-8")
    (repo / "dvc.yaml").write_text(f"{pipeline.rstrip()}\n  '{STRANGE[6]}':\n    cmd: x\n    deps: [src]\n")
    write(repo / os.fsdecode(b"src/models/caf\xe9.py"), "its name is not UTF-8\n")
    out = tell()
    assert "| `src/models/caf\\udce9.py` | +1 −0 | `train`, `[x](http://e.x)` |" in out
    for name in STRANGE:
        shown = out.replace(f"`{name} key`", "").replace(f"`{name}`", "").replace(f"`photo {name}", "")
        assert name not in shown.replace("reports/", "")
    tables = [line for line in out.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} <= {4, 5, 6, 9}  # as many cells as columns
    assert "<code>a&#124;b</code>" in out
    page = tell("--html")
    assert "<code>src/models/caf\\udce9.py</code>" in page
    assert not {"script", "em", "a"} & set(Page(page).tags)


def test_no_text_of_a_branch_ends_its_line(repo: Path, tell: Any) -> None:
    """Text after the end of a line would be markup, and in a warning even a heading."""
    separators = "\v\f\r\n\x1c\x1d\x1e\x85\u2028\u2029\u202e\u200b"  # the last two hide or turn what follows
    odd = "".join(f"a{separator}# <script> ![c](d) " for separator in separators)
    strange = VALIDATION.replace(r"class (\d)", rf"{odd}\1", regex=True)
    results(repo, strange, TEST, "strange base")
    commit(repo, "strange base")
    flipped = with_flips(VALIDATION, 20, 10).replace(r"class (\d)", rf"{odd}\1", regex=True)
    substitute(repo / "params.yaml", "lr: 0.01", f"lr: {json.dumps(odd)}")
    results(repo, flipped, TEST, "strange head", environment=odd)
    pipeline = (repo / "dvc.yaml").read_text(encoding="utf-8").rstrip()
    (repo / "dvc.yaml").write_text(f"{pipeline}\n  {json.dumps(odd)}: {{cmd: x, deps: [src/models]}}\n")
    write(repo / f"src/models/{separators}# <script>", "layers = 2\n")
    commit(repo, odd)
    out, page = (tell("--base", "HEAD^", "--head", "HEAD", *form) for form in ([], ["--html"]))
    assert "Trained in another environment" in out
    assert out.count(r"\u2028# <script>") > 40, "it is shown as text"
    assert set(separators) & set(out + page) == {"\n"}
    assert not re.search(r"^(> |\| )*#+ [^A-Z]", out, re.MULTILINE)
    assert (Page(page).tags.count("script"), Page(page).tags.count("img")) == (0, 1), "the sheet alone"


def test_a_note_is_as_long_as_github_takes_it(repo: Path, tell: Any) -> None:
    substitute(repo / "params.yaml", "lr: 0.01", f"lr: {'x' * 70_000}")
    (note,) = json.loads(tell("--json"))["annotations"]
    assert note["message"] == f"train.lr: 0.01 → {'x' * 200}…"


def test_the_page_has_what_the_comment_has(repo: Path, tell: Any) -> None:
    results(repo, with_flips(VALIDATION, 40, 30), TEST, "second model", environment="2.15.0")
    out, page = tell(), tell("--html")
    tags = Page(page).tags
    assert tags.count("table") == out.count("\n|--")
    assert tags.count("h1") == out.count("\n## ") == 1
    assert tags.count("h2") == out.count("\n### ")
    assert tags.count("li") == out.count("\n- ") == 20
    assert tags.count("details") == page.count("<details open>") == out.count("<details>")
    assert tags.count("blockquote") == 1
    assert "[!WARNING]" not in page


def test_the_images_that_changed_sides_where_they_are_the_locked_ones(repo: Path, tell: Any) -> None:
    images = np.random.default_rng(0).integers(256, size=(2_000, 8, 8, 1), dtype=np.uint8)
    results(repo, with_flips(VALIDATION, 4, 13), TEST, "second model")
    np.save(repo / "data/prepared/validation/images-00000.npy", images)
    lock(repo)
    assert Page(tell("--html")).pictures == 1
    assert "`python -m src.report --sheet` draws the 17 images that changed sides" in tell()
    (repo / "reports/flips-of-others.webp").touch()
    written = Path(tell("--sheet").partition(":")[0])
    assert list(Path("reports").glob("flips-*.webp")) == [written]
    with Image.open(written) as picture:
        assert (picture.format, picture.width > 500) == ("WEBP", True)
    # Nobody has to have the images where the sheet is committed; it belongs to these two models alone.
    write(repo / "data/prepared/dataset.json", {"name": "other images"})
    assert Page(tell("--html")).pictures == 1
    assert f"![Images that changed sides](https://example.org/raw/{written})" in tell(
        "--files", "https://example.org/raw/"
    )
    results(repo, with_flips(VALIDATION, 5, 3), TEST, "third model")
    write(repo / "data/prepared/dataset.json", {"name": "other images"})
    assert "img" not in Page(tell("--html")).tags
    assert "![" not in tell()
    with pytest.raises(UserError, match="missing, or not the one that was validated on: run dvc pull"):
        tell("--sheet")


def history(accuracies: list[float | str]) -> pandas.DataFrame:
    columns = {"validation_accuracy": accuracies, "validation_loss": np.linspace(2, 1, len(accuracies))}
    return pandas.DataFrame({"epoch": np.arange(1, len(accuracies) + 1), **columns})


def test_curves_of_both_as_mermaid_and_on_the_page(repo: Path, tell: Any) -> None:
    write(repo / "reports/history.csv", history([k / 100 for k in range(100)]))
    commit(repo, "base with curves")
    write(repo / "reports/history.csv", history([0.3, 0.5, 0.6]))
    results(repo, with_flips(VALIDATION, 4, 3), TEST, "second model")
    out = tell("--base", "HEAD")
    first, second = re.findall(r"```mermaid\n%%{init: (.+)}%%\nxychart-beta\n((?:  .+\n)+)```", out)
    assert json.loads(first[0])["themeVariables"]
    assert '  title "Validation accuracy, %"\n  x-axis "epoch" [1, 3, 4, ' in first[1], (
        "so that the shorter one is seen"
    )
    assert json.loads(first[0])["themeVariables"]["xyChart"]["plotColorPalette"] == f"{BASE}, {HEAD}"
    assert second[1].startswith('  title "Validation loss"')
    write(repo / "reports/history.csv", history([0.3, 0.5, *[k / 80 for k in range(70)]]))
    (base, head) = re.findall(r"  line \[(.+)\]", tell("--base", "HEAD"))[:2]
    assert len(head.split(", ")) < len(base.split(", ")) == 31
    assert base.startswith("14, ")
    assert base.endswith(", 99")
    page = tell("--base", "HEAD", "--html")
    assert page.count("<polyline") == 4
    assert "mermaid" not in page
    write(repo / "reports/history.csv", history([0.3, "<b>", 0.6]))
    assert tell("--base", "HEAD").count("xychart-beta") == 1
    write(repo / "reports/history.csv", history([0.3]))
    assert "xychart-beta" not in tell("--base", "HEAD"), "one epoch is no line"


def test_the_cost_beside_the_quality(repo: Path, tell: Any) -> None:
    assert "Cost:" not in tell(), "of the same model"
    results(repo, with_flips(VALIDATION, 4, 3), TEST, "second model")
    training = json.loads((repo / "reports/training.json").read_text())
    write(repo / "reports/training.json", training | {"parameters": 47_077, "size_mib": 0.18})
    assert "Cost: 94,154 → 47,077 parameters (−50 %), 0.18 MiB.\n" in tell()
    commit(repo, "smaller")
    results(repo, with_flips(VALIDATION, 5, 3), TEST, "third model")
    write(repo / "reports/training.json", training | {"parameters": 47_077, "size_mib": 0.18})
    assert "Cost: 47,077 parameters, 0.18 MiB, as before.\n" in tell("--base", "HEAD")
