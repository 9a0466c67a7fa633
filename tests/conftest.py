"""Share fixtures, begin with the slow tests, and fail a test that reads the user's files."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from clones import ROOT, USER_FILES

if TYPE_CHECKING:
    from forked import Forked


def _refuse_user_files(event: str, arguments: tuple[Any, ...]) -> None:
    """Fail a test that opens what the user edits or what a run left here: after the next edit it would fail."""
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if path.startswith(f"{ROOT}/") and USER_FILES.fullmatch(path[len(f"{ROOT}/") :]):
            raise AssertionError(f"{path} is the user's: take recipes/digits.yaml, or results of the test's own")


sys.addaudithook(_refuse_user_files)

# Tests do not see what DVC or a user has set; one that needs such a variable sets it.
for _name in [name for name in os.environ if name.startswith(("DVC_", "MLFLOW_"))]:
    del os.environ[_name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow tests: a long one that begins last leaves the other cores idle."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def forked() -> "Iterator[Forked]":
    from forked import Forked

    with Forked() as found:
        yield found


@pytest.fixture(scope="session")
def finished(forked: "Forked", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which all stages but the last have run, for one epoch. Copy it; do not change it."""
    from clones import committed, linked, set_params

    folder = linked(tmp_path_factory.mktemp("finished"))
    (folder / "recipes").symlink_to(ROOT / "recipes")
    (folder / "README.md").write_text("no photo")
    set_params(folder, {"train.epochs": 1, "visualize.samples": 4, "visualize.mistakes": 2})
    for stage in ("download", "split", "train", "evaluate"):
        forked.run(folder, f"stages.{stage}")
    return committed(folder)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the `mlflow.db` of a store without our runs, which MLflow takes seconds to make."""
    from src.tracking.store import open_store

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("store"))
        open_store()
        return Path("mlflow.db").read_bytes()


@pytest.fixture(autouse=True)
def _settings_of_torch() -> Iterator[None]:
    """Compute with one thread, since tests share the processors; undo what a test sets for the whole process."""
    torch: Any = sys.modules.get("torch")
    if torch:
        torch.set_num_threads(1)
    yield
    if torch:
        torch.set_deterministic_debug_mode("default")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter an empty folder, to which all paths of the repository are then relative."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def deterministic() -> None:
    """Raise an error where an operator is not deterministic."""
    import torch

    torch.set_deterministic_debug_mode("error")


@pytest.fixture
def tree(tmp_path: Path, empty_store: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a clone as training left it, with a store without runs."""
    from tracking_samples import enter_tree

    root = enter_tree(tmp_path / "a clone é", monkeypatch)
    Path("mlflow.db").write_bytes(empty_store)
    return root


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a repository made by hand: a base revision with results on `main`, and a clean working tree."""
    from answer_tables import TEST, VALIDATION, commit, repository, results

    monkeypatch.chdir(repository(tmp_path))
    results(tmp_path, VALIDATION, TEST, "first model")
    commit(tmp_path, "base")
    return tmp_path


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that calls `src.report` and returns what it prints."""
    from src import report

    def told(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["report", *arguments])
        report.main()
        return capsys.readouterr().out

    return told
