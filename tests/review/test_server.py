"""The login with which an MLflow server is asked without MLflow; `tests/tracking/test_live.py` asks a real one."""

from urllib.request import Request

import pytest

from src.review import server


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
    asked: list[Request] = []

    def urlopen(request: Request, timeout: float) -> None:
        asked.append(request)
        raise OSError

    monkeypatch.setattr(server, "urlopen", urlopen)
    for name, value in {"MLFLOW_TRACKING_URI": f"http://{login}host", **variables}.items():
        monkeypatch.setenv(name, value)
    assert server.find_run("abc") == {}
    (request,) = asked
    assert request.full_url == "http://host/api/2.0/mlflow/experiments/search"
    assert request.get_header("Authorization") == sent
