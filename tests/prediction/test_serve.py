"""A model over HTTP: real requests to a real server in a thread, and the command that starts one."""

import base64
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import uvicorn
from clones import ROOT
from data_samples import encoded, picture, png, write_files
from PIL import Image
from prediction_samples import as_table, make_model, run_predict

from src import serve
from src.core.errors import UserError
from src.core.files import digest
from src.core.paths import MODEL
from src.data.prepared import ImageFormat
from src.models.model_file import Calibration
from src.prediction.explanation import grad_cam, laid_over
from src.prediction.model import Model, load
from src.prediction.serving import application

pytestmark = pytest.mark.usefixtures("root")

COLOUR = ImageFormat(height=24, width=24, channels=3, resize="crop")


@contextmanager
def served(model: Model) -> Iterator[str]:
    """Yield the address of a server of this process, which takes 64 KiB at most."""
    app = application(model, "photos", "0" * 32, 2**16)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def small() -> Model:
    make_model(COLOUR, ["cat", "dog"])
    return load(str(MODEL))


def post(url: str, content: bytes, query: str = "") -> Any:
    answer = requests.post(f"{url}/predict{query}", data=content, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_it_answers_what_predict_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    photo = encoded(picture(1, 40).crop((0, 0, 40, 30)), "JPEG")
    model = small()
    write_files(Path("photos"), {"a.jpg": photo})
    assert run_predict(monkeypatch, "photos", "--format", "csv") == 0
    printed = as_table(capsys.readouterr().out).iloc[0]
    with served(model) as url:
        found = post(url, photo)
        best = post(url, photo, "?top=1")
    assert found["class"] == printed["class"]
    assert found["probability"] == pytest.approx(float(printed["probability"]), abs=2e-6)
    assert sum(found["probabilities"].values()) == pytest.approx(1, abs=2e-6)
    assert found["model"] == {"name": "photos", "md5": "0" * 32}
    assert best["probabilities"] == {found["class"]: found["probability"]}


def test_what_is_possible_at_a_coverage_is_listed() -> None:
    make_model(COLOUR, ["cat", "dog"], calibration=Calibration(temperature=3.0, least={"0.9": 0.9999, "0.99": 1e-6}))
    with served(load(str(MODEL))) as url:
        assert post(url, png(0, 24), "?coverage=0.9")["possible"] == []
        assert sorted(post(url, png(0, 24), "?coverage=0.99&top=1")["possible"]) == ["cat", "dog"]
        refused = requests.post(f"{url}/predict?coverage=0.5", data=png(0, 24), timeout=60)
    assert (refused.status_code, refused.json()) == (400, {"detail": "coverage is 0.5: the model knows 0.9, 0.99"})


def test_an_explanation_is_the_photo_and_its_map() -> None:
    model = small()
    with served(model) as url:
        found = post(url, png(3, 24), "?explain=true")
    pixels = np.array(picture(3, 24))
    laid = laid_over(pixels, grad_cam(model, pixels, model.spec.classes.index(found["class"])))
    assert found["explanation"]["class"] == found["class"]
    for name, expected in (("seen", pixels), ("map", laid)):
        kind, _, data = found["explanation"][name].partition(",")
        assert kind == "data:image/png;base64"
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), expected)


def test_a_transformer_answers_without_an_explanation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.prediction.serving.explains", lambda _: False)
    with served(small()) as url:
        assert "predict?top=5&explain=false" in requests.get(url, timeout=10).text
        refused = requests.post(f"{url}/predict?explain=true", data=png(3, 24), timeout=60)
        assert "explanation" not in post(url, png(3, 24))
    assert refused.status_code == 400
    assert refused.json()["detail"].endswith("as transformers do: leave out explain")


def test_the_page_takes_nothing_from_elsewhere() -> None:
    make_model(COLOUR, ["cat", "<script>alert(1)</script>"])
    with served(load(str(MODEL))) as url:
        answer = requests.get(url, timeout=10)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;alert(1)" in answer.text
    assert not re.search(r"""(src|href)=|https?://|@import|url\(""", answer.text)


def test_bad_input_is_one_sentence_and_the_next_photo_is_answered() -> None:
    half = encoded(picture(1, 90), "JPEG")[:900]
    with served(small()) as url:
        for body, status, sentence in (
            (b"", 400, "the photo cannot be read: an empty file"),
            (b"hello", 400, "the photo cannot be read: not an image"),
            (half, 400, "the photo cannot be read"),
            (b"x" * 70_000, 413, "more than 0.0625 MiB"),
            (iter([b"x" * 40_000] * 2), 413, "more than 0.0625 MiB"),  # without a length
        ):
            answer = requests.post(f"{url}/predict", data=body, timeout=60)
            assert answer.status_code == status
            assert sentence in answer.json()["detail"]
            assert post(url, png(1, 24))["class"] in ("cat", "dog")


def test_who_stops_sending_holds_no_place_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.prediction.serving.SECONDS", 0.2)
    with served(small()) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nhalf")
            assert connection.recv(1_000).startswith(b"HTTP/1.1 408 ")
        assert post(url, png(1, 24))["class"] in ("cat", "dog")


@pytest.mark.slow
def test_the_command_names_its_model_and_ends_by_a_signal() -> None:
    make_model(COLOUR, ["cat", "dog"])
    Path("src").symlink_to(ROOT / "src")
    command = [sys.executable, "-m", "src.serve", "--port", "0"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server, requests.Session() as session:  # fmt: skip
        assert server.stdout is not None
        line = server.stdout.readline()
        assert digest(MODEL) in line
        (url,) = re.findall(r"http://\S+", line)
        assert session.get(f"{url}/healthz", timeout=10).json()["model"]["md5"] == digest(MODEL)
        assert session.post(f"{url}/predict", data=png(1, 24), timeout=60).json()["class"] in ("cat", "dog")
        server.send_signal(signal.SIGTERM)  # a connection that stays open delays nothing
        assert server.communicate(timeout=10) == ("", "")
        assert server.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "99999"], "--port is 99999: must be 0 to 65535"),
        (["--max-mib", "nan"], "--max-mib is nan: must be above 0, and a number"),
        (["--host", "256.0.0.0"], "256.0.0.0, port 8000: .*: name others by --port and --host"),
        (["--model", "nowhere"], "--model nowhere is no file: name one, or models:/NAME@champion, or a run's id"),
    ],
)
def test_what_cannot_be_served_is_one_line(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(COLOUR, ["cat", "dog"])
    monkeypatch.setattr("sys.argv", ["serve", *arguments])
    with pytest.raises(UserError, match=message):
        serve.main()
