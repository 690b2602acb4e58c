"""Shared by objectives on images: random views of a whole batch at once, as tensor operations.

Each row's numbers come from Draw, so a view depends on seed, epoch and row alone. The ways and ranges are those of Chen et al. 2020
(https://arxiv.org/abs/2002.05709, appendix A). Brightness, contrast, saturation and hue are linear in the colours here (hue turns in YIQ,
not in HSV) and cut to [0, 1] once, at their end: so their order makes no difference, and all of them are one matrix and one offset.

Shape letters: B rows, V views, P = B * V pictures, H height, W width, C = 3 colours, K numbers, T tries.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_TRIES = 10
"""Of a crop that has to lie inside; after these it is the whole picture, as in torchvision."""
_NUMBERS = 2 * _TRIES + 11
_GREY = torch.tensor([0.299, 0.587, 0.114])
"""Shares of the colours in what the eye takes for brightness (ITU-R BT.601)."""
_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_RGB = torch.linalg.inv(_YIQ)


@dataclass(frozen=True, kw_only=True)
class Ways:
    """How views differ. area: smallest share of the picture that a crop keeps. flip, jitter, grey, blur: how often, in [0, 1].

    strength: of the jitter. Brightness, contrast and saturation change by up to 0.8 of it, hue by 0.2 of it times the whole circle.
    """

    area: float
    flip: float = 0.5
    jitter: float = 0.0
    strength: float = 0.0
    grey: float = 0.0
    blur: float = 0.0
    narrow: float = 3 / 4
    """The narrowest side ratio of a crop; the widest is its inverse."""


def width(views: int) -> int:
    """Random numbers that a row needs."""
    return views * _NUMBERS


def views(pixels_BHWC: np.ndarray, numbers_BK: np.ndarray, ways: Ways) -> Tensor:
    """Pictures of uint8 as random views in [0, 1], [B, V, C, H, W]; V is what the numbers suffice for."""
    rows, count = len(pixels_BHWC), numbers_BK.shape[1] // _NUMBERS
    numbers_PK = torch.from_numpy(numbers_BK).float().reshape(rows * count, _NUMBERS)
    shape, colour = numbers_PK[:, : 2 * _TRIES + 3], numbers_PK[:, 2 * _TRIES + 3 :]
    pictures_BCHW = scaled(pixels_BHWC)
    made_PCHW = _cropped(pictures_BCHW.repeat_interleave(count, 0), shape, ways)
    if ways.jitter or ways.grey:
        made_PCHW = _coloured(made_PCHW, colour, ways)
    if ways.blur:
        made_PCHW = _blurred(made_PCHW, colour[:, 6:], ways)
    return made_PCHW.reshape(rows, count, *made_PCHW.shape[1:])


def scaled(pixels_BHWC: np.ndarray) -> Tensor:
    """Pictures of uint8 in [0, 1], [B, C, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(pixels_BHWC)).permute(0, 3, 1, 2).float().div_(255)


def _cropped(pictures_PCHW: Tensor, numbers_PK: Tensor, ways: Ways) -> Tensor:
    """A random part of each picture, mirrored or not, at the size of the whole: one sampling."""
    height, wide = pictures_PCHW.shape[2:]
    scale_P2 = _crop_sizes(numbers_PK[:, : 2 * _TRIES], height / wide, ways)
    place_P2, flip_P = numbers_PK[:, 2 * _TRIES : 2 * _TRIES + 2], numbers_PK[:, 2 * _TRIES + 2] < ways.flip
    middle_P2 = (2 * place_P2 - 1) * (1 - scale_P2)
    turns_P23 = torch.zeros(len(pictures_PCHW), 2, 3)
    turns_P23[:, 0, 0] = torch.where(flip_P, -scale_P2[:, 0], scale_P2[:, 0])
    turns_P23[:, 1, 1] = scale_P2[:, 1]
    turns_P23[:, :, 2] = middle_P2
    grid = functional.affine_grid(turns_P23, list(pictures_PCHW.shape), align_corners=False)
    return functional.grid_sample(pictures_PCHW, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _crop_sizes(numbers_PK: Tensor, upright: float, ways: Ways) -> Tensor:
    """Width and height of each crop as shares of the picture's, [P, 2]: the first try that lies inside. upright: height by width."""
    numbers_PT2 = numbers_PK.reshape(len(numbers_PK), _TRIES, 2)
    area_PT = ways.area + (1 - ways.area) * numbers_PT2[..., 0]
    ratio_PT = torch.exp(math.log(1 / ways.narrow) * (2 * numbers_PT2[..., 1] - 1))
    sizes_PT2 = torch.stack([(area_PT * ratio_PT * upright).sqrt(), (area_PT / ratio_PT / upright).sqrt()], -1)
    inside_PT = (sizes_PT2 <= 1).all(-1)
    first_P = inside_PT.float().argmax(1)
    sizes_P2 = sizes_PT2[torch.arange(len(sizes_PT2)), first_P]
    return torch.where(inside_PT.any(1)[:, None], sizes_P2, torch.ones(()))


def _coloured(pictures_PCHW: Tensor, numbers_PK: Tensor, ways: Ways) -> Tensor:
    """Jitter of the colours, then grey; each picture by one matrix and one offset."""
    flat_PCN = pictures_PCHW.flatten(2)
    turn_PCC, lift_P = _jitter(flat_PCN.mean(2) @ _GREY, numbers_PK, ways.strength)
    kept_P = numbers_PK[:, 4] >= ways.jitter
    turn_PCC[kept_P], lift_P[kept_P] = torch.eye(3), 0.0
    made_PCN = torch.baddbmm(lift_P[:, None, None], turn_PCC, flat_PCN).clamp_(0, 1)
    grey_P = numbers_PK[:, 5] < ways.grey
    made_PCN[grey_P] = torch.einsum("c,pcn->pn", _GREY, made_PCN[grey_P])[:, None].expand(-1, 3, -1)
    return made_PCN.reshape(pictures_PCHW.shape)


def _jitter(mean_P: Tensor, numbers_PK: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Matrix [P, C, C] and what is added to all colours [P] by brightness, contrast, saturation and hue. mean_P: the mean brightness.

    In YIQ the first two scale all three numbers (contrast around the mean brightness), saturation scales the latter two, hue turns them.
    """
    swing_P4 = 2 * numbers_PK[:, :4] - 1
    bright_P, contrast_P, saturation_P = (1 + swing_P4[:, :3] * 0.8 * strength).unbind(1)
    angle_P = swing_P4[:, 3] * 0.2 * strength * 2 * math.pi
    turn_PCC = torch.zeros(len(mean_P), 3, 3)
    turn_PCC[:, 0, 0] = 1
    turn_PCC[:, 1, 1] = turn_PCC[:, 2, 2] = saturation_P * angle_P.cos()
    turn_PCC[:, 2, 1] = saturation_P * angle_P.sin()
    turn_PCC[:, 1, 2] = -turn_PCC[:, 2, 1]
    return (bright_P * contrast_P)[:, None, None] * (_RGB @ turn_PCC @ _YIQ), bright_P * (1 - contrast_P) * mean_P


def _blurred(pictures_PCHW: Tensor, numbers_PK: Tensor, ways: Ways) -> Tensor:
    """Some pictures through a Gaussian of 0.1 to 2 pixels' deviation; its kernel is a tenth of the side."""
    chosen_P = numbers_PK[:, 0] < ways.blur
    if not chosen_P.any():
        return pictures_PCHW
    reach = max(1, round(pictures_PCHW.shape[-1] / 20))
    sigma_P1 = 0.1 + 1.9 * numbers_PK[chosen_P, 1:2]
    kernel_PK = torch.softmax(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * sigma_P1**2), 1)
    kernels = kernel_PK.repeat_interleave(3, 0)
    some = pictures_PCHW[chosen_P].flatten(0, 1)[None]
    groups = some.shape[1]
    some = functional.pad(some, (reach, reach, reach, reach), mode="reflect")
    some = functional.conv2d(some, kernels[:, None, None, :], groups=groups)
    some = functional.conv2d(some, kernels[:, None, :, None], groups=groups)
    made_PCHW = pictures_PCHW.clone()
    made_PCHW[chosen_P] = some[0].reshape(int(chosen_P.sum()), *pictures_PCHW.shape[1:])
    return made_PCHW
