"""The workflows of GitHub and GitLab: their form, their safety, and that their steps do what they are for."""

import json
import os
import re
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs

import pytest
from answer_tables import answered, results
from clones import committed, copy_of_the_repository, git, substitute
from ruamel.yaml import YAML

from src.params import writing
from src.review.render import MARK

FOLDER = Path(".github/workflows")
FILES = sorted(FOLDER.glob("*.yml"))


def workflow(name: str) -> dict[str, Any]:
    return dict(YAML(typ="safe").load(FOLDER / name))


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in workflow(name)["jobs"].values() for step in job["steps"]]


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


@pytest.mark.parametrize(
    ("schema", "files"), [("github-workflows", FILES), ("gitlab-ci", [".gitlab-ci.yml", ".gitlab/report.yml"])]
)
def test_they_follow_the_schema(schema: str, files: list[str]) -> None:
    subprocess.run([program("check-jsonschema"), "--builtin-schema", f"vendor.{schema}", *files], check=True)


def test_the_linter_for_their_safety_finds_nothing() -> None:
    command = [program("zizmor"), "--offline", "--no-progress", "--persona=auditor", str(FOLDER)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_what_may_write_runs_nothing_of_a_pull_request() -> None:
    checkout, *_ = steps("report.yml")
    assert "ref" not in checkout["with"], "the main branch's own code"
    assert not any(
        "run" in step or "checkout" in step["uses"] for step in workflow("report.yml")["jobs"]["tell"]["steps"]
    )


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yml")), ids=lambda file: file.name)
def test_a_command_that_fails_in_a_pipe_fails_the_step(file: Path) -> None:
    """GitHub sets pipefail only if the workflow names its shell."""
    assert re.search(r"^defaults:\n  run:\n    shell: bash\b", file.read_text(), re.MULTILINE)


# Python imports it when it starts: no package is there but those of requirements-report.lock.
ONLY_THE_LOCK = """
import re, sys
from importlib.metadata import packages_distributions
from pathlib import Path

lock = Path("requirements-report.lock")
plain = lambda name: re.sub("[-_.]+", "-", name).lower()
pins = lock.read_text().splitlines() if lock.is_file() else ()
kept = {plain(line.partition("==")[0]) for line in pins if "==" in line}
packages = {name: plain(owners[0]) for name, owners in packages_distributions().items()}

class OnlyTheLock:
    def find_spec(name, path, target=None):
        if packages.get(name.partition(".")[0], "ours") not in ("ours", *kept):
            raise ModuleNotFoundError(f"{name} is not in {lock}")

if kept:
    sys.meta_path.insert(0, OnlyTheLock)
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a clone of a main branch, whose origin has a pull request, with only the packages of the report."""
    tmp_path = tmp_path_factory.mktemp("workflows")
    origin = copy_of_the_repository(tmp_path / "origin")
    results(origin, answered(200, 0.8, seed=1), answered(200, 0.8, seed=1), "the model of both")
    substitute(origin / "params.yaml", "fail_on: never", "fail_on: no-evidence")
    git(committed(origin), "branch", "-M", "main")
    git(origin, "checkout", "-qb", "feature")
    substitute(origin / "params.yaml", "mistakes: 20", "mistakes: 21")
    substitute(origin / "params.yaml", "fail_on: no-evidence", "fail_on: never")
    git(origin, "commit", "-qam", "feature")
    git(origin, "update-ref", "refs/pull/7/head", "feature")
    git(origin, "checkout", "-q", "main")
    git(tmp_path, "clone", "-q", "--single-branch", str(origin), str(tmp_path / "checkout"))
    (tmp_path / "sitecustomize.py").write_text(ONLY_THE_LOCK)
    return tmp_path / "checkout"


def run(script: str, folder: Path, **given: str) -> subprocess.CompletedProcess[str]:
    """Run a script as the shell of GitHub and GitLab does."""
    command = ["bash", "-e", "-o", "pipefail", "-c", script]
    given["PYTHONPATH"] = str(folder.parent)
    return subprocess.run(command, cwd=folder, env=os.environ | given, check=False, capture_output=True, text=True)


def test_the_reports_steps_run_in_a_clone_with_a_pull_request(checkout: Path, tmp_path: Path) -> None:
    origin = checkout.parent / "origin"
    head = git(origin, "rev-parse", "feature").strip()
    values = {
        "github.event.pull_request.number": "7",
        "github.event.pull_request.base.sha": git(checkout, "rev-parse", "main").strip(),
        "github.event.pull_request.head.sha": head,
        "github.server_url": "https://example.org",
        "github.repository": "us/digits",
        "github.token": "secret",
    }
    for heavy in ("torch", "torchvision", "mlflow", "dvc", "optuna", "sklearn", "pyarrow"):
        assert run(f"python -c 'import {heavy}'", checkout).returncode, heavy
    for step in steps("report.yml"):
        if "run" in step and not step["run"].startswith("pip install"):
            given = {
                key: re.sub(r"\$\{\{ (.+?) \}\}", lambda found: values[found[1]], text)
                for key, text in step.get("env", {}).items()
            }
            done = run(step["run"], checkout, **given, GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"))
            assert done.returncode == 0, done.stderr
    report = checkout / "report/report.md"
    assert report.read_text() == (tmp_path / "summary.md").read_text()
    assert report.read_text().startswith(f"{MARK}\n")
    assert ": both hold the model `" in report.read_text()
    assert "| `visualize.mistakes` | `20` | `21` |" in report.read_text()
    assert "<!doctype html>" in report.with_suffix(".html").read_text()
    found = json.loads(report.with_suffix(".json").read_text())
    stale = "its numbers are stale: run dvc repro"
    assert (found["title"], found["gate"]) == ("Not run (the numbers are the base's)", stale)
    note, _ = found["annotations"]
    line = (origin / "params.yaml").read_text().splitlines()[note["start_line"] - 1]
    assert line.startswith("  mistakes: ")
    assert note["message"] == "visualize.mistakes: 20 → 21"
    assert note["annotation_level"] == "warning"


def test_a_damaged_pull_request_replaces_the_report(checkout: Path, tmp_path: Path) -> None:
    """The line of the error replaces an earlier verdict, and the check fails."""
    (script,) = [step["run"] for step in steps("report.yml") if step.get("name") == "Report"]
    (checkout / "report").mkdir(exist_ok=True)
    (checkout / "report/report.md").write_text("## Better")
    (checkout / "params.yaml").write_text("seed: [<b>x</b>\n")
    git(checkout, "checkout", "-q", "--detach")
    git(checkout, "commit", "-qam", "damaged")
    summary = tmp_path / "summary.md"
    done = run(script, checkout, BASE="HEAD^", HEAD="HEAD", FILES="", GITHUB_STEP_SUMMARY=str(summary))
    git(checkout, "checkout", "-q", "main")  # which other tests read
    assert done.returncode == 0, done.stderr
    assert summary.read_text().startswith(f"{MARK}\n\n## No report\n\n`params.yaml of HEAD (")
    found = json.loads((checkout / "report/report.json").read_text())
    assert (found["title"], found["gate"], found["failure"]) == ("No report", *[done.stderr.strip()[7:]] * 2)
    assert "<h1>No report</h1>" in (checkout / "report/report.html").read_text()
    if shutil.which("node"):
        stranger = {"id": 1, "user": {"login": "them"}, "body": f"{MARK} mine"}
        own = {"id": 9, "user": {"login": "github-actions[bot]"}, "body": f"{MARK} ## Better"}
        told = asked(checkout, [stranger, own])
        assert told["check"]["conclusion"] == "failure"
        assert told["check"]["output"]["title"] == f"No report: {found['gate']}"
        assert told["update"]["comment_id"] == 9
        assert "## No report" in told["update"]["body"]
        assert "create" not in told


@pytest.mark.parametrize(
    ("line", "same"),
    [
        ("reproduced bit for bit on a processor", True),
        ("reproduced within luck on a processor", True),
        ("not reproduced on a processor: reports/a.json is the first", False),
    ],
)
def test_what_reproduce_says(tmp_path: Path, line: str, same: bool) -> None:
    activate = tmp_path / ".venv/bin/activate"
    activate.parent.mkdir(parents=True)
    activate.write_text(f"python() {{ printf 'of 20 results\\n{line}\\n'; return {int(not same)}; }}\n")
    script = steps("reproduce.yml")[-1]["run"]
    done = run(script, tmp_path, GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"))
    assert done.returncode == int(not same)
    kind = "notice title=Reproduced" if same else "error title=Not reproduced"
    assert done.stdout.splitlines()[-1] == f"::{kind}::The numbers of this pull request were {line}"
    assert (
        (tmp_path / "summary.md").read_text().startswith(f"The numbers of this pull request were {line}\n\n    of 20")
    )


def test_digits_are_always_reproduced_and_others_on_demand(tmp_path: Path) -> None:
    (script,) = [step["run"] for step in steps("reproduce.yml") if step.get("id") == "wanted"]
    output = tmp_path / "output"
    for recipe, event, wanted in (
        ("digits", "pull_request", True),
        ("mnist", "pull_request", False),
        ("mnist", "workflow_dispatch", True),
    ):
        output.write_text("")
        (tmp_path / "params.yaml").write_text(writing.recipe(recipe), encoding="utf-8")
        files = {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
        assert run(script, tmp_path, GITHUB_EVENT_NAME=event, **files).returncode == 0
        assert (output.read_text() == "yes=true\n") == wanted


class GitLab(BaseHTTPRequestHandler):
    """Keep notes as a merge request does, and give them in pages of 100."""

    notes: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self) -> None:
        assert self.headers["PRIVATE-TOKEN"] == "secret"
        sent = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
        place, _, query = self.path.partition("?")
        number = place.removeprefix("/projects/1/merge_requests/2/notes")
        content: Any = {}
        if place == "/user":
            content = {"id": 3}
        elif self.command == "GET":
            page = int(parse_qs(query)["page"][0])
            content = self.notes[100 * page - 100 : 100 * page]
        elif number:
            next(note for note in self.notes if number == f"/{note['id']}")["body"] = sent["body"][0]
        else:
            self.notes.append({"id": 1000 + len(self.notes), "author": {"id": 3}, "body": sent["body"][0]})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    do_POST = do_PUT = do_GET  # noqa: N815 the names that the server calls


def test_gitlab_gets_the_same_as_one_note(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = YAML(typ="safe").load(Path(".gitlab/report.yml"))["report"]["script"]
    lines = "\n".join(line for line in script if not line.startswith("pip install"))
    git(checkout, "fetch", "-q", "origin", "feature")
    strangers = [{"id": k, "author": {"id": 4}, "body": f"{MARK}\nsaid\nby another"} for k in range(150)]
    monkeypatch.setattr(GitLab, "notes", strangers.copy())
    with ThreadingHTTPServer(("127.0.0.1", 0), GitLab) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        for _ in range(2):
            done = run(
                lines,
                checkout,
                CI_API_V4_URL=f"http://127.0.0.1:{server.server_port}",
                CI_PROJECT_ID="3",  # a fork
                CI_MERGE_REQUEST_PROJECT_ID="1",
                CI_MERGE_REQUEST_IID="2",
                CI_PROJECT_URL="https://example.org/us/digits",
                CI_MERGE_REQUEST_DIFF_BASE_SHA=git(checkout, "rev-parse", "main").strip(),
                CI_COMMIT_SHA=git(checkout, "rev-parse", "FETCH_HEAD").strip(),
                REPORT_TOKEN="secret",
            )
            assert (done.returncode, done.stderr[:32]) == (1, "report.fail_on is no-evidence: i"), "stale numbers"
        server.shutdown()
    *others, note = GitLab.notes
    assert others == strangers
    assert note["body"].strip() == (checkout / "report/report.md").read_text().strip()


# Answers in place of GitHub's, and what was asked of it. `paginate` calls what it is given, as Octokit's does.
FAKE = """
const asked = []
const answer = (name, data) => async (options) => { asked.push([name, options]); return { data } }
const given = JSON.parse(process.env.GIVEN)
const github = {
  paginate: async (call, options) => (await call(options)).data,
  rest: {
    checks: { create: answer('check') },
    issues: {
      listComments: answer('comments', given), createComment: answer('create'), updateComment: answer('update'),
    },
  },
}
const context = { repo: { owner: 'us', repo: 'digits' }, payload: { pull_request: { number: 7, head: { sha: 'abc' } },
} }
new (Object.getPrototypeOf(async () => {}).constructor)('require', 'github', 'context', process.env.SCRIPT)(
  require, github, context,
).then(() => console.log(JSON.stringify(asked)))
"""


def asked(folder: Path, comments: list[Any]) -> dict[str, Any]:
    """Return what the step that posts the comment asks of GitHub, by the name of the call."""
    (script,) = [step["with"]["script"] for step in steps("report.yml") if "github-script" in step.get("uses", "")]
    given = {"GIVEN": json.dumps(comments), "SCRIPT": script, "PAGE": "https://example.org/page"}
    command = ["node", "-e", FAKE]
    done = subprocess.run(command, cwd=folder, env=os.environ | given, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


@pytest.mark.skipif(shutil.which("node") is None, reason="GitHub's script language is not installed")
def test_one_comment_is_made_and_a_check_has_the_verdict(tmp_path: Path) -> None:
    """A comment that is there already is updated: see what replaces the report of a damaged pull request."""
    report = tmp_path / "report/report.md"
    report.parent.mkdir()
    report.write_text(f"{MARK}\n\n## Better\n\nthanks to @everyone\n{'x' * 100_000}")
    found: dict[str, Any] = {"title": "Better", "gate": None, "verdict": "better", "failure": None}
    found["annotations"] = [{"path": "params.yaml"}] * 60
    report.with_suffix(".json").write_text(json.dumps(found))
    told = asked(tmp_path, [{"id": 1, "user": {"login": "them"}, "body": f"{MARK} mine"}])
    assert told["create"]["issue_number"] == 7
    body = told["create"]["body"]
    assert body.startswith(MARK)
    assert body.count(MARK) == 1
    assert len(body) < 65_536
    assert "## Better" in body
    assert "@everyone" not in body
    assert "https://example.org/page" in body
    assert (told["check"]["head_sha"], told["check"]["conclusion"]) == ("abc", "success")
    assert told["check"]["output"]["title"] == "Better"
    assert len(told["check"]["output"]["annotations"]) == 50  # GitHub takes no more at once
    for other in ({"failure": "stale numbers"}, {"verdict": "worse"}):
        report.with_suffix(".json").write_text(json.dumps(found | other))
        assert asked(tmp_path, [])["check"]["conclusion"] == "neutral"
