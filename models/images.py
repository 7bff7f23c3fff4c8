"""Bytes to an RGB array, and what is refused and why."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from infra.errors import UserError
from models.image_headers import check_header, webp_canvas

Pixels = NDArray[np.uint8]

# Sizes are checked here, from the header and against limits that are settings; Pillow's own limit warns first
# and raises later, at numbers of its own.
Image.MAX_IMAGE_PIXELS = None

# Several pictures in one JPEG (MPO) are opened as JPEG is.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_FIRST_BYTES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
_OTHER_FORMATS = {
    b"%PDF": "PDF",
    b"%!PS": "PostScript",
    b"8BPS": "Photoshop",
    b"<svg": "SVG",
    b"<?xml": "SVG or XML",
    b"\x00\x00\x01\x00": "icon",
    b"\x00\x00\x00\x0cjP": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
}
_ORIENTATION, _TILE_WIDTH, _TILE_LENGTH = 0x0112, 322, 323  # tags of EXIF and TIFF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_STRIP = 256  # rows that are converted at once: a large image's intermediate forms would fill gigabytes
_SIDEWAYS = (5, 6, 7, 8)
_FORMAT_NAMES = "JPEG, PNG, WebP, GIF, BMP or TIFF"


class ImageRefused(UserError):
    """
    Bytes that are not taken as an image.

    Attributes:
        code: stable, for callers: not_an_image, truncated_image, too_many_pixels, unsupported_format,
            too_many_bytes.
        message: one sentence for a person.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type["ImageRefused"], tuple[str, str]]:
        return ImageRefused, (self.code, self.message)


@dataclass(frozen=True)
class ImageLimits:
    """Largest image that is taken: bytes as sent, and pixels (width times height) as its header says."""

    most_bytes: int = 16_000_000
    most_pixels: int = 50_000_000


USUAL_LIMITS = ImageLimits()


@dataclass(frozen=True)
class DecodedImage:
    """
    An image as it is seen.

    Attributes:
        pixels: uint8, shape (height, width, 3), RGB, turned upright; of a JPEG that was decoded at a reduced scale,
            a half, a quarter or an eighth of that.
        width: of the image as it was sent, turned upright, in pixels.
        height: likewise.
        format: by content, lower case: jpeg, png, webp, gif, bmp or tiff.
    """

    pixels: Pixels
    width: int
    height: int
    format: str


def decode(data: bytes, limits: ImageLimits = USUAL_LIMITS, least_side: int = 0) -> DecodedImage:
    """
    The first frame of an image, upright, on white where it is transparent, as 8-bit RGB.

    The format is told by content. Size is read from the header and checked before any pixel is decoded.

    least_side: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its scale, which costs a fraction of the time, as long as
        both of its sides keep so many pixels; 0 = decode it whole.

    Raises:
        ImageRefused: see its codes.
    """
    if len(data) > limits.most_bytes:
        raise ImageRefused(
            "too_many_bytes", f"the image has {len(data):,} bytes; at most {limits.most_bytes:,} are taken"
        )
    image = _opened(data, limits)
    width, height = image.size
    _check_size(width, height, limits)
    name = {"MPO": "jpeg"}.get(image.format or "", (image.format or "").lower())
    try:
        if least_side and min(width, height) >= 2 * least_side:
            image.draft(None, (least_side, least_side))  # None keeps the mode
        reduced = image.size != (width, height)
        upright, sideways = _upright(image)
        pixels = np.ascontiguousarray(_rgb(upright))
    except Exception as problem:
        # Damaged files fail in as many ways as there are decoders: OSError, SyntaxError, struct.error, …
        raise ImageRefused("truncated_image", f"the {name} image ends early or is damaged ({problem})") from problem
    if not reduced:
        height, width = pixels.shape[:2]
    elif sideways:
        width, height = height, width
    return DecodedImage(pixels, width=width, height=height, format=name)


def pixels_of(data: bytes) -> int:
    """Width times height as an image's header says; 0 where it cannot be read. Nothing is decoded."""
    try:
        check_header(data)
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            return image.width * image.height
    except Exception:  # noqa: BLE001 - damaged headers fail in as many ways as there are formats
        return 0


def _opened(data: bytes, limits: ImageLimits) -> Image.Image:
    canvas = webp_canvas(data)
    if canvas:
        _check_size(*canvas, limits)
    try:
        check_header(data)
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        tile = _tile_of(image)
    except Exception as problem:
        if data.startswith(_FIRST_BYTES):
            # Pillow's own words name the buffer in memory.
            detail = "" if isinstance(problem, UnidentifiedImageError) else f" ({problem})"
            raise ImageRefused("truncated_image", f"the image's header ends early or is damaged{detail}") from problem
        other = _other_format(data)
        if other:
            raise ImageRefused("unsupported_format", f"the file is {other}; send {_FORMAT_NAMES}") from problem
        raise ImageRefused("not_an_image", f"the {len(data):,} bytes are no image; send {_FORMAT_NAMES}") from problem
    _check_size(*tile, limits)
    return image


def _tile_of(image: Image.Image) -> tuple[int, int]:
    """Of a TIFF, the tile that its decoder makes room for, however small the image; 1 x 1 of others."""
    tags = getattr(image, "tag_v2", {})
    return int(tags.get(_TILE_WIDTH, 1)), int(tags.get(_TILE_LENGTH, 1))


def _check_size(width: int, height: int, limits: ImageLimits) -> None:
    if width < 1 or height < 1:
        raise ImageRefused("truncated_image", f"the image's header says {width} x {height} pixels: it is damaged")
    if width * height > limits.most_pixels:
        raise ImageRefused(
            "too_many_pixels",
            f"the image is {width} x {height} = {width * height:,} pixels; at most {limits.most_pixels:,} are taken",
        )


def _other_format(data: bytes) -> str | None:
    if data[4:8] == b"ftyp":
        return "HEIC, AVIF or video"
    start = data.lstrip()[:16]
    return next((name for first, name in _OTHER_FORMATS.items() if start.startswith(first)), None)


def _upright(image: Image.Image) -> tuple[Image.Image, bool]:
    """The image as it was held, and whether that swapped its sides."""
    image.load()
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
        turn = _TURNS.get(orientation)
    except Exception:  # noqa: BLE001 - broken EXIF does not make the picture unreadable
        return image, False
    return (image, False) if turn is None else (image.transpose(turn), orientation in _SIDEWAYS)


def _rgb(image: Image.Image) -> Pixels:
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.asarray(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _grey(np.asarray(image), image.mode)
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    width, height = image.size
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    for top in range(0, height, _STRIP):
        layer = image.crop((0, top, width, min(height, top + _STRIP))).convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        pixels[top : top + _STRIP] = np.asarray(Image.alpha_composite(white, layer).convert("RGB"))
    return pixels


def _grey(values: NDArray[Any], mode: str) -> Pixels:
    """Greys of 16 or 32 bits, or floats (taken as 0..1 where none is larger, else as 0..255), as RGB of 0..255."""
    # "Larger" without those that are no number: they become black.
    largest = float(np.fmax.reduce(values, axis=None, initial=0))
    factor = 1.0
    if mode == "F" and largest <= 1.0:
        factor = 255.0
    elif mode != "F" and (mode != "I" or largest > 255):  # noqa: PLR2004 - the largest byte
        factor = 1 / 257.0  # 65535 / 257 = 255
    pixels = np.empty((*values.shape, 3), dtype=np.uint8)
    for top in range(0, len(values), _STRIP):
        part = np.nan_to_num(values[top : top + _STRIP].astype(np.float64), nan=0.0, posinf=255.0, neginf=0.0)
        pixels[top : top + _STRIP] = np.clip(np.rint(part * factor), 0, 255).astype(np.uint8)[..., np.newaxis]
    return pixels
