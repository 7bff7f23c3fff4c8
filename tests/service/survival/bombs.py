"""Small bodies that want to become large: in pixels, in memory, in depth, in number."""

import io
import json
import struct
import zlib
from dataclasses import dataclass

from PIL import Image

_BOUNDARY = "edge"


@dataclass(frozen=True)
class Bomb:
    """
    One request and how it may be answered.

    Attributes:
        statuses: each is fine; 200 where the file is a proper image of which only a little is looked at.
    """

    name: str
    body: bytes
    statuses: tuple[int, ...]
    path: str = "/v1/predict"
    kind: str = "application/octet-stream"


def image_bombs() -> list[Bomb]:
    """Files whose header, or whose content, is much larger than they are."""
    zeros = b"a\0\0" + _zeros(1500)
    bmp = b"BM" + struct.pack("<IHHIIiiHH", 54, 0, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24)
    return [
        Bomb("PNG of 400 megapixels", _png(20_000, 20_000), (413,)),
        Bomb("PNG of 144 megapixels", _png(12_000, 12_000), (413,)),
        Bomb("PNG of 2^31 by 2^31", _png(2**31 - 1, 2**31 - 1, rows=1), (413, 422)),
        Bomb("PNG with a text of 1.5 GB", _png(8, 8, extra=_chunk(b"zTXt", zeros)), (200, 422)),
        Bomb("PNG with a colour profile of 1.5 GB", _png(8, 8, extra=_chunk(b"iCCP", zeros)), (200, 422)),
        Bomb("PNG whose pixels never end", _png(8, 8, pixels=zeros[3:]), (200, 422)),
        Bomb("PNG with 50,000 chunks", _png(8, 8, extra=_chunk(b"tEXt", b"a\0b") * 50_000), (200, 422)),
        Bomb("JPEG of 65,535 by 65,535", _large_jpeg(), (413,)),
        Bomb("JPEG with a thousand scans", _jpeg_of_scans(7000, 7000, 1000), (413, 422)),
        Bomb("GIF with a screen of 65,535 by 65,535", _large_gif(screen=65_535), (413,)),
        Bomb("GIF with a frame of 65,535 by 65,535", _large_gif(frame=65_535), (413, 422)),
        Bomb("GIF of 5,000 frames", _animation("GIF", 5000), (200,)),
        Bomb("WebP of 2,000 frames", _animation("WEBP", 2000), (200,)),
        Bomb("WebP of 16,384 by 16,384", _large_webp(), (413,)),
        Bomb("TIFF of 100,000 by 100,000", _large_tiff(100_000, 100_000), (413,)),
        Bomb("TIFF with 2^32 samples a pixel", _large_tiff(8, 8, samples=2**32 - 1), (413, 422)),
        Bomb("BMP of 2^31 by 2^31", bmp, (413, 422)),
    ]  # fmt: skip


def text_bombs() -> list[Bomb]:
    """Bodies that are too deep or too many."""
    deep, digits, labels = b"[" * 500_000, b"9" * 1_000_000, ("/v1/feedback", "application/json")
    form = f"multipart/form-data; boundary={_BOUNDARY}"
    image = _part(b"x", 'name="image"; filename="a"')
    return [
        Bomb("labels nested half a million deep", deep, (400,), *labels),
        Bomb("a number of a million digits", digits, (400,), *labels),
        Bomb("300,000 labels", json.dumps([{}] * 300_000).encode(), (400,), *labels),
        Bomb("metadata nested half a million deep", _form(_part(deep, 'name="metadata"'), image), (400,), kind=form),
        Bomb("metadata of a million digits", _form(_part(digits, 'name="metadata"'), image), (400,), kind=form),
        Bomb("a million form fields", _form(_part(b"", 'name="a"') * 1_000_000), (400, 413), kind=form),
        Bomb("25,000 form fields", _form(_part(b"", 'name="a"') * 25_000), (400,), kind=form),
        Bomb("20,000 images", _form(image * 20_000), (400,), kind=form),
        Bomb("a part with a header of 1.5 MB", _form(_part(b"x", "name=a", "X:" + "a" * 1_500_000)), (400,), kind=form),
        Bomb("a part with 150,000 headers", _form(_part(b"x", "name=a", *["X-A: b"] * 150_000)), (400,), kind=form),
        Bomb("a part whose name is 1.5 MB", _form(_part(b"x", f'name="{"a" * 1_500_000}"')), (400,), kind=form),
        Bomb("a million boundaries", f"--{_BOUNDARY}\r\n".encode() * 150_000, (400,), kind=form),
    ]  # fmt: skip


def _png(width: int, height: int, *, rows: int | None = None, extra: bytes = b"", pixels: bytes | None = None) -> bytes:
    # Black and white, so that a byte is eight pixels before it is even compressed.
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    if pixels is None:
        packer = zlib.compressobj(9)
        row = bytes(1 - -min(width, 100_000) // 8)
        count = height if rows is None else rows
        pixels = b"".join(packer.compress(row) for _ in range(count)) + packer.flush()
    chunks = (_chunk(b"IHDR", header), extra, _chunk(b"IDAT", pixels), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4) + name + content + zlib.crc32(name + content).to_bytes(4)


def _zeros(megabytes: int) -> bytes:
    """So many megabytes of zeros, compressed a thousandfold."""
    packer = zlib.compressobj(9)
    block = bytes(1_000_000)
    return b"".join(packer.compress(block) for _ in range(megabytes)) + packer.flush()


def _large_jpeg() -> bytes:
    data = bytearray(_saved("JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = b"\xff\xff\xff\xff"
    return bytes(data)


def _jpeg_of_scans(width: int, height: int, scans: int) -> bytes:
    """A grey progressive JPEG whose scans say nothing; each costs a walk over all pixels."""

    def segment(marker: int, body: bytes) -> bytes:
        return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body

    blocks = -(-width // 8) * -(-height // 8)
    # One code of one bit in either table: "no difference", and "the next 32,767 blocks end here".
    tables = [segment(0xC4, bytes((kind, 1, *[0] * 15, symbol))) for kind, symbol in ((0x00, 0x00), (0x10, 0xE0))]
    bits = ("0" + "1" * 14) * -(-blocks // 32_767)
    bits += "0" * (-len(bits) % 8)
    skips = int(bits, 2).to_bytes(len(bits) // 8).replace(b"\xff", b"\xff\x00")
    first = segment(0xDA, bytes((1, 1, 0x00, 0, 0, 0))) + bytes(-(-blocks // 8))
    again = segment(0xDA, bytes((1, 1, 0x00, 1, 63, 0))) + skips
    size = struct.pack(">BHHB", 8, height, width, 1) + bytes((1, 0x11, 0))
    head = b"\xff\xd8" + segment(0xDB, bytes((0, *[1] * 64))) + segment(0xC2, size) + b"".join(tables)
    return head + first + again * scans + b"\xff\xd9"


def _large_gif(screen: int = 8, frame: int = 8) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", screen, screen, 0x80, 0, 0) + bytes(6)
    return head + b"," + struct.pack("<HHHHB", 0, 0, frame, frame, 0) + b"\x02\x02\x44\x01\x00;"


def _large_webp() -> bytes:
    canvas = bytes((16, 0, 0, 0)) + (16_383).to_bytes(3, "little") * 2
    chunk = b"VP8X" + struct.pack("<I", len(canvas)) + canvas
    inner = _saved("WEBP")[12:]
    return b"RIFF" + struct.pack("<I", 4 + len(chunk) + len(inner)) + b"WEBP" + chunk + inner


def _large_tiff(width: int, height: int, samples: int = 1) -> bytes:
    # tag, type (4 = four bytes), count, value: size, 8 bits, deflate, black is zero, where and how long the strip is
    tags = [
        (256, width),
        (257, height),
        (258, 8),
        (259, 8),
        (262, 1),
        (273, 200),
        (277, samples),
        (278, height),
        (279, 50),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)).ljust(200, b"\0") + bytes(50)


def _animation(kind: str, frames: int) -> bytes:
    pictures = [Image.new("RGB", (8, 8), (n % 256, n // 256, 0)) for n in range(frames)]
    file = io.BytesIO()
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:])
    return file.getvalue()


def _saved(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    return file.getvalue()


def _part(content: bytes, disposition: str, *headers: str) -> bytes:
    lines = [f"--{_BOUNDARY}", f"Content-Disposition: form-data; {disposition}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content + b"\r\n"


def _form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{_BOUNDARY}--\r\n".encode()
