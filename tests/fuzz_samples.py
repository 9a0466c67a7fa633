"""Real files of every kind that somebody else can hand us, and ways to spoil them. All of it follows from a seed."""

import bz2
import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data_samples import encoded, idx, picture, png
from fuzz_bytes import BYTES, INTEGERS, Chance, Sample, cut, flip, number
from fuzz_models import WEIGHTS, model_files
from PIL import Image
from torchvision.models import get_model

from src.data.images import FORMATS


def samples(folder: Path) -> list[Sample]:
    """Whole files of every kind; `folder` is for those that their writers want to write themselves."""
    made = [*model_files(folder), *_archives(), *_own_files(), *_images()]
    buffer = io.BytesIO()
    torch.save(get_model(WEIGHTS, num_classes=2).state_dict(), buffer)
    return [*made, Sample("weights", "weights.pth", buffer.getvalue(), _zip_fields)]


# Archives: spoilt inside their compression too.


def _archives() -> Iterator[Sample]:
    files = {f"{name}/{number}.png": png(10 * place + number) for place, name in enumerate("ab") for number in range(4)}
    files["notes.txt"] = bytes(3000)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in {**files, f"a/{'ü' * 120}.png": png(99)}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    plain = buffer.getvalue()
    packers: dict[str, Callable[[bytes], bytes]] = {
        "": bytes,
        ".gz": gzip.compress,
        ".xz": lzma.compress,
        ".bz2": bz2.compress,
    }
    for suffix, pack in packers.items():
        yield Sample("archives", f"images.tar{suffix}", pack(plain), _tar(plain, pack))
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        yield Sample("archives", "images.zip", buffer.getvalue(), _zip_fields)


def _tar(plain: bytes, pack: Callable[[bytes], bytes]) -> Callable[[Chance, bytes], bytes]:
    def spoil(chance: Chance, _: bytes) -> bytes:
        if chance.random() < 0.3:
            return pack(chance.choice(BYTES)(chance, plain, plain))
        changed = bytearray(plain)
        place = chance.choice([at for at in range(0, len(plain), 512) if plain[at + 257 : at + 262] == b"ustar"])
        start, values = chance.choice((
            (0, (b"../../outside", b"/etc/outside", b"a/../../x", b"\xff" * 99, b"", b"a/b\0c")),
            (124, (b"77777777777", b"00000000000", b"\x80" + bytes(7) + b"\xff" * 4, b"\xff" * 12, b"-001", b"9")),
            (156, (b"0", b"1", b"2", b"3", b"5", b"6", b"7", b"L", b"K", b"S", b"g", b"x", b"\0", b"V")),
            (157, (b"/etc/passwd", b"../../outside")), (345, (b"../..", b"/tmp", b"x" * 150)),
        ))  # fmt: skip
        value = chance.choice(values)
        changed[place + start : place + start + len(value)] = value
        header = bytearray(changed[place : place + 512])
        header[148:156] = b" " * 8
        changed[place + 148 : place + 156] = b"%06o\0 " % sum(header)
        return pack(bytes(changed))

    return spoil


def _zip_fields(chance: Chance, data: bytes) -> bytes:
    """A field of a central directory entry, a local header or the end record."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 2)):
        mark, size = chance.choice(((b"PK\1\2", 46), (b"PK\3\4", 30), (b"PK\5\6", 22)))
        places = (
            [at for at in range(len(data)) if data[at : at + 4] == mark] if len(data) < 10**5 else [data.rfind(mark)]
        )
        place, width = chance.choice(places), chance.choice((1, 2, 4))
        start = place + chance.randrange(4, size)
        value = chance.choice((*INTEGERS, 8, 9, 12, 14, 93)) & ((1 << 8 * width) - 1)
        changed[start : start + width] = value.to_bytes(width, "little")
    return bytes(changed)


# The data sets' own files.


def _own_files() -> Iterator[Sample]:
    chance = np.random.default_rng(0)
    images, labels = chance.integers(0, 256, (20, 9, 9), np.uint8), (np.arange(20) % 10).astype(np.uint8)
    for name, array in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        yield Sample("data set files", name, idx(array), _number_in_header)
        yield Sample("data set files", f"{name}.gz", gzip.compress(idx(array)), _inside_gzip)
    pixels = chance.integers(0, 256, (5, 3072), np.uint8)
    for protocol in range(2, 6):
        content = {b"data": pixels, b"labels": [1, 2, 3, 4, 5], b"filenames": [b"a.png"] * 5}
        yield Sample("data set files", "data_batch_1", pickle.dumps(content, protocol), _opcodes)
    row = b"\1" + pixels[0].tobytes()
    yield Sample("data set files", "data_batch_1.bin", row * 3, _number_in_header)


def _number_in_header(chance: Chance, data: bytes) -> bytes:
    place = 4 * chance.randrange(4)
    return data[:place] + (chance.choice(INTEGERS) & (2**32 - 1)).to_bytes(4, "big") + data[place + 4 :]


def _inside_gzip(chance: Chance, data: bytes) -> bytes:
    plain = gzip.decompress(data)
    return gzip.compress(chance.choice(BYTES)(chance, plain, plain))


def _opcodes(chance: Chance, data: bytes) -> bytes:
    """Instructions between those of the pickle, such as ones that ask for memory or call by name."""
    place = chance.choice((0, 2, 2, 20, 30, len(data) - 1))
    size = chance.choice(INTEGERS)
    four, eight = struct.pack("<I", size & (2**32 - 1)), struct.pack("<Q", size)
    code = chance.choice((
        b"N" + b"r" + four + b"0", b"B" + four, b"\x8e" + eight, b"\x96" + eight, b"\x8a\xff", b"\x8b" + four,
        b")" + b"\x85" * chance.choice((10, 100_000)), b"]" * 1000, b"cos\nsystem\n(S'touch outside'\ntR0",
        b"cbuiltins\neval\n(X\x05\0\0\0exit()tR0", b"I" + b"9" * 5000 + b"\n", b"(" * 1000, b"2" * 1000,
        b"\x95" + eight, b"\x8f(\x90", b"}(" + b")\x85" * 50 + b"Nu", b"Pid\n", b"Q", b"\x82\1", b"j" + four,
    ))  # fmt: skip
    return data[:place] + code + data[place:]


# Images of every format that is read.


def _images() -> Iterator[Sample]:
    exif = Image.Exif()
    exif[0x0112] = 6
    options: dict[str, Any] = {"JPEG": {"exif": exif}, "WEBP": {"exif": exif, "lossless": True}, "TIFF": {"exif": exif}}
    for kind in FORMATS:
        for image in (picture(0, 40), picture(1, 40, "L"), picture(2, 24).convert("P"), picture(3, 24).convert("RGBA")):
            if kind in ("JPEG", "PPM") and image.mode in ("P", "RGBA"):
                image = image.convert("CMYK" if kind == "JPEG" else "1")
            yield _image(kind, image, **options.get(kind, {}))
    for extra in ({"progressive": True}, {"subsampling": 2, "optimize": True}):
        yield _image("JPEG", picture(4, 64), **extra)
    for compression in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg", "group4"):
        yield _image("TIFF", picture(5, 32).convert("1" if compression == "group4" else "RGB"), compression=compression)
    wide = Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20))
    frames = [picture(number, 16) for number in range(6, 9)]
    for kind in ("PNG", "TIFF", "PPM"):
        yield _image(kind, wide)
    for kind in ("GIF", "WEBP", "PNG", "TIFF", "AVIF"):
        yield _image(kind, frames[0], save_all=True, append_images=frames[1:])
    yield Sample("images", "text.ppm", b"P3\n4 2\n255\n" + b"1 2 255 " * 8, _number_in_text)
    rle = b"\4\1\0\2\3\1\0\0" * 4 + b"\0\2\1\1\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 8, 1, len(rle), 0, 0, 2, 0) + bytes(8)
    yield Sample(
        "images", "rle.bmp", b"BM" + struct.pack("<IHHI", 14 + 48 + len(rle), 0, 0, 62) + head + rle, _dimension
    )


def _image(kind: str, image: Image.Image, **options: Any) -> Sample:
    data = encoded(image, kind, **options)
    return Sample("images", f"image.{kind.lower()}", data, _chunk if data.startswith(b"\x89PNG") else _dimension)


def _dimension(chance: Chance, data: bytes) -> bytes:
    """A number in the first bytes, or where the header of a JPEG's frame has its size."""
    place = data.find(b"\xff\xc0") + 5 if data[:2] == b"\xff\xd8" else chance.randrange(min(len(data), 64))
    size = 2 if data[:2] == b"\xff\xd8" else 4
    value = chance.choice((*INTEGERS, 7000, 16383, 40_000)) & ((1 << 8 * size) - 1)
    return data[:place] + value.to_bytes(size, chance.choice(("little", "big"))) + data[place + size :]


def _chunk(chance: Chance, data: bytes) -> bytes:
    """A PNG with one chunk changed, its checksum right again."""
    chunks = []
    at = 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    place = chance.choice((0, 0, chance.randrange(len(chunks))))
    kind, content = chunks[place]
    if chance.random() < 0.3:
        bomb = zlib.compress(bytes(chance.choice((10, 2**26))))
        text = chance.choice(((b"zTXt", b"a\0\0"), (b"iCCP", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0")))
        chunks.insert(1, (text[0], text[1] + bomb))
    else:
        chunks[place] = (kind, chance.choice((flip, number, number, cut))(chance, content, content))
    return data[:8] + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def _number_in_text(chance: Chance, data: bytes) -> bytes:
    words = data.split(b" ")
    words[chance.randrange(len(words))] = chance.choice((b"9" * 5000, b"-1", b"# comment", b"99999", b"\n" * 1000, b""))
    return b" ".join(words)
