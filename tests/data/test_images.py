"""One image of every kind, good and bad."""

import struct
import sys
from contextlib import suppress
from importlib.util import find_spec

import numpy as np
import pytest
from data_samples import encoded, picture, png
from PIL import Image

from src.data.images import Fit, Resize, Unreadable, decode, is_image

with suppress(ImportError):
    import pillow_heif

    pillow_heif.register_heif_opener()  # which `encoded` needs
HEIC = pytest.param("HEIF", marks=pytest.mark.skipif(find_spec("pillow_heif") is None, reason="needs the extra heic"))
RED, HALF_RED_ON_WHITE = [255, 0, 0], [255, 127, 127]


def pixel(data: bytes) -> list[int]:
    return [int(value) for value in decode(data, None)[0, 0]]


def palette() -> Image.Image:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([*RED, 0, 255, 0])
    return image


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(Image.new("L", (4, 3), 77)), [77]),
        (encoded(Image.new("1", (4, 3), 1)), [255]),
        (encoded(Image.new("RGB", (4, 3), "red")), RED),
        (encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 128))), HALF_RED_ON_WHITE),
        (encoded(Image.new("LA", (4, 4), (0, 0))), [255]),
        (encoded(palette()), RED),
        (encoded(palette(), transparency=0), [255, 255, 255]),
        (encoded(Image.new("L", (4, 4), 9), transparency=9), [255]),
        (encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"), RED),
        (encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100), RED),
    ],
)
def test_grey_stays_grey_colour_is_rgb_and_transparency_is_laid_on_white(data: bytes, expected: list[int]) -> None:
    assert pixel(data) == pytest.approx(expected, abs=3 if data.startswith(b"\xff\xd8") else 0)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    wide = np.array([[0, 256, 32768, 65535]], np.uint16)
    assert decode(encoded(Image.fromarray(wide), kind), None).ravel().tolist() == [0, 1, 128, 255]


def test_a_photo_is_not_unreadable_because_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.ImageOps.exif_transpose", short)
    with pytest.raises(MemoryError):
        decode(png(0), None)


def test_16_bit_grey_whose_0_is_white_is_turned_round() -> None:
    data = encoded(Image.fromarray(np.array([[0, 65535]], np.uint16)), "TIFF")
    tag = struct.pack("<HHI", 262, 3, 1)  # PhotometricInterpretation
    data = data.replace(tag + struct.pack("<I", 1), tag + struct.pack("<I", 0))
    assert decode(data, None).ravel().tolist() == [255, 0]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bits_are_refused(dtype: type) -> None:
    with pytest.raises(Unreadable, match="32 bits"):
        decode(encoded(Image.fromarray(np.zeros((4, 4), dtype)), "TIFF"), None)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime")]
    options = {"lossless": True} if kind == "WEBP" else {}
    assert pixel(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)) == RED


@pytest.mark.parametrize("kind", ["JPEG", HEIC])
def test_exif_rotation_is_applied(kind: str) -> None:
    image = Image.new("RGB", (16, 8), "white")
    image.paste("black", (0, 0, 8, 8))  # left half
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90° clockwise: the left becomes the top
    turned = decode(encoded(image, kind, exif=exif.tobytes(), quality=95), None)
    assert turned.shape == (16, 8, 3)
    assert turned[:7].max() < 20
    assert turned[9:].min() > 235


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_resize_keeps_the_middle_in_the_middle(resize: Resize) -> None:
    image = Image.new("L", (64, 32), 0)
    image.paste(255, (32, 0, 64, 32))
    small = decode(encoded(image), Fit(16, 16, resize))[..., 0]
    assert small.shape == (16, 16)
    assert small[8, [0, 6, 9, 15]].tolist() == [0, 0, 255, 255]
    if resize == "pad":  # a quarter above and below is black
        assert small[[0, 3, 12, 15]].max() == 0
        assert small[4:12, 9:].min() == 255


def test_what_is_too_narrow_to_be_padded_is_told_rather_than_black() -> None:
    with pytest.raises(Unreadable, match="10×1500 pixels are too narrow to be padded"):
        decode(encoded(Image.new("L", (10, 1500), 255)), Fit(64, 64, "pad"))
    assert decode(encoded(Image.new("L", (12, 1500), 255)), Fit(64, 64, "pad")).max() == 255


def test_enlarging_works_and_small_jpeg_scaling_is_close() -> None:
    assert decode(encoded(picture(0, 6)), Fit(32, 32, "crop")).shape == (32, 32, 3)
    gradient = Image.fromarray(np.tile(np.linspace(0, 255, 512).astype(np.uint8), (512, 1)))
    jpeg = decode(encoded(gradient, "JPEG", quality=95), Fit(32, 32, "squash")).astype(int)
    exact = decode(encoded(gradient), Fit(32, 32, "squash")).astype(int)
    assert abs(jpeg - exact).max() <= 3


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # the stage ignores it
def test_too_many_pixels_are_refused_before_decoding() -> None:
    data = encoded(Image.new("1", (5000, 5000)))  # 3 MB of zeros in 4 kB
    assert decode(data, Fit(8, 8, "crop"), 25_000_000).shape == (8, 8, 1)
    for most in (24_999_999, 1000):
        with pytest.raises(Unreadable, match="pixels are too many"):
            decode(data, Fit(8, 8, "crop"), most)


@pytest.mark.parametrize("data", [b"", b"text", b"\xff\xd8\xff", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_what_is_no_image_is_unreadable(data: bytes) -> None:
    assert not is_image(data)
    with pytest.raises(Unreadable):
        decode(data, None)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", HEIC])
def test_a_truncated_image_is_unreadable(kind: str) -> None:
    data = encoded(picture(0, 64), kind)
    assert is_image(data)
    with pytest.raises(Unreadable):
        decode(data[: len(data) // 2], None)


@pytest.mark.parametrize("kind", [HEIC])
def test_heic(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pixel(encoded(Image.new("L", (64, 64), 77), kind)) == [77]
    assert pixel(encoded(Image.new("RGBA", (64, 64), (255, 0, 0, 0)), kind)) == pytest.approx([255] * 3, abs=3)
    photo = picture(0, 256)
    plain, with_small_copy = encoded(photo, kind), encoded(photo, kind, thumbnails=[128])
    assert np.array_equal(decode(with_small_copy, Fit(64, 64, "crop")), decode(plain, Fit(64, 64, "crop")))
    with pytest.raises(Unreadable, match="256×256 pixels are too many"):
        decode(plain, None, 60_000)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(Unreadable, match="HEIC: make env EXTRA=heic installs its decoder, or convert it to JPEG"):
        decode(plain, None)
