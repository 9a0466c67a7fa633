"""Runs on a real MLflow server, found without MLflow."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
from answer_tables import TEST, VALIDATION, commit, md5, results, with_flips
from tracking_server import Server

from src.review.server import find_run


@pytest.mark.slow
def test_the_newest_run_of_a_model_is_linked_with_its_cost(
    repo: Path, tell: Any, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    client = MlflowClient(server.uri)
    experiment = client.create_experiment("digits")
    for model, seconds in (("first model", 9.0), ("first model", 3.0), ("second model", 2.5)):
        run_id = client.create_run(
            experiment, tags={"model_md5": md5(model.encode()), "machine": "1 × GPU"}
        ).info.run_id
        client.log_metric(run_id, "cost/training_seconds", seconds)
        client.log_metric(run_id, "test/accuracy", 1.0)
    results(repo, with_flips(VALIDATION, 3, 3), TEST, "second model")
    commit(repo, "second")
    address = server.uri.removeprefix("http://")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://joe:secret@{address}/?key=secret")
    text = tell("--base", "HEAD~")
    assert f"head: <{server.uri}/#/experiments/{experiment}/runs/{run_id}?workflowType=machine_learning>" in text
    assert "Both trained on `1 × GPU`, measured once, whatever else ran: 3 → 2.5 s." in text
    assert "secret" not in text
    assert find_run("' OR tags.model_md5 != '") == find_run("unknown") == {}
    assert [each.name for each in client.search_experiments()] == ["digits", "Default"], "nothing is made by looking"
    server.kill()
    assert find_run(md5(b"second model")) == {}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{repo}/mlflow.db")
    assert find_run(md5(b"second model")) == {}


class Asked(BaseHTTPRequestHandler):
    """Answers nothing that is of use, and keeps who asked."""

    who: ClassVar[list[str | None]] = []

    def do_POST(self) -> None:
        self.who.append(self.headers["Authorization"])
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"not JSON")

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("login", "variables", "sent"),
    [
        ("", {}, None),
        ("joe:a%40b@", {"MLFLOW_TRACKING_TOKEN": "abc"}, "Basic am9lOmFAYg=="),  # joe:a@b
        ("", {"MLFLOW_TRACKING_USERNAME": "joe", "MLFLOW_TRACKING_PASSWORD": "a@b"}, "Basic am9lOmFAYg=="),
        ("", {"MLFLOW_TRACKING_TOKEN": "abc"}, "Bearer abc"),
    ],
)
def test_a_login_is_sent_as_mlflow_does(
    login: str, variables: dict[str, str], sent: str | None, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Asked, "who", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Asked) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        for name, value in (
            variables | {"MLFLOW_TRACKING_URI": f"http://{login}127.0.0.1:{server.server_port}"}
        ).items():
            monkeypatch.setenv(name, value)
        assert find_run("abc") == {}
        server.shutdown()
    assert Asked.who == [sent]
