"""Changes to a batch of images, each image by an amount of its own: geometry, blur, colour, rectangles."""

import torch
from torch import Tensor
from torch.nn import functional

# Hue turns around the axis of greys, as the filters of SVG do it: (L + s·(cos·(1 − L) + sin·TURN)) · colour.
_LUMA = (0.2126, 0.7152, 0.0722)
_TURN = ((-0.213, -0.715, 0.928), (0.143, 0.140, -0.283), (-0.787, 0.715, 0.072))
_NEIGHBOURS_ENOUGH_PX = 128  # in images smaller than this a blur over the nearest pixels can be seen


def moved(images: Tensor, angle: Tensor, width: Tensor, height: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """
    What a turned window onto each image shows, at the size of the image; beyond its edges the edge goes on.

    images: float32 (N, 3, S, S).
    angle: radians, shape (N,); the content turns the other way.
    width, height: of the window, 1 = the whole side, shape (N,).
    right, down: of the window's middle from the image's middle, in half sides, shape (N,).
    """
    cosine, sine = torch.cos(angle), torch.sin(angle)
    motion = torch.stack([cosine * width, -sine * height, right, sine * width, cosine * height, down], dim=1)
    grid = functional.affine_grid(motion.view(-1, 2, 3).to(images.device), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def blurred(images: Tensor, strength: Tensor) -> Tensor:
    """
    Images mixed with a blurred copy of themselves, whose blur is wider in larger images.

    images: float32 (N, 3, S, S).
    strength: share of the blurred copy, 0 = as it is, shape (N,).
    """
    touched = strength.nonzero().flatten()
    if not len(touched):
        return images
    here = touched.to(images.device)
    sharp = images[here]
    soft = sharp
    for step in range(1 + (images.shape[-1] // _NEIGHBOURS_ENOUGH_PX).bit_length()):
        soft = _softened(soft, 2**step)
    weight = strength[touched].view(-1, 1, 1, 1).to(images.device)
    return images.index_copy(0, here, torch.lerp(sharp, soft, weight))


def recoloured(images: Tensor, contrast: Tensor, brightness: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """
    Images in another light; values may leave 0..255.

    images: float32 (N, 3, S, S).
    contrast: factor about the image's mean, shape (N,).
    brightness: what is added, 255 = the full range of a pixel, shape (N,).
    saturation: factor, 0 = grey, shape (N,).
    hue: radians around the colour circle, shape (N,).
    """
    grey = torch.tensor([_LUMA] * 3)
    cosine, sine = (of_angle.view(-1, 1, 1) for of_angle in (torch.cos(hue), torch.sin(hue)))
    turned = cosine * (torch.eye(3) - grey) + sine * torch.tensor(_TURN)
    matrix = contrast.view(-1, 1, 1) * (grey + saturation.view(-1, 1, 1) * turned)
    factor, add = contrast.view(-1, 1, 1).to(images.device), brightness.view(-1, 1, 1).to(images.device)
    colours = images.flatten(2)
    offset = colours.mean(dim=(1, 2), keepdim=True) * (1 - factor) + add
    return torch.baddbmm(offset.expand(-1, 3, 1), matrix.to(images.device), colours).view(images.shape)


def rectangles(top: Tensor, left: Tensor, height: Tensor, width: Tensor, size: tuple[int, int]) -> Tensor:
    """
    Where rectangles lie in images of that height and width: bool (N, H, W), True inside.

    top, left, height, width: whole pixels, shape (N,); what lies outside the image is cut off.
    """
    row, column = (torch.arange(length, device=top.device) for length in size)
    rows = (row >= top[:, None]) & (row < (top + height)[:, None])
    columns = (column >= left[:, None]) & (column < (left + width)[:, None])
    return rows[:, :, None] & columns[:, None, :]


def _softened(images: Tensor, step: int) -> Tensor:
    """Each pixel with its neighbours `step` away, weighted 1 2 1 along both sides."""
    near = min(step, images.shape[-1] - 1)
    if not near:
        return images
    padded = functional.pad(images, (near, near, near, near), mode="replicate")
    wide = (padded[..., : -2 * near] + 2 * padded[..., near:-near] + padded[..., 2 * near :]) / 4
    return (wide[..., : -2 * near, :] + 2 * wide[..., near:-near, :] + wide[..., 2 * near :, :]) / 4
