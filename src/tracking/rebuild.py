"""A model made once more: the commit, or the commit and the changes that a run stored, in a folder of its own.

The folder is a git worktree beside the repository, so that relative paths (`data.source`, a DVC remote) mean the same.
It has a DVC cache and an MLflow store of its own, and goes with them.
"""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from src.core import paths, process
from src.core.documents import keys, read_yaml
from src.core.errors import UserError
from src.core.git import git
from src.tracking import history
from src.tracking.identity import flatten
from src.tracking.lineage import Lineage
from src.tracking.runs import existing_store
from src.tracking.store import explained

# What is run once more. Download is another matter: what it fetched may be at hand. Figures are left out.
_STAGES = ("split", "train", "evaluate")


class Source(NamedTuple):
    """What is to be run, and what must come out: MD5 by path."""

    commit: str
    run_id: str | None  # whose params.yaml and, if code was `modified`, code.diff are laid on the commit
    modified: bool
    stages: Sequence[str]
    expected: Mapping[str, str]


class Rebuilt(NamedTuple):
    model_md5: str
    differing: list[str]  # outputs whose contents are not the expected ones


def source(lineage: Lineage) -> Source:
    """Where to begin. Raises `UserError` where neither a commit nor a run says from which code the model came."""
    if lineage.model_md5 is None:
        raise UserError("the run trained no model: there is nothing to rebuild")
    if lineage.commit is not None:
        (lock,) = history.contents([lineage.commit], paths.LOCK)
        locked = history.stages(lock or b"")
        # A later stage may not have been run again for this model: then its numbers are another's.
        stages = [stage for stage in _STAGES if stage in history.stages_of(locked, lineage.model_md5)]
        return Source(lineage.commit, None, False, stages, history.outputs(locked, stages))
    for run in lineage.runs:
        tags = run.data.tags
        base = tags.get("base_commit", "none")
        if tags.get("training") != "elsewhere" and history.resolve(base):
            expected = {paths.MODEL.as_posix(): lineage.model_md5, paths.DATASET.as_posix(): tags["data_md5"]}
            return Source(base, run.info.run_id, tags["code_modified"] == "true", _STAGES[:2], expected)
    raise UserError("it cannot be rebuilt: no dvc.lock in git holds the model, and no run says from which code it came")


def rebuild(wanted: Source) -> Rebuilt:
    """Runs the stages without DVC's memory of earlier runs. What they print goes to stderr."""
    forced = ("repro", "--force", "--single-item", "--no-run-cache")
    with _worktree(wanted.commit) as folder:
        if wanted.run_id:
            _lay_on(folder, wanted.run_id, wanted)
        environment = _environment(folder)
        if not _raw_data(folder, environment):
            _dvc(folder, environment, *forced, "download")
        _dvc(folder, environment, *forced, *wanted.stages)
        found = history.outputs(history.stages((folder / paths.LOCK).read_bytes()), wanted.stages)
    differing = sorted(path for path, md5 in wanted.expected.items() if found.get(path) != md5)
    return Rebuilt(found[paths.MODEL.as_posix()], differing)


@contextmanager
def _worktree(commit: str) -> Iterator[Path]:
    root = Path.cwd()
    beside = root.parent if os.access(root.parent, os.W_OK) else None
    folder = (beside or Path(tempfile.gettempdir())) / f".{root.name}-rebuild-{secrets.token_hex(4)}"
    # Hooks of the user (DVC's own checks data out) have no business there.
    command = ["git", "-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", "--detach", str(folder), commit]
    try:
        with process.undisturbed():  # git locks a worktree that is not whole yet, and would keep it
            folder.mkdir(mode=0o700)
            run = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if run.returncode:
            raise UserError(f"git worktree: {run.stderr.strip()}")
        yield folder
    finally:
        with process.undisturbed():
            # Not `prune`: it would forget the user's own worktrees too that are on no mounted disk now.
            git("worktree", "remove", "--force", "--force", str(folder))
            if folder.is_dir():
                shutil.rmtree(folder)


def _lay_on(folder: Path, run_id: str, wanted: Source) -> None:
    """The run's own parameters and changes of code."""
    store = existing_store()
    assert store is not None
    with tempfile.TemporaryDirectory() as temporary:
        names = [paths.PARAMS.name, *(["code.diff"] if wanted.modified else [])]
        with explained(store.uri):
            files = [store.client.download_artifacts(run_id, name, temporary) for name in names]
        shutil.copy(files[0], folder / paths.PARAMS)
        for patch in files[1:]:
            applied = subprocess.run(["git", "apply", "--whitespace=nowarn", patch], cwd=folder, check=False)
            if applied.returncode:
                raise UserError(f"code.diff of the run {run_id} does not apply to {wanted.commit[:7]}")


def _environment(folder: Path) -> dict[str, str]:
    """Nothing of ours reaches into the folder, nor its runs out of it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_"))}
    return kept | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "DVC_SITE_CACHE_DIR": str(folder / ".cache" / "dvc"),
        "DVC_NO_ANALYTICS": "true",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}",
    }


def _raw_data(folder: Path, environment: Mapping[str, str]) -> bool:
    """Whether `data/raw` of then could be had: from the repository's cache, or the remote. Else `download` makes it.

    What was fetched before is at hand for that.
    """
    if (local := Path(".dvc/config.local")).is_file():
        shutil.copy(local, folder / ".dvc")
    downloads = paths.downloads()
    if downloads.is_dir():
        (folder / ".cache").mkdir(exist_ok=True)
        (folder / ".cache" / downloads.name).symlink_to(downloads)
    locked = history.stages((folder / paths.LOCK).read_bytes()).get("download", {})
    asked = history.parameters(locked)
    try:
        now = flatten(keys(read_yaml((folder / paths.PARAMS).read_bytes())))
    except ValueError as error:
        raise UserError(f"it cannot be rebuilt: its {paths.PARAMS} cannot be read ({error})") from None
    if not asked or any(now.get(key) != value for key, value in asked.items()):
        return False  # the run's own data are not those of the commit
    asking = subprocess.run(["dvc", "cache", "dir"], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    cache = Path(asking.stdout.strip()).resolve()
    _dvc(folder, environment, "remote", "add", "--quiet", "--local", "rebuild-cache", str(cache))
    remotes: tuple[list[str], ...] = (["--remote", "rebuild-cache"], [])
    return any(not _run_dvc(folder, environment, "pull", "--quiet", *remote, str(paths.RAW)) for remote in remotes)


def _dvc(folder: Path, environment: Mapping[str, str], *arguments: str) -> None:
    if _run_dvc(folder, environment, *arguments):
        raise UserError(f"dvc {arguments[0]} failed in the rebuild's folder, which is gone: see above")


def _run_dvc(folder: Path, environment: Mapping[str, str], *arguments: str) -> int:
    with subprocess.Popen(["dvc", *arguments], cwd=folder, env=environment, stdout=sys.stderr) as process:
        try:
            return process.wait()
        except BaseException:
            with suppress(psutil.NoSuchProcess):  # it had just ended
                _kill(psutil.Process(process.pid))
            raise


def _kill(dvc: psutil.Process) -> None:
    """With all that it started: a stage would write on into the folder that is being removed. Nothing there is kept."""
    dvc.suspend()  # or it would start the next stage
    started = dvc.children(recursive=True)
    for child in (*started, dvc):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(started, timeout=1)  # they are dead at once; who reaps them is another matter
