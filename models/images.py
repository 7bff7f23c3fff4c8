"""Bytes to an RGB array: what is refused and why, and the one preprocessing that training and serving share."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from infra.errors import UserError

Pixels = NDArray[np.uint8]

# Sizes are checked here, from the header and against limits that are settings; Pillow's own limit warns first
# and raises later, at numbers of its own.
Image.MAX_IMAGE_PIXELS = None

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO")
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
_ORIENTATION = 0x0112  # the EXIF tag
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


_LIMITS = ImageLimits()


@dataclass(frozen=True)
class DecodedImage:
    """
    An image as it is seen.

    Attributes:
        pixels: uint8, shape (height, width, 3), RGB, turned upright.
        width: of `pixels`, in pixels.
        height: of `pixels`, in pixels.
        format: by content, lower case: jpeg, png, webp, gif, bmp or tiff.
    """

    pixels: Pixels
    width: int
    height: int
    format: str


@dataclass(frozen=True)
class Preprocessing:
    """
    From any image to the network's input.

    Attributes:
        image_size: pixels a side; the image is squashed, its aspect is not kept.
        mean: per channel, in 0..1.
        std: per channel, in 0..1.
        interpolation: bilinear or bicubic.
        version: changes when the same record would give other numbers.
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bilinear"
    version: int = 1

    def to_json(self) -> dict[str, Any]:
        return {
            "image_size": self.image_size,
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
            "version": self.version,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Preprocessing":
        red, green, blue = (float(channel) for channel in value["mean"])
        red_std, green_std, blue_std = (float(channel) for channel in value["std"])
        return cls(
            image_size=int(value["image_size"]),
            mean=(red, green, blue),
            std=(red_std, green_std, blue_std),
            interpolation=str(value["interpolation"]),
            version=int(value["version"]),
        )


def decode(data: bytes, limits: ImageLimits = _LIMITS) -> DecodedImage:
    """
    The first frame of an image, upright, on white where it is transparent, as 8-bit RGB.

    The format is told by content. Size is read from the header and checked before any pixel is decoded.

    Raises:
        ImageRefused: see its codes.
    """
    if len(data) > limits.most_bytes:
        raise ImageRefused(
            "too_many_bytes", f"the image has {len(data):,} bytes; at most {limits.most_bytes:,} are taken"
        )
    image = _opened(data)
    width, height = image.size
    if width * height > limits.most_pixels:
        raise ImageRefused(
            "too_many_pixels",
            f"the image is {width} x {height} = {width * height:,} pixels; at most {limits.most_pixels:,} are taken",
        )
    name = {"MPO": "jpeg"}.get(image.format or "", (image.format or "").lower())
    try:
        pixels = np.ascontiguousarray(_rgb(_upright(image)))
    except Exception as problem:
        # Damaged files fail in as many ways as there are decoders: OSError, SyntaxError, struct.error, …
        raise ImageRefused("truncated_image", f"the {name} image ends early or is damaged ({problem})") from problem
    return DecodedImage(pixels, width=pixels.shape[1], height=pixels.shape[0], format=name)


def resize(pixels: Pixels, preprocessing: Preprocessing) -> Pixels:
    """The image squashed to uint8 (S, S, 3), with S the preprocessing's image size."""
    size = preprocessing.image_size
    if pixels.shape[:2] == (size, size):
        return pixels
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    resized = Image.fromarray(pixels).resize((size, size), filters[preprocessing.interpolation])
    return np.asarray(resized, dtype=np.uint8)


def normalise(batch: Pixels, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """From uint8 (N, S, S, 3) to the network's input: float32 (N, 3, S, S), contiguous."""
    scale, offset = scale_and_offset(preprocessing)
    planes = np.empty((batch.shape[0], 3, *batch.shape[1:3]), dtype=np.float32)
    for channel in range(3):
        np.multiply(batch[..., channel], scale[channel], out=planes[:, channel], dtype=np.float32)
        planes[:, channel] += offset[channel]
    return planes


def scale_and_offset(preprocessing: Preprocessing) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Per channel: (pixel / 255 - mean) / std = pixel * scale + offset."""
    mean = np.asarray(preprocessing.mean, dtype=np.float64)
    std = np.asarray(preprocessing.std, dtype=np.float64)
    return (1.0 / (255.0 * std)).astype(np.float32), (-mean / std).astype(np.float32)


def prepare(pixels: Pixels, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """One decoded image to the network's input, float32 (3, S, S)."""
    prepared: NDArray[np.float32] = normalise(resize(pixels, preprocessing)[np.newaxis], preprocessing)[0]
    return prepared


def _opened(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except Exception as problem:
        if data.startswith(_FIRST_BYTES):
            raise ImageRefused(
                "truncated_image", f"the image's header ends early or is damaged ({problem})"
            ) from problem
        other = _other_format(data)
        if other:
            raise ImageRefused("unsupported_format", f"the file is {other}; send {_FORMAT_NAMES}") from problem
        raise ImageRefused("not_an_image", f"the {len(data):,} bytes are no image; send {_FORMAT_NAMES}") from problem


def _other_format(data: bytes) -> str | None:
    if data[4:8] == b"ftyp":
        return "HEIC, AVIF or video"
    start = data.lstrip()[:16]
    return next((name for first, name in _OTHER_FORMATS.items() if start.startswith(first)), None)


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        turned = image.getexif().get(_ORIENTATION, 1) != 1
        return ImageOps.exif_transpose(image) if turned else image
    except Exception:  # noqa: BLE001 - broken EXIF does not make the picture unreadable
        return image


def _rgb(image: Image.Image) -> Pixels:
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.asarray(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = _eight_bit(np.asarray(image), image.mode)
        return np.repeat(grey[..., np.newaxis], 3, axis=2)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, layer).convert("RGB"))
    return np.asarray(image.convert("RGB"))


def _eight_bit(values: NDArray[Any], mode: str) -> Pixels:
    """Greys of 16 or 32 bits, or floats (taken as 0..1 where none is larger, else as 0..255), as 0..255."""
    if mode == "F":
        known = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=255.0, neginf=0.0)
        scaled = known * 255.0 if known.max(initial=0.0) <= 1.0 else known
    else:
        wide = mode != "I" or values.max(initial=0) > 255  # noqa: PLR2004 - the largest byte
        scaled = values / 257.0 if wide else values.astype(np.float64)  # 65535 / 257 = 255
    rounded: Pixels = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return rounded
