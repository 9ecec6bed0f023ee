"""What lies where on the grid of a series: tissue fractions, and label maps of tissues and organs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from radfoundry.simulate.body import Body
from radfoundry.simulate.headers import Slab
from radfoundry.simulate.scan import slab_grid, through_slices
from radfoundry.simulate.tissues import index
from radfoundry.volume import Volume


def tissue_truth(body: Body, slab: Slab, *, organs: Sequence[str] = ()) -> dict[str, Volume]:
    """Truth on a slab: `fractions` (one channel a tissue, in per cent), `tissues` and `organs` (label maps).

    The label of a tissue is its place in `tissues.NAMES` (air is 0), that of an organ 1 + its place in `organs`; each
    voxel has the label that fills most of it.
    """
    _, affine = slab_grid(slab)
    shares = through_slices(body.fractions, body.affine, slab)
    air = (1 - shares.sum(dim=0)).clamp_min(0)
    codes = np.array([0, *(index(name) for name in body.tissues)], dtype=np.uint8)
    best = torch.cat([air[None], shares]).argmax(dim=0).numpy()
    percent = (shares * 100).round().clamp(0, 100).to(torch.uint8).numpy()
    found = {
        "fractions": Volume(percent, affine, units="percent", channels=body.tissues),
        "tissues": Volume.of(codes[best], affine, units="label"),
    }
    known = [name for name in organs if name in body.truth]
    if known:
        filled = through_slices(torch.stack([body.truth[name] for name in known]), body.affine, slab)
        most, place = filled.max(dim=0)
        numbers = torch.tensor([1 + list(organs).index(name) for name in known], dtype=torch.uint8)
        labels = torch.where(most > 0.5, numbers[place], torch.zeros_like(numbers[place]))
        found["organs"] = Volume.of(labels.numpy(), affine, units="label")
    return found
