"""Downloads against a real server on this machine that breaks off, refuses Range, answers 500, or is not there."""

import contextlib
import hashlib
import http.server
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from data_samples import class_folders, pack_tar, run_stages

import src.data.fetch
from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.data.fetch import Checksum, fetch

CONTENT = bytes(range(256)) * 4096  # 1 MiB
MD5 = Checksum("md5", hashlib.md5(CONTENT).hexdigest())


class Server:
    """Serves CONTENT; `script` says what the next requests get instead."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.script: list[str] = []  # break (half-way) | drop (at once) | slow | 500 | 404 | a URL | whole
        self.ranges: list[str | None] = []
        self.content = CONTENT
        self.tag = '"one"'


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(src.data.fetch, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            act = state.script.pop(0) if state.script else ""
            wanted = self.headers["Range"]
            state.ranges.append(wanted)
            if act.isdecimal():
                self.send_error(int(act))
                return
            if "://" in act:
                _lead(self, act)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
            unchanged = self.headers["If-Range"] in (None, state.tag)
            resume = wanted and act != "whole" and unchanged
            if resume and start >= len(state.content):
                self.send_error(416)
                return
            body = state.content[start:] if resume else state.content
            self.send_response(206 if resume else 200)
            if resume:
                self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
            self.send_header("Content-Length", str(len(body)))
            if state.tag:
                self.send_header("ETag", state.tag)
            self.end_headers()
            if act == "slow":
                for start in range(0, len(body), len(body) // 8):
                    self.wfile.write(body[start : start + len(body) // 8])
                    time.sleep(0.1)
            else:
                self.wfile.write(body[: {"break": len(body) // 2, "drop": 0}.get(act, len(body))])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        state = Server(f"http://127.0.0.1:{running.server_port}/file.tar")
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield state
        running.shutdown()


def test_a_file_is_fetched_once_and_found_again_without_network(server: Server, tmp_path: Path) -> None:
    path = fetch([server.url], tmp_path / "a" / "file.tar", MD5, "")
    assert path.read_bytes() == CONTENT
    fetch(["http://127.0.0.1:9/nobody"], path, MD5, "")
    assert len(server.ranges) == 1
    assert {file.name for file in path.parent.iterdir()} == {"file.tar", "file.tar.lock"}


def test_a_damaged_file_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"damaged")
    assert fetch([server.url], tmp_path / "x", MD5, "").read_bytes() == CONTENT


@pytest.mark.parametrize("checksum", [MD5, None])
def test_a_broken_download_goes_on_where_it_ended(server: Server, tmp_path: Path, checksum: Checksum | None) -> None:
    server.script = ["break", "break"]
    assert fetch([server.url], tmp_path / "x", checksum, "").read_bytes() == CONTENT
    half, three_quarters = len(CONTENT) // 2, len(CONTENT) * 3 // 4
    assert server.ranges == [None, f"bytes={half}-", f"bytes={three_quarters}-"]


def test_a_download_that_gets_on_is_not_given_up(server: Server, tmp_path: Path) -> None:
    server.script = ["break", "drop", "drop"] * 4
    assert fetch([server.url], tmp_path / "x", MD5, "").read_bytes() == CONTENT


def test_a_slow_download_is_not_cut(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(src.data.fetch, "TIMEOUT", (0.3, 0.3))
    monkeypatch.setattr(src.data.fetch, "PATIENCE", 0.3)
    server.script = ["slow"]  # 0.8 s
    assert fetch([server.url], tmp_path / "x", MD5, "").read_bytes() == CONTENT
    assert server.ranges == [None]


def test_a_download_goes_on_after_the_process_was_killed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(CONTENT[:1000])
    assert fetch([server.url], tmp_path / "x", MD5, "").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


def test_what_cannot_be_checked_is_not_resumed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(b"of an older file")
    assert fetch([server.url], tmp_path / "x", None, "").read_bytes() == CONTENT
    server.tag, server.script, server.ranges = "", ["break"], []
    assert fetch([server.url], tmp_path / "y", None, "").read_bytes() == CONTENT
    assert server.ranges == [None, None]


def test_a_file_that_changed_meanwhile_is_fetched_whole(server: Server, tmp_path: Path) -> None:
    server.script = ["break"]
    original = time.sleep

    def change(seconds: float) -> None:
        server.content, server.tag = CONTENT[::-1], '"two"'
        original(seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", change)
        assert fetch([server.url], tmp_path / "x", None, "").read_bytes() == CONTENT[::-1]


def test_a_server_that_ignores_range_is_coped_with(server: Server, tmp_path: Path) -> None:
    server.script = ["break", "whole"]
    assert fetch([server.url], tmp_path / "x", MD5, "").read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"damaged", CONTENT + b"longer"])
def test_a_bad_part_is_fetched_again(server: Server, tmp_path: Path, part: bytes) -> None:
    (tmp_path / "x.part").write_bytes(part)
    assert fetch([server.url], tmp_path / "x", MD5, "").read_bytes() == CONTENT


def test_errors_are_retried_with_growing_waits(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    server.script = ["500", "503", "429"]
    assert fetch([server.url], tmp_path / "x", MD5, "").read_bytes() == CONTENT
    assert waits == [0.01, 0.02, 0.04]


def test_the_next_mirror_is_tried(server: Server, tmp_path: Path) -> None:
    assert fetch(["http://127.0.0.1:9/x", server.url], tmp_path / "x", MD5, "").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("script", "message", "requests"),
    [(["404"], "404 Not Found", 1), (["500"] * 4, "500 Internal Server Error", 4), (["drop"] * 4, "broke off", 4)],
)
def test_failure_is_one_line_and_leaves_nothing(
    server: Server, tmp_path: Path, script: list[str], message: str, requests: int
) -> None:
    server.script = script
    with pytest.raises(UserError, match=rf"127\.0\.0\.1:\d+/file\.tar: .*{message}.*do this"):
        fetch([server.url], tmp_path / "x", MD5, "do this")
    assert len(server.ranges) == requests
    assert not (tmp_path / "x").exists()


def test_another_content_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.content = b"<html>log in first</html>"
    with pytest.raises(UserError, match="another checksum"):
        fetch([server.url], tmp_path / "x", MD5, "")
    assert {file.name for file in tmp_path.iterdir()} == {"x.lock"}
    assert len(server.ranges) == 1


def test_no_network_is_one_line_with_every_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(src.data.fetch, "FIRST_WAIT", 0.01)
    urls = ["http://127.0.0.1:9/a", "http://name.invalid/b", "nonsense://x"]
    with pytest.raises(
        UserError, match=r"127.0.0.1:9/a: not reachable; http://name.invalid/b: not reachable; nonsense"
    ):
        fetch(urls, tmp_path / "x", MD5, "")


def test_a_url_can_be_the_source(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    server.content = pack_tar(Path("made.tar"), class_folders({"cat": 5, "dog": 5})).read_bytes()
    url = server.url.replace("//", "//me:secret@") + "?token=secret"
    dataset = run_stages(url)
    assert dataset.classes == ["cat", "dog"]
    server.script = ["500"] * 9
    assert run_stages(url) == dataset
    assert run_stages(url, sha256=hashlib.sha256(server.content).hexdigest()) == dataset
    with pytest.raises(UserError, match="500 Internal Server Error"):
        run_stages(url, sha256="0" * 64)
    out = capsys.readouterr().out
    assert "was fetched before" in out
    assert "secret" not in out


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a listener that answers nobody: its queue of connections is full, so it drops what asks for more."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        for _ in range(8):
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(listener.getsockname())
        time.sleep(0.05)
        probe = stack.enter_context(socket.socket())
        probe.settimeout(0.2)
        try:
            probe.connect(listener.getsockname())
        except TimeoutError:
            yield listener.getsockname()[1]
            return
        pytest.skip("this system accepts connections beyond the queue's length")


def addresses(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """Every host has an address for each of `ports`."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setenv("NO_PROXY", "*")


def test_hosts_of_many_addresses_that_do_not_answer_are_given_up_soon(
    silent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    addresses(monkeypatch, *[silent] * 8)
    monkeypatch.setattr(src.data.fetch, "TIMEOUT", (0.4, 30))
    monkeypatch.setattr(src.data.fetch, "FIRST_WAIT", 0.01)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"https://one\.example/x: no answer in time; http://two\.example/x: no answer"):
        fetch(["https://one.example/x", "http://two.example/x"], tmp_path / "x", MD5, "")
    assert 1.6 <= time.monotonic() - start < 2.6  # each mirror twice
    told = capsys.readouterr().err
    assert "mirror https://one.example/x: no answer in time, trying http://two.example/x\n" in told
    assert "mirror http://two.example/x: no answer in time\ntrying again in 0.01 s\n" in told


def test_an_address_that_answers_is_found_behind_others_that_do_not(
    silent: int, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses(monkeypatch, 9, silent, silent, int(server.url.split(":")[2].split("/")[0]))
    start = time.monotonic()
    assert fetch(["http://any.example/file.tar"], tmp_path / "x", MD5, "").read_bytes() == CONTENT
    assert time.monotonic() - start < 2


def test_a_name_that_cannot_be_looked_up_in_time_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [over.wait(5)])
    monkeypatch.setattr(src.data.fetch, "TIMEOUT", (0.2, 30))
    monkeypatch.setattr(src.data.fetch, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("NO_PROXY", "*")
    start = time.monotonic()
    with pytest.raises(UserError, match="no answer in time"):
        fetch(["http://any.example/x"], tmp_path / "x", MD5, "")
    assert time.monotonic() - start < 2
    over.set()


def test_a_server_that_takes_connections_but_says_nothing_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(src.data.fetch, "TIMEOUT", (1, 0.2))
    monkeypatch.setattr(src.data.fetch, "PATIENCE", 0.1)
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        start = time.monotonic()
        with pytest.raises(UserError, match="no answer in time"):
            fetch([f"http://127.0.0.1:{listener.getsockname()[1]}/x"], tmp_path / "x", MD5, "")
        assert time.monotonic() - start < 1


def test_a_proxy_is_asked_instead(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("http_proxy", server.url.rsplit("/", 1)[0])
    assert fetch(["http://any.invalid/file.tar"], tmp_path / "x", MD5, "").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@host.example:8443/a/b.zip?token=secret#x", "https://host.example:8443/a/b.zip"),
        ("https://me:sec/ret@host/a", "https://host/a"),
        ("https://me:s?ec#ret@host/a", "https://host/a"),
        ("postgresql://me:sec@ret@host/db", "postgresql://host/db"),
        ("https://secret@host/a@2.zip", "https://host/a@2.zip"),
        ("https://host:5000/a@2.zip", "https://host:5000/a@2.zip"),
        ("postgresql://host/db?user=me&password=secret", "postgresql://host/db"),
        ("source: 'https://me:secret@host/a?secret'  # ours", "source: 'https://host/a'  # ours"),
        ("cp a@b models:/digits@champion", "cp a@b models:/digits@champion"),
    ],
)
def test_secrets_in_urls_are_not_shown(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


def test_a_server_leads_to_no_file_and_sends_no_more_than_is_bearable(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "private").write_bytes(CONTENT)
    server.script = [(tmp_path / "private").as_uri()] * 8
    with pytest.raises(UserError, match="not a valid URL"):
        fetch([server.url], tmp_path / "x", MD5, "")
    server.script = []
    monkeypatch.setattr(src.data.fetch, "MOST_BYTES", len(CONTENT) - 1)
    with pytest.raises(UserError, match="more than 0 GiB"):
        fetch([server.url], tmp_path / "x", MD5, "")
    assert not (tmp_path / "x").exists()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", str(key), "-out", str(cert)]
    try:
        options = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run([*command, *options], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("needs the openssl command to make a certificate")
    return key, cert


def test_a_server_whose_certificate_nobody_signed_is_refused(
    server: Server, certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, cert = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    handler: Callable[..., http.server.SimpleHTTPRequestHandler] = http.server.SimpleHTTPRequestHandler
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(CONTENT)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.socket = context.wrap_socket(running.socket, server_side=True)
        monkeypatch.setattr(running, "handle_error", lambda *_: None)
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        url = f"https://127.0.0.1:{running.server_port}/file"
        with pytest.raises(UserError, match="certificate is not trusted, or a proxy intercepts"):
            fetch([url], tmp_path / "x", MD5, "")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(cert))  # trusted by the user's own choice
        assert fetch([url], tmp_path / "x", MD5, "").read_bytes() == CONTENT
        serve = http.server.SimpleHTTPRequestHandler.do_GET
        monkeypatch.setattr(
            handler, "do_GET", lambda self: serve(self) if self.path == "/file" else _lead(self, server.url)
        )
        for script in ([], [url] * 8):  # the second leads back to TLS
            server.script = script
            with pytest.raises(UserError, match="leads to an address without TLS"):
                fetch([f"{url}s"], tmp_path / "y", MD5, "")
        running.shutdown()


def _lead(handler: http.server.BaseHTTPRequestHandler, url: str) -> None:
    handler.send_response(302)
    handler.send_header("Location", url)
    handler.end_headers()
