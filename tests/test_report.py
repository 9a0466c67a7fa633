"""The report of two revisions, in repositories made by hand: quick, and every guard with its own."""

import json
import os
import shutil
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from answer_tables import answered, commit, lock, md5, repository, results, with_flips, write
from clones import DIGITS, git, substitute
from scipy import stats

from src import report
from src.atomic import digest
from src.faults import Fault
from src.params import load
from src.review import gather
from src.tracking.identity import recipe_digest
from src.tracking.lookup import Found

VALIDATION, TEST = answered(2_000, 0.8, seed=1), answered(500, 0.8, seed=2, labels=1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base revision with results, on `main`; the working tree is clean."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(repository(tmp_path))
    results(tmp_path, VALIDATION, TEST, "first model")
    commit(tmp_path, "base")
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["report", *arguments])
    report.main()
    return capsys.readouterr().out


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda *arguments: told(capsys, monkeypatch, *arguments)


def test_nothing_changed(folder: Path, tell: Any) -> None:
    out = tell()
    assert "## Equivalent (the same model)" in out
    assert "2,000 images, and every answer is the same." in out
    assert "No parameters, no data, and no code that a stage uses." in out
    assert "WARNING" not in out
    found = json.loads(tell("--json"))
    assert (found["verdict"], found["same_model"], found["judged"]) == ("equivalent", True, 1)
    assert not found["head"]["stale"]


def test_a_worse_model_with_other_parameters(folder: Path, tell: Any) -> None:
    substitute(folder / "params.yaml", "lr: 0.01", "lr: 0.1")
    results(folder, with_flips(VALIDATION, 100, 20), with_flips(TEST, 3, 5), "second model")
    out = tell()
    assert out.splitlines()[2] == "## Worse"
    assert "2,000 images: 100 newly wrong, 20 newly right." in out
    assert "accuracy -4.00 points" in out
    assert "| `train.lr` | `0.01` | `0.1` | ↑ |" in out
    assert "at least 2 distinct models" in out
    assert "not for choosing" in out.lower()
    assert "(`train.lr`" not in out  # not stale
    assert f"python -m src.track show {md5(b'second model')}" in out
    found = json.loads(tell("--json"))
    accuracy = found["validation"]["comparison"]["differences"][0]
    assert accuracy["p"] == pytest.approx(stats.binomtest(20, 120).pvalue)
    assert accuracy["difference"] == pytest.approx(-0.04)
    assert [c["name"] for c in found["metrics"]] == ["validation_accuracy", "test_accuracy"]
    assert [c["direction"] for c in found["metrics"]] == ["worse", "better"]
    assert found["parameters"] == [
        {"name": "train.lr", "base": "0.01", "head": "0.1", "direction": "up", "difference": ""}
    ]


def test_the_exit_code_follows_the_verdict(folder: Path, tell: Any) -> None:
    results(folder, with_flips(VALIDATION, 0, 100), TEST, "second model")
    assert "## Better" in tell("--fail-on", "worse")
    results(folder, with_flips(VALIDATION, 100, 0), TEST, "third model")
    assert "## Worse" in tell()
    with pytest.raises(SystemExit) as ended:
        tell("--fail-on", "worse")
    assert ended.value.code == 1


def test_branches_are_compared_with_where_they_branched_off(folder: Path, tell: Any) -> None:
    git(folder, "checkout", "-qb", "feature")
    results(folder, with_flips(VALIDATION, 3, 2), TEST, "feature model")
    feature = commit(folder, "feature")
    git(folder, "checkout", "-q", "main")
    results(folder, with_flips(VALIDATION, 0, 150), TEST, "main model")
    commit(folder, "main goes on")
    out = tell("--base", "main", "--head", "feature")
    assert "## Equivalent" in out
    assert f"`feature ({feature[:9]})`" in out
    assert "at least 3 distinct models" in out  # those of all branches
    assert "## Worse" in tell("--base", "main", "--head", "feature", "--exact")
    with pytest.raises(Fault, match="git knows no commit 'nowhere'"):
        tell("--base", "nowhere")


def test_revisions_without_a_common_commit_are_one_line(folder: Path, tell: Any) -> None:
    git(folder, "checkout", "-q", "--orphan", "other")
    commit(folder, "alone")
    with pytest.raises(Fault, match="git fetch --unshallow"):
        tell("--base", "main")
    assert "the same model" in tell("--base", "main", "--exact")


def test_other_images_get_no_paired_test(folder: Path, tell: Any) -> None:
    results(folder, answered(1_500, 0.8, seed=3), TEST, "second model", images="other photos")
    out = tell("--fail-on", "worse")
    assert "## Not comparable" in out
    assert "2,000 images became 1,500" in out
    assert "other images under the same names" in out  # test: as many, but other digests
    assert "| `data/prepared/validation.images.npy` |" in out
    found = json.loads(tell("--json"))
    assert found["verdict"] is None
    assert {c["direction"] for c in found["metrics"]} <= {"up", "down"}, "of other images neither better nor worse"


def test_the_same_photos_prepared_otherwise_are_paired_and_that_is_said(folder: Path, tell: Any) -> None:
    results(folder, with_flips(VALIDATION, 3, 3), TEST, "second model")
    write(folder / "data/prepared/validation.images.npy", "at another size")
    lock(folder)
    out = tell()
    assert "## Equivalent" in out
    assert "The validation images are the same photos, prepared otherwise" in out


def test_code_without_dvc_repro_is_stale(folder: Path, tell: Any) -> None:
    write(folder / "src/models/net.py", "layers = 2\nmore = 3\n")
    out = tell()
    assert "## Equivalent (the same model), by stale numbers" in out
    assert "`the working tree`: its numbers are stale" in out
    assert "`train` (`src/models`)" in out
    assert "| `src/models/net.py` | +2 -1 lines | `train` |" in out
    git(folder, "checkout", "-q", ".")
    write(folder / "src/models/untracked.py", "layers = 2\n")
    assert "`train` (`src/models`)" in tell()
    assert "| `src/models/untracked.py` | +1 -0 lines | `train` |" in tell()
    commit(folder, "code alone")
    assert "`train` (`src/models`)" in tell("--base", "HEAD^", "--head", "HEAD")


def test_a_file_whose_name_is_not_utf8(folder: Path, tell: Any) -> None:
    name = os.fsdecode(b"src/models/caf\xe9.py")
    (folder / name).write_text("layers = 2\n")
    assert "| `src/models/caf\\udce9.py` | +1 -0 lines | `train` |" in tell()
    lock(folder)
    commit(folder, "its name in Latin-1")
    out = tell("--base", "HEAD^", "--head", "HEAD")
    assert "stale" not in out
    assert "| `src/models/caf\\udce9.py` | +1 -0 lines | `train` |" in out


def test_a_repository_below_the_root_of_git(tmp_path: Path, tell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = repository(tmp_path / "inner")
    shutil.rmtree(inner / ".git")
    git(tmp_path, "init", "-q", "-b", "main")
    results(inner, VALIDATION, TEST, "first model")
    commit(tmp_path, "base")
    monkeypatch.chdir(inner)
    write(inner / "src/models/net.py", "layers = 2\n")
    found = json.loads(tell("--json"))
    assert found["code"] == [{"file": "src/models/net.py", "added": 1, "removed": 1, "stages": ["train"]}]
    assert found["head"]["stale"] == {"train": ["src/models"]}
    assert found["judged"] == 1


def test_parameters_commands_and_results_that_are_not_the_locks_are_stale(folder: Path, tell: Any) -> None:
    substitute(folder / "params.yaml", "lr: 0.01", "lr: 1e-2  # the same")
    assert "stale" not in tell()
    substitute(folder / "params.yaml", "lr: 1e-2", "lr: 0.02")
    substitute(folder / "dvc.yaml", "python -m stages.evaluate", "python -m stages.evaluate --more")
    write(folder / "reports/metrics.json", {"images": 500, "accuracy": 1.0})
    assert json.loads(tell("--json"))["head"]["stale"] == {
        "train": ["params.yaml: train"],
        "evaluate": ["its command", "reports/metrics.json is not the one that it wrote"],
    }


def test_a_stage_that_read_other_data_than_are_locked_is_stale(folder: Path, tell: Any) -> None:
    text = (folder / "dvc.lock").read_text()
    old = md5((folder / "data/prepared/validation.images.npy").read_bytes())
    first = text.index(old)  # of split; train read the one that follows
    (folder / "dvc.lock").write_text(text[:first] + md5(b"new") + text[first + 32 :])
    assert "`train` (`data/prepared/validation.images.npy`)" in tell()


def test_a_figure_alone_leaves_the_numbers_fresh(folder: Path, tell: Any) -> None:
    write(folder / "src/figures.py", "colour = 2\n")
    out = tell()
    assert "its figures are stale, its numbers are not" in out
    assert "by stale numbers" not in out


def test_photos_count_where_dvc_tracks_them(folder: Path, tell: Any) -> None:
    write(folder / "data/images/cat.1.jpg", "a photo that git ignores")
    lock(folder)
    (folder / "data/images/cat.1.jpg").unlink()  # as in a fresh clone
    assert "split (" not in tell()
    write(folder / "data/images.dvc", {"outs": [{"md5": "0123.dir", "path": "images"}]})
    assert "`split` (`data/images`)" in tell()


def test_another_environment_and_packages_are_told(folder: Path, tell: Any) -> None:
    results(folder, VALIDATION, TEST, "first model", environment="2.15.0")
    substitute(folder / "requirements.lock", "torch==2.14.1", "torch==2.15.0")
    substitute(folder / "requirements.lock", "numpy==2.3.0\n", "")
    out = tell()
    assert "`torch` `2.14.1` → `2.15.0`" in out
    assert "| `torch` | `2.14.1` | `2.15.0` | ↑ |" in out
    assert "| `numpy` | `2.3.0` | `none` |  |" in out


def test_the_margin_is_the_bases(folder: Path, tell: Any) -> None:
    results(folder, with_flips(VALIDATION, 3, 3), TEST, "second model")
    assert "## Equivalent" in tell()
    substitute(folder / "params.yaml", "margin: 1.0", "margin: 0.01")
    assert "## Equivalent" in tell()
    commit(folder, "a narrower margin")
    git(folder, "checkout", "-q", "HEAD^")
    assert "## No evidence either way" in tell("--base", "main", "--exact")
    git(folder, "checkout", "-q", "main")
    substitute(folder / "params.yaml", "report:", "other:")
    commit(folder, "no margin")
    with pytest.raises(Fault, match=r"report\.margin is missing"):
        tell("--base", "main", "--head", "main")
    assert "The base has no report.margin" in tell("--base", "main", "--head", "HEAD^", "--exact")


def test_files_that_are_not_whole_are_one_line(folder: Path, tell: Any) -> None:
    """As a merge leaves them, or an editor."""
    answers, lock_file = folder / "reports/validation_predictions.csv", folder / "dvc.lock"
    rows = answers.read_text().splitlines(keepends=True)
    for lines, message in (
        ([*rows[:5], "<<<<<<< HEAD\n", *rows[5:]], "row 6 has the index '<<<<<<< HEAD'"),
        ([*rows[:1], rows[1].rsplit(",", 2)[0] + ",nan,1\n"], "row 2 has the label_probability 'nan'"),
        ([*rows[:1], rows[1].rsplit(",", 2)[0] + ",1.5,1\n"], "row 2 has no probability"),
        ([*rows[:1], *rows[2:]], "row 2 has no index that counts the rows"),
        ([*rows[:5], rows[5].rstrip() + ",1\n"], "Expected 7 fields in line 6, saw 8"),
        ([*rows[:5], rows[5][:9]], "it ends amid a row"),
        (["index,name\n", "0,a\n"], r"has no column label\): run dvc repro"),
    ):
        answers.write_text("".join(lines))
        with pytest.raises(Fault, match=message):
            tell()
    answers.write_text("".join(rows))
    for text in ("stages: 3\n", "stages: [train]\n"):
        lock_file.write_text(text)
        with pytest.raises(Fault, match=r"dvc\.lock of the working tree has no stages that can be read"):
            tell()


def test_without_results_or_git(folder: Path, tell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in (folder / "reports").iterdir():
        file.unlink()
    assert "the head has no reports/validation_predictions.csv" in tell()
    for text in ("{", "[]"):
        (folder / "reports/training.json").write_text(text)
        with pytest.raises(Fault, match=r"training\.json of the working tree is not a JSON object"):
            tell()
    monkeypatch.setenv("GIT_DIR", str(folder / "nowhere"))
    with pytest.raises(Fault, match="git rev-parse: fatal: not a git repository"):
        tell()


def seeds(recipe: str, values: list[float]) -> pandas.DataFrame:
    rows = {"seed": range(len(values)), "recipe": recipe, "validation_accuracy": values, "test_accuracy": values}
    return pandas.DataFrame(rows)


def test_recipes_are_compared_over_seeds(folder: Path, tell: Any) -> None:
    before, after = [0.90, 0.91, 0.92], [0.94, 0.95, 0.97, 0.95]
    (folder / "params.yaml").write_text(DIGITS, encoding="utf-8")
    lock(folder)
    first = recipe_digest(load(), digest(folder / "data/prepared/dataset.json"))
    write(folder / "reports/seeds.csv", seeds(first, before))
    commit(folder, "seeds")
    substitute(folder / "params.yaml", "lr: 4.0e-3", "lr: 1.0e-3")
    second = recipe_digest(load(), digest(folder / "data/prepared/dataset.json"))
    write(folder / "reports/seeds.csv", pandas.concat([seeds(first, before), seeds(second, after)]))
    found = json.loads(tell("--json"))["recipes"]
    assert found["p"] == pytest.approx(stats.ttest_ind(before, after, equal_var=False).pvalue)
    assert (found["verdict"], found["difference"]) == ("better", pytest.approx(np.mean(after) - np.mean(before)))
    assert "Over seeds, by validation accuracy: better." in tell()
    write(folder / "reports/seeds.csv", seeds(second, [0.911, 0.909, 0.910]))
    assert json.loads(tell("--json"))["recipes"]["verdict"] == "no evidence"
    write(folder / "reports/seeds.csv", seeds(second, after[:2]))
    assert json.loads(tell("--json"))["recipes"] is None


def test_recipes_that_the_schema_does_not_know_are_said_to_be(folder: Path, tell: Any) -> None:
    write(folder / "reports/seeds.csv", seeds("0.01", [0.9, 0.91, 0.92]))
    commit(folder, "seeds")
    assert "the present code cannot read its recipe" in tell()


STRANGE = ["a|b", "`tick`", "<script>alert(1)</script>", "@everyone", "_under_ **bold**", "new\nline"]


def strange_answers(folder: Path) -> None:
    tables = []
    for seed in (1, 2):
        table = answered(200, 0.5, seed=seed, classes=len(STRANGE))
        names = {f"class {number}": name for number, name in enumerate(STRANGE)}
        for column in ("label", "prediction"):
            table[column] = table[column].map(names)
        table["name"] = [f"photo {STRANGE[row % len(STRANGE)]} {row}" for row in range(len(table))]
        tables.append(table)
    results(folder, tables[0], tables[0], "strange base")
    commit(folder, "strange base")
    results(folder, tables[1], tables[1], "strange head")


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.pictures = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.pictures += tag == "img" and (dict(attrs)["src"] or "").startswith("data:image/png;base64,")


def test_names_are_never_markup(folder: Path, tell: Any) -> None:
    strange_answers(folder)
    out = tell()
    assert "<script>" not in out.replace("`<script>alert(1)</script>`", "").replace("`photo <script>", "")
    tables = [line for line in out.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} <= {5, 6, 9}  # as many cells as columns
    assert "<code>a&#124;b</code>" in out
    page = Page()
    page.feed(tell("--html"))
    assert "script" not in page.tags


def test_keys_and_stages_that_a_branch_invents_are_never_markup(folder: Path, tell: Any) -> None:
    image, link = "<img src=x>", "[click](http://evil.example)"
    environment = json.loads((folder / "reports/environment.json").read_text(encoding="utf-8"))
    (folder / "reports/environment.json").write_text(json.dumps({**environment, image: "1"}))
    pipeline = (folder / "dvc.yaml").read_text(encoding="utf-8")
    (folder / "dvc.yaml").write_text(f"{pipeline.rstrip()}\n  '{link}':\n    cmd: x\n    deps: [src]\n")
    (folder / "src").mkdir(exist_ok=True)
    (folder / "src/new.py").write_text("x = 1\n")
    out = tell()
    for harm in (image, link):
        assert f"`{harm}`" in out
        assert harm not in out.replace(f"`{harm}`", "")


def test_thumbnails_where_the_images_are_the_locked_ones(folder: Path, tell: Any) -> None:
    images = np.random.default_rng(0).integers(256, size=(2_000, 8, 8, 1), dtype=np.uint8)
    head = with_flips(VALIDATION, 4, 3)
    results(folder, head, TEST, "second model")
    np.save(folder / "data/prepared/validation.images.npy", images)
    lock(folder)
    page = Page()
    page.feed(tell("--html"))
    assert page.pictures == 7
    np.save(folder / "data/prepared/validation.images.npy", images + 1)
    page = Page()
    page.feed(tell("--html"))
    assert page.pictures == 0
    assert "img" not in page.tags


def test_ten_thousand_images_take_a_few_seconds(folder: Path, tell: Any) -> None:
    answers = [answered(10_000, right, seed=number) for number, right in enumerate((0.85, 0.85, 0.86, 0.86))]
    results(folder, answers[0], answers[1], "large base")
    commit(folder, "large base")
    results(folder, answers[2], answers[3], "large head")
    started = time.process_time()
    assert "10,000 images" in tell("--html")
    assert time.process_time() - started < 5


def test_the_command_line_is_a_link_to_both_runs_where_a_server_has_them(
    folder: Path, tell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://joe:secret@127.0.0.1:9")
    started = time.monotonic()
    out = tell()
    assert time.monotonic() - started < 10
    assert "python -m src.track show" in out
    assert "secret" not in out
    monkeypatch.setattr(gather, "find_run", lambda md5: Found("abc", "run", "7"))
    assert "<http://127.0.0.1:9/#/experiments/7/runs/abc?workflowType=machine_learning>" in tell()
    assert "secret" not in tell()
