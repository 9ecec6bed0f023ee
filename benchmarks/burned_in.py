"""How often burned-in text is found, and how often it is found where there is none.

python benchmarks/burned_in.py [FOLDER]: names, dates and numbers are drawn in five typefaces, at sizes from 8 to 28
pixels and contrasts from 40 to 160 of 255, on simulated chest radiographs and breast sonograms; found means that the
boxes cover 95 % of the text's own box. Alarms are counted on the same pictures without text. With FOLDER (public sets
nih_cxr, busi_breast_us, mini_mias_mammo) alarms are counted on real pictures that the detector's rule was not fitted
to; many of them carry words of their own, which are listed as alarms all the same.
"""

import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from radfoundry.data.burned_in import text_boxes
from radfoundry.stats.proportions import proportion

RESULT = Path(__file__).parent / "results" / "burned_in.json"
TYPEFACES = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "DejaVuSans-Bold.ttf", "cmr10.ttf")
WORDS = ("DOE JANE 4711", "Mueller^Anna", "12.08.1945", "ID: 4711000815", "Hospital St. Mary", "F 054Y 20231")
SIZES, CONTRASTS, REPEATS, PLAIN = (8, 12, 18, 28), (40, 80, 160), 4, 80
SETS = {"nih_cxr": "*.jp*g", "busi_breast_us": "*.jp*g", "mini_mias_mammo": "*.jp*g"}


def simulated(cohort: str, count: int) -> list[np.ndarray]:
    """Pictures of one simulated cohort as 8-bit grey."""
    import torch

    from radfoundry import registry

    torch.set_num_threads(1)
    preset = registry.build("cohorts", cohort)
    found = []
    for case in range(count):
        for series in preset.simulate(case, seed=7).series[:2]:
            shown = np.asarray(series.volume.array[0, :, :, 0], np.float32).T
            low, high = shown.min(), shown.max()
            found.append((255 * (shown - low) / (high - low)).astype(np.uint8))
    return found


def drawn(picture: np.ndarray, word: str, typeface: str, size: int, contrast: int, rng: np.random.Generator) -> Any:
    """The picture with a word in it, and the word's box (left, top, right, bottom)."""
    import matplotlib

    font = ImageFont.truetype(str(Path(matplotlib.__file__).parent / "mpl-data" / "fonts" / "ttf" / typeface), size)
    rows, columns = picture.shape
    plane = Image.new("L", (columns, rows), 0)
    _, _, right, bottom = font.getbbox(word)
    at = (int(rng.integers(2, max(columns - right - 2, 3))), int(rng.integers(2, max(rows - bottom - 2, 3))))
    ImageDraw.Draw(plane).text(at, word, fill=255, font=font)
    share = np.asarray(plane) / 255.0
    box = plane.getbbox()
    behind = float(picture[box[1] : box[3], box[0] : box[2]].mean())
    level = behind + contrast if behind + contrast <= 255 else max(behind - contrast, 0)
    return np.clip(picture * (1 - share) + level * share, 0, 255).astype(np.uint8), box


def covered(boxes: list[Any], box: tuple[int, int, int, int], shape: tuple[int, ...]) -> bool:
    """Whether 95 % of a box lies in the boxes found."""
    mask = np.zeros(shape, bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return bool(mask[box[1] : box[3], box[0] : box[2]].mean() >= 0.95)


def searched(pictures: list[np.ndarray], rng: np.random.Generator) -> dict[str, Any]:
    """Shares found by contrast, size and typeface, and alarms without text."""
    hits: dict[str, list[bool]] = {}
    for size, contrast in itertools.product(SIZES, CONTRASTS):
        for picture in pictures:
            for _ in range(REPEATS):
                word, typeface = WORDS[rng.integers(len(WORDS))], TYPEFACES[rng.integers(len(TYPEFACES))]
                shown, box = drawn(picture, word, typeface, size, contrast, rng)
                hit = covered(text_boxes(shown), box, picture.shape)
                hits.setdefault(f"contrast {contrast}", []).append(hit)
                hits.setdefault(f"typeface {typeface}", []).append(hit)
                if contrast >= PLAIN:
                    hits.setdefault(f"{size} px at contrast {PLAIN} or more", []).append(hit)
    found = {name: str(proportion(sum(values), len(values))) for name, values in sorted(hits.items())}
    return {"found": found, "pictures with alarms": alarms(pictures)}


def alarms(pictures: list[np.ndarray]) -> str:
    """The share of pictures in which text is reported."""
    return str(proportion(sum(bool(text_boxes(picture)) for picture in pictures), len(pictures)))


def main() -> None:
    started = time.process_time()
    rng = np.random.default_rng(0)
    result: dict[str, Any] = {}
    for cohort in ("chest-radiographs", "breast-ultrasound"):
        result[cohort] = searched(simulated(cohort, 1), rng)
    if len(sys.argv) > 1:
        for name, pattern in SETS.items():
            files = sorted((Path(sys.argv[1]) / name).rglob(pattern))[3::11][:25]
            result[name] = {"pictures with alarms": alarms([np.asarray(Image.open(f).convert("L")) for f in files])}
    result["cpu_seconds"] = round(time.process_time() - started, 1)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
