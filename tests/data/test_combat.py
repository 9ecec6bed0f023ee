"""ComBat: the published fixed point, equality with a reference tool, and what fitting on training patients means."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radfoundry.data import combat
from radfoundry.records import InputError

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "combat.json").read_text())
NAMES = ("age", "sex")


def several_sites(seed, rows=90, width=8):
    """Features of one population seen by three sites, with the truth before the sites touched them."""
    rng = np.random.default_rng(seed)
    site = np.array(["a", "b", "c"])[rng.permutation(np.arange(rows) % 3)]
    age = rng.normal(size=rows)
    truth = rng.normal(size=(rows, width)) + age[:, None] * np.linspace(0.5, 1.5, width)
    shift, scale = rng.normal(0, 3, (3, width)), rng.uniform(0.5, 2, (3, width))
    place = (site[:, None] == np.array(["a", "b", "c"])).argmax(axis=1)
    return truth * scale[place] + shift[place], site, age, truth


@pytest.mark.parametrize("kind", ["plain", "protected", "unshrunk"])
def test_equals_the_reference_tool(kind):
    covariates = np.column_stack([GOLDEN["age"], GOLDEN["sex"]]) if kind == "protected" else None
    model = combat.fit(
        GOLDEN["features"],
        GOLDEN["site"],
        covariates=covariates,
        names=NAMES if kind == "protected" else (),
        shrink=kind != "unshrunk",
    )
    found = model.apply(GOLDEN["features"], GOLDEN["site"], covariates)
    assert np.abs(found - np.array(GOLDEN[kind])).max() < 1e-5


def test_shift_and_scale_maximise_the_posterior():
    """Johnson et al. find the mode of the posterior: no small step away from it may be more likely."""
    table, site, _, _ = several_sites(3, rows=60)
    model = combat.fit(table, site)
    raw = combat.fit(table, site, shrink=False)
    mine = (table - model.mean) / model.spread
    for place, name in enumerate(model.sites):
        here, variance = mine[site == name], raw.scale[place] ** 2
        middle, about = variance.mean(), variance.var(ddof=1)
        shape, rate = 2 + middle**2 / about, middle + middle**3 / about

        def minus_log_posterior(gamma, delta, here=here, place=place, shape=shape, rate=rate):
            prior = (gamma - raw.shift[place].mean()) ** 2 / (2 * raw.shift[place].var(ddof=1))
            seen = len(here) / 2 * np.log(delta) + ((here - gamma) ** 2).sum(axis=0) / (2 * delta)
            return prior + seen + (shape - 1) * np.log(delta) + rate / delta

        gamma, delta = model.shift[place], model.scale[place] ** 2
        best = minus_log_posterior(gamma, delta)
        for step in (-1e-3, 1e-3):
            # The published update of the variance is the mode with one degree of freedom given up: n/2 + a - 1.
            assert (minus_log_posterior(gamma + step, delta) >= best - 1e-9).all()
            assert (minus_log_posterior(gamma, delta * (1 + step)) >= best - 1e-9).all()


def test_sites_become_alike_and_protected_age_stays():
    table, site, age, _ = several_sites(0, rows=600)
    model = combat.fit(table, site, covariates=age, names=("age",))
    freed = model.apply(table, site, age)
    means = np.stack([freed[site == name].mean(axis=0) for name in "abc"])
    assert np.ptp(means, axis=0).max() < 0.4 < np.ptp([table[site == n].mean(axis=0) for n in "abc"], axis=0).max()
    slopes = np.polyfit(age, freed, 1)[0]
    assert np.abs(slopes - model.slope[0]).max() < 0.25 < np.abs(slopes).mean()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_undo_restores_and_order_does_not_matter(seed):
    table, site, age, _ = several_sites(seed, rows=45, width=5)
    model = combat.fit(table, site, covariates=age, names=("age",))
    freed = model.apply(table, site, age)
    assert np.allclose(model.undo(freed, site, age), table)
    order = np.random.default_rng(seed).permutation(len(table))
    other = combat.fit(table[order], site[order], covariates=age[order], names=("age",))
    assert np.allclose(other.apply(table, site, age), freed)
    one = np.concatenate([model.apply(table[i : i + 1], site[i : i + 1], age[i : i + 1]) for i in range(5)])
    assert np.allclose(one, freed[:5]), "a row is answered alone"


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(-50, 50))
def test_units_of_a_feature_do_not_matter(seed, scale, shift):
    table, site, _, _ = several_sites(seed, rows=45, width=5)
    freed = combat.fit(table, site).apply(table, site)
    changed = combat.fit(table * scale + shift, site).apply(table * scale + shift, site)
    assert np.allclose(changed, freed * scale + shift, rtol=1e-5, atol=1e-5 * (scale + abs(shift)))


def test_one_site_changes_nothing_and_constant_features_stay():
    table, site, _, _ = several_sites(1)
    alone = ["a"] * len(table)
    assert np.allclose(combat.fit(table, alone).apply(table, alone), table, atol=1e-12)
    table[:, 2] = 7.0
    freed = combat.fit(table, site).apply(table, site)
    assert (freed[:, 2] == 7.0).all() and np.isfinite(freed).all()


def test_a_new_site_learns_from_its_own_patients_and_moves_nobody_else():
    table, site, _, truth = several_sites(2, rows=300)
    known = site != "c"
    model = combat.fit(table[known], site[known])
    new = np.flatnonzero(site == "c")
    wider = model.with_site(table[new[:40]], "c")
    assert np.array_equal(wider.apply(table[known], site[known]), model.apply(table[known], site[known]))
    freed = wider.apply(table[new[40:]], site[new[40:]])
    before = np.abs(np.corrcoef(truth[new[40:]].mean(axis=1), freed.mean(axis=1))[0, 1])
    assert before > 0.8
    gap = np.abs(freed.mean(axis=0) - wider.apply(table[known], site[known]).mean(axis=0))
    assert gap.mean() < 0.25 * np.abs(table[new].mean(axis=0) - table[known].mean(axis=0)).mean()
    with pytest.raises(InputError, match="known already"):
        wider.with_site(table[new], "c")


def test_refusals_say_what_to_do(tmp_path):
    table, site, age, _ = several_sites(4)
    model = combat.fit(table, site, covariates=age, names=("age",))
    with pytest.raises(InputError, match=r"'d' taught nothing .*known: a, b, c"):
        model.apply(table[:1], ["d"], age[:1])
    with pytest.raises(InputError, match="covariates have shape"):
        model.apply(table, site)
    with pytest.raises(InputError, match=r"too few rows.*d 2"):
        combat.fit(table, [*site[:-2], "d", "d"])
    with pytest.raises(InputError, match="cannot be told apart from the site"):
        combat.fit(table, site, covariates=(site == "a").astype(float), names=("scanner",))
    with pytest.raises(InputError, match="3 of 90 rows of features are not finite"):
        combat.fit(np.where(np.arange(90)[:, None] < 3, np.nan, table), site)
    combat.save(model, tmp_path / "combat.safetensors")
    read = combat.load(tmp_path / "combat.safetensors")
    assert np.array_equal(read.apply(table, site, age), model.apply(table, site, age))
    (tmp_path / "other.safetensors").write_text("no")
    with pytest.raises(InputError, match="not a fitted ComBat"):
        combat.load(tmp_path / "other.safetensors")
