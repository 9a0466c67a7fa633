"""Promotion to champion in a real MLflow registry, of runs and repositories made by hand."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pandas
import pytest
from answer_tables import answered, commit, md5, repository, results, with_flips, write
from clones import DIGITS, git, substitute
from mlflow.entities import LoggedModelOutput, LoggedModelStatus

from src import promote
from src.core.errors import UserError
from src.core.paths import VALIDATION_PREDICTIONS
from src.tracking.champion import Registry, Version
from src.tracking.store import open_store

BASE = answered(2_000, 0.8, seed=1)
TEST = answered(100, 0.8, seed=2)


pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path, empty_store: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(repository(tmp_path))
    (tmp_path / "params.yaml").write_text(DIGITS, encoding="utf-8")
    (tmp_path / "mlflow.db").write_bytes(empty_store)
    return tmp_path


def trained(folder: Path, model: str, answers: pandas.DataFrame, images: str = "images", committed: bool = True) -> str:
    """As `dvc repro` and its run would leave the model; returns its md5."""
    results(folder, answers, TEST, model, images)
    store = open_store()
    run = store.client.create_run(store.experiment_id, tags={"model_md5": md5(model.encode())}).info.run_id
    logged = store.client.create_logged_model(store.experiment_id, "model", run)
    store.client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    store.client.log_outputs(run, [LoggedModelOutput(logged.model_id, step=0)])
    store.client.log_artifact(run, str(VALIDATION_PREDICTIONS), "reports")
    if committed:
        commit(folder, model)
    return md5(model.encode())


def champion() -> Version | None:
    return Registry(open_store(), "digits").champion()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["promote", *arguments])
        promote.main()
        return capsys.readouterr().out

    return call


def test_a_line_of_champions(folder: Path, run: Any) -> None:
    first = trained(folder, "first", BASE)
    out = run()
    assert "champion    digits version 1: models:/digits@champion" in out
    assert (found := champion()) is not None
    assert found.model_md5 == first
    assert found.tags["commit"] == git(folder, "rev-parse", "HEAD").strip()
    assert "is this model already" in run()

    # As good as the champion: promoted.
    second = trained(folder, "second", with_flips(BASE, 5, 3))
    out = run()
    assert "version 1, the champion: -0.10 points on 2,000 images (5 newly wrong, 3 newly right), surely above" in out
    assert (found := champion()) is not None
    assert found.model_md5 == second

    # Surely worse: refused, and nothing changes.
    trained(folder, "third", with_flips(BASE, 100, 0))
    with pytest.raises(UserError, match=r"not promoted: worse than version 2, the champion: -4\.90 points"):
        run()
    assert (found := champion()) is not None
    assert found.model_md5 == second

    # With a reason, which is kept.
    assert "in spite of worse than version 2" in run("--force", "the other one is too slow")
    assert (found := champion()) is not None
    assert (found.number, found.tags["champion.forced"]) == (3, "the other one is too slow")
    assert "worse than version 2" in found.tags["champion.objections"]


def test_many_small_steps_down_end_at_the_best_champion(folder: Path, run: Any) -> None:
    trained(folder, "best", BASE)
    run()
    trained(folder, "a little worse", with_flips(BASE, 10, 0))
    assert "surely above -0.8" in run()
    trained(folder, "again a little worse", with_flips(BASE, 20, 0))
    with pytest.raises(UserError, match=r"version 1, the best champion so far") as refused:
        run()
    assert "version 2" not in str(refused.value)


@pytest.mark.parametrize(
    ("answers", "lost", "won", "message"),
    [
        (BASE.head(200), 3, 3, "200 validation images are too few to tell, about 2,123 would do in 4 of 5 cases"),
        # What a few patients lose may be more.
        (BASE.assign(group=[f"patient {n // 50}" for n in range(len(BASE))]), 10, 0, "images are too few to tell"),
    ],
)
def test_too_few_images_are_told_with_how_many_would_do(
    folder: Path, run: Any, answers: pandas.DataFrame, lost: int, won: int, message: str
) -> None:
    trained(folder, "first", answers)
    run()
    trained(folder, "second", with_flips(answers, lost, won))
    with pytest.raises(UserError, match=message):
        run()


def test_uncommitted_code_is_refused(folder: Path, run: Any) -> None:
    trained(folder, "first", BASE, committed=False)
    with pytest.raises(UserError, match="git knows no commit 'HEAD'"):
        run()
    commit(folder, "code and results")
    substitute(folder / "src/models/net.py", "#", "# otherwise:")
    trained(folder, "second", BASE, committed=False)
    with pytest.raises(UserError, match=r"HEAD does not hold dvc\.lock with this model and the code that trained it"):
        run()
    git(folder, "add", "dvc.lock", "reports")
    git(folder, "commit", "-qm", "the results alone")
    with pytest.raises(UserError, match="HEAD does not hold"):
        run()
    git(folder, "commit", "-qam", "the code, later")
    assert "version 1" in run()


def test_other_images_cannot_be_compared(folder: Path, run: Any) -> None:
    trained(folder, "first", BASE)
    run()
    trained(folder, "second", BASE, images="other photos")
    with pytest.raises(
        UserError, match=r"version 1, the champion, cannot be compared \(other images under the same names"
    ):
        run()
    assert "version 2" in run("--force", "new photos")
    trained(folder, "third", BASE, images="other photos")
    shutil.rmtree("mlartifacts")
    with pytest.raises(UserError, match=r"version 2, the champion, cannot be compared \(MLflow at .*artifacts"):
        run()
    assert "version 3" in run("--force", "its files are gone")


def test_of_other_photos_those_with_the_same_pixels_are_compared(folder: Path, run: Any) -> None:
    known = BASE.assign(digest=[f"{number:012x}" for number in range(len(BASE))])
    trained(folder, "first", known)
    run()
    trained(folder, "second", known.drop(index=[3, 4]).assign(index=range(len(BASE) - 2)), images="fewer photos")
    assert "2 images removed since" in run()


def test_corrected_labels_are_those_of_both(folder: Path, run: Any) -> None:
    trained(folder, "first", BASE)
    run()
    corrected = BASE.copy()
    corrected.loc[:2, "label"] = corrected.loc[:2, "prediction"] = "class 0"
    was = BASE["prediction"][:3] == "class 0"
    trained(folder, "second", corrected)
    found = run()
    assert f"(0 newly wrong, {(~was).sum()} newly right)" in found
    assert f"{(BASE['label'][:3] != 'class 0').sum()} labels corrected since" in found


def test_what_is_not_there_or_does_not_fit_is_one_line(folder: Path, run: Any) -> None:
    with pytest.raises(UserError, match=r"models/model\.safetensors is missing: run dvc repro"):
        run()
    results(folder, BASE, TEST, "never tracked")
    commit(folder, "results")
    with pytest.raises(UserError, match=r"no run at sqlite:.* holds the model .*: python -m src\.track sync"):
        run()
    write(folder / "models/model.safetensors", "another")
    with pytest.raises(UserError, match=r"model\.safetensors is not the one that dvc\.lock records"):
        run()
