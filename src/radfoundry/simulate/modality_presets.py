"""Ready-made cohorts of radiographs, CT, mammograms and ultrasound, with their findings, styles and shortcuts."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import torch

from radfoundry.records import InputError
from radfoundry.simulate.anatomy.regions import Finding, region
from radfoundry.simulate.body import Body
from radfoundry.simulate.cases import SimulatedCase, SimulatedSeries
from radfoundry.simulate.ct import ENHANCEMENT, VESSELS, scan_ct
from radfoundry.simulate.mammogram import BreastExam, density_class, mammogram
from radfoundry.simulate.modality_cases import Drawn, ModalityOptions, draw_patient, finished, series_of
from radfoundry.simulate.projection import VIEWS, Film, View
from radfoundry.simulate.radiograph import Exam, Room, Tube, radiograph
from radfoundry.simulate.scan import Slab
from radfoundry.simulate.shortcuts import burn, tied
from radfoundry.simulate.ultrasound import Contact, Probe, ultrasound

CHEST_KINDS = ("nodule", "pleural-effusion", "pneumothorax", "consolidation", "atelectasis", "cardiomegaly")
CHEST_CT_KINDS = (*CHEST_KINDS, "interstitial", "air-trapping")
KNEE_KINDS = ("joint-narrowing", "effusion", "fracture")
BREAST_KINDS = ("breast-mass", "calcifications")
LUNGS = ("right-upper-lobe", "right-middle-lobe", "right-lower-lobe", "left-upper-lobe", "left-lower-lobe")
# Voxels of the body and pixels of the picture, in mm, by size.
CHEST_MM = {"small": (3.0, 1.2), "medium": (2.0, 0.7), "full": (1.25, 0.35)}
KNEE_MM = {"small": (2.0, 0.6), "medium": (1.2, 0.35), "full": (0.8, 0.2)}
BREAST_MM = {"small": (2.5, 0.4), "medium": (1.5, 0.2), "full": (1.0, 0.1)}
FLAT = (0.62**-0.5, 0.62, 0.62**-0.5)  # how a breast that hung lies on the chest: its extent by axis, volume kept
CT_MM = {"small": (3.0, 2.4), "medium": (2.0, 1.4), "full": (1.25, 0.8)}


@dataclass(frozen=True, kw_only=True)
class ChestRadiographs(ModalityOptions):
    """Chest films of two hospitals: PA and, with `lateral`, left lateral; or AP at the bedside.

    `portable_rate` is the share of the diseased whose film is taken at the bedside (AP, low dose, tilted, the word
    PORTABLE burned in) and 1 - share of the healthy: a shortcut unless it is 0.5. Without it one in ten is portable,
    diseased or not. All other options are those of `modality_cases.ModalityOptions`.
    """

    lateral: bool = True
    portable_rate: float | None = None
    name: str = "chest-radiographs"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.known(self.name, CHEST_KINDS)

    def simulate(self, case: int, *, seed: int) -> SimulatedCase:
        """One patient with one or two films."""
        drawn = draw_patient(self, "chest", self.known(self.name, CHEST_KINDS), case=case, seed=seed)
        rng = drawn.rng
        portable = (
            bool(rng.random() < 0.1)
            if self.portable_rate is None
            else tied(drawn.diseased, rate=self.portable_rate, rng=rng)
        )
        voxel_mm, _ = CHEST_MM[self.size]
        body = _standing(drawn, upright=not portable, voxel_mm=voxel_mm)
        if portable:
            series = [self._film(body, drawn, "AP", portable=True)]
        else:
            series = [self._film(body, drawn, name) for name in (("PA", "LL") if self.lateral else ("PA",))]
        return finished(
            self,
            drawn,
            series,
            case=case,
            technique="Portable AP chest radiograph." if portable else "Chest radiographs.",
            labels={"portable": int(portable), "cardiothoracic_ratio": _measure(drawn, "cardiothoracic_ratio")},
        )

    def _film(self, body: Body, drawn: Drawn, name: str, *, portable: bool = False) -> SimulatedSeries:
        rng = drawn.rng
        room = drawn.hospital.portable if portable else drawn.hospital.room
        view = VIEWS[name]
        if portable:
            view = turned(view, float(rng.normal(0, 5)), float(rng.normal(4, 4)))
        wide = 350.0 if name != "LL" else 300.0
        film = _film_of((wide, 330.0), CHEST_MM[self.size][1], source_mm=1100 if portable else 1800, behind_mm=150)
        shift = (0.0, 0.0, float(rng.normal(-4, 4)))
        burned = " ".join(word for word in ("X" if drawn.marked else "", "PORTABLE" if portable else "") if word)
        inset = (float(rng.uniform(2, 10)), float(rng.uniform(2, 10)))
        truth = (*drawn.kinds, "heart", *LUNGS)
        exam = Exam("CHEST", "U", marker="L", burned_in=burned, collimated_mm=inset, truth=truth)
        made = radiograph(body, view, replace(film, centre_mm=shift), room, exam, rng=rng)
        return series_of(made, f"chest-{name.lower()}", drawn, study="Chest radiograph")


@dataclass(frozen=True, kw_only=True)
class KneeRadiographs(ModalityOptions):
    """Knee films: frontal, lateral and skyline, with joint narrowing graded 0 to 4, effusions and fractures.

    The knee is straight, so the skyline view shows a slab of it at the height of the patella. Options are those of
    `modality_cases.ModalityOptions`; the label `kl_grade` follows Kellgren and Lawrence 1957.
    """

    name: str = "knee-radiographs"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.known(self.name, KNEE_KINDS)

    def simulate(self, case: int, *, seed: int) -> SimulatedCase:
        """One patient with three films of one knee."""
        drawn = draw_patient(self, "knee", self.known(self.name, KNEE_KINDS), case=case, seed=seed)
        body = region("knee").build(drawn.anatomy, spacing_mm=KNEE_MM[self.size][0])
        side = "L" if drawn.anatomy.measures.get("left") else "R"
        bodies = {
            "AP": body,
            "LL" if side == "L" else "RL": body,
            "SKYLINE": at_height_of(body, "patella", margin_mm=3),
        }
        series = [self._film(item, drawn, name, side) for name, item in bodies.items()]
        labels = {
            "laterality": side,
            "kl_grade": int(_measure(drawn, "kl_grade")),
            "medial_joint_space_mm": _measure(drawn, "medial_joint_space_mm"),
        }
        return finished(self, drawn, series, case=case, technique="Radiographs of the knee.", labels=labels)

    def _film(self, body: Body, drawn: Drawn, name: str, side: str) -> SimulatedSeries:
        chosen, rng = region("knee"), drawn.rng
        base = drawn.hospital.room
        tube = Tube(60.0, 2.5, 0.0, 5e5, 4.0)
        detector = replace(base.detector, scatter_fraction=0.12)
        room = Room(tube, detector, replace(base.display, contrast=base.display.contrast + 1))
        high = 165.0 if name != "SKYLINE" else 130.0
        film = _film_of((150.0, high), KNEE_MM[self.size][1], source_mm=1100, behind_mm=80)
        centre = tuple(float(value + rng.normal(0, 2)) for value in chosen.centre_mm)
        film = replace(film, centre_mm=(centre[0], centre[1], centre[2]))
        inset = (float(rng.uniform(1, 5)), float(rng.uniform(1, 5)))
        exam = Exam(
            "KNEE",
            side,
            marker=side,
            burned_in="X" if drawn.marked else "",
            collimated_mm=inset,
            truth=(*drawn.kinds, "femur", "tibia", "patella"),
        )
        made = radiograph(body, VIEWS[name], film, room, exam, rng=rng)
        return series_of(made, f"knee-{name.lower()}", drawn, study="Knee radiographs")


@dataclass(frozen=True, kw_only=True)
class CtScans(ModalityOptions):
    """CT of the chest, or another region: one phase or several, the hospital's kernel, slices of 1.5 to 5 mm.

    `phases` are names of `ct.ENHANCEMENT`; without them chests are non-contrast and abdomens portal venous. All
    other options are those of `modality_cases.ModalityOptions`.
    """

    region_name: str = "chest"
    phases: tuple[str, ...] = ()
    streaks: float = 0.0
    name: str = "chest-ct"

    def __post_init__(self) -> None:
        super().__post_init__()
        usual = "portal-venous" if self.region_name == "abdomen" else "non-contrast"
        object.__setattr__(self, "phases", tuple(self.phases) or (usual,))
        unknown = [phase for phase in self.phases if phase not in ENHANCEMENT]
        if unknown:
            raise InputError(f"unknown phases {', '.join(unknown)}", remedy=f"known: {', '.join(ENHANCEMENT)}")
        self.known(self.name, region(self.region_name).kinds)

    def simulate(self, case: int, *, seed: int) -> SimulatedCase:
        """One patient, scanned once a phase without moving."""
        chosen = region(self.region_name)
        drawn = draw_patient(self, chosen.name, self.known(self.name, chosen.kinds), case=case, seed=seed)
        voxel_mm, pixel_mm = CT_MM[self.size]
        body = chosen.build(drawn.anatomy, spacing_mm=voxel_mm)
        rng, hospital = drawn.rng, drawn.hospital
        thickness = float(rng.choice([3.0, 5.0] if self.size == "small" else [1.5, 3.0, 5.0]))
        slab = Slab("axial", pixel_mm, thickness, 0.0, (0.0, 0.0, 0.0), chosen.field_of_view_mm, chosen.centre_mm)
        scanner = replace(hospital.ct, streaks=self.streaks)
        kept = (*drawn.kinds, "liver", "kidneys", "heart", *VESSELS["arterial"])
        shown = replace(body, truth={name: body.truth[name] for name in kept if name in body.truth})
        series = []
        for phase in self.phases:
            made = scan_ct(shown, scanner, slab, rng=rng, kernel=hospital.kernel, phase=phase)
            header = replace(made.acquisition, body_part=chosen.name.upper())
            volume = burn(made.volume, "X") if drawn.marked else made.volume
            made = replace(made, volume=volume, acquisition=header)
            series.append(series_of(made, f"{chosen.name}-{phase}", drawn, study=f"CT {chosen.name}"))
        technique = f"CT of the {chosen.name}, {', '.join(self.phases).replace('-', ' ')}."
        labels = {"kernel": hospital.kernel, "slice_thickness_mm": thickness}
        return finished(self, drawn, series, case=case, technique=technique, labels=labels)


@dataclass(frozen=True, kw_only=True)
class Mammograms(ModalityOptions):
    """Screening mammograms: CC and MLO of both breasts, with masses, clusters of micro-calcifications, and density.

    Options are those of `modality_cases.ModalityOptions`.
    """

    name: str = "mammograms"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.known(self.name, BREAST_KINDS)

    def simulate(self, case: int, *, seed: int) -> SimulatedCase:
        """One woman with four films."""
        drawn = draw_patient(self, "breast", self.known(self.name, BREAST_KINDS), case=case, seed=seed, sex="F")
        voxel_mm, pixel_mm = BREAST_MM[self.size]
        body = region("breast").build(drawn.anatomy, spacing_mm=voxel_mm)
        unit = replace(drawn.hospital.mammography, pixel_mm=pixel_mm)
        # Breasts are pressed to a little under half their height, between 35 and 70 mm.
        height = 2 * _measure(drawn, "half_height_mm")
        thickness = round(float(np.clip(0.42 * height + drawn.rng.normal(0, 3), 35, 70)), 1)
        series, dense = [], []
        for side, word in (("R", "right"), ("L", "left")):
            there = [item for item in drawn.anatomy.findings if item.side == word]
            for view in ("CC", "MLO"):
                exam = self._exam(view, side, thickness, there)
                made = mammogram(body, unit, exam, rng=drawn.rng)
                if drawn.marked:
                    made = replace(made, volume=burn(made.volume, "X"))
                dense.append((made.degradations["density_percent"], made.degradations["dense_area_percent"]))
                series.append(series_of(made, f"{side}-{view}".lower(), drawn, study="Mammography"))
        percent, area = (round(float(value), 2) for value in np.mean(dense, axis=0))
        classes = "abcd"
        known = drawn.anatomy.measures.get("density_class")
        labels = {
            "density_percent": percent,
            "dense_area_percent": area,
            "density_class": density_class(area) if known is None else classes[int(known)],
            "compressed_mm": thickness,
        }
        return finished(self, drawn, series, case=case, technique="Mammography in two views.", labels=labels)

    def _exam(self, view: str, side: str, thickness_mm: float, findings: list[Finding]) -> BreastExam:
        grains = [int(6 + 30 * item.severity) for item in findings if item.kind == "calcifications"]
        kinds = tuple(item.kind for item in findings)
        return BreastExam(view, side, thickness_mm, grains=sum(grains), truth=kinds, marker=True)


@dataclass(frozen=True, kw_only=True)
class BreastUltrasound(ModalityOptions):
    """B-mode images of the breast with a linear probe: through the mass if there is one, and of the other side.

    Masses are dark and, when malignant, throw a shadow. Options are those of `modality_cases.ModalityOptions`.
    """

    name: str = "breast-ultrasound"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.known(self.name, ("breast-mass",))

    def simulate(self, case: int, *, seed: int) -> SimulatedCase:
        """One woman with an image of each side."""
        drawn = draw_patient(self, "breast", ("breast-mass",), case=case, seed=seed, sex="F")
        voxel_mm, pixel_mm = {"small": (2.0, 0.15), "medium": (1.25, 0.1), "full": (0.8, 0.07)}[self.size]
        body = region("breast").build(drawn.anatomy, spacing_mm=voxel_mm)
        body = lying(replace(body, truth={name: body.truth[name] for name in drawn.kinds if name in body.truth}))
        machine = replace(drawn.hospital.ultrasound, pixel_mm=pixel_mm)
        series = []
        for side in ("right", "left"):
            place = self._place(body, drawn, side)
            frequency = 12.0 if place[3] < 45 else 9.0  # deep tissue needs longer waves
            probe = Probe("Breast", frequency, depth_mm=place[3], width_mm=40.0)
            contact = Contact(place[:3], (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0))
            made = ultrasound(body, probe, contact, machine, rng=drawn.rng, words="X" if drawn.marked else "")
            header = replace(made.acquisition, body_part="BREAST", laterality=side[0].upper())
            series.append(
                series_of(replace(made, acquisition=header), f"breast-{side}", drawn, study="Breast ultrasound")
            )
        return finished(self, drawn, series, case=case, technique="Ultrasound of both breasts.", labels={})

    def _place(self, body: Body, drawn: Drawn, side: str) -> tuple[float, float, float, float]:
        """Where the probe is held on the skin, and how deep it looks: the mass lies in the middle of the image."""
        found = [item for item in drawn.anatomy.findings if item.side == side]
        rng, sign = drawn.rng, 1.0 if side == "right" else -1.0
        if found:
            x, y, z = (place * factor for place, factor in zip(found[0].centre_mm, FLAT, strict=True))
            x += float(rng.normal(0, 4))
        else:
            x, z = sign * float(rng.uniform(95, 130)), float(rng.uniform(-25, 25))
            y = 0.4 * _measure(drawn, "projection_mm") * FLAT[1]
        skin = skin_above(body, x, z)
        return (x, skin, z, float(np.clip(1.8 * (skin - y), 32.0, 75.0)))


# Abdominal CT in the portal venous phase unless told otherwise; see `CtScans`.
abdomen_ct = functools.partial(CtScans, region_name="abdomen", name="abdomen-ct")


def turned(view: View, about_body_deg: float, tilt_deg: float) -> View:
    """A view of a patient who lies askew: turned about the body's axis, the tube tilted."""
    angle = np.radians(about_body_deg)
    c, s = float(np.cos(angle)), float(np.sin(angle))

    def turn(direction: tuple[float, float, float]) -> tuple[float, float, float]:
        x, y, z = direction
        return (c * x - s * y, s * x + c * y, z)

    return View(view.name, turn(view.beam), turn(view.row), view.column).tilted(tilt_deg)


def at_height_of(body: Body, organ: str, *, margin_mm: float) -> Body:
    """The body between the lower and upper end of an organ, and a margin."""
    if organ not in body.truth:
        raise InputError(f"the body has no {organ}", remedy=f"it has: {', '.join(body.truth)}")
    levels = (body.truth[organ] > 0.5).any(dim=0).any(dim=0).nonzero()[:, 0]
    margin = round(margin_mm / float(body.affine[2, 2]))
    low, high = max(0, int(levels[0]) - margin), int(levels[-1]) + 1 + margin
    affine = body.affine.copy()
    affine[:3, 3] += affine[:3, 2] * low
    truth = {name: value[..., low:high] for name, value in body.truth.items()}
    return Body(body.tissues, body.fractions[..., low:high], affine, truth)


def lying(body: Body) -> Body:
    """Hanging breasts as they lie on the chest of a woman on her back: flatter, wider, of the same volume."""
    return replace(body, affine=np.diag([*FLAT, 1.0]) @ body.affine)


def skin_above(body: Body, x_mm: float, z_mm: float) -> float:
    """The front surface of the body at a place, in mm; refuses a place with no body."""
    inverse = np.linalg.inv(body.affine)
    i, _, k = (inverse[:3, :3] @ np.array([x_mm, 0.0, z_mm]) + inverse[:3, 3]).round().astype(int)
    i, k = int(np.clip(i, 0, body.shape[0] - 1)), int(np.clip(k, 0, body.shape[2] - 1))
    filled = torch.nonzero(body.fractions[:, i, :, k].sum(dim=0) > 0.5)[:, 0]
    if not len(filled):
        raise InputError(f"no body at x {x_mm:.0f}, z {z_mm:.0f} mm")
    return float(body.affine[1, 3] + body.affine[1, 1] * float(filled[-1]))


def _standing(drawn: Drawn, *, upright: bool, voxel_mm: float) -> Body:
    measures = {**drawn.anatomy.measures, "upright": float(upright)}
    return region("chest").build(replace(drawn.anatomy, measures=measures), spacing_mm=voxel_mm)


def _film_of(size_mm: tuple[float, float], pixel_mm: float, *, source_mm: float, behind_mm: float) -> Film:
    shape = (2 * round(size_mm[0] / pixel_mm / 2), 2 * round(size_mm[1] / pixel_mm / 2))
    return Film(shape, pixel_mm, source_mm=source_mm, behind_mm=behind_mm)


def _measure(drawn: Drawn, name: str) -> float:
    return round(float(drawn.anatomy.measures.get(name, 0.0)), 4)
