"""The command that serves a model: what it says, and how it ends."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from data_samples import png
from prediction_samples import make_model

from src import serve
from src.core.errors import UserError
from src.core.files import digest
from src.core.paths import MODEL
from src.data.prepared import ImageFormat

ROOT = Path(__file__).resolve().parents[2]
COLOUR = ImageFormat(height=24, width=24, channels=3, resize="crop")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("root")]


def test_the_command_names_its_model_and_ends_by_a_signal() -> None:
    make_model(COLOUR, ["cat", "dog"])
    Path("src").symlink_to(ROOT / "src")
    command = [sys.executable, "-m", "src.serve", "--port", "0"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server, requests.Session() as session:  # fmt: skip
        assert server.stdout is not None
        assert server.stderr is not None
        assert digest(MODEL) in server.stdout.readline()
        (url,) = next(filter(None, (re.findall(r"http://\S+", line) for line in server.stderr)))
        assert session.get(f"{url}/healthz", timeout=10).json()["model"]["md5"] == digest(MODEL)
        assert session.post(f"{url}/predict", data=png(1, 24), timeout=60).json()["class"] in ("cat", "dog")
        server.send_signal(signal.SIGTERM)  # a connection that stays open delays nothing
        assert server.wait(10) == 0
        assert "Traceback" not in server.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "99999"], "--port is 99999: must be 0 to 65535"),
        (["--model", "nowhere"], "--model nowhere is no file: name one, or models:/NAME@champion, or a run's id"),
    ],
)
def test_what_cannot_be_served_is_one_line(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(COLOUR, ["cat", "dog"])
    monkeypatch.setattr("sys.argv", ["serve", *arguments])
    with pytest.raises(UserError, match=message):
        serve.main()
