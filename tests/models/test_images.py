import io
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from models.images import ImageLimits, ImageRefused, decode
from models.preprocessing import Preprocessing, decode_for, normalise, prepare, resize

HALF = (0.5, 0.5, 0.5)
LIMITS = ImageLimits()


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


def scene(width: int, height: int) -> Image.Image:
    """Smooth colours with some grain, as cameras give them."""
    chance = np.random.default_rng(3)
    coarse = chance.integers(0, 256, (max(2, height // 25), max(2, width // 25), 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), dtype=np.float64)
    return Image.fromarray(np.clip(smooth + chance.normal(0, 5, smooth.shape), 0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("width", "height", "scale"),
    [(1600, 1200, 8), (1599, 1201, 8), (520, 1024, 4), (256, 256, 2), (255, 2000, 1), (128, 128, 1), (20, 20, 1)],
)
def test_a_large_jpeg_is_decoded_at_a_reduced_scale_that_leaves_twice_the_networks_pixels(width, height, scale):
    decoded = decode_for(encoded(scene(width, height), "JPEG"), Preprocessing(64, HALF, HALF))

    assert (decoded.width, decoded.height) == (width, height)
    assert decoded.pixels.shape == (-(-height // scale), -(-width // scale), 3)
    assert scale == 1 or min(decoded.pixels.shape[:2]) >= 128


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_what_the_network_sees_is_nearly_the_same_at_a_reduced_scale(interpolation):
    preprocessing = Preprocessing(96, HALF, HALF, interpolation)
    data = encoded(scene(1600, 1200), "JPEG", quality=90)

    whole, reduced = (resize(image.pixels, preprocessing) for image in (decode(data), decode_for(data, preprocessing)))

    gap = np.abs(whole.astype(int) - reduced)
    assert gap.mean() < 0.5
    assert gap.max() <= 8


def test_the_first_version_of_preprocessing_decodes_everything_whole():
    data = encoded(scene(800, 600), "JPEG")

    decoded = decode_for(data, Preprocessing(16, HALF, HALF, version=1))

    assert np.array_equal(decoded.pixels, decode(data).pixels)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_only_a_jpeg_is_reduced(kind):
    assert decode(encoded(scene(200, 100), kind), least_side=10).pixels.shape == (100, 200, 3)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_of_any_kind_is_reduced(mode, progressive):
    data = encoded(scene(400, 200).convert(mode), "JPEG", progressive=progressive)

    assert decode(data, least_side=50).pixels.shape == (50, 100, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_picture_is_turned_upright_and_knows_its_size(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    sent = scene(400, 200)
    data = encoded(sent, "JPEG", exif=exif, quality=95)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))

    decoded = decode(data, least_side=100)

    assert (decoded.width, decoded.height) == upright.size
    assert decoded.pixels.shape == (upright.height // 2, upright.width // 2, 3)
    expected = np.asarray(upright.reduce(2), dtype=int)
    assert np.abs(decoded.pixels - expected).mean() < 4


def test_half_a_jpeg_is_called_truncated_at_a_reduced_scale_too():
    whole = encoded(scene(800, 600), "JPEG")

    with pytest.raises(ImageRefused, match="ends early or is damaged"):
        decode(whole[: len(whole) // 2], least_side=64)


def test_several_pictures_in_one_jpeg_give_the_first():
    data = encoded(photo(), "MPO", save_all=True, append_images=[photo(10, 10)])

    decoded = decode(data)

    assert (decoded.format, decoded.width, decoded.height) == ("jpeg", 40, 30)


def test_preprocessing_of_a_later_release_is_not_guessed_at():
    record = {**Preprocessing(16, HALF, HALF).to_json(), "version": 3}

    with pytest.raises(ValueError, match="version 3 is not known to this release"):
        Preprocessing.from_json(record)
