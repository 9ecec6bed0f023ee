"""The encoder of the bundled weights: small convolutions, a few attention blocks, a light dense decoder.

One network, three things to take from it: a vector of the anatomy, a vector of the style (sequence, contrast),
and dense features with template position and tissue read off them. Pretrained on simulated heads alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from radfoundry.nets.intensity import first_order
from radfoundry.nets.vit import Attention, pad_to_multiple, position_codes
from radfoundry.records import EncoderSpec, Features, InputError

WINDOW = 32
PLACE_SCALE_MM = 50.0
WIDTHS = (24, 48, 160)
ANATOMY, STYLE = 128, 32
STATISTICS = 17
EMPTY = 1e-3
PROBE_TOLERANCE = 2e-3
WEIGHTS_FILE = Path(__file__).resolve().parent.parent / "weights" / "radfoundry-mri.safetensors"
TISSUES = (
    "air", "grey", "white", "csf", "deep-grey", "bone", "marrow", "fat", "muscle", "skin", "vitreous", "blood",
    "disease", "finding",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Dense:
    """What the network says of every place of a window.

    half `(B, 24, n/2, n/2, n/2)` and quarter `(B, 48, n/4, n/4, n/4)` features · places_mm `(B, 3, n/4, n/4, n/4)`
    in the template · shares `(B, 14, n/2, n/2, n/2)` logits of TISSUES ·
    anatomy `(B, 128)` and style `(B, 32)` of the whole window.
    """

    half: torch.Tensor
    quarter: torch.Tensor
    places_mm: torch.Tensor
    shares: torch.Tensor
    anatomy: torch.Tensor
    style: torch.Tensor

    @property
    def structure(self) -> torch.Tensor:
        """The anatomy vector and the window's mean place in the template, in units of 50 mm: `(B, 131)`."""
        return torch.cat([self.anatomy, self.places_mm.mean(dim=(2, 3, 4)) / PLACE_SCALE_MM], dim=1)


class Block(nn.Module):
    """Two convolutions around which the input is added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(width, width, 3, padding=1)
        self.second = nn.Conv3d(width, width, 3, padding=1)
        self.before = nn.GroupNorm(8, width)
        self.between = nn.GroupNorm(8, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, width, …)` to the same shape."""
        y = self.first(nn.functional.gelu(self.before(x)))
        return x + self.second(nn.functional.gelu(self.between(y)))


class AnatomyNet(nn.Module):
    """Windows of one MR image in, anatomy, style and dense features out."""

    def __init__(self, *, depth: int = 4) -> None:
        super().__init__()
        low, middle, high = WIDTHS
        self.enter = nn.Conv3d(8, low, 3, padding=1)
        self.enter_norm = nn.GroupNorm(4, low)
        self.down = nn.Conv3d(low, middle, 3, stride=2, padding=1)
        self.block = Block(middle)
        self.down_again = nn.Conv3d(middle, high, 3, stride=2, padding=1)
        self.attention = nn.ModuleList(Attention(high, high // 32) for _ in range(depth))
        self.after = nn.LayerNorm(high)
        self.up = nn.Linear(high, middle * 8)
        self.mix = nn.Conv3d(middle, middle, 3, padding=1)
        self.mix_norm = nn.GroupNorm(8, middle)
        self.up_again = nn.Conv3d(middle, low * 8, 1)
        self.join = nn.Conv3d(2 * low, low, 1)
        self.join_norm = nn.GroupNorm(4, low)
        self.refine = nn.Conv3d(low, low, 1)
        self.place = nn.Conv3d(middle, 3, 1)
        self.tissue_norm = nn.GroupNorm(4, low)
        self.tissue = nn.Conv3d(low, len(TISSUES), 1)
        self.where = nn.Linear(3, ANATOMY)
        self.anatomy = nn.Sequential(nn.Linear(2 * high, 256), nn.GELU(), nn.Linear(256, ANATOMY))
        self.style = nn.Sequential(nn.Linear(2 * middle + STATISTICS, 128), nn.GELU(), nn.Linear(128, STYLE))
        nn.init.normal_(self.place.weight, std=1e-3)
        for module in self.modules():
            if isinstance(module, nn.Conv3d) and module.kernel_size[0] == 3:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> Dense:
        """x: `(B, 1, n, n, n)` with n a multiple of 8; each window is brought to mean 0 and deviation 1 first."""
        first = nn.functional.gelu(self.enter_norm(self.enter(_folded(_standardised(x)))))
        second = self.block(self.down(first))
        third = self.down_again(nn.functional.gelu(second))
        grid = third.shape[2:]
        tokens = third.flatten(2).transpose(1, 2)
        tokens = tokens + codes((int(grid[0]), int(grid[1]), int(grid[2])), tokens)
        for block in self.attention:
            tokens = block(tokens)
        tokens = self.after(tokens)
        spread = self.up(tokens).transpose(1, 2).reshape(len(x), -1, *grid)
        quarter = _unfolded(spread) + second
        quarter = nn.functional.gelu(self.mix_norm(self.mix(quarter))) + quarter
        joined = torch.cat([_unfolded(self.up_again(quarter)), first], dim=1)
        half = self.tissue_norm(self.refine(nn.functional.gelu(self.join_norm(self.join(joined)))))
        places = self.place(quarter) * PLACE_SCALE_MM
        middle = places.mean(dim=(2, 3, 4)) / PLACE_SCALE_MM
        style = torch.cat([second.mean(dim=(2, 3, 4)), second.std(dim=(2, 3, 4)), statistics(x)], dim=1)
        return Dense(
            half=half,
            quarter=quarter,
            places_mm=places + offsets_mm(places),
            shares=self.tissue(nn.functional.gelu(half)) * 3,
            anatomy=self.anatomy(torch.cat([tokens.mean(dim=1), tokens.amax(dim=1)], dim=1)) + self.where(middle),
            style=self.style(style),
        )


def both_ways(net: AnatomyNet, x: torch.Tensor) -> Dense:
    """What the network says of windows, places and tissues averaged with what it says of their mirror images.

    Heads are nearly symmetric, so left and right exchanged is a second opinion.
    The vectors and features are those of the windows as they are.
    """
    seen = net(x)
    other = net(x.flip(2))
    sign = torch.tensor([-1.0, 1.0, 1.0]).to(x)[None, :, None, None, None]
    return replace(
        seen,
        places_mm=(seen.places_mm + other.places_mm.flip(2) * sign) / 2,
        shares=(seen.shares + other.shares.flip(2)) / 2,
    )


class AnatomyEncoder(nn.Module):
    """Whole MR images in 3 mm voxels to one vector and to features of every 12 mm.

    The image is cut into windows of 96 mm that touch each other. The pooled vector is, in this order: anatomy (128 and
    the mean place in the template in units of 50 mm), style (32), the mean share of each of TISSUES (14) and the
    highest score of a finding (1). Tokens are 48 features, the place in the template (in units of 50 mm) and the
    tissue scores, for every block of 12 mm.
    """

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        self.net = AnatomyNet()

    def encode(self, x: torch.Tensor, present: torch.Tensor | None = None) -> Features:
        """x: (batch, 1, I, J, K), filled up to whole windows with zeros; present: (batch, 1)."""
        if x.ndim != 5 or x.shape[1] != 1:
            raise InputError(
                f"{self.spec.name} expects (batch, 1, I, J, K), got {tuple(x.shape)}",
                remedy="prepare the image as the encoder's spec says",
                finding="shape",
            )
        if present is not None:
            x = x * present[:, :, None, None, None].to(x.dtype)
        windows, grid = _windows(pad_to_multiple(x, (WINDOW, WINDOW, WINDOW)))
        dense = both_ways(self.net, windows.flatten(0, 1))
        count = windows.shape[1]
        seen = (windows.flatten(2).std(dim=2) > EMPTY).float() + EMPTY
        share = (seen / seen.sum(dim=1, keepdim=True))[:, :, None]
        finding = dense.shares[:, -1].flatten(1)
        likely = torch.cat([dense.shares[:, :-1].softmax(dim=1).flatten(2), finding[:, None].sigmoid()], dim=1)
        said = torch.cat([dense.structure, dense.style, likely.mean(dim=2)], dim=1)
        pooled = (_apart(said, count) * share).sum(dim=1)
        highest = _apart(finding.amax(dim=1, keepdim=True), count).amax(dim=1)
        coarse = nn.functional.avg_pool3d(dense.shares, 2)
        tokens = torch.cat([dense.quarter, dense.places_mm / PLACE_SCALE_MM, coarse], dim=1)
        rows, places = _together(_apart(tokens, count), grid)
        return Features(pooled=torch.cat([pooled, highest], dim=1), tokens=rows, grid=places)

    def forward(self, x: torch.Tensor, present: torch.Tensor | None = None) -> Features:
        """The same as `encode`."""
        return self.encode(x, present)


def build(*, untrained_seed: int | None = None) -> AnatomyEncoder:
    """The bundled MRI encoder with the weights that ship with the package; nothing is downloaded.

    `untrained_seed` gives the same network with fresh weights, to compare with or to train anew. Reads MR heads in
    any sequence, 64³ voxels of 3 mm; see docs/weights.md for what it learned from and where it fails. Refuses to
    build when the weights do not give the stored probe embedding.
    """
    spec = EncoderSpec(
        name="radfoundry-mri",
        modality=("MR",),
        orientation="RAS",
        spacing_mm=(3.0, 3.0, 3.0),
        shape=(2 * WINDOW, 2 * WINDOW, 2 * WINDOW),
        intensity="percentile",
        width=WIDTHS[1] + 3 + len(TISSUES),
        options={"anatomy": [0, ANATOMY + 3], "style": [ANATOMY + 3, ANATOMY + 3 + STYLE]},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(untrained_seed or 0)
        encoder = AnatomyEncoder(spec).eval()
    on_meta = next(encoder.parameters()).is_meta
    if untrained_seed is None and not on_meta:
        _read_into(encoder)
    return encoder


def _read_into(encoder: AnatomyEncoder) -> None:
    """Put the packaged weights in and check the probe."""
    from radfoundry.nets import checkpoint, weight_files

    _, tensors = weight_files.read(WEIGHTS_FILE)
    stored = tensors.pop(checkpoint.PROBE_KEY)
    encoder.load_state_dict({name: value.float() for name, value in tensors.items()})
    found = checkpoint.embed_probe(encoder)
    if found.shape != stored.shape or not torch.allclose(
        found, stored.float(), atol=PROBE_TOLERANCE, rtol=PROBE_TOLERANCE
    ):
        raise InputError(
            "the bundled weights do not give the stored probe embedding",
            where=WEIGHTS_FILE.name,
            remedy="reinstall radfoundry: the file or the code is damaged",
            finding="probe",
        )


def _windows(x: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int, int]]:
    """(batch, 1, I, J, K) to (batch, windows, 1, 32, 32, 32), and how many windows lie along each axis."""
    i, j, k = (int(size) // WINDOW for size in x.shape[2:])
    cut = x.reshape(len(x), i, WINDOW, j, WINDOW, k, WINDOW).permute(0, 1, 3, 5, 2, 4, 6)
    return cut.reshape(len(x), i * j * k, 1, WINDOW, WINDOW, WINDOW), (i, j, k)


def _apart(x: torch.Tensor, count: int) -> torch.Tensor:
    return x.reshape(len(x) // count, count, *x.shape[1:])


def _together(x: torch.Tensor, grid: tuple[int, int, int]) -> tuple[torch.Tensor, tuple[int, int, int]]:
    """(batch, windows, C, n, n, n) to (batch, places, C) in the order of the whole image, and its grid of places."""
    batch, _, channels, n = x.shape[:4]
    i, j, k = grid
    whole = x.reshape(batch, i, j, k, channels, n, n, n).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return whole.reshape(batch, -1, channels), (i * n, j * n, k * n)


def codes(grid: tuple[int, int, int], like: torch.Tensor) -> torch.Tensor:
    """Where each token of a window lies, in mm from its centre, as sines and cosines `(1, places, width)`."""
    axes = [(torch.arange(n, dtype=torch.float32) - (n - 1) / 2) * 24.0 for n in grid]
    return position_codes(axes, like.shape[-1]).to(like)[None]


def offsets_mm(places: torch.Tensor) -> torch.Tensor:
    """How far each block of a window lies from its centre `(1, 3, n, n, n)`, in an upright head of average size."""
    axes = [(torch.arange(n, dtype=torch.float32) - (n - 1) / 2) * 12.0 for n in places.shape[2:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None].to(places)


def statistics(x: torch.Tensor) -> torch.Tensor:
    """`(B, 1, …)` to `(B, 17)`: first-order statistics of each window on a logarithmic scale."""
    values = first_order(x.flatten(1)[:, ::3].float())
    return values.sign() * values.abs().log1p()


def _standardised(x: torch.Tensor) -> torch.Tensor:
    mean = x.mean(dim=(1, 2, 3, 4), keepdim=True)
    return (x - mean) / x.std(dim=(1, 2, 3, 4), keepdim=True).clamp_min(1e-4)


def _folded(x: torch.Tensor) -> torch.Tensor:
    """Blocks of 2 x 2 x 2 voxels become eight channels."""
    b, c, i, j, k = x.shape
    x = x.reshape(b, c, i // 2, 2, j // 2, 2, k // 2, 2)
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * 8, i // 2, j // 2, k // 2)


def _unfolded(x: torch.Tensor) -> torch.Tensor:
    """Eight channels become blocks of 2 x 2 x 2 voxels: the opposite of `_folded`."""
    b, c, i, j, k = x.shape
    x = x.reshape(b, c // 8, 2, 2, 2, i, j, k)
    return x.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c // 8, i * 2, j * 2, k * 2)
