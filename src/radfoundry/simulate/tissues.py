"""What each tissue is made of, as a scanner sees it: relaxation times, water content, diffusion, fat, density."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from radfoundry.records import InputError

REFERENCE_FIELD_T = 1.5


@dataclass(frozen=True, slots=True)
class Tissue:
    """Physical properties of one tissue; pairs are the values at 1.5 T and at 3 T.

    Times in ms, proton density relative to water, diffusion in µm²/ms (1e-3 mm²/s), density in
    Hounsfield units. `fat_fraction` is the share of the protons that sit in fat.
    """

    name: str
    t1_ms: tuple[float, float]
    t2_ms: tuple[float, float]
    t2_star_ms: tuple[float, float]
    proton_density: float
    diffusivity_um2_per_ms: float
    hounsfield: float
    fat_fraction: float = 0.0
    source: str = ""


# Rooney 2007 = Magn Reson Med 57:308 (T1 against field strength: 1.16e-3 (gamma B0)^0.376 s in grey, 0.71e-3
# (gamma B0)^0.382 s in white matter); Stanisz 2005 = Magn Reson Med 54:507; Peters 2007 = Magn Reson Imaging 25:748
# (T2*); de Bazelaire 2004 = Radiology 230:652; BrainWeb = Collins 1998, IEEE TMI 17:463. Where a source gives one
# field strength only, the other is filled with the same value. Pathology is a typical value of a wide range.
TISSUES: tuple[Tissue, ...] = (
    Tissue("air", (1.0, 1.0), (1.0, 1.0), (1.0, 1.0), 0.0, 0.0, -1000),
    Tissue("grey", (998, 1295), (95, 99), (84, 66), 0.86, 0.80, 38, source="Rooney 2007; Stanisz 2005; Peters 2007"),
    Tissue("white", (680, 887), (72, 69), (66, 53), 0.77, 0.70, 29, source="Rooney 2007; Stanisz 2005; Peters 2007"),
    Tissue("csf", (4300, 4300), (2000, 2000), (1000, 700), 1.0, 3.0, 8, source="Rooney 2007"),
    Tissue("deep-grey", (900, 1130), (80, 72), (60, 42), 0.83, 0.75, 36, source="between grey and white; iron-rich"),
    Tissue(
        "bone", (250, 300), (0.5, 0.4), (0.4, 0.3), 0.15, 0.0, 1200, source="short T2: no signal at usual echo times"
    ),
    Tissue("marrow", (549, 586), (49, 49), (25, 15), 0.75, 0.4, 120, 0.6, source="de Bazelaire 2004"),
    Tissue("fat", (343, 382), (58, 68), (45, 35), 0.95, 0.05, -100, 0.92, source="de Bazelaire 2004"),
    Tissue("muscle", (1008, 1412), (44, 50), (30, 28), 0.80, 1.5, 55, source="Stanisz 2005"),
    Tissue("skin", (700, 850), (40, 38), (25, 20), 0.65, 0.8, 45, source="typical; BrainWeb treats it with muscle"),
    Tissue("vitreous", (3200, 3200), (900, 900), (500, 400), 1.0, 2.8, 8, source="near to water"),
    Tissue(
        "plaque", (1150, 1420), (150, 145), (110, 90), 0.86, 1.10, 26, source="demyelinated or gliotic white matter"
    ),
    Tissue("oedema", (1250, 1600), (180, 170), (140, 110), 0.90, 1.45, 20, source="vasogenic oedema"),
    Tissue("tumour", (1350, 1750), (130, 125), (95, 80), 0.88, 1.05, 34, source="cellular glioma"),
    Tissue("necrosis", (2600, 3000), (450, 430), (250, 200), 0.97, 2.2, 16, source="necrotic fluid"),
    Tissue("enhancing", (1350, 1750), (130, 125), (95, 80), 0.88, 1.00, 36, source="viable tumour with leaky vessels"),
    Tissue("slow-enhancing", (1350, 1750), (120, 115), (90, 75), 0.88, 1.40, 36, source="benign growth, few vessels"),
    Tissue("haemorrhage", (1150, 1400), (50, 40), (18, 10), 0.88, 0.6, 68, source="acute clot: deoxyhaemoglobin"),
    Tissue("blood", (1441, 1932), (290, 275), (180, 120), 0.92, 1.6, 45, source="Stanisz 2005"),
    Tissue("cartilage", (1024, 1168), (30, 27), (20, 17), 0.75, 1.3, 90, source="Stanisz 2005"),
    Tissue("liver", (586, 809), (46, 34), (28, 20), 0.80, 1.2, 60, source="de Bazelaire 2004"),
    Tissue("spleen", (1057, 1328), (79, 61), (45, 25), 0.85, 0.85, 50, source="de Bazelaire 2004"),
    Tissue("kidney", (966, 1142), (87, 76), (55, 40), 0.86, 2.0, 32, source="de Bazelaire 2004, cortex"),
    Tissue("medulla", (1412, 1545), (85, 81), (50, 36), 0.90, 2.1, 30, source="de Bazelaire 2004, kidney medulla"),
    Tissue("pancreas", (584, 725), (46, 43), (30, 25), 0.80, 1.4, 42, 0.1, source="de Bazelaire 2004"),
    Tissue("prostate", (1317, 1597), (88, 74), (60, 45), 0.88, 1.5, 40, source="de Bazelaire 2004"),
    Tissue("water", (3000, 3000), (1500, 1500), (700, 500), 1.0, 2.6, 5, source="urine, effusion, disc fluid"),
    # Joints and spine. Gold 2004 = AJR 183:343 (T1 of marrow fat and synovial fluid); Filho 2009 = Radiology 252:217
    # (tendon by ultra-short echoes); Rauscher 2008 = Radiology 249:591 (meniscus); Watanabe 2007 = Spine 32:2347 and
    # Stelzeneder 2012 = Eur Spine J 21:324 (disc T2); Kuhn 2012 = Radiology 265:531 (fat of vertebral marrow).
    Tissue("yellow-marrow", (288, 365), (62, 68), (30, 20), 0.92, 0.1, -70, 0.88, source="Gold 2004; T2 as fat"),
    Tissue("red-marrow", (850, 980), (52, 50), (18, 11), 0.80, 0.5, 30, 0.20, source="Kuhn 2012; low-fat marrow"),
    Tissue("marrow-oedema", (1350, 1650), (105, 95), (45, 32), 0.86, 1.4, 25, 0.12, source="water in marrow spaces"),
    Tissue("tendon", (600, 621), (4.5, 4.0), (2.0, 1.6), 0.62, 0.6, 90, source="Filho 2009; ligaments alike"),
    Tissue("meniscus", (780, 860), (10.5, 9.5), (6.0, 5.0), 0.68, 0.9, 100, source="Rauscher 2008"),
    Tissue("nucleus", (1300, 1500), (135, 115), (80, 60), 0.92, 1.9, 75, source="Watanabe 2007; Stelzeneder 2012"),
    Tissue("annulus", (900, 1050), (24, 22), (14, 11), 0.70, 1.0, 95, source="Watanabe 2007; Stelzeneder 2012"),
    Tissue("cord", (745, 993), (74, 78), (60, 48), 0.78, 0.85, 38, source="Stanisz 2005"),
    Tissue("nerve", (815, 1083), (77, 78), (50, 38), 0.76, 0.95, 35, source="Stanisz 2005, optic nerve"),
    Tissue("synovial-fluid", (2850, 3620), (1210, 767), (500, 350), 1.0, 2.5, 12, source="Gold 2004"),
    Tissue(
        "flowing-blood",
        (1441, 1932),
        (8, 8),
        (180, 120),
        0.92,
        1.6,
        45,
        source="Stanisz 2005; T2 stands for the spins that leave the slice between the pulses of a spin echo",
    ),
    Tissue("lung", (1200, 1300), (40, 35), (2.0, 0.8), 0.22, 1.6, -840, source="Hatabu 1999, Eur J Radiol 29:245"),
    # Trunk and pelvis. Yu 2011 = Magn Reson Med 66:248 (T2* of lung); Rakow-Penner 2006 = J Magn Reson Imaging 23:87
    # (breast); Gibbs 2001 = Magn Reson Med 46:1054 (prostate T2 and diffusion); Langer 2009 = J Magn Reson Imaging
    # 30:327 (ADC and T2 of prostate cancer); Schneider 2000 = Phys Med Biol 45:459 (what gives which HU).
    Tissue("lung-tissue", (1200, 1300), (40, 35), (2.1, 0.74), 0.85, 1.6, 45, source="Yu 2011; the share without air"),
    Tissue("airless-lung", (1150, 1350), (62, 58), (40, 30), 0.88, 1.5, 40, source="collapsed or consolidated lung"),
    Tissue("glandular", (1266, 1445), (58, 54), (45, 35), 0.85, 1.9, 40, 0.05, source="Rakow-Penner 2006"),
    Tissue("carcinoma", (1100, 1400), (82, 76), (55, 42), 0.86, 0.95, 42, source="typical of solid tumours"),
    Tissue("calcification", (800, 800), (4, 4), (1.0, 0.8), 0.15, 0.4, 900, source="Schneider 2000; no signal"),
    Tissue("bowel", (950, 1200), (52, 46), (35, 26), 0.82, 1.5, 42, source="muscle layer of the gut wall; as muscle"),
    Tissue("mucosa", (1150, 1400), (96, 88), (60, 45), 0.90, 1.7, 38, source="typical: brighter than its muscle layer"),
    Tissue("stool", (700, 900), (75, 70), (25, 14), 0.65, 1.1, 30, source="typical of a wide range"),
    Tissue("bile", (2200, 2500), (620, 560), (350, 250), 0.98, 2.5, 8, source="fasting gall bladder; near to water"),
    Tissue("peripheral-zone", (1500, 1750), (165, 148), (95, 72), 0.92, 1.85, 38, source="Gibbs 2001; Langer 2009"),
    Tissue("stroma", (1150, 1400), (62, 54), (42, 32), 0.82, 1.15, 42, source="fibromuscular prostate; as muscle"),
    Tissue("prostate-cancer", (1250, 1500), (72, 62), (50, 38), 0.86, 0.75, 42, source="Gibbs 2001; Langer 2009"),
    Tissue("fibrous", (700, 800), (16, 14), (9, 7), 0.60, 0.8, 70, source="capsule, fascia, ligament; between tendon"),
    Tissue("myometrium", (1309, 1514), (117, 79), (60, 45), 0.88, 1.4, 48, source="de Bazelaire 2004"),
)
NAMES: tuple[str, ...] = tuple(tissue.name for tissue in TISSUES)


@dataclass(frozen=True)
class TissueTable:
    """The properties of all tissues at one field strength, each a tensor in the order of `names`."""

    names: tuple[str, ...]
    field_t: float
    t1_ms: torch.Tensor
    t2_ms: torch.Tensor
    t2_star_ms: torch.Tensor
    proton_density: torch.Tensor
    diffusivity_um2_per_ms: torch.Tensor
    hounsfield: torch.Tensor
    fat_fraction: torch.Tensor


def index(name: str) -> int:
    """The place of a tissue in every tissue axis.

    >>> NAMES[index("white")]
    'white'
    """
    if name not in NAMES:
        raise InputError(f"unknown tissue {name!r}", remedy=f"known: {', '.join(NAMES)}", finding="unknown-name")
    return NAMES.index(name)


def at_field(field_t: float, *, names: Sequence[str] = NAMES) -> TissueTable:
    """The properties of the named tissues at a field strength in tesla.

    Between and beyond 1.5 T and 3 T each time follows a power law of the field (Bottomley 1984, Med Phys
    11:425; Rooney 2007). Refuses fields outside 0.02-10 T, where the law has no support.

    >>> table = at_field(3.0)
    >>> round(float(table.t1_ms[index("white")]))
    887
    """
    if not 0.02 <= field_t <= 10:
        raise InputError(f"field strength {field_t} T is outside 0.02-10 T", remedy="give the field in tesla")
    tissues = [TISSUES[index(name)] for name in names]
    share = math.log2(field_t / REFERENCE_FIELD_T)

    def law(pair: tuple[float, float]) -> float:
        return pair[0] * (pair[1] / pair[0]) ** share

    def column(name: str) -> torch.Tensor:
        values = [getattr(tissue, name) for tissue in tissues]
        return torch.tensor([law(v) if isinstance(v, tuple) else float(v) for v in values], dtype=torch.float32)

    return TissueTable(
        names=tuple(names),
        field_t=field_t,
        t1_ms=column("t1_ms"),
        t2_ms=column("t2_ms"),
        t2_star_ms=column("t2_star_ms"),
        proton_density=column("proton_density"),
        diffusivity_um2_per_ms=column("diffusivity_um2_per_ms"),
        hounsfield=column("hounsfield"),
        fat_fraction=column("fat_fraction"),
    )
