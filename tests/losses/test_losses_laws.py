"""Laws of the losses: what leaves them unchanged, their best and worst, values known in closed form."""

import math

import pytest
import torch

from radfoundry.losses import contrastive, distillation, reconstruction, separation, spread
from radfoundry.records import InputError


def rows(count=6, width=5, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).float()


def turned(width=5, seed=9):
    return torch.linalg.qr(rows(width, width, seed)).Q


PAIR_LOSSES = {
    "info_nce": lambda a, b: contrastive.info_nce(a, b),
    "sigmoid_pairs": lambda a, b: contrastive.sigmoid_pairs(a, b, scale=10.0, bias=-10.0),
    "relational": distillation.relational,
    "likeness_kept": distillation.likeness_kept,
    "finding_similarity": distillation.finding_similarity,
    "cross_covariance": separation.cross_covariance,
    "alignment": spread.alignment,
}
ROTATABLE = [name for name in PAIR_LOSSES if name != "cross_covariance"]


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_finite_with_finite_gradients(name):
    first, second = rows(seed=1).requires_grad_(), rows(seed=2).requires_grad_()
    PAIR_LOSSES[name](first, second).backward()
    assert torch.isfinite(first.grad).all() and first.grad.abs().sum() > 0


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_half_precision_around_a_loss_changes_nothing_in_it(name):
    first, second = rows(seed=1), rows(seed=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = PAIR_LOSSES[name](first, second)
    assert torch.equal(inside, PAIR_LOSSES[name](first, second))


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_the_order_of_rows_does_not_matter(name):
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    one, other = rows(seed=1), rows(seed=2)
    assert PAIR_LOSSES[name](one, other).item() == pytest.approx(
        PAIR_LOSSES[name](one[order], other[order]).item(), abs=1e-5
    )


@pytest.mark.parametrize("name", ROTATABLE)
def test_lengths_and_a_common_turn_do_not_matter(name):
    one, other = rows(seed=1), rows(seed=2)
    there = PAIR_LOSSES[name](one, other).item()
    assert PAIR_LOSSES[name](one * 7, other * 0.1).item() == pytest.approx(there, abs=1e-4)
    assert PAIR_LOSSES[name](one @ turned(), other @ turned()).item() == pytest.approx(there, abs=1e-4)


@pytest.mark.parametrize("name", ["info_nce", "relational", "likeness_kept", "alignment"])
def test_partners_that_agree_give_less_than_partners_dealt_out_anew(name):
    one = rows(seed=1)
    other = one[torch.tensor([1, 2, 3, 4, 5, 0])]
    assert PAIR_LOSSES[name](one, one).item() < PAIR_LOSSES[name](one, other).item()


def test_info_nce_of_features_that_say_nothing_is_log_of_the_batch():
    same = torch.ones(8, 4)
    assert contrastive.info_nce(same, same).item() == pytest.approx(math.log(8), abs=1e-6)


def test_info_nce_in_closed_form():
    """Orthonormal rows at temperature 1: the partner has logit 1, the others 0."""
    expected = math.log(1 + 3 * math.exp(-1))
    assert contrastive.info_nce(torch.eye(4), torch.eye(4), temperature=1.0).item() == pytest.approx(expected, abs=1e-6)


def test_info_nce_with_the_diagonal_as_positives_is_info_nce():
    one, other = rows(seed=1), rows(seed=2)
    plain = contrastive.info_nce(one, other).item()
    assert contrastive.info_nce(one, other, positives=torch.eye(6)).item() == pytest.approx(plain, abs=1e-6)
    with pytest.raises(InputError, match="no partner"):
        contrastive.info_nce(one, other, positives=torch.zeros(6, 6))


def test_info_nce_of_stacked_sets_is_their_mean():
    one, other = torch.stack([rows(seed=1), rows(seed=3)]), torch.stack([rows(seed=2), rows(seed=4)])
    apart = [contrastive.info_nce(a, b).item() for a, b in zip(one, other, strict=True)]
    assert contrastive.info_nce(one, other).item() == pytest.approx(sum(apart) / 2, abs=1e-6)


def test_rows_without_weight_are_only_there_to_be_told_from():
    one, other = rows(seed=1), rows(seed=2)
    first_only = torch.tensor([1.0, 0, 0, 0, 0, 0])
    changed = other.clone()
    changed[3] = one[0] * 5
    there, then = (contrastive.info_nce(one, part, weight=first_only).item() for part in (other, changed))
    assert then > there  # a better impostor
    assert contrastive.info_nce(one, other, weight=torch.ones(6)).item() == pytest.approx(
        contrastive.info_nce(one, other).item(), abs=1e-6
    )


def test_sigmoid_pairs_in_closed_form():
    """With scale 0 every pair costs softplus of minus or plus the bias."""
    positive, negative = math.log(1 + math.exp(2.0)), math.log(1 + math.exp(-2.0))
    found = contrastive.sigmoid_pairs(rows(4), rows(4), scale=0.0, bias=-2.0).item()
    assert found == pytest.approx(positive + 3 * negative, abs=1e-5)


def test_region_concepts_look_at_the_best_place_only_and_ignore_what_is_ignored():
    concept = torch.tensor([[1.0, 0.0]])
    patches = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    belongs = torch.tensor([[True], [False]])
    found = contrastive.region_concepts(patches, concept, belongs, scale=3.0, bias=0.0).item()
    assert found == pytest.approx(math.log(1 + math.exp(-3)) + math.log(2), abs=1e-6)
    left = contrastive.region_concepts(
        patches, concept, belongs, scale=3.0, bias=0.0, ignore=torch.tensor([[True], [True]])
    ).item()
    assert left == pytest.approx(math.log(1 + math.exp(-3)), abs=1e-6)


def test_masked_distance_counts_only_what_is_weighted_and_every_image_alike():
    truth = torch.zeros(2, 4)
    guess = torch.tensor([[1.0, 9, 9, 9], [2.0, 2, 2, 2]])
    weight = torch.tensor([[1.0, 0, 0, 0], [1.0, 1, 1, 1]])
    assert reconstruction.masked_distance(guess, truth, weight=weight).item() == pytest.approx(1.5)
    assert reconstruction.masked_distance(guess, truth, weight=weight, power=2).item() == pytest.approx(2.5)
    assert reconstruction.masked_distance(guess, guess).item() == 0


def test_unknown_values_do_not_count():
    truth = torch.tensor([[1.0, 0.0]])
    assert reconstruction.known_regression(torch.tensor([[1.0, 5.0]]), truth, torch.tensor([[1.0, 0.0]])).item() == 0


@pytest.mark.parametrize("grid", [(1, 1, 1), (2, 3, 4), (4, 6, 4)])
def test_patches_and_image_are_inverse(grid):
    image = rows(2, 4 * 6 * 8).reshape(2, 4, 6, 8)
    patches = reconstruction.patches_of(image, grid)
    assert torch.equal(reconstruction.image_of(patches, grid, (4, 6, 8)), image)
    with pytest.raises(InputError, match="whole number"):
        reconstruction.patches_of(image, (3, 3, 3))


def test_cross_covariance_is_nothing_for_unrelated_and_one_for_the_same_column():
    column = torch.tensor([[-1.0], [1.0], [-1.0], [1.0]])
    other = torch.tensor([[-1.0], [-1.0], [1.0], [1.0]])
    assert separation.cross_covariance(column, other).item() == pytest.approx(0, abs=1e-6)
    assert separation.cross_covariance(column, column * 3 + 7).item() == pytest.approx(1, abs=1e-4)


def test_reversed_gradient_has_the_other_sign():
    values = rows().requires_grad_()
    separation.reverse_gradient(values, 0.5).sum().backward()
    assert torch.equal(values.grad, torch.full_like(values, -0.5))
    assert torch.equal(separation.reverse_gradient(values), values)


def test_adversarial_losses_meet_at_log_two():
    zero = torch.zeros(3)
    assert separation.looks_real(zero).item() == pytest.approx(math.log(2))
    assert separation.looks_made(torch.tensor([2.0])).item() == pytest.approx(
        separation.looks_real(torch.tensor([-2.0])).item()
    )


def test_sinkhorn_uses_every_prototype_alike():
    shares = distillation.sinkhorn(rows(64, 8) * 0.1, temperature=0.1, iterations=50)
    assert torch.allclose(shares.sum(dim=1), torch.ones(64), atol=1e-5)
    assert torch.allclose(shares.sum(dim=0), torch.full((8,), 8.0), atol=1e-2)
    shifted = distillation.sinkhorn(rows(64, 8) * 0.1 + 5, temperature=0.1, iterations=50)
    assert torch.allclose(shares, shifted, atol=1e-5)


def test_cross_entropy_is_smallest_at_the_teacher_and_leaves_it_alone():
    target = torch.softmax(rows(4, 6).requires_grad_(), dim=1)
    best = (target.log() * 0.1).detach().requires_grad_()
    loss = distillation.cross_entropy(best, target)
    loss.backward()
    assert best.grad.abs().max() < 1e-6
    entropy = -(target * target.log()).sum(dim=1).mean().item()
    assert loss.item() == pytest.approx(entropy, abs=1e-5)


def test_koleo_prefers_spread_rows_and_grows_without_bound_when_they_meet():
    spread_out = torch.eye(4)
    close = torch.ones(4, 4) + torch.eye(4) * 0.01
    assert distillation.koleo(spread_out).item() == pytest.approx(-math.log(math.sqrt(2)), abs=1e-4)
    assert distillation.koleo(close) > distillation.koleo(spread_out) + 3


def test_relational_distillation_is_nothing_for_a_turned_and_stretched_teacher():
    student = rows(6, 5)
    assert distillation.relational(student, 3 * student @ turned()).item() == pytest.approx(0, abs=1e-5)
    wide = torch.cat([student, torch.zeros(6, 2)], dim=1)
    assert distillation.relational(student, wide).item() == pytest.approx(0, abs=1e-5)
    other = rows(6, 5, seed=4)
    forward, released = (distillation.relational(student, other, as_released=flag).item() for flag in (False, True))
    assert forward > 0 and released > 0 and forward != pytest.approx(released, rel=1e-3)


def test_finding_similarity_is_nothing_when_images_are_as_alike_as_reports():
    two_kinds = torch.tensor([[1.0, 0], [1.0, 0], [0, 1.0], [0, 1.0]])
    assert distillation.finding_similarity(two_kinds, two_kinds, high=0.7, low=0.5).item() == pytest.approx(0, abs=1e-6)
    assert distillation.finding_similarity(two_kinds[[0, 2, 1, 3]], two_kinds, high=0.7, low=0.5).item() > 0.3


def test_effective_rank_counts_directions_and_ignores_shift_scale_and_turn():
    flat = torch.cat([rows(40, 2), torch.zeros(40, 3)], dim=1)
    assert 1.8 < spread.effective_rank(flat).item() <= 2 + 1e-6
    there = spread.effective_rank(rows(40, 5)).item()
    assert spread.effective_rank(rows(40, 5) @ turned() * 9 + 4).item() == pytest.approx(there, rel=1e-4)
    assert spread.effective_rank(torch.ones(9, 4)).item() == 1.0


def test_uniformity_and_alignment_at_their_ends():
    same = torch.ones(5, 3)
    assert spread.alignment(same, same * 2).item() == pytest.approx(0, abs=1e-6)
    assert spread.uniformity(same).item() == pytest.approx(0, abs=1e-5)
    # Opposite rows lie 2 apart: exp(-2 * 4) is all the heat there is.
    assert spread.uniformity(torch.tensor([[1.0, 0], [-1.0, 0]])).item() == pytest.approx(-8, abs=1e-5)
    assert spread.alignment(torch.tensor([[1.0, 0]]), torch.tensor([[-1.0, 0]])).item() == pytest.approx(4, abs=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda: contrastive.info_nce(rows(3), rows(4)),
        lambda: reconstruction.masked_distance(rows(3), rows(4)),
        lambda: separation.cross_covariance(rows(1), rows(1)),
        lambda: distillation.koleo(rows(1)),
        lambda: distillation.relational(rows(2), rows(2)),
        lambda: distillation.finding_similarity(rows(3), rows(3), high=0.1, low=0.5),
        lambda: spread.uniformity(rows(1)),
    ],
)
def test_what_cannot_be_answered_is_refused(call):
    with pytest.raises(InputError):
        call()
