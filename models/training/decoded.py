"""Every image decoded and resized, once for all epochs."""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from infra.errors import UserError
from infra.files import write_atomically
from models.images import ImageLimits, ImageRefused, Pixels
from models.preprocessing import Preprocessing, decode_for, resize
from models.training.run_folder import RunExample

_CHUNK = 256
_NAMED = 5
# The images were accepted once already; here only absurd ones are refused.
_LIMITS = ImageLimits(most_bytes=500_000_000, most_pixels=500_000_000)


def decoded_pixels(run_dir: Path, examples: Sequence[RunExample], preprocessing: Preprocessing) -> tuple[Pixels, str]:
    """
    All images, uint8 (N, S, S, 3) in the examples' order, read from a file on disk as they are needed;
    and a fingerprint of their bytes, labels and roles.

    They are decoded on the first call and taken from `pixels.npy` on later ones.

    Raises:
        UserError: naming the images that are missing or unreadable.
    """
    rows = "\n".join(f"{row.image}\t{row.label}\t{row.role}" for row in examples)
    wanted = hashlib.sha256(f"{preprocessing.to_json()}\n{rows}".encode()).hexdigest()
    path, note = run_dir / "pixels.npy", run_dir / "pixels.json"
    if note.is_file() and path.is_file():
        known = json.loads(note.read_text())
        if known["key"] == wanted:
            return np.load(path, mmap_mode="r"), str(known["fingerprint"])
    note.unlink(missing_ok=True)
    fingerprint = _decode_all(run_dir, examples, preprocessing, path)
    # The note is written last: where it exists, the pixels are complete.
    write_atomically(note, json.dumps({"key": wanted, "fingerprint": fingerprint}))
    return np.load(path, mmap_mode="r"), fingerprint


def _decode_all(run_dir: Path, examples: Sequence[RunExample], preprocessing: Preprocessing, path: Path) -> str:
    size = preprocessing.image_size
    draft = path.with_suffix(".draft")
    pixels = np.lib.format.open_memmap(draft, "w+", np.uint8, (len(examples), size, size, 3))
    refused: list[str] = []
    lines: list[str] = []
    read = _reader(run_dir, preprocessing)
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(examples), _CHUNK):
            chunk = examples[start : start + _CHUNK]
            for offset, (row, outcome) in enumerate(zip(chunk, pool.map(read, chunk), strict=True)):
                if isinstance(outcome, str):
                    refused.append(f"{row.image}: {outcome}")
                else:
                    pixels[start + offset], digest = outcome
                    lines.append(f"{digest} {row.label} {row.role}")
    if refused:
        draft.unlink()
        listed = "\n  ".join([*refused[:_NAMED], *(["…"] if len(refused) > _NAMED else [])])
        raise UserError(f"{len(refused)} of {len(examples)} images cannot be read:\n  {listed}")
    pixels.flush()
    draft.replace(path)
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _reader(run_dir: Path, preprocessing: Preprocessing) -> Callable[[RunExample], tuple[Pixels, str] | str]:
    def read(row: RunExample) -> tuple[Pixels, str] | str:
        try:
            data = (run_dir / row.image).read_bytes()
            pixels = decode_for(data, preprocessing, _LIMITS).pixels
            return resize(pixels, preprocessing), hashlib.sha256(data).hexdigest()
        except ImageRefused as problem:
            return problem.message
        except OSError as problem:
            return problem.strerror or str(problem)

    return read
