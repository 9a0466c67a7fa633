"""One image file to uint8 pixels, with Pillow. Files are untrusted.

What is done with each kind:

- The content decides the format, not the extension; only the formats of `FORMATS` are tried.
- EXIF rotation and mirroring are applied.
- Grey stays grey (also black-and-white); 16-bit grey is scaled by 255/65535, not clipped.
- Transparency is laid on white. Palettes, CMYK, YCbCr and others become RGB (without colour profiles); of 16 bits per
  colour Pillow keeps the upper 8.
- Of an animation or a file of several pages the first is taken.
- Refused: JPEGs that go over their pixels very often, TIFFs whose strips share their bytes: seconds for each kilobyte.
- Refused: above `MAX_PIXELS` (`MAX_PIXELS_KEPT` where nothing is resized) or `MAX_FILE_BYTES`; 32-bit integers and
  floating point, whose range is unknown.

Resizing is bilinear with antialiasing, as torchvision's pretrained networks were trained with.
"""

import io
import re
import threading
from contextlib import nullcontext
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from src.data.prepared import MAX_PIXELS_KEPT  # what is not made smaller is held several times

# Pillow's plugins that decode photos and scans themselves; others start programs (EPS) or are rare and little tested.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".avif"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
MAX_FILE_BYTES = 64 * 2**20  # a photo of 50 megapixels has 10 to 25 MiB as JPEG
MAX_PIXELS = 50_000_000  # the largest ordinary cameras; decoding takes up to 9 bytes a pixel, so 0.5 GB
_LARGE_PIXELS = 4_000_000
# Pillow refuses twice as many while it opens a file, where we cannot: before WebP's decoder takes 8 bytes a pixel, and
# for the tiles of a TIFF and the frames of a GIF, which may be larger than the image. There is no bound for one call.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
MOST_SCANNED = 40 * MAX_PIXELS  # pixels times scans; 4 s. A progressive photo has about 10 scans
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_SCAN, _END = b"\xff\xda", b"\xff\xd9"
_STRIP_BYTES, _TILE_BYTES = 279, 325  # TIFF's tags: how many bytes each has
_one_large_image = threading.Lock()  # large images are decoded one at a time, or memory would grow with the threads

Resize = Literal["crop", "squash", "pad"]


class Unreadable(Exception):
    """The file is not an image that we read. The text says why."""


class Fit(NamedTuple):
    """Brings every image to size × size. crop: the middle square | squash: both sides | pad: black bars."""

    size: int
    resize: Resize


def decode(data: bytes, fit: Fit | None) -> NDArray[np.uint8]:
    """The pixels of an image file, (H, W, C) with C = 1 (grey) or 3 (RGB). Raises `Unreadable`."""
    if len(data) > MAX_FILE_BYTES:
        raise Unreadable(f"more than {MAX_FILE_BYTES // 2**20} MiB")
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        pixels = image.width * image.height
        if pixels > (MAX_PIXELS if fit else MAX_PIXELS_KEPT):
            hint = "" if fit else " without data.image_size"
            raise Unreadable(f"{image.width}×{image.height} pixels are too many{hint}")
        _check_effort(image, data)
        with _one_large_image if pixels > _LARGE_PIXELS else nullcontext():
            if fit:
                # JPEG can be decoded at 1/2, 1/4 or 1/8: much faster, and at twice the target not visible.
                image.draft(None, (2 * fit.size, 2 * fit.size))
            ImageOps.exif_transpose(image, in_place=True)
            image = _plain(image)
            return to_array(to_fit(image, fit) if fit else image)
    except Unreadable:
        raise
    except Image.DecompressionBombError:
        raise Unreadable(f"more than {2 * MAX_PIXELS:,} pixels are too many") from None
    except UnidentifiedImageError:
        raise Unreadable("not an image, or a format that is not read") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise Unreadable(str(error) or type(error).__name__) from None


def _check_effort(image: Image.Image, data: bytes) -> None:
    """Raises `Unreadable` where decoding would take long, however few bytes and pixels there are."""
    pixels = image.width * image.height
    if data.startswith(b"\xff\xd8"):
        # Counting bytes is fast, and enough for nearly all.
        if pixels * data.count(_SCAN) > MOST_SCANNED and pixels * _scans(data) > MOST_SCANNED:
            raise Unreadable("more scans than a photo has")
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        counts = [image.tag_v2.get(tag, ()) for tag in (_STRIP_BYTES, _TILE_BYTES)]
        parts = [size for count in counts for size in (count if isinstance(count, tuple) else (count,))]
        if sum(parts) > 2 * len(data):
            raise Unreadable("its strips share their bytes")
        if data.count(_SCAN) * pixels > MOST_SCANNED * max(1, len(parts)):  # JPEGs within
            raise Unreadable("more scans than a photo has")


def _scans(data: bytes) -> int:
    """How often a JPEG goes over its pixels. What follows its end, such as a film, does not count."""
    at, scans = 2, 0
    while (match := _JPEG_MARKER.search(data, at)) and match[0] != _END:
        scans += match[0] == _SCAN
        at = match.end() + int.from_bytes(data[match.end() : match.end() + 2], "big")
    return scans


def is_image(data: bytes) -> bool:
    """Whether the content starts like an image of one of `FORMATS`; it may still be damaged."""
    try:
        Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception:  # as in `decode`
        return False
    return True


def to_fit(image: Image.Image, fit: Fit) -> Image.Image:
    """`image` (mode L or RGB) brought to fit.size × fit.size."""
    target = (fit.size, fit.size)
    if image.size == target:
        return image
    if fit.resize == "pad":
        return ImageOps.pad(image, target, Image.Resampling.BILINEAR)
    if fit.resize == "crop":
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        return image.resize(target, Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    return image.resize(target, Image.Resampling.BILINEAR)


def to_array(image: Image.Image) -> NDArray[np.uint8]:
    """(H, W, C) of an image of mode L or RGB."""
    return np.asarray(image, np.uint8).reshape(image.height, image.width, -1)


def _plain(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB, as the module says."""
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        raise Unreadable("32 bits per pixel: convert it to 8 or 16 bits")
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.uint32)
        wide *= 255
        wide += 32767
        wide //= 65535
        return Image.fromarray(wide.astype(np.uint8))
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        image = white
    return image if image.mode == mode else image.convert(mode)
