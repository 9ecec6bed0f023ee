"""Simulated series as a BIDS data set: every name is BIDS, our own reader gives back every header, tables agree."""

import csv
import json

import numpy as np
import pytest

from radfoundry.data import bids
from radfoundry.data.nifti import read_nifti
from radfoundry.simulate.bids_files import DERIVED, PLACES, participant, write_bids, write_root
from radfoundry.simulate.cases import SimulatedCase, SimulatedSeries
from radfoundry.simulate.headers import Scanner, Slab, header
from radfoundry.simulate.people import draw_person
from radfoundry.simulate.protocols import PROTOCOLS, draw_sequence
from radfoundry.simulate.words import Report
from radfoundry.volume import Volume

SCANNER = Scanner("SIEMENS", "Skyra", 3.0)
EVERY = [*PROTOCOLS, "dynamic-0", "dynamic-3", "ADC", "Dixon-fat-fraction"]


def series(name, exam=1):
    rng = np.random.default_rng(0)
    protocol = {"dynamic-0": "T1w", "dynamic-3": "T1c", "ADC": "DWI-b0", "Dixon-fat-fraction": "Dixon-fat"}.get(
        name, name
    )
    acquired = header(draw_sequence(protocol, rng=rng), SCANNER, Slab(), shape=(4, 5, 6))
    array = rng.integers(0, 900, (4, 5, 6)).astype(np.int16)
    return SimulatedSeries(name, Volume.of(array, np.diag([2.0, 2.0, 5.0, 1.0])), acquired, exam=exam)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("bids")
    person = draw_person(3, age_years=50.0, sex="F", rng=np.random.default_rng(0))
    images = (*(series(name, exam) for exam in (1, 2) for name in EVERY), series("T2w", 2))
    made = SimulatedCase(person, "Northgate Hospital", images, {}, Report(""))
    write_bids(root, made)
    row = {"patient_id": participant(person.patient_id), "age_years": 50.0, "sex": "F", "site": "Northgate Hospital"}
    write_root(root, [row], name="brain-multisequence")
    return root, made


def test_every_protocol_has_a_place():
    assert set(PROTOCOLS) <= set(PLACES) and not set(PLACES) & set(DERIVED)


def test_names_are_bids_and_headers_come_back(written):
    root, made = written
    files = sorted(root.rglob("*.nii.gz"))
    assert len(files) == len(made.series)
    raw = [path for path in files if "derivatives" not in path.parts]
    seen = []
    for path in raw:
        name = bids.parse_name(path.name)
        acquired, trouble = bids.acquisition_beside(path)
        assert trouble == () and acquired.modality == "MR"
        assert path.parent.parts[-3:] == (f"sub-{name.patient}", f"ses-{name.visit}", path.parent.name)
        assert (acquired.contrast_agent is not None) == (name.entities.get("ce") is not None)
        seen.append((path.parent.name, name.suffix, name.sequence))
    for expected in (("anat", "T1w"), ("anat", "T2starw"), ("dwi", "dwi"), ("perf", "asl"), ("anat", "angio")):
        assert any(item[:2] == expected for item in seen)
    for item in made.series:
        known = item.acquisition.to_dict()
        assert any(matches(known, bids.acquisition_beside(path)[0].to_dict()) for path in files), item.name


def matches(known, stated):
    shared = ("repetition_time_ms", "echo_time_ms", "flip_angle_deg", "scanning_sequence", "image_type")
    return all(
        known.get(name) == stated.get(name) or known.get(name) == pytest.approx(stated.get(name)) for name in shared
    )


def test_runs_are_counted_only_where_names_repeat(written):
    root, _ = written
    names = [path.name for path in root.rglob("*_T2w.nii.gz") if "acq" not in path.name]
    assert sorted(name.split("_")[-2] for name in names) == ["run-1", "run-2", "ses-1"]


def test_pixels_and_geometry_come_back(written):
    root, made = written
    path = next(root.rglob("*ses-1_FLAIR.nii.gz"))
    wanted = next(item for item in made.series if item.name == "FLAIR").volume
    found = read_nifti(path).volume
    assert np.array_equal(found.array, wanted.array) and found.geometry.matches(wanted.geometry)


def test_diffusion_and_labelling_have_their_tables(written):
    root, _ = written
    for path in root.rglob("*_dwi.nii.gz"):
        stem = path.name.removesuffix(".nii.gz")
        assert path.with_name(f"{stem}.bval").read_text().split() in (["0"], ["1000"])
        assert len(path.with_name(f"{stem}.bvec").read_text().split()) == 3
    for path in root.rglob("*_aslcontext.tsv"):
        assert path.read_text().splitlines() == ["volume_type", "deltam"]


def test_the_root_describes_the_set_and_lists_who_takes_part(written):
    root, _ = written
    for path in (root, root / "derivatives" / "scanner"):
        assert json.loads((path / "dataset_description.json").read_text())["BIDSVersion"] == "1.10.0"
    rows = list(csv.DictReader((root / "participants.tsv").read_text().splitlines(), delimiter="\t"))
    assert [row["sex"] for row in rows] == ["F"] and (root / rows[0]["participant_id"]).is_dir()
