"""Decode image files to uint8 pixels, with Pillow: one, or many in threads.

- The content decides the format, not the extension; only the formats of `FORMATS` are tried.
- EXIF rotation and mirroring are applied.
- Grey stays grey (also black-and-white); 16-bit grey is scaled by 255/65535, not clipped.
- Transparency is laid on white. Palettes, CMYK, YCbCr and others become RGB (without colour profiles); of 16 bits per
  colour Pillow keeps the upper 8.
- Of an animation or a file of several pages the first is taken.
- 32-bit integers and floating point, whose range is unknown, are refused.
- HEIC needs `make env EXTRA=heic`: few have it, the wheels of its decoder, pillow-heif, hold a GPL encoder of 23 MB,
  and faults of the libraries that it is made of were exploited in 2026.

Resizing is bilinear with antialiasing, as torchvision's pretrained networks were trained with.
"""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from hashlib import blake2b
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from src.core.pool import map_ahead, processors

# Pillow's plugins that decode photos and scans themselves; others start programs (EPS) or are rare and little tested.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
CAMERA_RAW = {".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"}  # Pillow would read their thumbnails
# Names of photos end so: one that cannot be read is an error, never left out without a word.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".avif"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpf", ".jpx"}
    | {".heic", ".heif", ".hif", ".jxl", ".svg", ".psd", ".exr", ".tga", ".dcm", ".nii"}  # these are not read
    | CAMERA_RAW
)
MAX_PIXELS = 50_000_000  # of a photo to predict; `data.max_megapixels` says it for a data set
BYTES_PER_PIXEL = 8  # in a file, at most: four channels of 16 bits
MAX_FILE_BYTES = BYTES_PER_PIXEL * MAX_PIXELS
_LARGE_PIXELS = 4_000_000
_PHOTOMETRIC = 262  # the tag of TIFF that says what 0 means
_one_large_image = threading.Lock()  # large images are decoded one at a time, or memory would grow with the threads
_WORKERS = min(16, processors())  # more would only wait for the one thread that reads and writes
_TASK_FILES, _TASK_BYTES = 16, 256 * 2**10  # of a thread; one for each file of 1 KiB would cost more than decoding it

Resize = Literal["crop", "squash", "pad"]


class Unreadable(Exception):
    """Error of a file that is not an image that we read. Its text says why."""


class Fit(NamedTuple):
    """Bring every image to height × width. crop: the middle | squash: both sides | pad: black bars."""

    height: int
    width: int
    resize: Resize


class Decoded(NamedTuple):
    name: str
    pixels: NDArray[np.uint8] | None  # (H, W, C), C = 1 or 3; None: unreadable
    pixel_digest: bytes  # equal for images with equal pixels, grey or RGB
    file_digest: bytes
    reason: str  # why it is unreadable, else empty


def decode_all(files: Iterator[tuple[str, bytes]], fit: Fit | None, max_pixels: int) -> Iterator[Decoded]:
    """Yield each of `files` (name, content) decoded, in order; in threads, since Pillow leaves Python's lock."""

    def tasks() -> Iterator[list[tuple[str, bytes]]]:
        task: list[tuple[str, bytes]] = []
        for file in files:
            task.append(file)
            if len(task) == _TASK_FILES or sum(len(content) for _, content in task) >= _TASK_BYTES:
                yield task
                task = []
        yield task

    def decoded(name: str, content: bytes) -> Decoded:
        try:
            refuse_raw(name)
            pixels = decode(content, fit, max_pixels)
        except Unreadable as reason:
            return Decoded(name, None, b"", b"", str(reason))
        colour = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
        return Decoded(name, pixels, digest(colour), digest(np.frombuffer(content, np.uint8)), "")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata, which we do not use
        for images in map_ahead(lambda task: [decoded(*file) for file in task], tasks(), _WORKERS):
            yield from images


def refuse_raw(name: str) -> None:
    """Raise `Unreadable` for a camera's raw data, of which only the small picture within would be read."""
    if PurePosixPath(name).suffix.lower() in CAMERA_RAW:
        raise Unreadable("raw data of a camera: export it as JPEG")


def digest(pixels: NDArray[np.uint8]) -> bytes:
    """Return 16 bytes that are equal for equal pixels."""
    return blake2b(np.ascontiguousarray(pixels).data, digest_size=16).digest()


def decode(data: bytes, fit: Fit | None, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Return the pixels of an image file, (H, W, C) with C = 1 (grey) or 3 (RGB). Raise `Unreadable`."""
    try:
        image = open_image(data)
        pixels = image.width * image.height
        if pixels > max_pixels:
            raise Unreadable(f"{image.width}×{image.height} pixels are too many: {max_pixels / 1e6:g} million are read")
        if fit:
            # JPEG can be decoded at 1/2, 1/4 or 1/8: much faster, and at twice the target not visible.
            image.draft(None, (2 * fit.width, 2 * fit.height))
        # Of a progressive JPEG all coefficients are held, whatever the size that it is decoded at.
        held = pixels if "progressive" in image.info else image.width * image.height
        with _one_large_image if held > _LARGE_PIXELS else nullcontext():
            ImageOps.exif_transpose(image, in_place=True)
            return to_pixels(_plain(image), fit)
    except (Unreadable, MemoryError):  # a photo is not left out because memory is short
        raise
    except UnidentifiedImageError:
        if data.startswith(b"version https://git-lfs"):
            raise Unreadable("a pointer of Git LFS: run git lfs pull") from None
        if not data:
            raise Unreadable("an empty file") from None
        raise Unreadable("not an image, or a format that is not read") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise Unreadable(str(error) or type(error).__name__) from None


def is_image(data: bytes) -> bool:
    """Tell if the content starts like an image of one of `FORMATS`, or HEIC; it may still be damaged."""
    try:
        open_image(data)
    except Exception:  # as Pillow raises nearly anything
        return _is_heic(data)
    return True


def open_image(data: bytes) -> Image.Image:
    """Read the header of an image file of one of `FORMATS`; pixels are decoded when they are asked for."""
    Image.MAX_IMAGE_PIXELS = None  # `decode` bounds them, before it decodes
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        if not _is_heic(data):
            raise
    try:
        import pillow_heif
    except ImportError:
        raise Unreadable("HEIC: make env EXTRA=heic installs its decoder, or convert it to JPEG") from None
    pillow_heif.options.THUMBNAILS = False  # a small copy within the file, which would be taken for the photo
    photo: Image.Image = pillow_heif.HeifImageFile(io.BytesIO(data))  # type: ignore[no-untyped-call]
    return photo


def _is_heic(data: bytes) -> bool:
    """Tell if the content starts as a phone's photos do, which come as `.jpg` too."""
    return data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")


def to_pixels(image: Image.Image, fit: Fit | None) -> NDArray[np.uint8]:
    """Return the pixels (H, W, C) of an image of mode L or RGB, brought to the size of `fit`."""
    target = (fit.width, fit.height) if fit else image.size
    if fit and image.size != target:
        if fit.resize == "pad":
            if min(image.size) * min(target[0] / image.width, target[1] / image.height) < 0.5:
                raise Unreadable(f"{image.width}×{image.height} pixels are too narrow to be padded")
            image = ImageOps.pad(image, target, Image.Resampling.BILINEAR)
        elif fit.resize == "crop":
            image = ImageOps.fit(image, target, Image.Resampling.BILINEAR)
        else:
            image = image.resize(target, Image.Resampling.BILINEAR)
    return np.asarray(image, np.uint8).reshape(image.height, image.width, -1)


def to_image(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return the image of mode L or RGB that has these pixels (H, W, C)."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _plain(image: Image.Image) -> Image.Image:
    """Return the image in mode L or RGB, as the module says."""
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        raise Unreadable("32 bits per pixel: convert it to 8 or 16 bits")
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.uint32)
        if image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0:  # type: ignore[attr-defined]
            wide = 65535 - wide  # 0 is white there, which Pillow heeds in 8 bits alone
        wide *= 255  # in place: an image may have hundreds of MiB
        wide += 32767
        wide //= 65535
        return Image.fromarray(wide.astype(np.uint8))
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        image = white
    return image if image.mode == mode else image.convert(mode)
