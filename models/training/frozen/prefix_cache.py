"""What frozen layers give for each image, kept on disk by the image's content: only new images are computed."""

import hashlib
import json
import os
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import timm
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.images import Pixels

_ENDING = ".rows.safetensors"
_MB = 1e6


@dataclass(frozen=True)
class Shelf:
    """
    A folder of computed activations, shared by all jobs that it is given to.

    Attributes:
        most_mb: of all its files; beyond that the ones that were not used for longest are deleted.
    """

    folder: Path
    most_mb: float


def digest_of(weights: Mapping[str, Tensor]) -> str:
    """Of the names and the content of tensors, 64 hex digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bytes_of(tensor.detach()))
    return digest.hexdigest()


def key_of(circumstances: Mapping[str, Any]) -> str:
    """
    A name for everything that decides what frozen layers give for an image, besides the image: 32 hex digits.

    circumstances: digest of the weights, preprocessing, view, precision and the like, as JSON would have them.
    """
    libraries = {"torch": torch.__version__, "timm": timm.__version__}
    text = json.dumps({**libraries, **circumstances}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def fingerprints(pixels: Pixels, rows: Sequence[int]) -> tuple[str, ...]:
    """Of the content of these images, each 32 hex digits; pixels: uint8 (M, S, S, 3)."""
    return tuple(hashlib.blake2b(np.ascontiguousarray(pixels[row]).data, digest_size=16).hexdigest() for row in rows)


def fill(
    out: Tensor, shelf: Shelf, key: str, images: Sequence[str], encode: Callable[[list[int]], Iterator[Tensor]]
) -> int:
    """
    Every image's activations into `out`, (N, …) on the CPU: from the shelf, and else from `encode`, then kept there.

    Rows that were kept under this key but are damaged are computed again.

    images: their fingerprints, N of them.
    encode: gives the activations of the images at these positions, in pieces.
    Returns how many were computed.
    """
    known = _taken(out, shelf, key, images)
    missing = [position for position, image in enumerate(images) if image not in known]
    at = 0
    for piece in encode(missing) if missing else ():
        out[missing[at : at + len(piece)]] = piece.to("cpu", out.dtype)
        at += len(piece)
    if missing:
        _keep(shelf, key, [images[position] for position in missing], out[missing])
    return len(missing)


def _taken(out: Tensor, shelf: Shelf, key: str, images: Sequence[str]) -> set[str]:
    """Copy what is on the shelf; gives the images that were found."""
    places: dict[str, list[int]] = {}
    for position, image in enumerate(images):
        places.setdefault(image, []).append(position)
    known: set[str] = set()
    for path in sorted(shelf.folder.glob(f"{key}-*{_ENDING}")):
        wanted = [(row, image) for row, image in enumerate(_listed(path)) if image in places and image not in known]
        rows = _read(path, out) if wanted else None
        if rows is None:
            continue
        os.utime(path)  # the ones that were not used for longest go first
        for row, image in wanted:
            out[places[image]] = rows[row]
            known.add(image)
    return known


def _listed(path: Path) -> list[str]:
    """The images of a file; none where it is damaged or has just been deleted by another job."""
    try:
        with safe_open(path, framework="pt") as file:
            return str((file.metadata() or {})["images"]).split()
    except (SafetensorError, OSError, KeyError):
        path.unlink(missing_ok=True)
        return []


def _read(path: Path, out: Tensor) -> Tensor | None:
    """The rows of a file; None, and the file is gone, where they are not those that were written."""
    try:
        with safe_open(path, framework="pt") as file:
            rows: Tensor = file.get_tensor("rows")
            written = (file.metadata() or {}).get("crc32")
    except (SafetensorError, OSError):
        rows, written = torch.empty(0), None
    if written == _checksum(rows) and rows.shape[1:] == out.shape[1:] and rows.dtype == out.dtype:
        return rows
    path.unlink(missing_ok=True)
    return None


def _keep(shelf: Shelf, key: str, images: Sequence[str], rows: Tensor) -> None:
    """Write a file that is whole or absent, and make room for it."""
    if rows.nbytes > shelf.most_mb * _MB:
        return
    shelf.folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(" ".join(images).encode()).hexdigest()[:16]
    path = shelf.folder / f"{key}-{name}{_ENDING}"
    draft = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}.draft")
    try:
        texts = {"images": " ".join(images), "crc32": _checksum(rows)}
        safetensors.torch.save_file({"rows": rows.contiguous()}, draft, texts)
        draft.replace(path)
    except OSError:
        # A full disk costs the next job some time, but nothing of this one.
        draft.unlink(missing_ok=True)
    _make_room(shelf)


def _make_room(shelf: Shelf) -> None:
    files = []
    for path in shelf.folder.glob(f"*{_ENDING}"):
        try:
            facts = path.stat()
        except FileNotFoundError:
            continue
        files.append((facts.st_mtime_ns, facts.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= shelf.most_mb * _MB:
            return
        path.unlink(missing_ok=True)
        total -= size


def _checksum(rows: Tensor) -> str:
    return f"{zlib.crc32(_bytes_of(rows)):08x}"


def _bytes_of(tensor: Tensor) -> memoryview:
    """A view of its memory where that is on the CPU and contiguous; numpy does not know bf16, but bytes it does."""
    return tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
