"""An MLflow server that is asked without MLflow; `tests/tracking/test_live.py` asks a real one."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar

import pytest

from src.review.server import find_run


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
    login: str, variables: dict[str, str], sent: str | None, monkeypatch: pytest.MonkeyPatch
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
