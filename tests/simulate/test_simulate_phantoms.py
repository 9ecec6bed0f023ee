"""Laws of the phantoms: their labels are in the picture, look-alikes are equally dense, speckle is Rayleigh."""

import numpy as np
import pytest

from radfoundry.records import InputError
from radfoundry.simulate import film_phantom, phantoms, speckle_phantom
from radfoundry.simulate.film_phantom import FilmPhantoms
from radfoundry.simulate.gland_phantom import GlandPhantoms
from radfoundry.simulate.speckle_phantom import SpecklePhantoms
from radfoundry.simulate.view_phantom import ViewPhantoms


def test_even_tissue_gives_the_speckle_of_very_many_scatterers():
    # The envelope of one look is Rayleigh: its mean over its deviation is sqrt(pi / (4 - pi)) = 1.91 (Burckhardt 1978).
    scanner = speckle_phantom.Scanner("x", 0.8, 0.8, 1, 60.0, 0.0, 0.0)
    grey = speckle_phantom.pictured(np.zeros((256, 256)), scanner, rng=np.random.default_rng(0))
    envelope = 10 ** (((grey - 1) * 60 + speckle_phantom.TOP_DB) / 20)
    assert envelope.mean() / envelope.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.03)
    assert (envelope**2).mean() == pytest.approx(2.0, rel=0.05)


def test_a_shadow_lies_behind_the_lesion_and_a_capsule_around_it():
    cohort = SpecklePhantoms(shares=(1, 0))
    found = {name: {0: [], 1: []} for name in ("shadow", "capsule")}
    for case in range(40):
        made = cohort.simulate(case, seed=3)
        grey = made.series[0].volume.array[0, :, :, 0].astype(float)
        lesion = made.series[0].truth["lesion"].array[0, :, :, 0] > 0.5
        columns, rows = np.flatnonzero(lesion.any(axis=1)), np.flatnonzero(lesion.any(axis=0))
        behind = grey[columns[len(columns) // 2] - 2 : columns[len(columns) // 2] + 3, rows[-1] + 8 :].mean()
        found["shadow"][made.labels["shadow"]].append(behind - grey[:6, rows[-1] + 8 :].mean())
        grown = speckle_phantom.soft(lesion, 1.5)
        found["capsule"][made.labels["capsule"]].append(grey[(grown > 0.03) & ~lesion].mean() - grey[:, :8].mean())
    assert np.mean(found["shadow"][1]) < np.mean(found["shadow"][0]) - 15
    assert np.mean(found["capsule"][1]) > np.mean(found["capsule"][0]) + 10


def test_look_alikes_differ_in_their_place_and_not_in_amount():
    made = [FilmPhantoms(shares=(1, 0, 0)).simulate(case, seed=2) for case in range(120)]
    amount, apart = {0: [], 1: []}, {0: [], 1: []}
    for one in made:
        if not any(one.labels[name] for name in ("blots", "fluid_left", "fluid_right")):
            base = one.series[0].volume.array[0, :, 36:52, 0].astype(float)
            sides = base[:32].mean(), base[32:].mean()
            amount[one.labels["both"]].append(sum(sides))
            apart[one.labels["both"]].append(abs(sides[0] - sides[1]))
    assert np.mean(apart[0]) > 3 * np.mean(apart[1])
    assert abs(np.mean(amount[0]) - np.mean(amount[1])) < np.std(amount[0] + amount[1])


def test_a_network_has_no_direction():
    net = phantoms.network((128, 128), 6.0, rng=np.random.default_rng(0))
    one, other = (np.abs(np.diff(net, axis=axis)).mean() for axis in (0, 1))
    assert net.std() == pytest.approx(1) and one == pytest.approx(other, rel=0.1)


def test_views_share_the_tumour_and_the_fascia_shows_in_one():
    spread = {plane: {0: [], 1: []} for plane in (0, 1)}
    for case in range(40):
        made = ViewPhantoms(shares=(1, 0, 0), tongue=0).simulate(case, seed=4)
        assert len(made.series) == 2
        for plane in (0, 1):
            lesion = made.series[plane].truth["lesion"].array
            spread[plane][made.labels["fascia"]].append(float(lesion.sum()) / made.labels["tumour_size"])
    assert min(spread[0][1]) > max(spread[0][0])
    assert np.mean(spread[1][1]) == pytest.approx(np.mean(spread[1][0]), rel=0.15)


def test_a_lesion_lies_in_the_gland_and_decoys_around_it():
    dark = {(label, inside): [] for label in (0, 1) for inside in (True, False)}
    for case in range(30):
        made = GlandPhantoms().simulate(case, seed=6)
        grey = phantoms.soft(made.series[0].volume.array[0, :, :, 0], 1.0)
        gland = made.series[0].truth["gland"].array[0, :, :, 0] > 0.5
        inner = phantoms.soft(gland, 2.0) > 0.9
        for inside, where in ((True, inner), (False, phantoms.soft(gland, 2.0) < 0.05)):
            dark[made.labels["lesion"], inside].append(np.median(grey[where]) - grey[where].min())
    assert np.median(dark[1, True]) > 1.5 * np.median(dark[0, True])
    assert np.mean(dark[1, False]) == pytest.approx(np.mean(dark[0, False]), rel=0.35)


def test_hospitals_have_their_share_and_their_style():
    made = [FilmPhantoms(pixels=32, shares=(0, 1, 3), both_rate=0.2).simulate(case, seed=5) for case in range(80)]
    sites = [one.site for one in made]
    assert film_phantom.ROOMS[0].site not in sites
    assert 10 <= sites.count("Lakeside Clinic") <= 32
    assert np.mean([one.labels["both"] for one in made]) < 0.4
    spread = {site: np.mean([o.series[0].volume.array.std() for o in made if o.site == site]) for site in set(sites)}
    assert spread["Harbour Practice"] > 1.2 * spread["Lakeside Clinic"]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"pixels": 8}, "at least 32"), ({"shares": (1, -1)}, "at least 0"), ({"spikes": 2}, "from 0 to 1")],
)
def test_nonsense_is_refused(options, said):
    with pytest.raises(InputError, match=said):
        SpecklePhantoms(**options)


def test_shares_for_another_number_of_hospitals_are_refused():
    with pytest.raises(InputError, match="3 shares of 2 hospitals"):
        SpecklePhantoms(shares=(1, 1, 1)).simulate(0, seed=1)
    with pytest.raises(InputError, match="a share, and a strength"):
        FilmPhantoms(both_rate=2)
