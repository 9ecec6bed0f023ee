"""Quality measures: each follows its own degradation and says when it cannot tell; limits give reasons."""

import math

import numpy as np
import pytest
from scipy import ndimage, stats

from radfoundry.data.quality import MEASURES, measure, otsu
from radfoundry.data.quality_rules import LIMITS, Limit, judge
from radfoundry.records import Estimate, InputError
from radfoundry.volume import Volume

AFFINE = np.diag([1.5, 1.5, 4.0, 1.0])


def phantom(*, seed=0, noise=0.01, size=96, slices=6):
    """A round body with inner structure in air, magnitude of two noisy channels."""
    rng = np.random.default_rng(seed)
    x, y = np.mgrid[:size, :size] - size / 2
    image = np.zeros((size, size, slices))
    for k in range(slices):
        body = np.hypot(x / 0.30, y / 0.36) < size
        scales = [ndimage.gaussian_filter(rng.standard_normal((size, size)), width) for width in (0.7, 4.0)]
        structure = sum((scale - scale[body].mean()) / scale.std() for scale in scales)
        image[..., k] = body * (1 + 0.15 * structure)
        image[..., k] = ndimage.gaussian_filter(image[..., k], 0.6)
    real, imaginary = rng.normal(0, noise, (2, size, size, slices))
    return np.hypot(image + real, imaginary).astype(np.float32)


def degraded(kind, strength, seed=0):
    """The phantom made worse in one way; 0 leaves it as it is."""
    image = phantom(seed=seed, noise=0.01 + (strength if kind == "noise_share" else 0.0))
    rng = np.random.default_rng(seed + 1)
    if kind == "blur_voxels" and strength:
        noise = rng.normal(0, 0.01, image.shape)
        image = np.abs(ndimage.gaussian_filter(image, (strength, strength, 0)) + noise)
    if kind == "ghost_share":
        image = image * (1 - strength / 2) + np.roll(image, image.shape[1] // 2, axis=1) * strength / 2
    if kind == "smear_share":
        image = (1 - strength) * image + strength * ndimage.uniform_filter1d(image, 61, axis=1, mode="wrap")
    if kind == "shading_share":
        image = image * np.exp(strength * np.linspace(-1, 1, image.shape[0]))[:, None, None]
    if kind == "spike_share":
        i, j = np.indices(image.shape[:2])
        image = np.abs(image + strength * np.cos(2 * np.pi * (i * 23 + j * 17) / image.shape[0])[..., None])
    if kind in ("border_share", "fold_share") and strength:
        image = (cropped if kind == "border_share" else folded)(image, strength)
    if kind == "clipped_share" and strength:
        image = np.minimum(image, np.quantile(image, 1 - strength))
    if kind == "slice_jump_share":
        image = image * (1 + strength * (np.arange(image.shape[2]) % 2))
    if kind == "contrast_to_noise":
        body = image.mean(axis=2, keepdims=True) > 0.5
        image = np.where(body, 1 + (image - 1) * (1 - strength), image) + rng.normal(0, 0.02, image.shape)
    return Volume.of(image.astype(np.float32), AFFINE)


def cropped(image, share):
    cut = round(share * image.shape[0] / 2)
    return image[cut:-cut]


def folded(image, share):
    """What a field of view that is too small by `share` gives: its edges carry what lies beyond the other edge."""
    cut = round(image.shape[1] * share / 2)
    kept = image[:, cut:-cut].copy()
    kept[:, -cut:] += image[:, :cut]
    kept[:, :cut] += image[:, -cut:]
    return kept


@pytest.mark.parametrize(
    ("kind", "strengths"),
    [
        ("noise_share", (0, 0.03, 0.07, 0.12, 0.2)),
        ("contrast_to_noise", (0, 0.3, 0.6, 0.8, 0.9)),
        ("blur_voxels", (0, 0.8, 1.2, 1.8, 2.6)),
        ("ghost_share", (0, 0.05, 0.1, 0.2, 0.4)),
        ("smear_share", (0, 0.05, 0.1, 0.2, 0.35)),
        ("shading_share", (0, 0.15, 0.3, 0.5, 0.8)),
        ("spike_share", (0, 0.05, 0.1, 0.2, 0.4)),
        ("border_share", (0, 0.35, 0.45, 0.55, 0.65)),
        ("fold_share", (0, 0.32, 0.38, 0.44, 0.5)),
        ("clipped_share", (0, 0.02, 0.05, 0.1, 0.2)),
        ("slice_jump_share", (0, 0.05, 0.1, 0.2, 0.4)),
    ],
)
def test_each_measure_follows_its_degradation(kind, strengths):
    found = [measure(degraded(kind, strength))[kind].value for strength in strengths]
    assert stats.kendalltau(strengths, found).statistic * MEASURES[kind] >= 0.9, found


def test_scale_and_offsets_of_the_header_do_not_matter():
    image = phantom()
    once, thousand = measure(Volume.of(image, AFFINE)), measure(Volume.of(image * 1000, AFFINE))
    for name in MEASURES:
        assert thousand[name].value == pytest.approx(once[name].value, rel=1e-3, abs=1e-6, nan_ok=True), name


def test_noise_is_the_noise_that_was_added():
    found = measure(Volume.of(phantom(noise=0.05), AFFINE))["noise_share"]
    assert found.value == pytest.approx(0.05, rel=0.15)
    assert found.low <= found.value <= found.high and found.n == 6


def test_a_ghost_of_a_tenth_reads_as_a_twentieth():
    # Odd lines weaker by g put g/2 of the image half a field away (the simulator's definition).
    assert measure(degraded("ghost_share", 0.2))["ghost_share"].value == pytest.approx(0.11, abs=0.02)


def test_a_body_that_is_cut_off_does_not_fold_and_one_that_folds_is_named():
    image, cut = phantom(), 18
    whole, halved = (measure(Volume.of(part, AFFINE))["fold_share"].value for part in (image, image[:, cut:-cut]))
    values = measure(Volume.of(folded(image, 2 * cut / image.shape[1]), AFFINE))
    assert whole == 0 and halved < 0.2 and values["fold_share"].value > 0.35
    assert any("folds over" in reason for reason in judge(values).reasons)
    turned = measure(Volume.of(folded(image, 0.4).transpose(1, 0, 2).copy(), AFFINE))["fold_share"]
    assert turned.value == pytest.approx(measure(Volume.of(folded(image, 0.4), AFFINE))["fold_share"].value)


def test_turning_the_image_changes_nothing():
    image = phantom()
    first = measure(Volume.of(image, AFFINE))
    turned = measure(Volume.of(image.transpose(2, 1, 0).copy(), np.diag([4.0, 1.5, 1.5, 1.0])))
    for name in ("noise_share", "ghost_share", "end_slice_share", "clipped_share"):
        assert turned[name].value == pytest.approx(first[name].value, abs=1e-6), name


def test_what_cannot_be_seen_is_undefined_with_a_reason():
    filled = measure(Volume.of(np.random.default_rng(0).normal(100, 5, (40, 40, 2)).astype(np.float32), AFFINE))
    assert "no air" in filled["ghost_share"].note and not filled["ghost_share"].defined
    assert "three slices" in filled["slice_jump_share"].note
    assert "states no gap" in filled["slice_gap_share"].note
    assert measure(Volume.of(phantom(), AFFINE), slice_gap_mm=1.0)["slice_gap_share"].value == pytest.approx(0.25)


@pytest.mark.parametrize("value", [0.0, math.nan])
def test_an_empty_or_broken_image_is_refused(value):
    with pytest.raises(InputError):
        measure(Volume.of(np.full((20, 20, 4), value, np.float32), AFFINE))


def test_otsu_parts_two_populations_and_survives_masks():
    rng = np.random.default_rng(0)
    assert 2 < otsu(np.concatenate([rng.normal(0, 0.5, 500), rng.normal(6, 0.5, 500)])) < 5
    assert 0 < otsu(np.array([0.0, 0.0, 1.0, 1.0])) <= 1


def test_a_mask_is_told_apart_from_an_image():
    mask = (phantom() > 0.5).astype(np.float32)
    found = judge(measure(Volume.of(mask, AFFINE)))
    assert found.verdict == "leave out" and any("mask" in reason for reason in found.reasons)
    assert judge(measure(Volume.of(phantom(), AFFINE))).verdict == "good"


def test_limits_give_the_worst_reason_first_and_ignore_the_undefined():
    values = {"noise_share": Estimate(0.2), "ghost_share": Estimate(0.9), "smear_share": Estimate.undefined("no air")}
    found = judge(values)
    assert found.verdict == "leave out" and "ghost" in found.reasons[0] and "noise" in found.reasons[1]
    assert judge({}).verdict == "good"
    found = judge({"noise_share": Estimate.undefined("no slice shows enough of the body")})
    assert found.verdict == "review" and "too little can be measured" in found.reasons[0]
    with pytest.raises(InputError):
        Limit("noise_share", 0.5, 0.1, "the wrong way round")
    assert {limit.measure for limit in LIMITS} <= set(MEASURES)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 3])
def test_smear_follows_motion_from_half_a_millimetre_on(number):
    # Number 3 is a FLAIR, whose dark scalp reaches far beyond what the threshold takes for the body.
    from radfoundry.simulate.degrade import Strengths, degrade
    from radfoundry.simulate.rated import clean_scans

    clean = clean_scans(901, seed=5)[number]
    motions_mm = (0, 0.5, 1, 1.5, 2, 3, 4, 6, 8)
    middle = np.linspace(0, clean.image.shape[2] - 1, 12).round().astype(int)
    affine = np.diag([clean.spacing_mm, clean.spacing_mm, 4 * clean.spacing_mm, 1.0])
    found = []
    for motion in motions_mm:
        worse = Strengths(noise=0.03, motion_mm=motion)
        made = degrade(clean.image, worse, spacing_mm=clean.spacing_mm, rng=np.random.default_rng(3), slices=middle)
        found.append(measure(Volume.of(made, affine))["smear_share"].value)
    assert stats.kendalltau(motions_mm, found).statistic >= 0.85, found
