"""A model over HTTP: real requests to a real server, in a thread of the test or as the command."""

import base64
import importlib.util
import io
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
import torch
import uvicorn
from data_samples import encoded, picture, png, write_files
from PIL import Image
from prediction_samples import as_json, make_model, run_predict

from src import serve
from src.core.errors import UserError
from src.core.files import digest
from src.core.paths import MODEL
from src.data.images import Resize
from src.data.prepared import ImageFormat
from src.prediction.batching import Batcher, Room
from src.prediction.explanation import occlusion
from src.prediction.model import Model, load
from src.prediction.serving import Limits, application

ROOT = Path(__file__).resolve().parents[2]
COLOUR = ImageFormat(height=24, width=24, channels=3, resize="crop")
forms = pytest.mark.skipif(
    importlib.util.find_spec("python_multipart") is None, reason="python-multipart, which reads forms, is not installed"
)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    torch.set_deterministic_debug_mode("default")


@contextmanager
def served(model: Model, resize: Resize = "crop", limits: Limits = Limits()) -> Iterator[str]:  # noqa: B008
    """Yield the address of a server of this process."""
    app = application(model, "photos", "0" * 32, resize, limits)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def small(image: ImageFormat = COLOUR) -> Model:
    make_model(image, ["cat", "dog"])
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


@forms
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


@pytest.mark.parametrize(
    ("image", "resize", "mode", "done"),
    [
        (ImageFormat(height=24, width=24, channels=3, resize="squash"), "crop", "RGB", "squash"),
        (ImageFormat(height=24, width=24, channels=1, resize=None), "pad", "RGB", "pad"),
        (ImageFormat(height=24, width=24, channels=3, resize=None), "crop", "L", "crop"),
        (ImageFormat(height=24, width=32, channels=3, resize=None), "crop", "RGB", "crop"),
        (ImageFormat(height=24, width=32, channels=1, resize=None), "squash", "L", "squash"),
        (ImageFormat(height=24, width=32, channels=3, resize=None), "pad", "RGB", "pad"),
    ],
)
def test_any_photo_goes_with_any_model(image: ImageFormat, resize: Resize, mode: str, done: str) -> None:
    own = picture(1, 32, mode).crop((0, 0, image.width, image.height))
    other = picture(2, 60, mode).crop((0, 0, 60, 41))
    model = small(image)
    pixels = np.asarray(own.convert("L" if image.channels == 1 else "RGB"))
    expected = model.probabilities(pixels.reshape(1, image.height, image.width, image.channels).copy())[0]
    with served(model, resize) as url:
        kept, brought = post(url, encoded(own)), post(url, encoded(other))
    assert kept["resized"] is None
    assert [kept["probabilities"][name] for name in model.spec.classes] == pytest.approx(list(expected), abs=2e-6)
    assert brought["resized"] == {"from": [60, 41], "to": [image.width, image.height], "by": done}


def test_an_explanation_is_the_one_of_predict() -> None:
    model = small()
    with served(model) as url:
        found = post(url, png(3, 24), "?explain=true")
    pixels = np.asarray(picture(3, 24))
    loss, side = occlusion(model, pixels, model.spec.classes.index(found["class"]))
    assert found["explanation"]["square"] == side
    assert found["explanation"]["most"] == pytest.approx(np.abs(loss).max(), abs=2e-6)
    pictures = {}
    for name in ("seen", "map"):
        kind, _, data = found["explanation"][name].partition(",")
        assert kind == "data:image/png;base64"
        pictures[name] = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    np.testing.assert_array_equal(pictures["seen"], pixels)
    assert pictures["map"].shape == (24, 24, 3)


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
    ("top", {"data": png(1, 24), "params": {"top": "0"}}, 400, "top is 0: Input should be greater than"),
    ("explain", {"data": png(1, 24), "params": {"explain": "x"}}, 400, "explain is x"),
    ("too much", {"data": b"x" * 70_000}, 413, "more than 0.0625 MiB"),
    ("no length", {"data": iter([png(1, 24)])}, 411, "Content-Length"),
    ("no boundary", {"data": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "boundary"),
    ("another field", {"files": {"photo": png(1, 24)}}, 400, "files called file"),
    ("no file", {"files": {"file": (None, "text")}}, 400, "files called file"),
    ("many files", {"files": [("file", (f"{n}", b"x")) for n in range(99)]}, 400, "Too many files"),
    (
        "one is bad",
        {"files": [("file", ("a.png", png(1, 24))), ("file", ("b.png", b"x"))]},
        400,
        "b.png cannot be read",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        pytest.param(arguments, *rest, id=name, marks=forms if {"files", "headers"} & arguments.keys() else ())
        for name, arguments, *rest in BAD
    ],
)
def test_bad_input_is_one_sentence(arguments: dict[str, Any], status: int, sentence: str) -> None:
    with served(small(), limits=Limits(bytes=2**16)) as url:
        answer = requests.post(f"{url}/predict", timeout=60, **arguments)
        assert (answer.status_code, list(answer.json())) == (status, ["error"])
        assert sentence in answer.json()["error"]
        counted = requests.get(f"{url}/metrics", timeout=10).text
        assert f'requests_total{{status="{status}"}} 1\n' in counted
        assert "errors_total 1\n" in counted
        assert post(url, png(1, 24))["class"] in ("cat", "dog")


def test_who_stops_sending_holds_no_place_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.prediction.uploads.MOST_SECONDS", 0.2)
    with served(small(), limits=Limits(requests=1)) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nhalf")
            assert connection.recv(1_000).startswith(b"HTTP/1.1 408 ")
        assert post(url, png(1, 24))["class"] in ("cat", "dog")


class Waiting(torch.nn.Module):
    """Answer when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.computing, self.may = threading.Event(), threading.Event()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.computing.set()
        assert self.may.wait(30)
        return torch.full((len(images), 2), 0.5)


def test_photos_of_many_requests_are_one_batch_and_too_many_are_refused() -> None:
    waiting = Waiting()
    model = small()._replace(module=waiting)
    with served(model, limits=Limits(requests=5)) as url, ThreadPoolExecutor(4) as clients:
        first = clients.submit(post, url, png(0, 24))
        assert waiting.computing.wait(30)
        others = [clients.submit(post, url, png(number, 24)) for number in range(1, 4)]
        fifth = threading.Thread(target=post, args=(url, png(5, 24)))
        fifth.start()
        until = time.monotonic() + 30
        while (refused := requests.post(f"{url}/predict", data=b"", timeout=10)).status_code != 503:
            assert time.monotonic() < until
        assert refused.headers["Retry-After"] == "1"
        assert refused.json() == {"error": "5 requests are in work, which is the most: try again in a moment"}
        time.sleep(0.2)  # the last of the five is decoded
        waiting.may.set()
        assert all(answer.result()["probability"] == 0.5 for answer in [first, *others])
        fifth.join()
        counted = requests.get(f"{url}/metrics", timeout=10).text
    assert 'batch_photos_bucket{le="1.0"} 1\n' in counted
    assert 'batch_photos_bucket{le="4.0"} 2\n' in counted
    assert "batch_photos_sum 5.0\n" in counted


def test_what_a_batch_raises_reaches_its_requests_alone() -> None:
    def compute(images: Any) -> Any:
        if images.max() == 255:
            raise UserError("the model's probabilities are not finite numbers")
        return images.reshape(len(images), -1)[:, :2].astype(np.float32)

    sizes: list[float] = []
    batcher = Batcher(compute, 2, 0.0, Room(1, "requests"), sizes.append)
    bad = batcher.submit(np.full((2, 2, 1), 255, np.uint8))
    with pytest.raises(UserError, match="not finite"):
        bad.result(10)
    good = [batcher.submit(np.full((2, 2, 1), number, np.uint8)) for number in range(5)]
    batcher.close()
    assert [future.result(10)[0] for future in good] == [0, 1, 2, 3, 4]
    assert sum(sizes) == 6
    assert max(sizes) <= 2


# The command.


@contextmanager
def command(*arguments: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Yield the address that `python -m src.serve` prints, and its process; end it by SIGTERM."""
    if not Path("src").exists():
        Path("src").symlink_to(ROOT / "src")
    server = subprocess.Popen(
        [sys.executable, "-m", "src.serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    try:
        assert server.stdout is not None
        yield server.stdout.readline().split()[-1], server
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
        assert server.stderr is not None
        assert "Traceback" not in server.stderr.read()
    finally:
        server.kill()
        server.communicate()


def huge(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes whose header says how large it is."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 10)
    chunks = (
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (header, data)
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def raw(url: str, request: bytes) -> None:
    """Send bytes that are no request, and leave."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)


def test_a_thousand_bad_uploads_leave_it_alive_and_its_memory_flat() -> None:
    make_model(COLOUR, ["cat", "dog"])
    jpeg = encoded(picture(7, 300), "JPEG")
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
    random = np.random.default_rng(0)

    def bad(url: str, number: int) -> None:
        send: list[Callable[[], object]] = [
            lambda: refused(url, random.bytes(5_000), {}),
            lambda: refused(url, jpeg[: 100 + number], {}),
            lambda: refused(url, jpeg[:200] + random.bytes(2_000) + jpeg[2_200:], {}),
            lambda: refused(url, huge(60_000, 60_000 + number), {}),
            lambda: refused(url, huge(2_000, 1_900), {}),
            lambda: refused(url, part + b"\r\n" + random.bytes(3_000), form),  # never ends
            lambda: refused(url, part + b"X: " + b"x" * 50_000 + b"\r\n\r\n" + jpeg, form),
            lambda: refused(url, part * 500, form),
            lambda: raw(url, b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\nhalf"),
            lambda: raw(url, b"POST /predict HTTP/1.1\r\nX: " + b"x" * 100_000),
        ]
        send[number % len(send)]()

    def refused(url: str, content: bytes, headers: dict[str, str]) -> None:
        answer = requests.post(f"{url}/predict", data=content, headers=headers, timeout=60)
        # Damaged pixels in the middle of a JPEG may still make an image.
        assert answer.status_code in (200, 400), answer.text
        assert answer.status_code == 200 or list(answer.json()) == ["error"]

    if importlib.util.find_spec("python_multipart") is None:
        pytest.skip("python-multipart, which reads forms, is not installed")
    with command() as (url, server), ThreadPoolExecutor(4) as clients:
        assert requests.get(f"{url}/healthz", timeout=10).json()["model"]["md5"] == digest(MODEL)
        memory = []
        for first, count in ((0, 300), (300, 1_000)):
            list(clients.map(lambda number: bad(url, number), range(first, first + count)))
            memory.append(psutil.Process(server.pid).memory_info().rss / 2**20)
        assert post(url, jpeg)["class"] in ("cat", "dog")
    assert memory[1] - memory[0] < 32, f"{memory[0]:.0f} and then {memory[1]:.0f} MiB"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-mib", "0"], "--max-mib is 0: must be above 0"),
        (["--host", "192.0.2.1"], "192.0.2.1, port 8000: .*: name others by --port and --host"),
        (["--port", "99999"], "--port is 99999: must be 0 to 65535"),
        (["--device", "mps"], "--device mps, but torch finds no such device"),
        (["--model", "nowhere"], "nowhere is missing"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    make_model(COLOUR, ["cat", "dog"])
    monkeypatch.setattr("sys.argv", ["serve", *arguments])
    with pytest.raises(UserError, match=message):
        serve.main()
