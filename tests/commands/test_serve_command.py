"""The command that serves a model: what it says, how it ends, and what a thousand bad uploads do to it."""

import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import pytest
import requests
import torch
from bad_uploads import Bad, bad_requests
from data_samples import png
from prediction_samples import make_model
from serving_samples import COLOUR, post

from src import serve
from src.core.errors import UserError
from src.core.files import digest
from src.core.paths import MODEL

ROOT = Path(__file__).resolve().parents[2]


pytestmark = pytest.mark.slow


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


def peak_mib(server: "subprocess.Popen[str]") -> float:
    """Return the most memory that the server has had so far."""
    (line,) = (line for line in Path(f"/proc/{server.pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_thousand_bad_uploads_are_refused_and_leave_the_server_as_it_was() -> None:
    make_model(COLOUR, ["cat", "dog"])
    with command("--max-mib", "1") as (url, server):
        expected = post(url, png(1, 24))
        host, port = url.removeprefix("http://").split(":")

        def ask(bad: Bad) -> tuple[str, int]:
            """Return the status; 0 where the server hangs up."""
            answer = b""
            with socket.create_connection((host, int(port)), timeout=20) as connection, suppress(ConnectionError):
                connection.sendall(bad.sent)
                if bad.half:
                    connection.shutdown(socket.SHUT_WR)
                answer = connection.makefile("rb").readline()
            return bad.kind, int(answer.split()[1]) if answer else 0

        list(map(ask, islice(bad_requests(1, 2**20), 50)))
        before = peak_mib(server)
        with ThreadPoolExecutor(8) as clients:
            statuses = Counter(clients.map(ask, islice(bad_requests(0, 2**20), 1_000)))
        assert sum(statuses.values()) == 1_000
        # Whose own side is closed is not answered; of what is not read to its end, the answer may be lost.
        unanswered = {("half closed", 0), ("too long", 0)}
        assert {answer for answer in statuses if not 400 <= answer[1] < 500} <= unanswered
        assert server.poll() is None
        assert peak_mib(server) - before < 256
        assert post(url, png(1, 24)) == expected


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
