"""Downloads from a real server on this machine that breaks off, stalls, refuses Range, answers 500, or is missing."""

import hashlib
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from data_samples import class_folders, pack_tar, run_stages

import src.data.fetch
from src.core.errors import UserError

CONTENT = bytes(range(256)) * 4096  # 1 MiB
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
REFUSING = "http://127.0.0.1:9/nobody"


def fetch(urls: list[str], path: Path, checksum: str | None = MD5, max_bytes: int = len(CONTENT)) -> Path:
    src.data.fetch.fetch(urls, path, checksum, max_bytes, "do this")
    return path


class Server:
    """Serves `content`; `script` says what the next requests get instead."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.script: list[str] = []  # half | nothing | stall (half-way) | complete (no Range) | 500 | a URL
        self.ranges: list[str | None] = []  # that were asked for
        self.content = CONTENT


class Handler(http.server.BaseHTTPRequestHandler):
    state: Server

    def do_GET(self) -> None:
        act = self.state.script.pop(0) if self.state.script else ""
        wanted, content = self.headers["Range"], self.state.content
        self.state.ranges.append(wanted)
        if act.isdecimal():
            self.send_error(int(act))
            return
        if "://" in act:
            self.send_response(302)
            self.send_header("Location", act)
            self.end_headers()
            return
        resume = wanted is not None and act != "complete"
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if resume else 0
        if start >= len(content):
            self.send_error(416)
            return
        body = content[start:]
        self.send_response(206 if resume else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        pieces = {"half": 1, "stall": 1, "nothing": 0}.get(act, 2)
        for piece in (body[: len(body) // 2], body[len(body) // 2 :])[:pieces]:
            self.wfile.write(piece)
        time.sleep(1 if act == "stall" else 0)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        Handler.state = Server(f"http://127.0.0.1:{running.server_port}/file.tar")
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield Handler.state
        running.shutdown()


@pytest.fixture(autouse=True)
def times(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundredth of the real ones, but to connect."""
    for name, value in {"TIMEOUT": (0.4, 0.4), "WAITS": (0.0, 0.01, 0.02)}.items():
        monkeypatch.setattr(src.data.fetch, name, value)


def test_a_file_is_fetched_once_from_a_mirror_that_works_and_found_again_without_network(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = fetch([REFUSING, server.url], tmp_path / "a" / "file.tar")
    assert path.read_bytes() == CONTENT
    assert f"mirror {REFUSING}: not reachable\n" in capsys.readouterr().err
    fetch([REFUSING], path)
    assert len(server.ranges) == 1
    assert {file.name for file in path.parent.iterdir()} <= {"file.tar", "file.tar.lock"}


HALF = len(CONTENT) // 2


@pytest.mark.parametrize(
    ("part", "script", "checksum", "ranges"),
    [
        (b"", ["half", "half"], MD5, [None, HALF, HALF * 3 // 2]),
        (CONTENT[:1000], [], MD5, [1000]),  # of a process that was killed
        (b"of an older file", ["half"], None, [None, None]),  # nothing tells so
        (b"", ["half", "complete"], MD5, [None, HALF]),  # the server ignores Range
        (b"damaged", [], MD5, [7, None]),
        (CONTENT + b"longer", [], MD5, [len(CONTENT) + 6, None]),
    ],
)
def test_what_is_there_is_resumed_where_a_checksum_can_tell_that_it_belongs(
    server: Server, tmp_path: Path, part: bytes, script: list[str], checksum: str | None, ranges: list[int | None]
) -> None:
    if part:
        (tmp_path / "x.part").write_bytes(part)
    server.script = script
    assert fetch([server.url], tmp_path / "x", checksum).read_bytes() == CONTENT
    assert server.ranges == [None if start is None else f"bytes={start}-" for start in ranges]


@pytest.mark.parametrize(
    ("script", "message", "requests"),
    [
        (["404"], "404 Not Found", 1),
        (["500"] * 9, "500 Internal Server Error", 3),
        (["nothing"] * 9, "the connection broke off", 3),
        (["stall"] * 9, "no answer in time", 3),
    ],
)
def test_failure_is_one_line_and_leaves_no_file(
    server: Server, tmp_path: Path, script: list[str], message: str, requests: int
) -> None:
    server.script = script
    began = time.monotonic()
    with pytest.raises(UserError, match=rf"^cannot download \(http://127.*/file\.tar: {message}\): do this$"):
        fetch([server.url], tmp_path / "x", None if script[0] == "stall" else MD5)
    assert time.monotonic() - began < 3
    assert len(server.ranges) == requests
    assert not (tmp_path / "x").exists()


def test_another_content_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.content = b"<html>log in first</html>"
    with pytest.raises(UserError, match="another checksum"):
        fetch([server.url], tmp_path / "x")
    assert {file.name for file in tmp_path.iterdir()} <= {"x.lock"}
    assert len(server.ranges) == 1


def test_no_network_is_one_line_with_every_url(tmp_path: Path) -> None:
    urls = [REFUSING, "http://name.invalid/b", "http://"]
    with pytest.raises(UserError, match=r"nobody: not reachable; http://name.invalid/b: not reachable; .* valid URL"):
        fetch(urls, tmp_path / "x")


def test_a_server_leads_to_no_file_and_sends_no_more_than_is_allowed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "private").write_bytes(CONTENT)
    server.script = [(tmp_path / "private").as_uri()]
    with pytest.raises(UserError, match="not a valid URL"):
        fetch([server.url], tmp_path / "x")
    with pytest.raises(UserError, match=r"^http://127.*\.tar has more than .* GiB: raise data\.max_gib if it should"):
        fetch([server.url], tmp_path / "x", max_bytes=len(CONTENT) - 1)
    server.script = [server.url] * 40
    with pytest.raises(UserError, match="it redirects without end"):
        fetch([server.url], tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_url_can_be_the_source(server: Server, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.content = pack_tar(Path("made.tar"), class_folders({"cat": 5, "dog": 5})).read_bytes()
    url = server.url.replace("//", "//me:secret@") + "?token=secret"
    dataset = run_stages(url)
    assert dataset.classes == ["cat", "dog"]
    server.script = ["500"] * 9
    assert run_stages(url) == dataset
    assert run_stages(url, sha256=hashlib.sha256(server.content).hexdigest()) == dataset
    with pytest.raises(UserError, match="500 Internal Server Error"):
        run_stages(url, sha256="0" * 64)
    told = "".join(capsys.readouterr())
    assert "was fetched before" in told
    assert "secret" not in told
