"""Both hips: pelvis, femora, cartilage, muscles and pelvic organs, and what goes wrong in one of the joints."""

from __future__ import annotations

from radfoundry.simulate.anatomy import bones, hip_soft
from radfoundry.simulate.anatomy.bones import Bone, Break, shaft_cortex
from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.frames import finished, stretched
from radfoundry.simulate.anatomy.joints import JointPlan, whole, worst
from radfoundry.simulate.anatomy.limbs import marble, pack, wrap
from radfoundry.simulate.anatomy.regions import Anatomy, Region
from radfoundry.simulate.anatomy.shapes import (
    Shape,
    ball,
    common,
    cut,
    ellipsoid,
    grow,
    half_space,
    loft,
    mirrored,
    moved,
    tube,
    union,
)
from radfoundry.simulate.body import Body

CENTRE_MM = (0.0, -8.0, 2.0)
FIELD_MM = (372.0, 232.0, 184.0)
JOINT_MM = 88.0  # of each hip joint's centre from the midline, at scale 1

# Femoral head 43 mm wide in women, 48 mm in men: Milner and Boldsen 2012, J Forensic Sci 57:35. Distance between the
# joints' centres 170 to 180 mm: Lewinnek 1978 and Seidel 1995, J Biomech 28:995. Joint space 3 to 5 mm: Lequesne
# 2004, Ann Rheum Dis 63:1145. Neck and shaft at some 127 degrees: Gilligan 2013, J Anat 223:131.
PLAN = JointPlan(
    "hip",
    {"joint_distance_mm": (174.0, 178.0), "head_diameter_mm": (43.0, 48.0), "joint_space_mm": (3.8, 4.2)},
    ("joint_distance_mm", 2 * JOINT_MM),
    {
        "femoral neck": Break("femur", (105, -2, -13), (0.72, 0.0, -0.69), (-0.2, 0.0, 0.95), reach_mm=30),
        "intertrochanteric region": Break("femur", (116, -5, -30), (0.55, 0.0, -0.84), (0.5, 0.0, 0.7), reach_mm=44),
    },
    {
        "joint-narrowing": {"superior joint space": ((89.0, 0.0, 22.0), 36.0)},
        "effusion": {"hip joint": ((104.0, 12.0, -10.0), 40.0)},
        "marrow-oedema": {"femoral head": ((88.0, 4.0, 8.0), 34.0), "acetabulum": ((86.0, 2.0, 33.0), 26.0),
                          "femoral neck": ((106.0, -2.0, -15.0), 30.0)},
    },
    (26.0, 17.0),
    space="joint_space_mm",
)  # fmt: skip
ORGANS = ("femur", "pelvis", "sacrum", "cartilage", "bladder", "muscle", "subcutaneous-fat")


def _femur(radius: float, spur: float) -> Shape:
    """The right upper femur: head, neck, two trochanters and shaft; a collar of bone round the head when worn."""
    parts = [
        tube([(90, 0, -2), (112, -5, -27)], [0.68 * radius, 17]),
        ellipsoid((125, -9, -13), (13, 18, 19), turn_deg=(0, 20, 0)),
        tube([(117, -5, -32), (113, 2, -70), (110, 7, -150)], [20, 15, 14]),
        ellipsoid((101, -17, -50), (9, 9, 11)),
    ]
    if spur:
        parts.append(tube([(86, 0, -22), (96, 15, -12), (107, 3, 10), (100, -14, -4), (88, -4, -21)], 1.5 + 2.5 * spur))
    return union(ball((JOINT_MM, 0, 0), radius), *parts, blend_mm=6)


def _pelvis(cup: Shape, worn: float) -> Shape:
    """The right hip bone: wing, socket, sit bone and pubic branches."""
    wing = common(
        moved(ellipsoid((0, 0, 0), (8.5, 62, 70)), (92, -22, 72), turn_deg=(0, 20, -28)),
        half_space((0, 0, 20), (0, 0, -1)),
    )
    parts = [
        wing,
        ellipsoid((82, -4, 12), (26, 33, 36)),
        tube([(82, -24, 34), (66, -48, 62), (48, -60, 84)], [14, 14, 15]),
        tube([(84, -20, -14), (74, -32, -44), (66, -30, -62)], [15, 15, 13]),
        tube([(64, -28, -64), (34, 4, -60), (14, 20, -44)], [8, 6, 7]),
        tube([(76, 16, -6), (44, 30, -14), (12, 28, -26)], [12, 8, 9]),
        ellipsoid((9.5, 25, -34), (7.5, 10, 17)),
    ]
    if worn:
        parts.append(tube([(112, -12, 12), (115, 2, 16), (108, 16, 10)], 2 + 4 * worn))
    lateral = ellipsoid((112, 4, -24), (34, 44, 26))  # the socket opens to the side, downwards and forwards
    return cut(union(*parts, blend_mm=6), cup, lateral, ellipsoid((46, 8, -38), (19, 22, 16), turn_deg=(0, 20, -35)))


def sacrum() -> Shape:
    """Sacrum and coccyx, hollow to the front."""
    block = loft(
        [-4, 14, 40, 70, 100, 125],
        [(0, -88), (0, -92), (0, -90), (0, -78), (0, -62), (0, -52)],
        [(10, 6), (20, 9), (32, 13), (46, 18), (54, 22), (50, 22)],
        exponent=2.4,
    )
    return union(block, tube([(0, -88, 2), (0, -78, -18), (0, -66, -28)], [6, 5, 3]), blend_mm=4)


def build(anatomy: Anatomy, *, spacing_mm: float) -> Body:
    """The pelvis of one person as tissues, organs and findings; what is diseased is painted on the right first."""
    measures, seed = anatomy.measures, anatomy.texture_seed
    scale = PLAN.size(measures)
    bad = {finding.kind: finding for finding in anatomy.findings}
    canvas = stretched(CENTRE_MM, FIELD_MM, spacing_mm=spacing_mm, scale=scale)
    fascia = wrap(canvas, hip_soft.outline(measures["fat_mm"]), skin_mm=2.0, fat_mm=0.85 * measures["fat_mm"])
    pack(canvas, hip_soft.muscles(), fascia, grow_mm=8.0, septum_mm=1.8)
    hip_soft.paint_organs(canvas, anatomy.sex)
    hip_soft.paint_cords(canvas)
    back = sacrum()
    bones.paint_bone(canvas, Bone("sacrum", back, 1.3, "red-marrow"))
    _paint_joints(canvas, anatomy, worst(bad, "effusion"), scale)
    if "effusion" in bad:
        bones.keep(canvas, "effusion", whole(canvas), canvas.map("synovial-fluid"))
    for side in ("left", "right"):
        parts = _parts(anatomy, back, scale, worst(bad, "joint-narrowing") if side == "right" else 0.0)
        if side == "left":
            for part in parts.values():
                bones.paint_bone(canvas, Bone(part.name, mirrored(part.shape), part.cortex_mm, part.marrow))
        else:
            PLAN.paint_bones(canvas, parts, bad)
    _paint_wear(canvas, anatomy, worst(bad, "joint-narrowing"), scale)
    bones.colour_marrow(canvas, fat_fraction=min(0.75, 0.5 + 0.003 * anatomy.age_years), seed=seed)
    PLAN.paint_oedema(canvas, anatomy, bad)
    bones.trabeculae(canvas, share=0.09, seed=seed)
    marble(canvas, fat_fraction=1.3 * measures["muscle_fat_fraction"], seed=seed, streak_mm=7)
    return finished(canvas, scale=scale, left=bool(measures["left"]))


def _sizes(anatomy: Anatomy, scale: float, worn: float) -> tuple[float, float, float]:
    """Radius of the head, the healthy joint space, and the space above the head; all at scale 1."""
    narrowed = anatomy.measures["joint_space_mm"] / scale
    severe = max((f.severity for f in anatomy.findings if f.kind == "joint-narrowing"), default=0.0)
    return anatomy.measures["head_diameter_mm"] / 2 / scale, narrowed / (1 - 0.88 * severe), narrowed if worn else 0.0


def _parts(anatomy: Anatomy, back: Shape, scale: float, worn: float) -> dict[str, Bone]:
    """Hip bone and femur of the right side; a worn joint's head has moved up into its socket."""
    radius, healthy, narrowed = _sizes(anatomy, scale, worn)
    rise = healthy - narrowed if worn else 0.0
    cup = ball((JOINT_MM, 0, 0), radius + healthy)
    femur = moved(_femur(radius, worn), (0.0, 0.0, rise))
    pelvis = cut(_pelvis(cup, worn), grow(back, 2.0))
    return {
        "pelvis": Bone("pelvis", pelvis, 1.6, "red-marrow"),
        "femur": Bone("femur", femur, shaft_cortex(2, -35, -90, thin_mm=1.2, thick_mm=6.5)),
    }


def _paint_joints(canvas: Canvas, anatomy: Anatomy, effusion: float, scale: float) -> None:
    """Cartilage and fluid in both joints; capsules, and an effusion in the right one."""
    radius, healthy, _ = _sizes(anatomy, scale, 0.0)
    for side in ("right", "left"):
        wet = effusion if side == "right" else 0.0

        def there(shape: Shape, side: str = side) -> Shape:
            return shape if side == "right" else mirrored(shape)

        capsule = union(ball((JOINT_MM + 4, 0, -3), radius + 6), ellipsoid((106, -1, -15), (20, 19, 21)), blend_mm=8)
        canvas.paint("tendon", there(capsule), strength=0.75)
        pocket = ellipsoid((103, 10 + 4 * wet, -13), (14 + 4 * wet, 8 + 9 * wet, 16 + 4 * wet))
        film = union(ball((JOINT_MM + 1, 0, -1), radius + 2.5 + 3 * wet), pocket, blend_mm=4)
        canvas.paint("synovial-fluid", there(film), strength=0.2 + 0.75 * wet)
        cup = ball((JOINT_MM, 0, 0), radius + healthy)
        roof = common(cup, half_space((JOINT_MM, 0, 0), (0.62, 0.1, -0.78)))
        canvas.paint("cartilage", there(roof), name="cartilage")
        lining = ball((JOINT_MM, 0, 0), radius + 0.5 * healthy + 0.25)
        canvas.paint("synovial-fluid", there(lining), strength=0.5, within="cartilage")
        layer = ball((JOINT_MM, 0, 0), radius + 0.5 * healthy - 0.2)
        canvas.paint("cartilage", there(layer), name="cartilage")


def _paint_wear(canvas: Canvas, anatomy: Anatomy, severity: float, scale: float) -> None:
    """Hard bone and cysts above and below a narrowed joint space."""
    if not severity:
        return
    radius, healthy, narrowed = _sizes(anatomy, scale, 1.0)
    top = radius + healthy
    bones.harden(canvas, (JOINT_MM + 4, 0, top + 4), (16, 14, 4 + 4 * severity), 0.5 * severity)
    bones.harden(canvas, (JOINT_MM + 3, 0, top - narrowed - 4), (14, 13, 4 + 4 * severity), 0.45 * severity)
    if severity > 0.55:
        size = 1.0 + 4.0 * severity
        bones.cysts(canvas, [(JOINT_MM + 8, 3, top + 7), (JOINT_MM + 1, -6, top - narrowed - 7)], size)
    canvas.mark("joint-narrowing", ellipsoid((JOINT_MM + 3, 0, top - narrowed / 2), (18, 16, 4 + narrowed / 2)))


HIP = Region(
    "hip",
    PLAN.draw,
    build,
    PLAN.kinds,
    ORGANS,
    CENTRE_MM,
    FIELD_MM,
    plane="coronal",
    protocols=("T1w", "STIR", "PDw-fat-suppressed", "T2w"),
    modalities=("MR", "CT", "DX"),
)
