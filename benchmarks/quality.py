"""Do the measures of image quality, and a learned score, follow what was done to a scan?

    python benchmarks/quality.py measures             simulated scans, the measure that answers each fault
    python benchmarks/quality.py score RATER          simulated scans of heads nobody learned from, the learned score
    python benchmarks/quality.py real RATER           real scans (RADFOUNDRY_DATA), measures and learned score
    python benchmarks/quality.py few                  40 scored scans: physics first, scratch, shuffled prompts
    python benchmarks/quality.py bundle OUT           teach a rater from simulation alone (see --help of the function)

Every scan is made worse along every ladder of `simulate.degrade.LADDERS`, with the same noise, walk and coil at every
step; Kendall's tau is taken within each scan and ladder. Results are added to benchmarks/results/quality.json.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.stats import kendalltau

from radfoundry.data.nifti import read_nifti
from radfoundry.data.quality import MEASURES, measure
from radfoundry.data.slice_pictures import chosen_slices, look, look_at
from radfoundry.simulate.degrade import KINDS, LADDERS, Strengths, degrade
from radfoundry.simulate.rated import CleanScan, clean_scans
from radfoundry.volume import Volume

RESULTS = Path(__file__).parent / "results" / "quality.json"
ANSWERS = {
    "noise": "noise_share",
    "motion_mm": "smear_share",
    "ghosting": "ghost_share",
    "spikes": "spike_share",
    "aliasing": "fold_share",
    "blur": "blur_voxels",
    "shading": "shading_share",
    "clipping": "clipped_share",
}
BASE = Strengths(noise=0.02, shading=0.05)
HELD_OUT = 900  # simulated patients no rater learned from
REAL = (
    ("brain_tumor_progression_dicom/PGBM-002/T2reg.nii.gz", "T2w", "head"),
    ("ms_lesions/longitudinal/patient12/study1_FLAIR.nii.gz", "FLAIR", "head"),
    ("niivue_volumes/chris_PD.nii.gz", "PDw", "head"),
    ("spine_sct/t2/t2.nii.gz", "T2w", "spine"),
)


def simulated(count: int) -> list[CleanScan]:
    """Scans of heads that no rater learned from."""
    both = ("T1w", "FLAIR")
    return [scan for number in range(count) for scan in clean_scans(HELD_OUT + number, seed=5, sequences=both)]


def real() -> list[CleanScan]:
    """Real scans as they are, about 160 voxels a side at most, slices across the coarsest axis."""
    found = []
    for number, (name, sequence, region) in enumerate(REAL):
        path = Path(os.environ["RADFOUNDRY_DATA"]) / name
        volume = read_nifti(path).volume
        axis = int(np.argmax(volume.spacing_mm))
        image = np.moveaxis(np.asarray(volume.array[0], dtype=np.float32), axis, 2)
        spacing = [mm for index, mm in enumerate(volume.spacing_mm) if index != axis]
        step = max(1, round(max(image.shape[:2]) / 160))
        image = image[: image.shape[0] // step * step, : image.shape[1] // step * step]
        image = image.reshape(image.shape[0] // step, step, image.shape[1] // step, step, -1).mean(axis=(1, 3))
        found.append(CleanScan(image, spacing[1] * step, sequence, region, number))
    return found


def rungs(scan: CleanScan, kind: str, base: Strengths, slices: np.ndarray | None) -> Iterator[np.ndarray]:
    """The same scan at every strength of one ladder."""
    for strength in LADDERS[kind]:
        worse = replace(base, **{kind: getattr(base, kind) + strength})
        made = degrade(scan.image, worse, spacing_mm=scan.spacing_mm, rng=np.random.default_rng(3), slices=slices)
        # The simulator leaves the smaller field of view in the middle of the old one; a scanner gives that field alone.
        cut = round(made.shape[1] * worse.aliasing / 2)
        yield np.ascontiguousarray(made[:, cut : made.shape[1] - cut])


def tau(kind: str, values: list[float], harm: int) -> float:
    """Kendall's tau between strength and harm; 0 when the measure does not move at all."""
    if not np.isfinite(values).all():
        return float("nan")
    found = float(kendalltau(LADDERS[kind], values).statistic) * harm
    return 0.0 if np.isnan(found) else found


def of_measures(scans: list[CleanScan], base: Strengths) -> dict[str, list[float]]:
    """Tau of the measure that answers each fault, scan by scan."""
    found: dict[str, list[float]] = {}
    for kind, name in ANSWERS.items():
        for scan in scans:
            middle = np.linspace(0, scan.image.shape[2] - 1, min(12, scan.image.shape[2])).round().astype(int)
            affine = np.diag([scan.spacing_mm, scan.spacing_mm, 4 * scan.spacing_mm, 1.0])
            values = [measure(Volume.of(made, affine))[name].value for made in rungs(scan, kind, base, middle)]
            found.setdefault(kind, []).append(tau(kind, values, MEASURES[name]))
    return found


def of_score(scans: list[CleanScan], base: Strengths, rater: str) -> dict[str, list[float]]:
    """Tau of the fall of the learned score, scan by scan, the mean of its purposes."""
    from radfoundry.nets import rater as nets

    trained = nets.load(rater)
    found: dict[str, list[float]] = {}
    for scan in scans:
        slices = chosen_slices(scan.image.shape[2])
        for kind in KINDS:
            seen = [look_at(made, in_plane_mm=scan.spacing_mm) for made in rungs(scan, kind, base, slices)]
            prompts = [nets.Prompt(scan.sequence, scan.region, purpose) for purpose in trained.net.purposes]
            values = [float(np.mean([trained.rate(item, prompt)[0] for prompt in prompts])) for item in seen]
            found.setdefault(kind, []).append(tau(kind, values, -1))
    return found


def summary(found: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Mean, lowest, and the share of scans with tau of at least 0.9 (six rungs: 0.87 is one pair exchanged)."""
    rows = {}
    for kind, values in found.items():
        known = np.array([value for value in values if np.isfinite(value)])
        rows[kind] = {
            "mean": round(float(known.mean()), 3) if len(known) else None,
            "lowest": round(float(known.min()), 3) if len(known) else None,
            "share_of_at_least_0.9": round(float((known >= 0.9).mean()), 3) if len(known) else None,
            "scans": len(known),
            "not_measurable": len(values) - len(known),
        }
    return rows


def seconds(rater: str, scan: CleanScan) -> float:
    """Processor seconds for one series of 200 x 200 x 30 voxels: looking and scoring."""
    from radfoundry.nets import rater as nets

    trained = nets.load(rater)
    volume = Volume.of(np.resize(scan.image, (200, 200, 30)).astype(np.float32), np.diag([1.0, 1.0, 5.0, 1.0]))
    started = time.process_time()
    trained.rate(look(volume), nets.Prompt(scan.sequence, scan.region, trained.net.purposes[0]))
    return time.process_time() - started


def bundle(out: Path, *, patients: int = 8, series: int = 480, steps: int = 600, seed: int = 0) -> None:
    """Teach a rater with what the simulated panel truly thinks of simulated scans, in pairs of which one is worse."""
    from radfoundry.nets import rater as nets
    from radfoundry.simulate import panel, rated
    from radfoundry.train import rating

    started = time.process_time()
    scans = [scan for patient in range(patients + 2) for scan in clean_scans(patient, seed=seed)]
    taught, tested = ([s for s in scans if (s.patient < patients) == part] for part in (True, False))
    lessons = []
    for part, count, number in ((taught, series, 1), (tested, series // 6, 2)):
        spoiled = rated.spoil(part, count, rng=np.random.default_rng([seed, number]), ladders=True, varied=True)
        both = np.repeat(np.arange(count).reshape(-1, 2), len(panel.PURPOSES), axis=0).ravel()
        purposes = [panel.PURPOSES[place // 2 % len(panel.PURPOSES)] for place in range(len(both))]
        words = [nets.Prompt(str(spoiled.sequence[r]), "head", p) for r, p in zip(both, purposes, strict=True)]
        values = [
            panel.true_score(
                Strengths(*(float(v) for v in spoiled.strengths[r])), purpose=p, sequence=str(spoiled.sequence[r])
            )
            for r, p in zip(both, purposes, strict=True)
        ]
        rows = spoiled.take(both)
        lessons.append(
            rating.Lesson(rows.pictures, rows.measures, words, rows.strengths, np.array(values), paired=True)
        )
    net = nets.build(purposes=panel.PURPOSES, seed=seed)
    rating.learn(net, lessons[0], rating.Course(steps=steps, slices=3, learning_rate=3e-3, seed=seed))
    said, _ = rating.said_of(net, lessons[1])
    missed, purpose = np.abs(said - lessons[1].scores), np.array([prompt.purpose for prompt in lessons[1].prompts])
    widths = {name: round(float(np.quantile(missed[purpose == name], 0.95)), 1) for name in panel.PURPOSES}
    about = "what a simulated panel thinks of simulated heads; no person's score and no patient's image"
    nets.save(nets.TrainedRater(net, widths, about), out)
    agreement = float(np.corrcoef(said, lessons[1].scores)[0, 1])
    card = {
        "command": f"python benchmarks/quality.py bundle {out.name}",
        "patients": patients, "series": series, "steps": steps, "seed": seed, "half_widths": widths,
        "correlation_on_two_patients_not_learned_from": round(agreement, 3),
        "processor_seconds": round(time.process_time() - started),
    }  # fmt: skip
    out.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n")
    print(json.dumps(card, indent=1))


def few(*, scored: int = 40, teachings: int = 3, steps: int = 60) -> dict[str, object]:
    """Correlation with a simulated panel's scores after 40 scored scans, tested on 12 patients nobody learned from."""
    from radfoundry.nets.rater import Prompt
    from radfoundry.records import Predictions
    from radfoundry.simulate import panel, rated
    from radfoundry.tasks import rating as numbers
    from radfoundry.train import rating
    from radfoundry.train.scored import SHUFFLED, prompted

    started = time.process_time()
    known = rating.learn_physics(patients=8, series=480, steps=250, seed=0)
    scans = [scan for number in range(24) for scan in clean_scans(500 + number, seed=2, sequences=("T1w", "FLAIR"))]
    spoiled = rated.spoil(scans, 240, rng=np.random.default_rng(8))
    rng = np.random.default_rng(9)
    rows, purposes = np.tile(np.arange(240), 2), np.repeat(panel.PURPOSES, 240)
    words = [Prompt(str(spoiled.sequence[r]), "head", str(p)) for r, p in zip(rows, purposes, strict=True)]
    truth = [
        panel.true_score(Strengths(*map(float, spoiled.strengths[r])), purpose=w.purpose or "", sequence=w.sequence)
        for r, w in zip(rows, words, strict=True)
    ]
    said = np.array([panel.opinion(value, raters=3, rng=rng) for value in truth])
    lesson = rating.Lesson(spoiled.pictures[rows], spoiled.measures[rows], words, scores=said)
    testing = np.isin(spoiled.patient[rows], np.unique(spoiled.patient)[:12])
    test = np.flatnonzero(testing)
    found: dict[str, list[Predictions]] = {"physics": [], "scratch": [], SHUFFLED: []}
    for turn in range(teachings):
        chosen = np.random.default_rng([turn, 4]).permutation(np.unique(rows[~testing]))[:scored]
        for name, part in found.items():
            dealt = np.random.default_rng([turn, 6])
            teach, ask = (
                prompted(lesson.take(where), name, rng=dealt) for where in (np.flatnonzero(np.isin(rows, chosen)), test)
            )
            start = None if name == "scratch" else known
            rater = rating.teach(start, teach, purposes=panel.PURPOSES, steps=steps, seed=turn)
            answer = rating.said_of(rater, ask)[0]
            part.append(Predictions.of(said[test], answer, patient=spoiled.patient[rows][test]))
        print(turn, {name: numbers.mean_srcc(part, draws=50).text() for name, part in found.items()}, flush=True)
    gaps = {name: numbers.srcc_difference(found["physics"], found[name]).text() for name in ("scratch", SHUFFLED)}
    return {
        "srcc": {name: numbers.mean_srcc(part).text() for name, part in found.items()},
        "physics_minus": gaps,
        "scored_scans": scored,
        "teachings": teachings,
        "test_scores": len(test),
        "processor_seconds": round(time.process_time() - started),
    }


def main() -> None:
    """Run one part and add its result."""
    what, *rest = sys.argv[1:] or ["measures"]
    if what == "bundle":
        bundle(Path(rest[0]), **{key: int(value) for key, _, value in (word.partition("=") for word in rest[1:])})
        return
    if what == "few":
        write("few", few())
        return
    if what == "real" and "RADFOUNDRY_DATA" not in os.environ:
        print("set RADFOUNDRY_DATA to the folder of real scans; the committed result stays as it is")
        return
    scans = real() if what == "real" else simulated(2)
    base = Strengths() if what == "real" else BASE
    result = {}
    if what in ("measures", "real"):
        result["measures"] = summary(of_measures(scans, base))
    if rest:
        result["score"] = summary(of_score(scans, base, rest[0]))
        result["processor_seconds_a_series"] = round(min(seconds(rest[0], scans[0]) for _ in range(3)), 3)
    write(what, {"scans": len(scans), **result})


def write(what: str, result: dict[str, object]) -> None:
    """Add one part to the results; read only now, since parts may run side by side."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept[what] = result
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    print(json.dumps(kept[what], indent=1))


if __name__ == "__main__":
    main()
