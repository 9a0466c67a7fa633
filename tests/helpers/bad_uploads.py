"""Bad requests to a server, byte by byte: broken photos, broken forms and broken HTTP."""

import random
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from data_samples import encoded, picture

GOOD = {form: encoded(picture(1, 90), form) for form in ("JPEG", "PNG", "WEBP", "BMP", "TIFF")}
MAGIC = (
    b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"RIFF\xff\0\0\0WEBPVP8 ",
    b"II*\0",
    b"BM",
    b"%PDF-1.7",
    b"PK\3\4",
)
END = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Bad(NamedTuple):
    """Hold what is sent on a connection; half: its sending side is closed then, before the body is complete."""

    kind: str
    sent: bytes
    half: bool = False


def post(kind: str, body: bytes, *headers: str, query: str = "") -> Bad:
    lines = [f"POST /predict{query} HTTP/1.1", "Host: x", "Connection: close", *headers]
    if not any(header.lower().startswith(("content-length", "transfer-encoding")) for header in headers):
        lines.append(f"Content-Length: {len(body)}")
    return Bad(kind, "\r\n".join([*lines, "", ""]).encode() + body)


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG that declares a size, with some chunks and hardly any pixels."""
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    parts = (header, *chunks, (b"IDAT", zlib.compress(b"\0" * 99)), (b"IEND", b""))
    framed = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )
    return MAGIC[1] + b"".join(framed)


def form(content: bytes, boundary: str = "b", name: str = "file") -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="a.jpg"\r\n\r\n'
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode()


def bad_requests(seed: int, most: int) -> Iterator[Bad]:
    """Yield requests without end, all kinds in turn, their content drawn; `most`: bytes that the server takes."""
    draw = random.Random(seed)
    multipart = "Content-Type: multipart/form-data; boundary=b"
    text_bomb = (b"zTXt", b"a\0\0" + zlib.compress(bytes(100 * 2**20)))
    while True:
        for name, photo in GOOD.items():
            yield post(f"cut {name}", photo[: draw.randrange(1, int(0.8 * len(photo)))])
        for magic in MAGIC:
            yield post(f"{magic[:4]!r} and noise", magic + draw.randbytes(draw.randrange(5_000)))
        yield post("noise", draw.randbytes(draw.randrange(1, 50_000)))
        yield post("zeros", bytes(draw.randrange(1, 50_000)))
        yield post("nothing", b"", f"X-Number: {draw.random()}")
        yield post("bomb", png(draw.randrange(10_000, 2**31), draw.randrange(10_000, 2**31)))
        yield post("bomb of text", png(9, 9, text_bomb))
        yield post(
            "GIF bomb", b"GIF89a" + struct.pack("<HH", 65535, draw.randrange(60_000, 65536)) + b"\xf7\0\0" + bytes(768)
        )
        yield post("too long", bytes(most + 1 + draw.randrange(99)))
        yield post("declared too long", b"x", f"Content-Length: {draw.randrange(most + 1, 10**15)}")
        yield post("no number", b"x", f"Content-Length: {draw.choice(['x', '-1', '1e3', '0x9', '9' * 99])}")
        yield post("no length", b"3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked")
        yield post("no boundary", form(GOOD["JPEG"]), "Content-Type: multipart/form-data")
        yield post("another boundary", form(GOOD["JPEG"], f"c{draw.random()}"), multipart)
        yield post("another field", form(GOOD["JPEG"], name=f"photo{draw.random()}"), multipart)
        yield post("cut form", form(GOOD["JPEG"])[: draw.randrange(60, 900)], multipart)
        yield post("noise in a form", form(draw.randbytes(draw.randrange(9_000))), multipart)
        yield post("no form", draw.randbytes(draw.randrange(1, 900)), multipart)
        yield post("bad query", GOOD["JPEG"], query=f"?top={draw.choice(['0', '-9', 'x', '1.5'])}")
        yield post("unknown coverage", GOOD["JPEG"], query=f"?coverage={draw.random()}")
        yield Bad("no path", f"GET /{draw.random()} {END}".encode())
        yield Bad("method", f"{draw.choice(['GET', 'PUT', 'DELETE'])} /predict?{draw.random()} {END}".encode())
        yield Bad("no HTTP", draw.randbytes(draw.randrange(4, 99)) + b"\r\n\r\n")
        whole = post("half closed", GOOD["JPEG"])
        yield whole._replace(sent=whole.sent[: draw.randrange(20, len(whole.sent) - 99)], half=True)
