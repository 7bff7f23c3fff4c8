"""A picture of what training sees: each image as it is, and beside it what augmentation makes of it."""

import io
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from infra.errors import UserError
from infra.files import write_atomically
from models.images import Pixels
from models.training.varied.augmentation import PRESETS, Augmentation, augment
from models.training.varied.mixing import mix

_MARGIN, _GAP, _CAPTION, _LINE = 36, 8, 20, 22  # px
_SMALLEST_CELL, _LARGEST_CELL = 112, 160  # px
_WIDEST_TITLE = 180  # px
_ROUNDING = 5  # px
_PAPER, _INK, _DIM, _RULE = "#f6f7f6", "#1b2421", "#5d6a65", "#d4d9d6"
_BIG, _NORMAL, _SMALL = 24, 16, 13  # px
_LETTER = 6.8  # px, of a small letter on average, on the safe side
# Pillow's own face knows little but English; these are looked for where a class is called otherwise.
_OTHER_FACES = ("DejaVuSans.ttf", "Arial.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf")
_UNBROKEN = "\N{NO-BREAK SPACE}"
_MISSING = "\uffff"  # no face has it, so it is drawn as what is missing

_Face = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class _Column:
    heading: str
    images: Tensor  # float32 (N, 3, S, S) in 0..255
    captions: Sequence[str]


@dataclass(frozen=True)
class _Layout:
    """Sizes in pixels; the cells of row r and column c begin at `corner(r, c)`."""

    cell: int
    titles: int
    header: int
    row: int

    def corner(self, row: int, column: int) -> tuple[int, int]:
        # A wider gap sets the originals apart.
        left = _MARGIN + self.titles + column * (self.cell + _GAP) + (2 * _GAP if column else 0)
        return left, self.header + row * self.row

    def size(self, rows: int, columns: int) -> tuple[int, int]:
        right, bottom = self.corner(rows, columns)
        return right - _GAP + _MARGIN, bottom - _GAP + _MARGIN


def draw_grid(
    images: Sequence[Pixels],
    titles: Sequence[str],
    out: Path,
    *,
    preset: str,
    flip: bool = False,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    variants: int = 7,
    seed: int = 0,
) -> None:
    """
    Write a PNG with a row per image: its class, itself, and `variants` of it as training would see them.

    Where images are mixed, the last variants of a row are, and say how much of which other class is in them.

    images: uint8 (S, S, 3), as training reads them, all of one size.
    titles: their classes.

    Raises:
        UserError: when there is no image.
    """
    if not images:
        raise UserError("there is no image to show augmentations of; name a manifest or folder that has some")
    batch = torch.from_numpy(np.stack(list(images)))
    generator = torch.Generator().manual_seed(seed)
    alphas = {"mixup": mixup, "cutmix": cutmix}
    vary = partial(augment, preset=preset, generator=generator, flip=flip)
    plain = _Column("as it is", batch.permute(0, 3, 1, 2).float(), [""] * len(images))
    columns = [plain, *_varied(batch, titles, _kinds(variants, alphas), alphas, vary, generator)]
    layout = _layout(batch.shape[1], titles, captions=any(alphas.values()))
    width, height = layout.size(len(images), len(columns))
    lines = _in_words(PRESETS[preset], alphas, int((width - 2 * _MARGIN) / _LETTER), flip=flip)
    layout = replace(layout, header=layout.header + _LINE * len(lines))
    canvas = Image.new("RGB", (width, height + _LINE * len(lines)), _PAPER)
    _write_header(canvas, f"Augmentation: {preset}", lines)
    _write_headings(canvas, layout, columns)
    for row, title in enumerate(titles):
        _draw_row(canvas, layout, row, title, columns)
    data = io.BytesIO()
    canvas.save(data, "PNG", optimize=True)
    write_atomically(out, data.getvalue())


def _varied(
    batch: Tensor,
    titles: Sequence[str],
    kinds: Sequence[str],
    alphas: Mapping[str, float],
    vary: Callable[[Tensor], Tensor],
    generator: torch.Generator,
) -> Iterator[_Column]:
    for number, kind in enumerate(kinds):
        heading = kind or ("varied each time it is seen" if number == 0 else "")
        # One of the two at a time: a column shows what its heading says.
        mixup, cutmix = (alphas[name] if name == kind else 0.0 for name in ("mixup", "cutmix"))
        mixed, partner, share = mix(vary(batch), generator, mixup, cutmix)
        captions = [""] * len(titles)
        if partner is not None and share is not None:
            captions = [f"{1 - own:.0%} {titles[other]}" for own, other in zip(share.tolist(), partner, strict=True)]
        yield _Column(heading, mixed, captions)


def _kinds(variants: int, alphas: Mapping[str, float]) -> list[str]:
    """What is done to each variant besides augmentation: about half are mixed, both ways where both are on."""
    wanted = [name for name, alpha in alphas.items() if alpha]
    each = -(-variants // 4) if len(wanted) > 1 else variants // 2
    mixed = [name for name in wanted for _ in range(each)]
    return [*[""] * (variants - len(mixed)), *mixed][:variants]


def _in_words(amounts: Augmentation | None, alphas: Mapping[str, float], letters: int, *, flip: bool) -> list[str]:
    """What is done, in lines of so many letters; no line breaks within an amount."""
    parts = _amounts_in_words(amounts) if amounts else ["images as they are"]
    parts.append("mirrored or not" if flip else "never mirrored")
    parts += [f"{name} {alpha:g}" for name, alpha in alphas.items() if alpha]
    whole = " · ".join(part.replace(" ", _UNBROKEN) for part in parts)
    return [line.removesuffix(" ·").replace(_UNBROKEN, " ") for line in textwrap.wrap(whole, letters)]


def _amounts_in_words(amounts: Augmentation) -> list[str]:
    said = [
        (f"rotation ±{amounts.rotation:g}°", amounts.rotation),
        (f"size ±{amounts.scale:.0%}", amounts.scale),
        (f"shift ±{amounts.shift:.0%}", amounts.shift),
        (f"crop to {amounts.crop:.0%} or more", amounts.crop < 1),
        (f"sides up to 1 : {amounts.aspect:g}", amounts.aspect > 1),
        (f"brightness ±{amounts.brightness:.0%}", amounts.brightness),
        (f"contrast ±{amounts.contrast:.0%}", amounts.contrast),
        (f"saturation ±{amounts.saturation:.0%}", amounts.saturation),
        (f"hue ±{amounts.hue:g}°", amounts.hue),
        (f"noise up to {amounts.noise:.0%}", amounts.noise),
        (f"{amounts.blurred:.0%} blurred", amounts.blurred),
        (f"{amounts.erased:.0%} with a part erased", amounts.erased),
        (f"RandAugment {amounts.policy}", amounts.policy),
    ]
    return [words for words, amount in said if amount]


def _layout(side: int, titles: Sequence[str], *, captions: bool) -> _Layout:
    """The sizes, without the lines that say what is done: how many they are follows from the width."""
    # Small images grow by a whole factor, so that every pixel of theirs stays a square.
    cell = side * -(-_SMALLEST_CELL // side) if side < _SMALLEST_CELL else min(side, _LARGEST_CELL)
    widest = max(_face(title, _NORMAL).getlength(title) for title in titles)
    header = _MARGIN + _BIG + 2 * _GAP + 2 * _LINE
    return _Layout(cell, round(min(widest, _WIDEST_TITLE)) + 20, header, cell + _GAP + (_CAPTION if captions else 0))


def _write_header(canvas: Image.Image, headline: str, lines: Sequence[str]) -> None:
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, _MARGIN), headline, fill=_INK, font=_face(headline, _BIG))
    for number, line in enumerate(lines):
        place = (_MARGIN, _MARGIN + _BIG + 2 * _GAP + number * _LINE)
        draw.text(place, line, fill=_DIM, font=_face(line, _SMALL))


def _write_headings(canvas: Image.Image, layout: _Layout, columns: Sequence[_Column]) -> None:
    draw = ImageDraw.Draw(canvas)
    for number, column in enumerate(columns):
        left, top = layout.corner(0, number)
        draw.text((left, top - _GAP), column.heading, fill=_DIM, font=_face(column.heading, _SMALL), anchor="ls")
    left, top = layout.corner(0, 1)
    draw.line([(left - 1.5 * _GAP, top), (left - 1.5 * _GAP, canvas.height - _MARGIN)], fill=_RULE, width=1)


def _draw_row(canvas: Image.Image, layout: _Layout, row: int, title: str, columns: Sequence[_Column]) -> None:
    draw = ImageDraw.Draw(canvas)
    middle = layout.corner(row, 0)[1] + layout.cell // 2
    draw.text((_MARGIN, middle), _fitted(title, _NORMAL, layout.titles - 20), _INK, _face(title, _NORMAL), anchor="lm")
    for number, column in enumerate(columns):
        left, top = layout.corner(row, number)
        canvas.paste(_picture(column.images[row], layout.cell), (left, top), _rounded(layout.cell))
        words = _fitted(column.captions[row], _SMALL, layout.cell)
        draw.text((left, top + layout.cell + 3), words, fill=_DIM, font=_face(words, _SMALL))


def _picture(image: Tensor, cell: int) -> Image.Image:
    pixels = image.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    enlarged = pixels.shape[0] < cell
    return Image.fromarray(pixels).resize(
        (cell, cell), Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
    )


@lru_cache(maxsize=2)
def _rounded(cell: int) -> Image.Image:
    """Where a cell is seen: all of it but its corners. Drawn large and shrunk, for a smooth edge."""
    large = Image.new("L", (4 * cell, 4 * cell), 0)
    ImageDraw.Draw(large).rounded_rectangle((0, 0, 4 * cell - 1, 4 * cell - 1), 4 * _ROUNDING, fill=255)
    return large.resize((cell, cell), Image.Resampling.LANCZOS)


def _fitted(text: str, size: int, width: int) -> str:
    """As much of a text as fits, an ellipsis for the rest."""
    face = _face(text, size)
    if face.getlength(text) <= width:
        return text
    kept = next(count for count in range(len(text) - 1, -1, -1) if face.getlength(text[:count] + "…") <= width)
    return text[:kept].rstrip() + "…"


def _face(text: str, size: int) -> _Face:
    """The first face that can write all of a text, Pillow's own where none can."""
    faces = _faces(size)
    return next((face for face in faces if not _unwritable(face, text)), faces[0])


def _unwritable(face: _Face, text: str) -> bool:
    missing = bytes(face.getmask(_MISSING))
    return any(bytes(face.getmask(letter)) == missing for letter in set(text) if not letter.isspace())


@lru_cache(maxsize=3)
def _faces(size: int) -> list[_Face]:
    found: list[_Face] = [ImageFont.load_default(size)]
    for name in _OTHER_FACES:
        try:
            found.append(ImageFont.truetype(name, size))
        except OSError:
            continue
    return found
