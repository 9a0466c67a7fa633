"""Make a model once more, from its commit, or from the commit, changes and parameters that its run holds.

This does what one would type: `git worktree add`, `dvc repro --force` there, and a comparison with `dvc.lock`. The
worktree lies beside the repository, so that relative paths (`data.source`, a DVC remote) mean the same; it is removed
afterwards.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from src.core import paths
from src.core.errors import UserError
from src.core.git import git
from src.tracking import history
from src.tracking.lineage import RebuildSource
from src.tracking.store import required_store


class Rebuilt(NamedTuple):
    model_md5: str
    differing: Sequence[str]  # outputs that differ from dvc.lock or from git, in the pipeline's order
    answers: Mapping[Path, bytes]  # its tables of predictions for validation and test, by path


def rebuild(wanted: RebuildSource) -> Rebuilt:
    """Run the stages, even where DVC knows their results. Their output goes to stderr. Raises `UserError`."""
    root = Path.cwd()
    folder = root.parent / f".{root.name}-rebuild-{secrets.token_hex(4)}"
    # The folder has settings and a store of its own, but shares DVC's cache, so that no data is fetched again.
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_"))}
    programs = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    environment = kept | {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", "PATH": programs}

    def run(*command: str, cwd: Path = folder) -> None:
        with subprocess.Popen(command, cwd=cwd, env=environment, stdout=sys.stderr, start_new_session=True) as child:
            try:
                code = child.wait()
            except BaseException:
                os.killpg(child.pid, signal.SIGKILL)  # DVC's stage, too, which would write into the folder
                raise
        if code:
            raise UserError(f"{' '.join(command[:2])} failed in the rebuild's folder, which is gone: see above")

    try:
        # Without the user's hooks, of which DVC's would check out data.
        hooks = ("-c", "core.hooksPath=/dev/null")
        run("git", *hooks, "worktree", "add", "--quiet", "--detach", str(folder), wanted.commit, cwd=root)
        if wanted.run_id:  # with its own parameters and changes of code
            store = required_store()
            with tempfile.TemporaryDirectory() as temporary:
                files = store.artifacts(store.client.get_run(wanted.run_id).info.artifact_uri)
                shutil.copy(files.download_artifacts(paths.PARAMS.name, temporary), folder / paths.PARAMS)
                if "code.diff" in {file.path for file in files.list_artifacts()}:
                    run("git", "apply", "--whitespace=nowarn", files.download_artifacts("code.diff", temporary))
        if (local := Path(".dvc/config.local")).is_file():
            shutil.copy(local, folder / ".dvc")
        cache = subprocess.run(["dvc", "cache", "dir"], env=environment, stdout=subprocess.PIPE, text=True, check=True)
        run("dvc", "cache", "dir", "--local", str(Path(cache.stdout.strip()).resolve()))
        if paths.downloads().is_dir():
            (folder / ".cache").mkdir()
            (folder / ".cache" / paths.downloads().name).symlink_to(paths.downloads())
        for command in "checkout", "pull":  # the data as it was downloaded then; else it is downloaded again
            bring = ("dvc", command, "--quiet", str(paths.RAW))
            done = subprocess.run(bring, cwd=folder, env=environment, stderr=subprocess.DEVNULL, check=False)
            if not done.returncode:
                break
        run("dvc", "repro", "download")
        run("dvc", "repro", "--force", "--single-item", "--no-run-cache", *wanted.stages)
        found = history.outputs(history.stages((folder / paths.LOCK).read_bytes()), wanted.stages)
        # A committed file may differ from the one that dvc.lock records.
        committed = git("-C", str(folder), "diff", "--name-only", "-z", "--", *wanted.expected).split("\0")
        tables = (paths.VALIDATION_PREDICTIONS, paths.PREDICTIONS)
        answers = {path: (folder / path).read_bytes() for path in tables if path.as_posix() in found}
    finally:
        git("worktree", "remove", "--force", "--force", str(folder))
        shutil.rmtree(folder, ignore_errors=True)  # where the worktree was not complete yet
    differing = [path for path, md5 in wanted.expected.items() if found.get(path) != md5 or path in committed]
    return Rebuilt(found[paths.MODEL.as_posix()], differing, answers)
