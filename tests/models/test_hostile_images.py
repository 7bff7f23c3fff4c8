"""Files made to hurt: whatever they claim, they are decoded or refused, in time and memory for what they are."""

import io
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from models.image_headers import BrokenHeader, check_header
from models.images import ImageLimits, ImageRefused, decode

KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
CODES = {"truncated_image", "not_an_image", "unsupported_format", "too_many_pixels"}
MANY = 400_000
EACH = 120  # damaged copies of each file


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(width: int = 40, height: int = 30) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def samples() -> list[bytes]:
    """Files of every format, in the forms that decoders treat differently."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    clear = photo().convert("RGBA")
    clear.putalpha(100)
    return [
        *(encoded(photo(), kind) for kind in KINDS),
        encoded(photo(), "JPEG", progressive=True, exif=exif, comment=b"hello", icc_profile=bytes(300)),
        encoded(photo().convert("CMYK"), "JPEG"),
        encoded(photo(), "MPO", save_all=True, append_images=[photo()]),
        encoded(photo().convert("P"), "PNG", transparency=3),
        encoded(photo().convert("1"), "PNG", exif=exif),
        encoded(Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40)), "PNG"),
        encoded(clear, "WEBP", lossless=True, exif=exif),
        encoded(photo(), "WEBP", save_all=True, append_images=[photo().rotate(90)]),
        encoded(photo().convert("P"), "GIF", save_all=True, append_images=[photo().rotate(90).convert("P")]),
        *(
            encoded(photo(), "TIFF", compression=name)
            for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
        ),
        encoded(photo().convert("1"), "TIFF", compression="group4"),
        encoded(photo().convert("F"), "TIFF", exif=exif),
    ]


def damaged(whole: bytes, chance: np.random.Generator) -> bytes:
    """Bytes changed, most often early on, where the header lies; cut out, doubled, or cut off."""
    data = bytearray(whole)
    for _ in range(int(chance.integers(1, 6))):
        reach = len(data) if chance.random() < 0.3 else min(len(data), 200)
        place = int(chance.integers(0, reach))
        length = int(chance.integers(1, 9))
        change = int(chance.integers(0, 5))
        if change <= 1:
            data[place : place + length] = chance.bytes(length)
        elif change == 2:
            data[place : place + length] = (b"\xff" if chance.random() < 0.5 else b"\x00") * length
        elif change == 3:
            del data[place : place + length]
        else:
            data[place:place] = data[place : place + 40 * length]
        if len(data) < 8:
            break
    return bytes(data)


# Pillow warns of damaged metadata before it is known whether the rest can be read.
@pytest.mark.filterwarnings("ignore")
def test_thousands_of_damaged_files_are_refused_or_decoded_and_nothing_else_comes_out():
    chance = np.random.default_rng(1)
    outcomes, told = set(), []
    for whole in samples():
        decode(whole)
        for turn in range(EACH):
            data = damaged(whole, chance)
            try:
                image = decode(data, ImageLimits(most_pixels=4_000_000), least_side=10 * (turn % 2))
            except ImageRefused as refused:
                outcomes.add(refused.code)
                told.append(refused.message)
            else:
                outcomes.add("decoded")
                assert image.pixels.dtype == np.uint8
                assert image.pixels.ndim == 3
                assert image.pixels.size >= 3
    assert not [message for message in told if "object at 0x" in message]
    assert {"decoded", "truncated_image"} <= outcomes <= {*CODES, "decoded"}


def chunk(name: bytes, content: bytes = b"") -> bytes:
    return len(content).to_bytes(4) + name + content + zlib.crc32(name + content).to_bytes(4)


def in_a_jpeg(piece: bytes) -> bytes:
    whole = encoded(photo(), "JPEG")
    return whole[:20] + piece * MANY + whole[20:]  # behind its first segment


def in_a_png(piece: bytes) -> bytes:
    whole = encoded(photo(), "PNG")
    return whole[:33] + piece * MANY + whole[33:]


def in_a_gif(piece: bytes) -> bytes:
    whole = encoded(photo().convert("P"), "GIF")
    start = 13 + (3 << ((whole[10] & 7) + 1))
    return whole[:start] + piece * MANY + whole[start:]


def scan_after_scan() -> bytes:
    """Every scan takes the decoder through all the blocks of the picture again."""
    whole = encoded(Image.new("L", (64, 64), 100), "JPEG", progressive=True)
    last = whole[whole.rfind(b"\xff\xda") : -2]
    return whole[:-2] + last * 201 + whole[-2:]


def tiff(entries: dict[int, int], tail: bytes = b"", counts: int = 1) -> bytes:
    rows = b"".join(
        tag.to_bytes(2, "little")
        + (4).to_bytes(2, "little")
        + (counts if tag in (324, 325) else 1).to_bytes(4, "little")
        + value.to_bytes(4, "little")
        for tag, value in sorted(entries.items())
    )
    return b"II*\x00\x08\x00\x00\x00" + len(entries).to_bytes(2, "little") + rows + bytes(4) + tail


def small_tiff_of_tiles(side: int, counts: int = 1) -> bytes:
    entries = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: 150, 325: 100}
    return tiff(entries, bytes(200), counts)


@pytest.mark.parametrize(
    ("build", "told"),
    [
        pytest.param(lambda: in_a_jpeg(b"\xff\xe5\x00\x02"), "segments", id="JPEG segments"),
        pytest.param(lambda: in_a_jpeg(b"\xff"), "stray bytes", id="JPEG filling"),
        pytest.param(lambda: in_a_jpeg(b"\x07"), "stray bytes", id="JPEG stray bytes"),
        pytest.param(scan_after_scan, "200 scans", id="JPEG scans"),
        pytest.param(lambda: in_a_png(chunk(b"prVt")), "chunks", id="PNG chunks"),
        pytest.param(lambda: in_a_gif(b"!\xfe\x01a\x00"), "blocks", id="GIF comments"),
        pytest.param(lambda: in_a_gif(b"\x05"), "blocks", id="GIF stray bytes"),
        pytest.param(lambda: small_tiff_of_tiles(16, MANY), "strips or tiles", id="TIFF tiles"),
    ],
)
def test_a_file_of_endless_pieces_is_refused_unread(build: Callable[[], bytes], told: str):
    with pytest.raises(ImageRefused, match=told) as refused:
        decode(build())

    assert refused.value.code == "truncated_image"


def test_a_small_image_in_a_huge_tile_is_refused():
    with pytest.raises(ImageRefused, match="40000 x 40000") as refused:
        decode(small_tiff_of_tiles(40_000))

    assert refused.value.code == "too_many_pixels"


def test_a_huge_canvas_of_a_small_webp_is_refused_before_there_is_room_for_it():
    data = bytearray(encoded(photo(), "WEBP", save_all=True, append_images=[photo().rotate(90)]))
    data[24:30] = b"\xfe\x3f\x00" * 2

    with pytest.raises(ImageRefused, match="16383 x 16383") as refused:
        decode(bytes(data))

    assert refused.value.code == "too_many_pixels"


@pytest.mark.parametrize(("kind", "place", "length"), [("PNG", 16, 8), ("GIF", 6, 4), ("BMP", 18, 8)])
def test_an_image_without_pixels_is_refused(kind, place, length):
    data = bytearray(encoded(photo(), kind))
    data[place : place + length] = bytes(length)

    try:
        image = decode(bytes(data))
    except ImageRefused as refused:
        assert refused.code == "truncated_image"  # noqa: PT017 - a GIF is as large as its frame, whatever it says
    else:
        assert (kind, image.pixels.shape) == ("GIF", (30, 40, 3))


def test_text_that_unpacks_to_a_gigabyte_is_refused_or_left_alone():
    whole = encoded(photo(), "PNG")
    packed = zlib.compress(bytes(50_000_000))

    for name in (b"zTXt", b"iCCP"):
        with pytest.raises(ImageRefused, match="too large"):
            decode(whole[:33] + chunk(name, b"a\0\0" + packed) + whole[33:])


def test_a_large_image_with_alpha_or_wide_greys_is_converted_as_a_small_one_is():
    """In strips: what lies in the last rows is the same as alone."""
    clear = photo(30, 700).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize((30, 700)))
    grey = Image.fromarray(np.random.default_rng(5).integers(0, 65536, (700, 30), dtype=np.uint16))

    for picture in (clear, grey):
        whole = decode(encoded(picture, "PNG")).pixels
        last = decode(encoded(picture.crop((0, 600, 30, 700)), "PNG")).pixels
        assert np.array_equal(whole[600:], last)


@pytest.mark.parametrize("whole", samples(), ids=range(len(samples())))
def test_what_programs_write_has_a_header_that_is_believed(whole):
    check_header(whole)
    for cut in range(0, min(len(whole), 400), 7):
        check_header(whole[:cut])  # what ends early is the decoder's to tell


def test_a_progressive_jpeg_may_have_as_many_scans_as_any_encoder_writes():
    whole = scan_after_scan()
    last = whole[whole.rfind(b"\xff\xda") : -2]

    check_header(whole.replace(last, b"", 60))
    with pytest.raises(BrokenHeader, match="scans"):
        check_header(whole)
