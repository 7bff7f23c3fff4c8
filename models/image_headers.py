"""
What a file says of itself, read before a decoder believes it: a few bytes can ask for minutes of work.

Decoders walk headers piece by piece and repeat what the file repeats. A JPEG of 16 MB made of empty segments kept one
busy for nine seconds, one made of empty scans for hours. Real files have some dozens of pieces.
"""

import re
from typing import Literal

_MOST_PIECES = 10_000
_BYTES_PER_PIECE = 1_024  # a longer file may have more pieces: encoders write some kilobytes into each
_MOST_SCANS = 200  # what the finest progression of four components would take; encoders use about ten
_MOST_JUNK = 65_536  # bytes between pieces, which decoders step over one by one

_PNG_FIRST, _GIF_FIRST, _JPEG_FIRST = b"\x89PNG\r\n\x1a\n", b"GIF8", b"\xff\xd8\xff"
_START_OF_SCAN, _STANDALONE = 0xDA, frozenset({0x01, *range(0xD0, 0xD9)})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_SCAN = re.compile(b"\xff\xda")
_GIF_IMAGE, _GIF_EXTENSION, _GIF_END = b",!;"
_TIFF_FIRST, _BIG_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"), 0x2B
_TIFF_PARTS = frozenset({273, 279, 324, 325})  # tags: where strips and tiles lie, and how long they are
_WEBP_EXTENDED = b"VP8X"


class BrokenHeader(ValueError):
    """A header that no camera or program writes; says what is wrong with it."""


def check_header(data: bytes) -> None:
    """
    See that decoding will take work in proportion to the pixels.

    Raises:
        BrokenHeader: there are more pieces than any real file has. What is merely damaged is left to the decoder.
    """
    if data.startswith(_JPEG_FIRST):
        _check_jpeg(data)
    elif data.startswith(_PNG_FIRST):
        _check_png(data)
    elif data.startswith(_GIF_FIRST):
        _check_gif(data)
    elif data.startswith(_TIFF_FIRST):
        _check_tiff(data)


def webp_canvas(data: bytes) -> tuple[int, int] | None:
    """
    Width and height of an extended WebP; None for other files.

    Its decoder makes room for the canvas before anybody can ask how large that is; a plain WebP is measured by its
    only frame.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or data[12:16] != _WEBP_EXTENDED or len(data) < 30:  # noqa: PLR2004 - the length of that header
        return None
    return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1


def _check_jpeg(data: bytes) -> None:
    place, pieces, junk, most = 2, 0, 0, _most_pieces(data)
    components, progressive = b"", False
    while 0 <= (mark := data.find(b"\xff", place)) < len(data) - 1:
        junk += mark - place
        kind = data[mark + 1]
        place = mark + 2
        if kind in (0x00, 0xFF):  # filling, or a stray byte
            place -= kind == 0xFF  # noqa: PLR2004 - the marker's own first byte
            junk += 1
        elif kind == _START_OF_SCAN:
            many = progressive or data[mark + 4 : mark + 5] != components
            if many and sum(1 for _ in _SCAN.finditer(data, mark)) > _MOST_SCANS:
                raise BrokenHeader(f"it has more than {_MOST_SCANS} scans")
            return
        elif kind not in _STANDALONE:
            if kind in _FRAMES:
                components, progressive = data[mark + 9 : mark + 10], kind in _PROGRESSIVE
            place += int.from_bytes(data[place : place + 2])
        pieces += 1
        if pieces > most or junk > _MOST_JUNK:
            raise BrokenHeader(f"its header has more than {most:,} segments or {_MOST_JUNK:,} stray bytes")


def _check_png(data: bytes) -> None:
    place, pieces, most = len(_PNG_FIRST), 0, _most_pieces(data)
    while place + 8 <= len(data):
        place += 12 + int.from_bytes(data[place : place + 4])
        pieces += 1
        if pieces > most:
            raise BrokenHeader(f"it has more than {most:,} chunks")


def _check_gif(data: bytes) -> None:
    """Up to the first picture; what comes after it is not read."""
    flags = data[10] if len(data) > 10 else 0  # noqa: PLR2004 - where the screen's flags stand
    place = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    pieces, most = 0, _most_pieces(data)
    while place < len(data) and data[place] not in (_GIF_IMAGE, _GIF_END):
        if data[place] == _GIF_EXTENSION:
            place += 2
            while place < len(data) and data[place] and pieces <= most:
                place += 1 + data[place]
                pieces += 1
        place += 1
        pieces += 1
        if pieces > most:
            raise BrokenHeader(f"more than {most:,} blocks stand before its first picture")


def _check_tiff(data: bytes) -> None:
    """The first directory; the others belong to pictures that are not read."""
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    large = _BIG_TIFF in data[2:4]
    entry, counted, word = (20, 8, 8) if large else (12, 2, 4)

    def number(place: int, size: int) -> int:
        return int.from_bytes(data[place : place + size], order)

    first = number(8 if large else 4, word)
    most = _most_pieces(data)
    for place in range(first + counted, min(first + counted + entry * number(first, counted), len(data)), entry):
        if number(place, 2) in _TIFF_PARTS and number(place + 4, word) > most:
            raise BrokenHeader(f"it has more than {most:,} strips or tiles")


def _most_pieces(data: bytes) -> int:
    return _MOST_PIECES + len(data) // _BYTES_PER_PIECE
