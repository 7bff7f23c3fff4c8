"""Images that were damaged on purpose: whole ones of every kind, and many ways to break them. Seeded."""

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

_SIDE = 48
_LIMIT_VALUES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_MAGICS = (
    b"\xff\xd8\xff\xe0",
    b"\x89PNG\r\n\x1a\n",
    b"RIFF\x00\x10\x00\x00WEBPVP8 ",
    b"RIFF\x00\x10\x00\x00WEBPVP8X",
    b"GIF89a",
    b"II*\x00\x08\x00\x00\x00",
    b"MM\x00*\x00\x00\x00\x08",
    b"BM",
)


def mutants(count: int, seed: int) -> Iterator[bytes]:
    """So many damaged images; the same seed gives the same ones."""
    chance = random.Random(seed)
    wholes = whole_images()
    for _ in range(count):
        data = _broken(chance, wholes)
        # Where checksums are put right again, the damage reaches the decoder behind them.
        yield _with_good_checksums(data) if chance.random() < 0.5 else data


def whole_images() -> list[bytes]:
    """One of every kind that is taken: formats, modes, compressions, several frames, EXIF."""
    noise = np.random.default_rng(7).integers(0, 256, (_SIDE, _SIDE, 4), dtype=np.uint8)
    photo = Image.fromarray(noise, "RGBA").convert("RGB").resize((_SIDE, _SIDE))
    clear = Image.fromarray(noise)
    grey = Image.fromarray((noise[..., 0].astype(np.uint16) << 8) | noise[..., 1])
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "taken sideways"
    later = [photo.rotate(90), photo.rotate(180)]
    kinds: list[tuple[Image.Image, str, dict[str, object]]] = [
        (photo, "JPEG", {}),
        (photo, "JPEG", {"progressive": True, "exif": exif}),
        (photo.convert("L"), "JPEG", {"optimize": True}),
        (photo.convert("CMYK"), "JPEG", {"subsampling": 0}),
        (photo, "MPO", {"save_all": True, "append_images": later}),
        (photo, "PNG", {}),
        (clear, "PNG", {"exif": exif}),
        (photo.quantize(16), "PNG", {"transparency": 3}),
        (grey, "PNG", {}),
        (photo, "PNG", {"save_all": True, "append_images": later}),
        (photo, "WEBP", {"quality": 60}),
        (clear, "WEBP", {"lossless": True, "exif": exif}),
        (photo, "WEBP", {"save_all": True, "append_images": later}),
        (photo.quantize(32), "GIF", {}),
        (photo, "GIF", {"save_all": True, "append_images": later, "transparency": 0}),
        (photo, "TIFF", {}),
        (photo, "TIFF", {"compression": "tiff_lzw"}),
        (clear, "TIFF", {"compression": "tiff_deflate"}),
        (photo, "TIFF", {"compression": "jpeg"}),
        (photo.convert("1"), "TIFF", {"compression": "group4"}),
        (photo.convert("F"), "TIFF", {"compression": "packbits"}),
        (grey, "TIFF", {"save_all": True, "append_images": [grey]}),
        (photo.quantize(256), "BMP", {}),
    ]
    return [_encoded(*kind) for kind in kinds]


def _broken(chance: random.Random, wholes: list[bytes]) -> bytes:
    if chance.random() < 0.05:
        return chance.choice((b"", *_MAGICS)) + chance.randbytes(chance.randrange(3000))
    ways: tuple[Callable[[random.Random, bytearray], bytes], ...] = (
        _flipped, _overwritten, _cut, _with_a_piece_gone, _with_a_piece_twice, _with_limits_in_the_header,
    )  # fmt: skip
    data = chance.choice(wholes)
    if chance.random() < 0.15:
        other = chance.choice(wholes)
        data = data[: chance.randrange(len(data))] + other[chance.randrange(len(other)) :]
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        data = chance.choice(ways)(chance, bytearray(data or b"\x00"))
    return data


def _flipped(chance: random.Random, data: bytearray) -> bytes:
    for _ in range(chance.choice((1, 1, 4, 30))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _overwritten(chance: random.Random, data: bytearray) -> bytes:
    start = chance.randrange(len(data))
    piece = chance.randbytes(chance.randrange(1, 40))
    data[start : start + len(piece)] = piece
    return bytes(data)


def _cut(chance: random.Random, data: bytearray) -> bytes:
    return bytes(data[: chance.randrange(len(data))])


def _with_a_piece_gone(chance: random.Random, data: bytearray) -> bytes:
    start = chance.randrange(len(data))
    del data[start : start + chance.randrange(1, 200)]
    return bytes(data)


def _with_a_piece_twice(chance: random.Random, data: bytearray) -> bytes:
    start = chance.randrange(len(data))
    return bytes(data[:start] + data[start : start + chance.randrange(1, 200)] * chance.choice((2, 9)) + data[start:])


def _with_limits_in_the_header(chance: random.Random, data: bytearray) -> bytes:
    """Sizes, counts and offsets stand near the beginning (in a TIFF, also at the end)."""
    value = chance.choice(_LIMIT_VALUES)
    form = chance.choice(("<H", ">H", "<I", ">I"))
    piece = struct.pack(form, value & (0xFFFF if form.endswith("H") else 0xFFFFFFFF))
    start = chance.randrange(min(len(data), 120))
    if chance.random() < 0.3:
        start = max(0, len(data) - 1 - start)
    data[start : start + len(piece)] = piece
    return bytes(data)


def _with_good_checksums(data: bytes) -> bytes:
    """A PNG with the CRC of every chunk as it should be; anything else as it is."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    out, at = data[:8], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4])
        body = data[at + 4 : at + 8 + size]
        out += data[at : at + 4] + body + zlib.crc32(body).to_bytes(4)
        at += 12 + size
    return out + data[at:]


def _encoded(image: Image.Image, kind: str, options: dict[str, object]) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
