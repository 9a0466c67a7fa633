"""The GitHub workflows: their form, their safety, and that their steps do what they are for."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from answer_tables import answered, results
from clones import ROOT, committed, copy_of_the_repository, git
from ruamel.yaml import YAML

from src.review.render import MARK

FOLDER = Path(".github/workflows")
FILES = sorted(FOLDER.glob("*.yml"))


def workflow(name: str) -> dict[str, Any]:
    return dict(YAML(typ="safe").load(FOLDER / name))


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in workflow(name)["jobs"].values() for step in job["steps"]]


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def test_they_follow_githubs_schema() -> None:
    subprocess.run([program("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", *FILES], check=True)


def test_the_linter_for_their_safety_finds_nothing() -> None:
    command = [program("zizmor"), "--offline", "--no-progress", "--persona=auditor", str(FOLDER)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_actions_are_githubs_own_and_pinned_by_commit(file: Path) -> None:
    used = re.findall(r"uses: (.+)", file.read_text(encoding="utf-8"))
    assert used
    for action in used:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_what_runs_a_forks_code_may_read_and_what_may_write_runs_none() -> None:
    assert workflow("report.yml")["permissions"] == workflow("tests.yml")["permissions"] == {"contents": "read"}
    assert workflow("comment.yml")["permissions"] == {}
    assert not any("run" in step or "checkout" in step["uses"] for step in steps("comment.yml"))
    assert workflow("comment.yml")["on"]["workflow_run"]["workflows"] == [workflow("report.yml")["name"]]


def test_the_tests_are_those_that_run_anywhere() -> None:
    (command,) = [step["run"] for step in steps("tests.yml") if "run" in step]
    assert os.access(command, os.X_OK)


# Python imports it when it starts: no package is there but those of requirements-report.lock.
ONLY_THE_LOCK = """
import re, sys
from importlib.metadata import packages_distributions
from pathlib import Path

lock = Path("requirements-report.lock")
plain = lambda name: re.sub("[-_.]+", "-", name).lower()
kept = {plain(line.partition("==")[0]) for line in lock.read_text().splitlines() if "==" in line} if lock.is_file() else ()
packages = {name: plain(owners[0]) for name, owners in packages_distributions().items()}

class OnlyTheLock:
    def find_spec(name, path, target=None):
        if packages.get(name.partition(".")[0], "ours") not in ("ours", *kept):
            raise ModuleNotFoundError(f"{name} is not in {lock}")

if kept:
    sys.meta_path.insert(0, OnlyTheLock)
"""


def test_the_reports_steps_run_in_a_clone_of_a_branch(tmp_path: Path) -> None:
    origin = copy_of_the_repository(tmp_path / "origin")
    results(origin, answered(200, 0.8, seed=1), answered(200, 0.8, seed=1), "the model of both")
    committed(origin)
    base = git(origin, "rev-parse", "HEAD").strip()
    params = origin / "params.yaml"
    params.write_text(params.read_text().replace("mistakes: 20", "mistakes: 21"))
    git(origin, "checkout", "-qb", "feature")
    git(origin, "commit", "-qam", "feature")
    git(tmp_path, "clone", "-q", "--branch", "feature", str(origin), str(tmp_path / "checkout"))
    checkout = tmp_path / "checkout"
    (tmp_path / "sitecustomize.py").write_text(ONLY_THE_LOCK)
    head = git(checkout, "rev-parse", "HEAD").strip()
    values = {"github.event.pull_request.base.sha": base, "github.event.pull_request.head.sha": head}
    ran = 0
    for step in steps("report.yml"):
        if "run" not in step or step["run"].startswith("pip install"):
            continue
        given = {key: values[value.strip("${} ")] for key, value in step.get("env", {}).items()}
        environment = os.environ | given | {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
        environment |= {"PYTHONPATH": str(tmp_path)}
        subprocess.run(["bash", "-e", "-o", "pipefail", "-c", step["run"]], cwd=checkout, env=environment, check=True)
        ran += 1
        for heavy in ("torch", "torchvision", "mlflow", "dvc", "optuna", "sklearn", "pyarrow"):
            command = [sys.executable, "-c", f"import {heavy}"]
            assert subprocess.run(
                command, cwd=checkout, env=environment, stderr=subprocess.DEVNULL, check=False
            ).returncode
    assert ran == 1
    (upload,) = [step["with"]["path"] for step in steps("report.yml") if "upload-artifact" in step.get("uses", "")]
    report = checkout / upload / "report.md"
    assert report.read_text() == (tmp_path / "summary.md").read_text()
    assert "(the same model)" in report.read_text()
    assert "| `visualize.mistakes` | `20` | `21` |" in report.read_text()
    assert "<!doctype html>" in (checkout / upload / "report.html").read_text()


# Answers in place of GitHub's, and what was asked of it. `paginate` calls what it is given, as Octokit's does.
FAKE = """
const asked = []
const answer = (name, data) => async (options) => { asked.push([name, options]); return { data } }
const given = JSON.parse(process.env.GIVEN)
const github = {
  paginate: async (call, options) => (await call(options)).data,
  rest: {
    pulls: { list: answer('list', given.pulls) },
    issues: {
      listComments: answer('comments', given.comments),
      createComment: answer('create'), updateComment: answer('update'),
    },
  },
}
const core = { info: (text) => asked.push(['info', text]), setFailed: (text) => asked.push(['failed', text]) }
const context = { repo: { owner: 'us', repo: 'digits' }, payload: {
  repository: { html_url: 'https://example.org/us/digits' },
  workflow_run: { id: 5, head_sha: 'abc', head_branch: 'feature', head_repository: { owner: { login: 'them' } } },
} }
new (Object.getPrototypeOf(async () => {}).constructor)('require', 'github', 'core', 'context', process.env.SCRIPT)(
  require, github, core, context,
).then(() => console.log(JSON.stringify(asked)))
"""


def asked(report: Path, pulls: list[Any], comments: list[Any]) -> dict[str, Any]:
    """What the commenting step asks of GitHub, by name of the call."""
    (script,) = [step["with"]["script"] for step in steps("comment.yml") if "github-script" in step["uses"]]
    given = {"GIVEN": json.dumps({"pulls": pulls, "comments": comments}), "SCRIPT": script, "REPORT": str(report)}
    run = subprocess.run(["node", "-e", FAKE], env=os.environ | given, capture_output=True, text=True, check=True)
    return dict(json.loads(run.stdout))


@pytest.mark.skipif(shutil.which("node") is None, reason="GitHub's script language is not installed")
def test_one_comment_is_made_and_then_updated(tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    report.write_text(f"{MARK}\n\n## Better\n\nthanks to @everyone\n")
    pulls = [{"number": 3, "head": {"sha": "older"}}, {"number": 7, "head": {"sha": "abc"}}]
    stranger = {"id": 1, "user": {"login": "them"}, "body": f"{MARK} mine"}
    first = asked(report, pulls, [stranger])
    assert first["list"]["head"] == "them:feature"
    assert first["create"]["issue_number"] == 7
    body = first["create"]["body"]
    assert body.startswith(MARK)
    assert body.count(MARK) == 1
    assert "## Better" in body
    assert "@everyone" not in body
    assert "https://example.org/us/digits/actions/runs/5" in body
    own = {"id": 9, "user": {"login": "github-actions[bot]"}, "body": body}
    second = asked(report, pulls, [stranger, own])
    assert second["update"]["comment_id"] == 9
    assert "create" not in second

    report.write_text("x" * 100_000)
    assert len(asked(report, pulls, [])["create"]["body"]) < 65_536
    assert set(asked(report, pulls[:1], [])) == {"list", "info"}
    report.unlink()
    report.symlink_to(ROOT / "README.md")
    assert "failed" in asked(report, pulls, [])
