"""Headers as seven makes of scanner write them, for every type of MR series, with what is missing or wrong in practice.

What each protocol looks like is in series_protocols.yaml beside this module. No pixels are made here.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from radfoundry.records import Acquisition, InputError

FILE = Path(__file__).with_name("series_protocols.yaml")
MAKES: Mapping[str, tuple[tuple[str, ...], float]] = {
    "siemens": (("SIEMENS", "Siemens", "Siemens Healthineers", "Siemens HealthCare GmbH"), 0.34),
    "ge": (("GE MEDICAL SYSTEMS", "GE"), 0.22),
    "philips": (("Philips Medical Systems", "Philips", "Philips Healthcare"), 0.22),
    "canon": (("TOSHIBA", "CANON_MEC", "Canon Medical Systems"), 0.08),
    "united": (("UIH", "United Imaging Healthcare"), 0.07),
    "hitachi": (("HITACHI", "Hitachi Medical Corporation", "FUJIFILM Healthcare Corporation"), 0.05),
    "other": (("Imaging Biometrics", "Bruker BioSpin MRI GmbH", "Esaote", "Neusoft", "MRIcroGL", "Agfa"), 0.02),
}
FIELDS_T = (0.3, 0.55, 1.0, 1.5, 1.5, 1.5, 3.0, 3.0, 3.0, 7.0)
# How a header comes: as the scanner wrote it; as a sidecar without geometry; as an old or research file with the
# timing alone; as an image file with nothing but its geometry; thinned out by a de-identification profile.
STYLES: Mapping[str, float] = {"scanner": 0.52, "sidecar": 0.16, "timing": 0.12, "bare": 0.08, "thinned": 0.12}
TIMING = ("repetition_time_ms", "echo_time_ms", "inversion_time_ms", "flip_angle_deg")
CONTRAST_WORDS: Mapping[str, str] = {  # DICOM (0008,9209)
    "T1": "T1",
    "T1c": "T1",
    "T2": "T2",
    "T2-FLAIR": "FLUID_ATTENUATED",
    "DWI": "DIFFUSION",
    "ADC": "DIFFUSION",
    "MRA": "FLOW_ENCODED",
    "T2*": "T2_STAR",
    "SWI": "SUSCEPTIBILITY",
    "ASL": "PERFUSION",
    "proton density": "PROTON_DENSITY",
    "short inversion time (STIR)": "STIR",
    "functional time series": "T2_STAR",
    "perfusion with contrast agent": "PERFUSION",
}
Geometry = tuple[tuple[int, int, int, int], tuple[float, float, float]]


@dataclass(frozen=True)
class DrawnSeries:
    """One series as its header tells it, and the truth.

    `shape` (C, I, J, K) and `spacing_mm` are None where the header comes without geometry. `agent` is whether
    contrast agent had been given, whatever the header says. `images` are protocols of `simulate.protocols` (or ADC,
    mask, noise) whose pictures belong to this one, `bodies` the simulated regions.
    """

    acquisition: Acquisition
    sequence: str
    anatomy: str
    agent: bool
    protocol: str
    make: str
    images: tuple[str, ...]
    bodies: tuple[str, ...]
    shape: tuple[int, int, int, int] | None = None
    spacing_mm: tuple[float, float, float] | None = None


@functools.cache
def listed() -> Mapping[str, Any]:
    """The protocols and regions of series_protocols.yaml, each `like` filled in."""
    found = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    protocols: dict[str, Any] = {}
    for name, item in found["protocols"].items():
        base = found["protocols"][item["like"]] if "like" in item else {}
        protocols[name] = {**base, **{key: value for key, value in item.items() if key != "like"}}
    return {"protocols": protocols, "regions": found["regions"]}


def draw_series(
    rng: np.random.Generator, *, protocol: str | None = None, anatomy: str | None = None, make: str | None = None
) -> DrawnSeries:
    """One series of any type, part of the body and make, or of those named; refuses unknown names.

    >>> drawn = draw_series(np.random.default_rng(0), protocol="flair-2d", make="siemens")
    >>> drawn.sequence, drawn.acquisition.modality
    ('T2-FLAIR', 'MR')
    """
    known = listed()
    for name, among in ((protocol, known["protocols"]), (anatomy, known["regions"]), (make, MAKES)):
        if name is not None and name not in among:
            raise InputError(f"unknown name {name!r}", remedy=f"one of {', '.join(among)}", finding="unknown-name")
    protocol = protocol or _weighted(known["protocols"], rng)
    plan = known["protocols"][protocol]
    anatomy = anatomy or (_pick(plan["regions"], rng) if "regions" in plan else _weighted(known["regions"], rng))
    make = make or str(rng.choice(list(MAKES), p=[share for _, share in MAKES.values()]))
    part = known["regions"][anatomy]
    shape, spacing = _geometry(plan, part, rng)
    agent = plan.get("agent") == "given" or (plan.get("agent") == "leftover" and rng.random() < 0.15)
    said = _timing(plan, make, rng) | _words(plan, make, rng) | _place(part, make, rng) | _grid(shape, spacing, rng)
    if agent and rng.random() < 0.93:
        said["contrast_agent"] = _pick(("stated", "Gadovist", "DOTAREM", "GD", "MAGNEVIST", "Prohance"), rng)
    drawn = DrawnSeries(
        Acquisition(modality="MR", manufacturer=_pick(MAKES[make][0], rng), **said),
        plan["type"],
        anatomy,
        agent,
        protocol,
        make,
        tuple(plan["images"]),
        tuple(part.get("simulated", ())),
        shape,
        spacing,
    )
    return _as_it_comes(drawn, plan, rng)


def _weighted(among: Mapping[str, Any], rng: np.random.Generator) -> str:
    weights = np.array([float(item["weight"]) for item in among.values()])
    return str(rng.choice(list(among), p=weights / weights.sum()))


def _pick(values: Sequence[Any], rng: np.random.Generator) -> Any:
    return values[int(rng.integers(len(values)))]


def _by_make(table: Mapping[str, Any] | None, make: str) -> Any:
    return None if table is None else table.get(make, table.get("any"))


def _between(ends: Sequence[float], rng: np.random.Generator) -> float:
    """A value between two ends, evenly on a logarithmic scale."""
    low, high = float(ends[0]), float(ends[1])
    return float(np.exp(rng.uniform(np.log(low), np.log(high)))) if high > low else low


def _timing(plan: Mapping[str, Any], make: str, rng: np.random.Generator) -> dict[str, Any]:
    """Times in ms, angle, echo train, field strength, bandwidth; some makes write another repetition time."""
    own = plan.get("short", {}).get(make, {})
    if make == "other" and plan.get("short") and rng.random() < 0.5:
        own = plan["short"]["ge"]
    echo = round(_between(plan["te"], rng), 3)
    repetition = max(round(_between(own.get("tr", plan["tr"]), rng), 2), round(echo * 1.05, 2))
    said: dict[str, Any] = {
        "repetition_time_ms": repetition,
        "echo_time_ms": echo,
        "flip_angle_deg": round(_between(plan["flip"], rng)),
        "field_strength_t": float(_pick(FIELDS_T, rng)),
        "averages": float(_pick((1, 1, 1, 2, 2, 3, 4), rng)),
        "bandwidth_hz_per_pixel": round(_between(plan.get("bandwidth", (80, 700)), rng)),
        "echo_number": 1,
    }
    if "ti" in plan and rng.random() >= own.get("no_ti", 0.06 if "short" not in plan else 0.1):
        said["inversion_time_ms"] = round(_between(own.get("ti", plan["ti"]), rng))
    elif "ti" not in plan and make in ("ge", "philips", "united") and rng.random() < 0.15:
        said["inversion_time_ms"] = 0.0
    if rng.random() < 0.85:
        low, high = plan.get("train", (1, 1))
        said["echo_train_length"] = round(_between((low, high), rng))
    if "echoes" in plan and rng.random() < 0.5:
        said["echo_number"] = int(rng.integers(1, plan["echoes"][1] + 1))
    if plan.get("diffusion"):
        said |= _diffusion(plan, rng)
    return said


def _diffusion(plan: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    if plan.get("directions") == "none":
        return {"b_value_s_per_mm2": 0.0} if rng.random() < 0.1 else {}
    if rng.random() < 0.25:  # neither the standard's element nor a private one that is known
        return {}
    b_value = float(_pick((0, 50, 400, 600, 800, 1000, 1000, 1000, 1500, 2000, 3000), rng))
    said: dict[str, Any] = {"b_value_s_per_mm2": b_value}
    if rng.random() < 0.35:
        said["diffusion_directionality"] = "NONE" if b_value == 0 else _pick(("DIRECTIONAL", "ISOTROPIC"), rng)
    return said


def _words(plan: Mapping[str, Any], make: str, rng: np.random.Generator) -> dict[str, Any]:
    """The coded words: scanning sequence, variant, options, image type, name of the pulse sequence, angiography."""
    kinds = tuple(_by_make(plan.get("words"), make) or plan["kind"].split())
    said: dict[str, Any] = {"scanning_sequence": kinds, "acquisition_type": plan["dimension"]}
    said["sequence_variant"] = _variant(plan, make, kinds, rng)
    options: list[str] = list(_by_make(plan.get("options"), make) or ())
    if rng.random() < plan.get("fat", 0.12):
        options.append("FS" if make != "siemens" else str(_pick(("FS", "SFS", "WE"), rng)))
    if plan.get("transfer") and rng.random() < plan["transfer"]:
        options.append("MT" if make != "ge" else "MT_GEMS")
    filler = {"ge": ("FAST_GEMS", "EDR_GEMS", "FILTERED_GEMS", "ACC_GEMS", "NPW"), "philips": ("PFP", "OTHER")}
    extra = filler.get(make, ("PFP", "SAT1"))
    options += [word for word in extra if rng.random() < 0.4]
    if options:
        said["scan_options"] = tuple(dict.fromkeys(options))
    said["image_type"] = _image_type(plan, make, rng)
    name = _by_make(plan.get("names"), make)
    if name and rng.random() < {"siemens": 0.95, "ge": 0.45, "philips": 0.4}.get(make, 0.6):
        said["sequence_name"] = str(_pick(name, rng))
    if plan.get("angio"):
        said |= {"angio_flag": "Y"} if rng.random() < plan.get("angio_stated", 0.35) else {}
    elif rng.random() < 0.5:
        said["angio_flag"] = "N"
    if rng.random() < 0.15:
        said["acquisition_contrast"] = str(_pick((*_contrast_words(plan), "UNKNOWN"), rng))
    return said


def _contrast_words(plan: Mapping[str, Any]) -> tuple[str, ...]:
    """What newer files write as acquisition contrast, twice as likely as that they do not know."""
    named = CONTRAST_WORDS.get(plan["type"]) or CONTRAST_WORDS.get(plan.get("detail", ""), "")
    return (named, named) if named else ()


def _variant(plan: Mapping[str, Any], make: str, kinds: tuple[str, ...], rng: np.random.Generator) -> tuple[str, ...]:
    stated = _by_make(plan.get("variant"), make)
    if stated:
        words = list(stated)
    elif plan.get("balanced"):
        words = list(_pick((("SS",), ("SS", "TRSS"), ("SK", "SS", "OSP"), ("TRSS",), ("SS", "SK")), rng))
    elif "GR" in kinds:
        words = list(
            _pick({"ge": (("SS", "SP"), ("SP",), ("SS", "SK"))}.get(make, (("SP",), ("SP", "OSP"), ("SS",))), rng)
        )
    else:
        words = list(_pick((("SK",), ("SK", "SP"), ("SK", "OSP"), ("NONE",)), rng))
    if plan.get("transfer") and make != "philips" and rng.random() < plan["transfer"]:
        words.append("MTC")
    return tuple(words)


def _image_type(plan: Mapping[str, Any], make: str, rng: np.random.Generator) -> tuple[str, ...]:
    derived = bool(plan.get("derived"))
    first = (
        ("DERIVED" if rng.random() < 0.92 else "ORIGINAL")
        if derived
        else ("ORIGINAL" if rng.random() < 0.95 else "DERIVED")
    )
    second = "SECONDARY" if derived and rng.random() < 0.3 else "PRIMARY"
    marks = _by_make(plan.get("marks"), make)
    words = list(_pick(marks, rng)) if marks else []
    if make == "philips" and not marks:
        kind = plan["kind"]
        letter = "IR" if "IR" in kind and "GR" not in kind else "SE" if "SE" in kind else "FFE"
        words = list(_pick(((f"M_{letter}", "M", letter), ("M", letter, "M", letter)), rng))
    if make == "siemens" and not marks:
        words = ["M"]
    if make == "ge" and not words:
        words = ["OTHER"]
    if make == "siemens":
        words += [word for word, rate in (("ND", 0.5), ("NORM", 0.4), ("DIS2D", 0.4)) if rng.random() < rate]
        words += ["MOSAIC"] if plan.get("mosaic") and rng.random() < 0.7 else []
    if plan.get("dixon") and rng.random() < plan["dixon"]:
        words.append(str(_pick(("W", "F", "IP", "OP", "IN_PHASE", "OPP_PHASE", "WATER", "FAT"), rng)))
    if plan.get("localizer") and rng.random() < plan.get("loc_stated", 0.3) and "LOCALIZER" not in words:
        words.insert(0, "LOCALIZER")
    return (first, second, *words)


def _place(part: Mapping[str, Any], make: str, rng: np.random.Generator) -> dict[str, Any]:
    """Body part and coil as written: often missing, sometimes those of another region."""
    said: dict[str, Any] = {"patient_position": "FFS" if rng.random() < 0.25 else "HFS"}
    others = listed()["regions"]
    if rng.random() < 0.72:
        source = part if rng.random() < 0.93 else others[_weighted(others, rng)]
        said["body_part"] = str(_pick(source["parts"], rng)) or None
    if rng.random() < 0.5:
        source = part if rng.random() < 0.95 else others[_weighted(others, rng)]
        said["receive_coil"] = (
            "MULTI COIL" if make == "philips" and rng.random() < 0.6 else str(_pick(source["coils"], rng))
        )
    return said


def _geometry(plan: Mapping[str, Any], part: Mapping[str, Any], rng: np.random.Generator) -> Geometry:
    field = _between(part["field"], rng)
    matrix = int(_pick((256, 256, 288, 320, 320, 384, 448, 512), rng))
    if "matrix" in plan:
        matrix = round(_between(plan["matrix"], rng) / 16) * 16
    slices = round(_between(plan.get("slices", part["slices"]), rng))
    thickness = float(np.round(field / 224 * rng.uniform(2.5, 5.5) * 2) / 2)
    thickness = max(thickness, 1.0)
    if plan.get("volume"):
        thickness, slices = round(field / 224 * rng.uniform(0.5, 2.2), 2), round(_between((24, 260), rng))
    if plan.get("coarse"):
        matrix, slices = int(_pick((64, 64, 80, 84, 96, 104, 110, 128), rng)), round(_between((10, 72), rng))
    if plan.get("diffusion"):
        matrix = int(_pick((96, 104, 112, 128, 128, 160, 192, 256, 256), rng))
    if plan.get("calibration"):
        matrix, field, slices = (
            int(_pick((32, 48, 64, 64, 80, 128), rng)),
            _between((380, 560), rng),
            int(_between((20, 120), rng)),
        )
        thickness = round(rng.uniform(3, 10), 1)
    if plan.get("localizer"):
        matrix, field = int(_pick((128, 192, 256, 256, 512), rng)), field * rng.uniform(1.0, 1.5)
        slices, thickness = round(_between((1, 30), rng)), round(rng.uniform(5, 10), 1)
    low, high = plan.get("volumes", (1, 1))
    volumes = round(_between((max(low, 1), high), rng)) if high > 1 and rng.random() < plan.get("many", 0.7) else 1
    rows = round(matrix * float(_pick((1, 1, 1, 0.8125, 0.875), rng)) / 2) * 2
    in_plane = round(field / matrix, 4)
    gap = 0.0 if plan.get("volume") else round(thickness * float(_pick((0, 0, 0.1, 0.1, 0.2, 0.3), rng)), 2)
    return (volumes, matrix, rows, slices), (in_plane, in_plane, thickness + gap)


def _grid(shape: Sequence[int], spacing: Sequence[float], rng: np.random.Generator) -> dict[str, Any]:
    gap = round(spacing[2] * float(_pick((0, 0, 0.1, 0.2), rng)), 2)
    said: dict[str, Any] = {"slice_thickness_mm": round(spacing[2] - gap, 3)}
    if rng.random() < 0.8:
        said["slice_gap_mm"] = gap
    return said


def _as_it_comes(drawn: DrawnSeries, plan: Mapping[str, Any], rng: np.random.Generator) -> DrawnSeries:
    """The header in one of STYLES: most keep everything, others lose what such files lose."""
    style = (
        "bare" if plan.get("nothing") and rng.random() < 0.7 else str(rng.choice(list(STYLES), p=list(STYLES.values())))
    )
    said = drawn.acquisition.to_dict()
    if style == "sidecar":
        drawn = replace(drawn, shape=None, spacing_mm=None) if rng.random() < 0.5 else drawn
        dropped = [key for key in said if rng.random() < 0.2 and key not in TIMING]
    elif style == "timing":
        keep = (*TIMING, "modality", "manufacturer", "field_strength_t", "image_type", "slice_thickness_mm")
        dropped = [key for key in said if key not in keep or rng.random() < 0.1]
        drawn = replace(drawn, shape=None, spacing_mm=None) if rng.random() < 0.6 else drawn
    elif style == "bare":
        dropped = [key for key in said if key != "modality" or rng.random() < 0.5]
    elif style == "thinned":
        dropped = [key for key in said if rng.random() < 0.35]
    else:
        dropped = [key for key in said if rng.random() < 0.03]
    kept = {key: value for key, value in said.items() if key not in dropped}
    return replace(drawn, acquisition=Acquisition.from_dict(kept))
