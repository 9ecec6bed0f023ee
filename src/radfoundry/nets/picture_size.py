"""Pictures of any size brought to the size a picture encoder reads."""

from __future__ import annotations

import numpy as np
import torch

from radfoundry.records import InputError

WAYS = ("letterbox", "crop", "squash")


def to_size(array: np.ndarray, shape: tuple[int, int, int], way: str) -> np.ndarray:
    """(channels, I, J, 1) to (channels, *shape), smoothed before it is made smaller.

    `letterbox` keeps everything and fills the rest with zeros; `crop` fills the shape and loses what hangs over
    on the longer side, as DINOv2 and CLIP were trained; `squash` changes the proportions, as SigLIP was.

    >>> to_size(np.ones((1, 20, 10, 1), np.float32), (8, 8, 1), "letterbox").sum()
    np.float32(32.0)
    """
    if way not in WAYS:
        raise InputError(f"no way {way!r} to fit a picture", remedy=f"use one of {', '.join(WAYS)}")
    if array.ndim != 4 or array.shape[3] != 1:
        raise InputError(f"not a picture but an array of shape {array.shape}", remedy="give (channels, I, J, 1)")
    if way == "squash":
        first, second = shape[:2]
    else:
        ratios = [wanted / size for wanted, size in zip(shape[:2], array.shape[1:3], strict=True)]
        ratio = min(ratios) if way == "letterbox" else max(ratios)
        first, second = (max(1, round(size * ratio)) for size in array.shape[1:3])
    picture = torch.from_numpy(np.ascontiguousarray(array[..., 0], dtype=np.float32))[None]
    scaled = torch.nn.functional.interpolate(
        picture, size=(first, second), mode="bilinear", align_corners=False, antialias=True
    )
    return _centred(scaled[0].numpy(), shape)[..., None]


def _centred(picture: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Cut or filled with zeros around the centre."""
    result = np.zeros((len(picture), *shape[:2]), np.float32)
    source, target = [slice(None)], [slice(None)]
    for size, wanted in zip(picture.shape[1:], shape[:2], strict=True):
        length = min(size, wanted)
        source.append(slice((size - length) // 2, (size - length) // 2 + length))
        target.append(slice((wanted - length) // 2, (wanted - length) // 2 + length))
    result[tuple(target)] = picture[tuple(source)]
    return result
