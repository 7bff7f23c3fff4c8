import io
import zlib

import numpy as np
import pytest
from PIL import Image

from models.images import ImageLimits, ImageRefused, Preprocessing, decode, normalise, prepare, resize

HALF = (0.5, 0.5, 0.5)
LIMITS = ImageLimits()
CODES = {"truncated_image", "not_an_image", "unsupported_format", "too_many_pixels"}


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(width: int = 40, height: int = 30) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def refusal(data: bytes, limits: ImageLimits = LIMITS) -> ImageRefused:
    with pytest.raises(ImageRefused) as caught:
        decode(data, limits)
    return caught.value


def outcome(data: bytes) -> str:
    try:
        decode(data)
    except ImageRefused as refused:
        return refused.code
    return "decoded"


def header_of_a_png(width: int, height: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + name + content + zlib.crc32(name + content).to_bytes(4)

    size = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_the_format_is_told_by_content(kind):
    decoded = decode(encoded(photo(), kind))

    assert (decoded.format, decoded.width, decoded.height) == (kind.lower(), 40, 30)
    assert decoded.pixels.shape == (30, 40, 3)
    assert decoded.pixels.dtype == np.uint8


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I"])
def test_every_mode_becomes_rgb(mode):
    image = photo().convert("L").convert("I").convert("I;16") if mode == "I;16" else photo().convert(mode)
    decoded = decode(encoded(image, {"CMYK": "JPEG", "I": "TIFF"}.get(mode, "PNG")))

    assert decoded.pixels.shape == (30, 40, 3)


def test_sixteen_bit_grey_keeps_its_range():
    grey = np.array([[0, 32896, 65535]], dtype=np.uint16)

    decoded = decode(encoded(Image.fromarray(grey), "PNG"))

    assert decoded.pixels[0, :, 0].tolist() == [0, 128, 255]


def test_transparency_lies_on_white():
    decoded = decode(encoded(Image.new("RGBA", (2, 2), (255, 0, 0, 0)), "PNG"))

    assert decoded.pixels.min() == 255


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]

    decoded = decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))

    assert decoded.pixels[0, 0].tolist() == [255, 0, 0]


def test_a_picture_taken_sideways_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6

    decoded = decode(encoded(photo(), "JPEG", exif=exif))

    assert (decoded.width, decoded.height) == (30, 40)


def test_text_is_no_image():
    assert refusal(b"hello").code == "not_an_image"
    assert refusal(b"").code == "not_an_image"
    assert refusal(np.random.default_rng(1).bytes(5000)).code == "not_an_image"


@pytest.mark.parametrize("data", [b"%PDF-1.7 ...", b"\x00\x00\x00\x18ftypheic", b"<svg xmlns='x'/>"])
def test_a_known_format_that_is_not_taken_is_named(data):
    refused = refusal(data)

    assert refused.code == "unsupported_format"
    assert "send JPEG, PNG, WebP, GIF, BMP or TIFF" in refused.message


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_half_a_file_is_called_truncated(kind):
    whole = encoded(photo(200, 200), kind)

    assert refusal(whole[: len(whole) // 2]).code == "truncated_image"


def test_a_header_alone_is_called_truncated():
    assert refusal(encoded(photo(), "JPEG")[:20]).code == "truncated_image"


def test_a_hundred_megapixels_are_refused_from_the_header():
    refused = refusal(header_of_a_png(10_000, 10_000), ImageLimits(most_pixels=50_000_000))

    assert refused.code == "too_many_pixels"
    assert refused.message == "the image is 10000 x 10000 = 100,000,000 pixels; at most 50,000,000 are taken"


def test_a_claim_of_billions_of_pixels_is_refused_too():
    assert refusal(header_of_a_png(2**31 - 1, 2**31 - 1)).code == "too_many_pixels"


def test_too_many_bytes_are_refused_unread():
    assert refusal(bytes(101), ImageLimits(most_bytes=100)).code == "too_many_bytes"


# Pillow warns of damaged metadata before it is known whether the rest can be read.
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_are_refused_or_decoded_and_never_anything_else():
    chance = np.random.default_rng(2)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        whole = np.frombuffer(encoded(photo(), kind), dtype=np.uint8)
        for _ in range(40):
            damaged = whole.copy()
            damaged[chance.integers(0, len(whole), 5)] = chance.integers(0, 256, 5)
            assert outcome(damaged.tobytes()) in {*CODES, "decoded"}


def test_preparing_squashes_and_normalises():
    preprocessing = Preprocessing(16, (0.5, 0.4, 0.3), (0.5, 0.25, 0.2))
    pixels = np.full((30, 40, 3), 255, dtype=np.uint8)

    prepared = prepare(pixels, preprocessing)

    assert prepared.shape == (3, 16, 16)
    assert prepared.dtype == np.float32
    assert prepared[:, 0, 0] == pytest.approx([1.0, 2.4, 3.5], rel=1e-5)


def test_a_batch_is_prepared_as_its_images_are():
    preprocessing = Preprocessing(16, HALF, HALF)
    pictures = [np.asarray(photo(width)) for width in (20, 40)]

    batch = normalise(np.stack([resize(picture, preprocessing) for picture in pictures]), preprocessing)

    assert np.array_equal(batch, np.stack([prepare(picture, preprocessing) for picture in pictures]))


def test_preprocessing_survives_json():
    preprocessing = Preprocessing(16, (0.1, 0.2, 0.3), HALF, "bicubic")

    assert Preprocessing.from_json(preprocessing.to_json()) == preprocessing
