"""Lineage: a clone with two committed models, one that never was, and their real runs. Slow, hence one clone for all.

The tests of this file run in order: each goes on from where the one before it left the clone.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from clones import call, committed, copy_of_the_repository, git, set_params, substitute

from src import track
from src.core.errors import UserError
from src.core.files import digest
from src.core.paths import METRICS, MODEL, PARAMS, TRAINING
from src.prediction.model import load
from src.tracking.runs import find_runs
from src.tracking.store import open_store
from src.tracking.sync import complete

pytestmark = pytest.mark.slow


class Made(NamedTuple):
    """Commit (or none), MD5 of the model, id of the run."""

    commit: str
    model: str
    run: str


class Clone(NamedTuple):
    root: Path
    first: Made  # committed, the only one that is not portable
    second: Made  # committed after it
    tried: Made  # other code and parameters, an experiment as DVC keeps it: a commit that is on no branch


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    root = copy_of_the_repository(tmp_path_factory.mktemp("track") / "a clone")
    set_params(root, {"train.epochs": 1, "evaluate.robustness.shifts": 0, "evaluate.robustness.fgsm": []})
    set_params(root, {"train.deterministic": True, "train.precision": "float32", "train.threads": 1})
    committed(root)
    call(root, "dvc", "repro", "evaluate")
    first = keep(root, "first")
    set_params(root, {"train.deterministic": "portable", "train.optimizer.lr": 3e-3})
    call(root, "dvc", "repro", "train")
    second = keep(root, "second")
    substitute(root / PARAMS, "dropout: 0.2", "dropout: 0.1")
    substitute(root / "src/models/small.py", "nn.Dropout(dropout)", "nn.Dropout(dropout / 2)")
    call(root, "dvc", "repro", "train")
    tried = keep(root, "tried")
    git(root, "update-ref", "refs/exps/12/3456/quiet-fox", "HEAD")
    git(root, "reset", "-q", "--hard", "HEAD~1")
    call(root, "dvc", "checkout", "train")
    assert len({first.model, second.model, tried.model}) == 3
    return Clone(root, first, second, tried)


def keep(root: Path, subject: str) -> Made:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        run, model = complete().run_id, digest(MODEL)  # where other work runs, MLflow may answer later than stages wait
    git(root, "add", "-A")
    git(root, "commit", "-qm", subject)
    return Made(git(root, "rev-parse", "HEAD").strip(), model, run)


@pytest.fixture(autouse=True)
def _inside(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone.root)


Track = Callable[..., tuple[int, str]]


@pytest.fixture(name="run_track")
def _run_track(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Track:
    """Exit code and output of `python -m src.track`, without what DVC's stages print."""

    def run(*arguments: str) -> tuple[int, str]:
        capfd.readouterr()
        monkeypatch.setattr("sys.argv", ["track", *arguments])
        try:
            track.main()
        except SystemExit as end:
            return int(end.code or 0), capfd.readouterr().out
        return 0, capfd.readouterr().out

    return run


def items(output: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    label = ""
    for line in output.splitlines():
        label = line[:12].strip() or label
        found.setdefault(label, []).append(line[12:])
    return found


def test_a_model_is_traced_from_its_file_digest_run_or_commit(clone: Clone, run_track: Track) -> None:
    second, first = clone.second, clone.first
    outputs = {run_track("show", name)[1] for name in (str(MODEL), second.model, second.run, "HEAD")}
    (output,) = outputs
    shown = items(output)
    assert shown["model"] == [second.model]
    assert shown["data"] == [digest(Path("data/prepared/dataset.json"))]
    assert shown["commit"][0].startswith(second.commit[:7])
    assert shown["commit"][0].endswith("second")
    assert [second.run in line for line in shown["run"]] == [True]
    assert shown["code"] == [f"{first.commit[:7]}, as committed"]
    assert "train.optimizer.lr: 0.003" in shown["parameters"]
    metrics = dict(line.split() for line in shown["metrics"])
    training = json.loads(TRAINING.read_text())
    assert float(metrics["validation_accuracy"]) == pytest.approx(training["validation_accuracy"], abs=1e-5)
    assert shown["rebuild"][0] == f"python -m src.track rebuild {second.commit[:12]}"

    shown = items(run_track("show", "HEAD~1")[1])
    assert (shown["model"], shown["commit"][0][:7]) == ([first.model], first.commit[:7])
    assert not [line for line in shown["parameters"] if "optimizer.lr" in line], "it is as in recipes/default.yaml"


def test_what_was_only_tried_is_found_by_its_run_and_by_its_name(clone: Clone, run_track: Track) -> None:
    shown = items(run_track("show", clone.tried.run)[1])
    assert shown["commit"] == ["none: no branch's or tag's dvc.lock holds this model with these parameters"]
    assert shown["code"] == [f"{clone.second.commit[:7]}, changed: code.diff"]
    assert "model.dropout: 0.1" in shown["parameters"]
    assert shown["rebuild"] == [f"python -m src.track rebuild {clone.tried.run}"]
    shown = items(run_track("show", "quiet-fox")[1])
    assert (shown["model"], shown["commit"][0][:7]) == ([clone.tried.model], clone.tried.commit[:7])
    assert [clone.tried.run in line for line in shown["run"]] == [True]


def test_a_commit_of_the_same_model_with_other_parameters_is_not_the_runs(clone: Clone, run_track: Track) -> None:
    """Of equal bits: what is advised must train with what the run trained with."""
    text = (clone.root / "dvc.lock").read_text()
    assert "accumulate: 1\n" in text
    (clone.root / "dvc.lock").write_text(text.replace("accumulate: 1\n", "accumulate: 2\n"))
    git(clone.root, "commit", "-qam", "other parameters")
    shown = items(run_track("show", clone.second.run)[1])
    assert shown["commit"][0].startswith(clone.second.commit[:7])
    assert "later" not in shown["commit"][0]
    assert shown["rebuild"][0].endswith(clone.second.commit[:12])
    assert "sync makes one" in items(run_track("show", "HEAD")[1])["run"][0]
    # Nor is one with other data.
    data = digest(clone.root / "data/prepared/dataset.json")
    (clone.root / "dvc.lock").write_text(text.replace(data, data[::-1]))
    git(clone.root, "commit", "-q", "--amend", "-am", "other data")
    shown = items(run_track("show", clone.second.run)[1])
    assert (shown["data"], shown["commit"][0][:7]) == ([data], clone.second.commit[:7])
    assert items(run_track("show", "HEAD")[1])["data"] == [data[::-1]]
    git(clone.root, "reset", "-q", "--hard", "HEAD~1")


def test_what_is_no_model_is_one_line(clone: Clone) -> None:
    del clone
    for name, reason in {
        "nothing": "nothing is not a file",
        "0" * 32: "neither a run's id nor a model that",
        "HEAD~2": "its dvc.lock lists none",
        "models:/digits": "must be models:/NAME@ALIAS",
        "--output=x": "is not a file",
        "README.md": "README.md is neither a run's id nor a model that",
    }.items():
        with pytest.raises(UserError, match=reason):
            track._show(name)


def test_the_run_of_a_commit_that_was_not_fetched_is_not_rebuilt(clone: Clone, run_track: Track) -> None:
    store = open_store()
    tags = {"model_md5": 32 * "0", "mlflow.source.git.commit": 40 * "0"}
    run = store.client.create_run(store.experiment_id, tags=tags).info.run_id
    with pytest.raises(UserError, match=r"cannot be rebuilt: .*: git fetch$") as caught:
        track._rebuild(run)
    assert items(run_track("show", run)[1])["rebuild"] == [str(caught.value)]
    store.client.delete_run(run)


def state(root: Path) -> dict[str, object]:
    """All that a rebuild could leave behind."""
    return {
        "beside": sorted(path.name for path in root.parent.iterdir()),
        "worktrees": git(root, "worktree", "list"),
        "status": git(root, "status", "--porcelain"),
        "refs": git(root, "for-each-ref"),
        "runs": [run.info.run_id for run in find_runs(open_store())],
        "model": digest(MODEL),
    }


def test_what_was_never_committed_is_rebuilt_from_its_run(clone: Clone, run_track: Track) -> None:
    before = state(clone.root)
    code, output = run_track("rebuild", clone.tried.run)
    assert f"the model is bit-identical: {clone.tried.model}\nof 1 results 0 differ\n" in output
    assert output.splitlines()[-1].startswith("reproduced bit for bit on ")
    assert (code, state(clone.root)) == (0, before)


def test_other_bits_of_another_processor_are_within_luck(
    clone: Clone, run_track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a recipe that is not portable, here with the kernels of an older processor."""
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    code, output = run_track("rebuild", clone.first.commit)
    assert "the model differs: " in output
    assert "95 % interval of the difference" in output
    assert output.splitlines()[-1].startswith("reproduced within luck on ")
    assert code == 0


def test_an_older_commit_is_rebuilt_to_the_bit_but_for_a_digit_that_was_flipped_in_it(
    clone: Clone, run_track: Track
) -> None:
    """Of the first model, which was evaluated; dvc.lock still has the number as it was."""
    root = clone.root
    branch = git(root, "rev-parse", "--abbrev-ref", "HEAD").strip()
    git(root, "checkout", "-q", clone.first.commit)
    content = (root / METRICS).read_text()
    flipped = re.sub(r'("loss": \d\.\d+)(\d)', lambda found: f"{found[1]}{(int(found[2]) + 1) % 10}", content)
    assert flipped != content
    (root / METRICS).write_text(flipped)
    git(root, "commit", "-qam", "one digit")
    before = state(root)
    code, output = run_track("rebuild", "HEAD")
    assert f"the model is bit-identical: {clone.first.model}\nof 21 results 1 differ: {METRICS}\n" in output
    assert re.search(rf"\nnot reproduced on .*: {METRICS} is the first that differs\n", output)
    assert (code, state(root)) == (1, before)
    git(root, "checkout", "-q", branch)


def test_a_model_without_a_run_gets_one(clone: Clone, run_track: Track, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a pull to another machine."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///another.db")
    assert "sync makes one" in run_track("show", "HEAD")[1]
    assert not (clone.root / "another.db").exists(), "looking makes no store"
    code, output = run_track("sync")
    assert (code, "completed the run" in output) == (0, True)
    (run,) = find_runs(open_store())
    assert run.info.run_id in output
    assert "test/accuracy" not in run.data.metrics, "the numbers in reports/ and in dvc.lock are the first model's"

    git(clone.root, "checkout", "-q", "HEAD~1")
    with pytest.raises(UserError, match=r"dvc\.lock does not hold models/model\.safetensors: run dvc checkout"):
        track._sync()
    call(clone.root, "dvc", "checkout", "train")
    assert run_track("sync")[0] == 0
    run = find_runs(open_store())[0]
    assert run.info.status == "FINISHED"
    assert run.data.tags["model_md5"] == clone.first.model
    assert run.data.params["train.optimizer.lr"] == "0.004"
    assert run.data.metrics["test/accuracy"] == json.loads(METRICS.read_text())["accuracy"]
    assert len(open_store().client.get_metric_history(run.info.run_id, "epoch/validation_accuracy")) == 1
    assert load(run.info.run_id).spec == load(str(MODEL)).spec
    assert "complete already" in run_track("sync")[1]
    assert len(find_runs(open_store())) == 2
