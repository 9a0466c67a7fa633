"""A model over HTTP: real requests to a real server in a thread."""

import asyncio
import base64
import io
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
import uvicorn
from data_samples import encoded, picture, png, write_files
from PIL import ExifTags, Image
from prediction_samples import as_json, make_model, run_predict

from src.core.errors import UserError
from src.core.paths import MODEL
from src.data.prepared import ImageFormat
from src.models.model_file import Calibration
from src.prediction.batching import Batcher
from src.prediction.explanation import grad_cam, laid_over
from src.prediction.model import Model, load
from src.prediction.serving import Limits, application

pytestmark = pytest.mark.usefixtures("root")

COLOUR = ImageFormat(height=24, width=24, channels=3, resize="crop")


@contextmanager
def served(model: Model, limits: Limits = Limits()) -> Iterator[str]:  # noqa: B008
    """Yield the address of a server of this process."""
    app = application(model, "photos", "0" * 32, limits)
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
    assert run_predict(monkeypatch, "photos", "--format", "json", "--top", "2") == 0
    (printed,) = as_json(capsys.readouterr().out)
    with served(model) as url:
        found = post(url, photo)
        best = post(url, photo, "?top=1")
        assert requests.get(f"{url}/healthz", timeout=10).json()["status"] == "ok"
    for key in ("class", "probability", "probabilities"):
        assert found[key] == pytest.approx(printed[key], abs=2e-6)
    assert found["resized"] == {"from": [40, 30], "to": [24, 24], "by": "crop"}
    assert found["model"] == {"name": "photos", "md5": "0" * 32}
    assert best["probabilities"] == {found["class"]: found["probability"]}


def test_the_size_of_a_photo_that_was_turned_is_as_it_is_shown() -> None:
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    photo = encoded(picture(1, 40).crop((0, 0, 40, 30)), "JPEG", exif=turned)
    with served(small()) as url:
        assert post(url, photo)["resized"]["from"] == [30, 40]


def test_what_is_possible_at_a_coverage_is_listed() -> None:
    make_model(COLOUR, ["cat", "dog"], calibration=Calibration(temperature=3.0, least={"0.9": 0.9999, "0.99": 1e-6}))
    with served(load(str(MODEL))) as url:
        assert post(url, png(0, 24), "?coverage=0.9")["possible"] == []
        assert sorted(post(url, png(0, 24), "?coverage=0.99&top=1")["possible"]) == ["cat", "dog"]
        refused = requests.post(f"{url}/predict?coverage=0.5", data=png(0, 24), timeout=60)
    assert (refused.status_code, refused.json()) == (400, {"error": "coverage is 0.5: the model knows 0.9, 0.99"})


def test_a_form_holds_one_photo_or_several() -> None:
    photos = {f"{number}.png": png(number, 24) for number in range(5)}
    with served(small()) as url:
        form = [("file", (name, content)) for name, content in photos.items()]
        several = requests.post(f"{url}/predict", files=form, timeout=60).json()
        one = requests.post(f"{url}/predict", files=form[:1], timeout=60).json()
        alone = [post(url, content) for content in photos.values()]
    assert [answer["file"] for answer in several] == list(photos)
    for answer, expected in zip(several, alone, strict=True):
        assert answer["probabilities"] == pytest.approx(expected["probabilities"], abs=2e-6)
    assert one["class"] == several[0]["class"]


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


def test_the_page_takes_nothing_from_elsewhere() -> None:
    make_model(COLOUR, ["cat", "<script>alert(1)</script>"])
    with served(load(str(MODEL))) as url:
        answer = requests.get(url, timeout=10)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;alert(1)" in answer.text
    assert not re.search(r"""(src|href)=|https?://|@import|url\(""", answer.text)


BAD: list[tuple[str, dict[str, Any], int, str]] = [
    ("nothing", {"data": b""}, 400, "no photo came"),
    ("no image", {"data": b"hello"}, 400, "the photo cannot be read: not an image"),
    ("half a photo", {"data": encoded(picture(1, 90), "JPEG")[:900]}, 400, "the photo cannot be read"),
    ("top", {"data": png(1, 24), "params": {"top": "0"}}, 400, "top is 0: it must be greater than"),
    ("explain", {"data": png(1, 24), "params": {"explain": "x"}}, 400, "explain is x"),
    (
        "typo",
        {"data": png(1, 24), "params": {"covrage": "0.9"}},
        400,
        "there is no parameter covrage: use top, explain",
    ),
    ("too much", {"data": b"x" * 70_000}, 413, "more than 0.0625 MiB"),
    ("no length", {"data": iter([png(1, 24)])}, 411, "Content-Length"),
    ("no boundary", {"data": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "boundary"),
    ("another field", {"files": {"photo": png(1, 24)}}, 400, "files called file"),
    ("no file", {"files": {"file": (None, "text")}}, 400, "files called file"),
    ("many files", {"files": [("file", (f"{n}", b"x")) for n in range(99)]}, 400, "Too many files"),
    ("raw", {"files": [("file", ("a.DNG", png(1, 24)))]}, 400, "a.DNG cannot be read: raw data of a camera"),
    (
        "one is empty",
        {"files": [("file", ("a.png", png(1, 24))), ("file", ("b.png", b""))]},
        400,
        "b.png cannot be read: an empty file",
    ),
    (
        "one is bad",
        {"files": [("file", ("a.png", png(1, 24))), ("file", ("b.png", b"x"))]},
        400,
        "b.png cannot be read",
    ),
]


def test_bad_input_is_one_sentence() -> None:
    with served(small(), limits=Limits(bytes=2**16)) as url:
        for name, arguments, status, sentence in BAD:
            answer = requests.post(f"{url}/predict", timeout=60, **arguments)
            assert (answer.status_code, list(answer.json())) == (status, ["error"]), name
            assert sentence in answer.json()["error"]
            assert post(url, png(1, 24))["class"] in ("cat", "dog"), f"after {name}"
        counted = requests.get(f"{url}/metrics", timeout=10).text
    assert 'requests_total{status="413"} 1\n' in counted
    assert f"errors_total {len(BAD)}\n" in counted


def test_who_stops_sending_holds_no_place_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.prediction.serving.MOST_SECONDS", 0.2)
    with served(small(), limits=Limits(requests=1)) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nhalf")
            assert connection.recv(1_000).startswith(b"HTTP/1.1 408 ")
        assert post(url, png(1, 24))["class"] in ("cat", "dog")


class Waiting(torch.nn.Module):
    """Answer once `may` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.computing, self.may = threading.Event(), threading.Event()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.computing.set()
        assert self.may.wait(30)
        return torch.full((len(images), 2), 0.5)


def test_photos_that_wait_are_one_batch() -> None:
    waiting = Waiting()
    with served(small()._replace(module=waiting)) as url, ThreadPoolExecutor(5) as clients:
        first = clients.submit(post, url, png(0, 24))
        assert waiting.computing.wait(30)
        others = [clients.submit(post, url, png(number, 24)) for number in range(1, 5)]
        time.sleep(0.5)  # in which they are decoded
        waiting.may.set()
        assert all(answer.result()["probability"] == 0.5 for answer in [first, *others])
        counted = requests.get(f"{url}/metrics", timeout=10).text
    assert counted.endswith('batches_total{photos="1"} 1\nbatches_total{photos="4"} 1\n')


def test_more_requests_than_the_limit_are_refused() -> None:
    waiting = Waiting()
    model, limits = small()._replace(module=waiting), Limits(requests=1)
    with served(model, limits) as url, ThreadPoolExecutor(1) as clients:
        first = clients.submit(post, url, png(0, 24))
        assert waiting.computing.wait(30)
        refused = requests.post(f"{url}/predict", data=png(1, 24), timeout=10)
        waiting.may.set()
        assert first.result()["probability"] == 0.5
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert refused.json() == {"error": "the server handles 1 requests already, its limit: try again in a moment"}


def test_what_a_batch_raises_reaches_its_requests_alone() -> None:
    def compute(images: Any) -> Any:
        if images.max() == 255:
            raise UserError("the model's probabilities are not finite numbers")
        return images.reshape(len(images), -1)[:, :2].astype(np.float32)

    sizes: Counter[int] = Counter()

    async def asked() -> list[Any]:
        batcher = Batcher(compute, 2, sizes)
        with pytest.raises(UserError, match="not finite"):
            await batcher.probabilities(np.full((2, 2, 1), 255, np.uint8))
        images = [np.full((2, 2, 1), number, np.uint8) for number in range(5)]
        return await asyncio.gather(*map(batcher.probabilities, images))

    assert [row[0] for row in asyncio.run(asked())] == [0, 1, 2, 3, 4]
    assert sizes == {1: 2, 2: 2}
