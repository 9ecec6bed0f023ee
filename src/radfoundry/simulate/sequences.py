"""Pulse sequences with their settings, the signal every tissue gives under them, and the header they leave."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from radfoundry.records import InputError
from radfoundry.simulate import mr
from radfoundry.simulate.dynamic import inflow_signal, label_difference
from radfoundry.simulate.tissues import TissueTable

KINDS = (
    "spin-echo",
    "inversion-recovery",
    "gradient-echo",
    "prepared-gradient-echo",
    "balanced",
    "diffusion",
    "perfusion",
)
PARTS = ("all", "water", "fat", "opposed")
RELAXIVITY_R1, RELAXIVITY_R2 = 4.5, 5.5  # gadolinium chelates at 1.5 T, per mM per s; Rohrer et al. 2005
# Blood flow in ml/100 g/min: grey and white matter, Alsop et al. 2015; kidney and others typical; lesions vary widely.
FLOW_ML_PER_100G_MIN = {
    "grey": 65.0, "white": 22.0, "deep-grey": 58.0, "tumour": 70.0, "enhancing": 110.0, "plaque": 20.0, "oedema": 10.0,
    "muscle": 4.0, "kidney": 250.0, "medulla": 60.0, "liver": 90.0, "spleen": 130.0, "skin": 8.0,
}  # fmt: skip
FAT_SUPPRESSION_LEFT = 0.08  # share of the fat signal that survives spectral saturation


@dataclass(frozen=True)
class Sequence:
    """A pulse sequence: `name` as radiologists call it, `kind` one of KINDS, times in ms, angle in degrees.

    `part` is what a Dixon reconstruction shows; `fat_suppressed` saturates fat spectrally. `minutes_after_contrast`
    is the time since contrast agent was given (None: not given); `inflow_pulses` how many excitations blood has
    felt since it flowed in (None: as many as the rest). Refuses settings that no scanner could run: an echo after
    the repetition time, an inversion time where nothing is inverted.
    """

    name: str
    kind: str
    repetition_time_ms: float
    echo_time_ms: float
    inversion_time_ms: float | None = None
    flip_angle_deg: float = 90.0
    echo_train_length: int = 1
    b_value_s_per_mm2: float | None = None
    fat_suppressed: bool = False
    part: str = "all"
    volumetric: bool = False
    minutes_after_contrast: float | None = None
    inflow_pulses: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"unknown kind of sequence {self.kind!r}", remedy=f"one of {', '.join(KINDS)}")
        if self.part not in PARTS:
            raise InputError(f"unknown part {self.part!r}", remedy=f"one of {', '.join(PARTS)}")
        if not 0 <= self.echo_time_ms < self.repetition_time_ms:
            raise InputError(f"echo time {self.echo_time_ms} ms is not within the repetition time")
        inverts = self.kind in ("inversion-recovery", "prepared-gradient-echo")
        if inverts == (self.inversion_time_ms is None):
            raise InputError("an inversion time goes with an inversion, and only with it", where=self.name)
        if (self.kind == "diffusion") == (self.b_value_s_per_mm2 is None):
            raise InputError("a b-value goes with diffusion, and only with it", where=self.name)

    @property
    def scanning_sequence(self) -> tuple[str, ...]:
        """DICOM (0018,0020): SE, IR, GR, EP."""
        return {
            "spin-echo": ("SE",),
            "inversion-recovery": ("SE", "IR"),
            "gradient-echo": ("GR",),
            "prepared-gradient-echo": ("GR", "IR"),
            "balanced": ("GR",),
            "diffusion": ("EP", "SE"),
            "perfusion": ("EP", "GR"),
        }[self.kind]

    @property
    def sequence_variant(self) -> tuple[str, ...]:
        """DICOM (0018,0021): segmented k-space, spoiled, magnetisation prepared, steady state."""
        return {
            "spin-echo": ("SK",) if self.echo_train_length > 1 else ("NONE",),
            "inversion-recovery": ("SK", "SP") if self.echo_train_length > 1 else ("SP",),
            "gradient-echo": ("SP",),
            "prepared-gradient-echo": ("SP", "MP"),
            "balanced": ("SS", "TRSS"),
            "diffusion": ("SK", "SP"),
            "perfusion": ("SK", "SP"),
        }[self.kind]


def tissue_signals(sequence: Sequence, table: TissueTable, *, contrast_mm: torch.Tensor | None = None) -> torch.Tensor:
    """What a voxel full of each tissue gives, in the order of the table; signed, 1 is fully relaxed water.

    `contrast_mm` is the concentration of contrast agent in mmol/l per tissue: it shortens both relaxation times
    in proportion. In echo trains fat decays about half as fast (Henkelman et al. 1992, J Magn Reson Imaging 2:533).
    """
    if sequence.kind == "perfusion":
        return labelled_signal(sequence, table)
    t1, t2, t2_star = _with_contrast(table, contrast_mm)
    if sequence.echo_train_length > 4:
        t2 = t2 * (1 + table.fat_fraction)
    timing = {"repetition_time_ms": sequence.repetition_time_ms, "echo_time_ms": sequence.echo_time_ms}
    inversion, angle = float(sequence.inversion_time_ms or 0.0), sequence.flip_angle_deg
    if sequence.kind == "spin-echo":
        signal = mr.spin_echo(t1, t2, **timing)
    elif sequence.kind == "diffusion":
        b_value = float(sequence.b_value_s_per_mm2 or 0.0)
        signal = mr.spin_echo(t1, t2, **timing) * mr.diffusion_decay(
            table.diffusivity_um2_per_ms, b_value_s_per_mm2=b_value
        )
    elif sequence.kind == "inversion-recovery":
        signal = mr.inversion_recovery(t1, t2, inversion_time_ms=inversion, **timing)
    elif sequence.kind == "gradient-echo":
        signal = mr.spoiled_gradient_echo(t1, t2_star, flip_angle_deg=angle, **timing)
    elif sequence.kind == "prepared-gradient-echo":
        signal = mr.prepared_gradient_echo(t1, t2_star, inversion_time_ms=inversion, flip_angle_deg=angle, **timing)
    else:
        signal = mr.balanced_steady_state(t1, t2, flip_angle_deg=angle, **timing)
    if sequence.inflow_pulses is not None:
        signal = _with_inflow(signal, sequence, table)
    return table.proton_density * signal * _fat_weight(sequence, table.fat_fraction)


def labelled_signal(sequence: Sequence, table: TissueTable) -> torch.Tensor:
    """Arterial spin labelling: by how much labelled blood lowers the signal of each tissue.

    The equilibrium signal at the echo times the share of `dynamic.label_difference` for the tissue's blood flow.
    """
    flow = torch.tensor([FLOW_ML_PER_100G_MIN.get(name, 0.0) for name in table.names])
    decay = torch.exp(-sequence.echo_time_ms / table.t2_star_ms)
    return table.proton_density * decay * label_difference(flow, field_t=table.field_t)


def _with_inflow(signal: torch.Tensor, sequence: Sequence, table: TissueTable) -> torch.Tensor:
    """The signals with that of blood replaced by what fresh blood gives."""
    changed = signal.clone()
    for blood in [number for number, name in enumerate(table.names) if name in ("blood", "flowing-blood")]:
        fresh = inflow_signal(
            float(table.t1_ms[blood]),
            repetition_time_ms=sequence.repetition_time_ms,
            flip_angle_deg=sequence.flip_angle_deg,
            fresh_pulses=torch.tensor(float(sequence.inflow_pulses or 0.0)),
        )
        changed[blood] = fresh * torch.exp(-sequence.echo_time_ms / table.t2_star_ms[blood])
    return changed


def _with_contrast(
    table: TissueTable, contrast_mm: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    if contrast_mm is None:
        return table.t1_ms, table.t2_ms, table.t2_star_ms
    if bool((contrast_mm < 0).any()):
        raise InputError("a concentration of contrast agent is negative")
    rate_1, rate_2 = RELAXIVITY_R1 * contrast_mm / 1000, RELAXIVITY_R2 * contrast_mm / 1000
    return (1 / (1 / table.t1_ms + rate_1), 1 / (1 / table.t2_ms + rate_2), 1 / (1 / table.t2_star_ms + rate_2))


def _fat_weight(sequence: Sequence, fat_fraction: torch.Tensor) -> torch.Tensor:
    """How much of the protons counts: Dixon parts, and what fat suppression leaves."""
    weights = {
        "all": torch.ones_like(fat_fraction),
        "water": 1 - fat_fraction,
        "fat": fat_fraction,
        "opposed": (1 - 2 * fat_fraction).abs(),
    }[sequence.part]
    if sequence.fat_suppressed:
        weights = weights * (1 - fat_fraction * (1 - FAT_SUPPRESSION_LEFT))
    return weights
