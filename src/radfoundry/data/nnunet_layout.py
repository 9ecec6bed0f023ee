"""The folder layout of nnU-Net: dataset.json, imagesTr, labelsTr; written from a cohort and read back into pairs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry.data.masks import Labels, Pair, classes_of
from radfoundry.data.nifti import read_nifti, write_nifti
from radfoundry.records import InputError
from radfoundry.runs import write_json
from radfoundry.volume import Volume

ENDING = ".nii.gz"
DESCRIPTION = "dataset.json"
NAME = re.compile(r"Dataset\d{3}_\w+")


@dataclass(frozen=True, eq=False)
class Example:
    """One training case of a data set in nnU-Net's layout: its image (C, I, J, K) and classes (I, J, K)."""

    name: str
    image: Volume
    classes: np.ndarray


def export(pairs: Sequence[Pair], labels: Labels, folder: str | Path, *, channel: str = "image") -> dict[str, str]:
    """Write pairs as a data set that nnU-Net trains on; gives case name -> patient, also kept in `patients.json`.

    The folder's name must be like `Dataset012_Liver`. Values of the masks become 0, 1, 2 … as nnU-Net wants them.
    Images of several channels become one file a channel. Refuses a folder that exists.

    Source: the layout of nnU-Net version 2 (documentation/dataset_format.md).
    """
    target = Path(folder)
    if not NAME.fullmatch(target.name):
        raise InputError(
            f"{target.name!r} is not a data set's name", where=str(target), remedy="write for example Dataset012_Liver"
        )
    if target.exists():
        raise InputError("already exists", where=str(target), remedy="choose another folder", finding="exists")
    if not pairs:
        raise InputError("no image has a mask", where=str(target), finding="no-masks")
    partial = target.with_name(f".{target.name}.partial")
    people = {}
    channels = 1
    for number, pair in enumerate(pairs, start=1):
        name = f"case_{number:04d}"
        image = pair.image.load()
        channels = len(image.array)
        for index in range(channels):
            place = partial / "imagesTr" / f"{name}_{index:04d}{ENDING}"
            write_nifti(Volume.of(image.array[index], image.affine), place)
        drawn = classes_of(pair.masks[0], labels, may_be_empty=True)
        write_nifti(Volume.of(drawn, image.affine), partial / "labelsTr" / f"{name}{ENDING}")
        people[name] = pair.patient
    names = [channel] if channels == 1 else [f"{channel} {index}" for index in range(channels)]
    write_json(
        partial / DESCRIPTION,
        {
            "channel_names": {str(index): name for index, name in enumerate(names)},
            "labels": {"background": 0, **{name: index for index, name in enumerate(labels, start=1)}},
            "numTraining": len(people),
            "file_ending": ENDING,
        },
    )
    write_json(partial / "patients.json", people)
    partial.rename(target)
    return people


def description(folder: str | Path) -> dict[str, Any]:
    """dataset.json as plain values; refuses a folder without one and one that lacks what is needed."""
    place = Path(folder) / DESCRIPTION
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            "no data set in nnU-Net's layout (no dataset.json)", where=str(folder), finding="missing-file"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise InputError("dataset.json is damaged", where=str(place), finding="damaged") from None
    missing = [key for key in ("channel_names", "labels", "file_ending") if key not in found]
    if missing:
        raise InputError(f"dataset.json lacks {missing[0]}", where=str(place), remedy="see nnU-Net's documentation")
    if found["file_ending"] not in (ENDING, ".nii"):
        raise InputError(f"files end in {found['file_ending']}", where=str(place), remedy="only NIfTI is read")
    return found


def labels_of(about: Mapping[str, Any]) -> Labels:
    """The labels of a data set; refuses regions (lists of values), which overlap."""
    found = {}
    for name, value in about["labels"].items():
        if name in ("background", "ignore"):
            continue
        if not isinstance(value, int):
            raise InputError(f"label {name!r} is a region of several values", remedy="give one value a label")
        found[str(name)] = (value,)
    return found


def read(folder: str | Path) -> tuple[list[Example], Labels]:
    """The training cases of a data set in nnU-Net's layout, with its labels.

    Refuses a case without its mask, a channel that is missing, a mask on another grid than its image, and values that
    dataset.json does not name: one line that names the case.
    """
    root = Path(folder)
    about = description(root)
    labels = labels_of(about)
    ending, channels = about["file_ending"], len(about["channel_names"])
    names = sorted(path.name.removesuffix(f"_0000{ending}") for path in (root / "imagesTr").glob(f"*_0000{ending}"))
    if not names:
        raise InputError("imagesTr holds no images", where=str(root), finding="no-image")
    return [_example(root, name, ending, channels, labels) for name in names], labels


def _example(root: Path, name: str, ending: str, channels: int, labels: Labels) -> Example:
    mask_file = root / "labelsTr" / f"{name}{ending}"
    if not mask_file.is_file():
        raise InputError("it has no mask in labelsTr", where=f"case {name}", finding="no-masks")
    parts = []
    for index in range(channels):
        file = root / "imagesTr" / f"{name}_{index:04d}{ending}"
        if not file.is_file():
            raise InputError(f"channel {index} is missing", where=f"case {name}", finding="missing-file")
        parts.append(read_nifti(file).volume)
    mask = read_nifti(mask_file).volume
    if any(not part.geometry.matches(mask.geometry) for part in parts):
        raise InputError("mask and image lie on different grids", where=f"case {name}", finding="geometry")
    values = np.rint(mask.array[0]).astype(np.int32)
    known = {0: 0, **{value[0]: index for index, value in enumerate(labels.values(), start=1)}}
    strange = sorted(set(np.unique(values).tolist()) - set(known))
    if strange:
        raise InputError(
            f"value {strange[0]} is not among its labels ({', '.join(labels)})", where=f"case {name}", finding="label"
        )
    classes = np.zeros(values.shape, np.uint8)
    for value, index in known.items():
        classes[values == value] = index
    image = Volume(np.concatenate([part.array for part in parts]), parts[0].affine)
    return Example(name, image, classes)
