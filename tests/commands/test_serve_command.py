"""The command that serves a model: what it says, how it ends, and what a thousand bad uploads do to it."""

import os
import signal
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
import torch
from data_samples import encoded, picture, png
from prediction_samples import make_model
from serving_samples import COLOUR, forms, post

from src import serve
from src.core.errors import UserError
from src.core.files import digest
from src.core.paths import MODEL

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    torch.set_deterministic_debug_mode("default")


@contextmanager
def command(*arguments: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Yield the address that `python -m src.serve` prints, and its process; end it by SIGTERM."""
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


def test_the_command_names_its_model_and_ends_by_a_signal() -> None:
    make_model(COLOUR, ["cat", "dog"])
    with command() as (url, server):
        assert requests.get(f"{url}/healthz", timeout=10).json()["model"]["md5"] == digest(MODEL)
        assert post(url, png(1, 24))["resized"] is None
        with requests.Session() as session:  # a connection that stays open delays nothing
            session.get(url, timeout=10)
            server.send_signal(signal.SIGTERM)
            assert server.wait(10) == 0


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


@forms
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

    with command() as (url, server), ThreadPoolExecutor(4) as clients:
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
def test_what_cannot_be_served_is_one_line(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(COLOUR, ["cat", "dog"])
    monkeypatch.setattr("sys.argv", ["serve", *arguments])
    with pytest.raises(UserError, match=message):
        serve.main()
