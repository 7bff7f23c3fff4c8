"""Fingerprints of images, kept in `home` by content: an image is decoded for this once, not at every training."""

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from infra.files import write_atomically
from infra.settings import Settings
from models.images import ImageRefused, decode
from models.near_duplicates import Fingerprint, fingerprint

# The number changes when the same picture would get other bits.
_FILE = "fingerprints-1.json"
# Of what cannot be decoded: no picture has such a colour, and plain ones are never compared.
UNREADABLE = Fingerprint(bytes(16), (-1.0, -1.0, -1.0), plain=True)


def fingerprints_of(settings: Settings, images: Mapping[str, Callable[[], bytes]]) -> dict[str, Fingerprint]:
    """The fingerprint of each image; `images` gives by SHA-256 how to read its bytes."""
    known = _read(settings)
    missing = {content: _fingerprint(read()) for content, read in images.items() if content not in known}
    if missing:
        keep_fingerprints(settings, missing)
    known |= missing
    return {content: known[content] for content in images}


def keep_fingerprints(settings: Settings, found: Mapping[str, Fingerprint]) -> None:
    """Add fingerprints, by SHA-256 of the image, to those kept; two that do so at once lose nothing but time."""
    _write(settings, {**_read(settings), **found})


def drop_fingerprints(settings: Settings, images: Collection[str]) -> bool:
    """Forget the fingerprints of these images; whether one was kept."""
    kept = _read(settings)
    left = {name: one for name, one in kept.items() if name not in images}
    if len(left) < len(kept):
        _write(settings, left)
    return len(left) < len(kept)


def _write(settings: Settings, kept: Mapping[str, Fingerprint]) -> None:
    rows = {name: [one.bits.hex(), *(round(level, 2) for level in one.colour), one.plain] for name, one in kept.items()}
    write_atomically(_path(settings), json.dumps(rows))


def _read(settings: Settings) -> dict[str, Fingerprint]:
    try:
        rows = json.loads(_path(settings).read_text())
        return {
            name: Fingerprint(bytes.fromhex(bits), (red, green, blue), plain)
            for name, (bits, red, green, blue, plain) in rows.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # it can always be made again


def _path(settings: Settings) -> Path:
    return settings.storage.home / _FILE


def _fingerprint(data: bytes) -> Fingerprint:
    try:
        return fingerprint(decode(data).pixels)
    except ImageRefused:
        return UNREADABLE
