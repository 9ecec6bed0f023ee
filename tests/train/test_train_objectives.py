"""What every objective must do, whatever it asks: finite loss, gradients everywhere, the same numbers again."""

import functools
from dataclasses import replace

import pytest
import torch
from train_samples import CROP, tiny_encoder, tiny_learner, tiny_source

from radfoundry import registry
from radfoundry.records import InputError
from radfoundry.train import draws, learner, reports, scene
from radfoundry.train.processes import Place
from radfoundry.train.sources import QUALITY, Simulated

FACTS = {"text_width": 32, "findings": len(reports.FINDINGS), "quality": len(QUALITY)}
OTHERS = (
    {"name": "separate", "synthesis": "learned", "weights": {"adversarial": 1.0}},
    {"name": "separate", "as_released": True},
    {"name": "align", "by": "sigmoid"},
    {"name": "relate", "as_released": True},
    {"name": "contrast", "of": "places"},
    {"name": "translate", "mask_ratio": 0.5},
)
VARIANTS = [
    *({"name": name} for name in registry.entries("objectives")),
    *(pytest.param(options, marks=pytest.mark.slow) for options in OTHERS),
]


@functools.cache
def tokeniser():
    return reports.learned_tokeniser(CROP, seed=99, size=300, patients=60)


@functools.cache
def told_batch(step=0):
    return Simulated(CROP, 4, 0, "zscore", Place(), tokeniser=tokeniser(), report_length=96).batch(step)


def built(options, seed=0):
    return tiny_learner(options, seed=seed, vocabulary=tokeniser().size, **FACTS)


def label(options):
    return "-".join(str(value) for value in options.values() if not isinstance(value, dict))


@pytest.fixture(params=VARIANTS, ids=label)
def options(request):
    return request.param


def test_finite_loss_with_finite_gradients_into_encoder_and_heads(options):
    made = built(options)
    terms = made(told_batch())
    assert all(value.ndim == 0 and bool(torch.isfinite(value)) for value in terms.values())
    terms["loss"].backward()
    named = dict(made.named_parameters())
    assert all(bool(torch.isfinite(weight.grad).all()) for weight in named.values() if weight.grad is not None)
    reached = [name for name, weight in named.items() if weight.grad is not None and float(weight.grad.abs().sum()) > 0]
    assert any(name.startswith("encoder.stem") for name in reached)
    still = "project" if options.get("as_released") and options["name"] == "separate" else "-"
    untouched = {
        name
        for name, weight in named.items()
        if weight.requires_grad and name not in reached and "objectives" in name and still not in name
    }
    assert not untouched


def test_the_same_batch_gives_the_same_loss(options):
    first, second = (built(options)(told_batch())["loss"] for _ in range(2))
    assert torch.equal(first, second)


def test_the_order_of_patients_does_not_matter(options):
    batch = told_batch()
    turned = {name: value.flip(0) for name in batch.known if isinstance(value := getattr(batch, name), torch.Tensor)}
    made = built(options).eval()
    other = made(type(batch)(step=batch.step, **turned))["loss"]
    assert made(batch)["loss"].item() == pytest.approx(other.item(), rel=1e-3, abs=1e-4)


@pytest.mark.slow
def test_patients_seen_again_and_again_are_learned(options):
    if options.get("as_released"):
        pytest.skip("parts of the released losses send no gradient to where it would help")
    made = built(options)
    optimiser = torch.optim.AdamW([weight for weight in made.parameters() if weight.requires_grad], lr=3e-3)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = made(told_batch())["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        optimiser.step()
        made.after_step(0.0)
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_an_objective_without_its_facts_is_left_out_and_none_at_all_refused():
    both = tiny_learner("masked", "position")
    bare = type(told_batch())(images=told_batch().images, case=told_batch().case)
    assert set(both(bare)) == {"masked", "loss"}
    with pytest.raises(InputError, match="no objective can learn"):
        tiny_learner("position")(bare)


def test_weights_add_up():
    batch = told_batch()
    single = tiny_learner("masked")(batch)["loss"]
    assert tiny_learner({"name": "masked", "weight": 3})(batch)["loss"].item() == pytest.approx(3 * single.item())
    with pytest.raises(InputError, match="not a positive number"):
        tiny_learner({"name": "masked", "weight": 0})
    with pytest.raises(InputError, match="did you mean 'mask_ratio'"):
        tiny_learner({"name": "masked", "mask_ration": 0.5})


@pytest.mark.parametrize("name", ["align", "concepts", "guided", "similar", "supervised"])
def test_report_objectives_are_refused_where_there_are_no_reports(name):
    with pytest.raises(InputError, match="set reports=true"):
        tiny_learner(name)


def test_encoders_that_cannot_be_trained_here_are_refused():
    with pytest.raises(InputError, match="cannot be pretrained"):
        scene.shapes_of(registry.build("encoders", "intensity"), 16)
    with pytest.raises(InputError, match="no objectives"):
        learner.build(tiny_encoder(), scene.shapes_of(tiny_encoder(), 16), [], seed=0)


def test_as_released_invariance_does_not_teach_the_encoder():
    """PRISM's code freezes the encoder in the step that holds its structure invariance (section 1.7 of the reading)."""
    only = {"invariance": 1.0, "style": 0.0, "hide": 0.0, "covariance": 0.0, "rebuild": 0.0}
    for released, taught in ((True, False), (False, True)):
        made = built({"name": "separate", "synthesis": "learned", "as_released": released, "weights": only})
        made(told_batch())["loss"].backward()
        stem = sum(float(w.grad.abs().sum()) for w in made.encoder.parameters() if w.grad is not None)
        assert (stem > 0) == taught


def test_the_teacher_follows_slowly_and_gets_no_gradient():
    made = built({"name": "distil", "momentum": 0.9})
    teacher = made.objectives["distil"].teacher
    before = [weight.clone() for weight in teacher.parameters()]
    with torch.no_grad():
        for weight in made.encoder.parameters():
            weight.add_(1.0)
    made.after_step(progress=0.0)
    moved = [float((weight - old).mean()) for weight, old in zip(teacher.parameters(), before, strict=True)]
    assert moved == pytest.approx([0.1] * len(moved), abs=1e-5)
    made.after_step(progress=1.0)
    assert all(not weight.requires_grad for weight in teacher.parameters())


def test_hidden_places_are_the_same_number_in_every_image_and_their_own_blocks():
    from radfoundry.train.objectives.masked import block_mask, hide

    hidden = block_mask(torch.arange(5), (4, 4, 4), share=0.5, block=2, seed=1)
    assert hidden.flatten(1).sum(dim=1).tolist() == [32] * 5
    corners = hidden[:, ::2, ::2, ::2]
    assert torch.equal(hidden, corners.repeat_interleave(2, 1).repeat_interleave(2, 2).repeat_interleave(2, 3))
    images = torch.rand(5, 1, 8, 8, 8)
    assert torch.equal(hide(images, torch.zeros(5, 4, 4, 4, dtype=torch.bool), (4, 4, 4)), images)
    changed = (hide(images, hidden, (4, 4, 4)) != images).reshape(5, 4, 2, 4, 2, 4, 2).amax(dim=(2, 4, 6))
    assert torch.equal(changed.bool(), hidden)


def test_restoration_harms_within_the_image_and_keeps_shuffled_values():
    from radfoundry.train.objectives import restore

    made = tiny_learner({"name": "restore", "bend": 0, "paint": 0, "shuffle": 1}).objectives["restore"]
    seen = scene.Scene(told_batch(), tiny_encoder(), seed=0)
    shuffled = made.harmed(seen)
    assert not torch.equal(shuffled, seen.images)
    assert torch.equal(shuffled.flatten(1).sort().values, seen.images.flatten(1).sort().values)
    bent = restore.bent(seen.images[:, 0], torch.rand(8, 5, generator=torch.Generator().manual_seed(0)))
    assert bent.amax() <= seen.images.amax() + 1e-4 and bent.amin() >= seen.images.amin() - 1e-4
    # A rising curve keeps the order of grey values.
    rising = restore.bent(seen.images[:, 0], torch.tensor([[0.2, 0.7, 0.6, 0.9, 0.1]]).expand(8, 5)).flatten(1)
    order = seen.images.flatten(1).argsort(dim=1)
    assert bool((rising.gather(1, order).diff(dim=1) > -1e-4).all())
    none = tiny_learner({"name": "restore", "bend": 0, "paint": 0, "shuffle": 0}).objectives["restore"]
    assert torch.equal(none.harmed(seen), seen.images)


def test_the_source_is_a_function_of_the_step():
    again = Simulated(CROP, 4, 0, "zscore", Place(), tokeniser=tokeniser(), report_length=96).batch(0)
    assert all(torch.equal(getattr(again, name), getattr(told_batch(), name)) for name in again.known if name != "step")
    assert tiny_source().batch(1).case.tolist() == [4, 5, 6, 7]


def test_a_share_of_labels_is_always_the_same_patients_and_the_others_teach_nothing():
    batch = told_batch()
    one, again = (built({"name": "supervised", "labelled": 0.5}) for _ in range(2))
    assert one(batch)["loss"].item() == again(batch)["loss"].item()
    loss = one(batch)["loss"]
    chosen = draws.uniform(batch.case, 1, seed=0, purpose="labelled")[:, 0] < 0.5
    assert chosen.any() and not chosen.all()
    turned = replace(batch, findings=torch.where(chosen[:, None], batch.findings, 1 - batch.findings))
    torch.testing.assert_close(one(turned)["loss"], loss)
    turned = replace(batch, findings=torch.where(chosen[:, None], 1 - batch.findings, batch.findings))
    assert abs(one(turned)["loss"].item() - loss.item()) > 1e-4
    with pytest.raises(InputError, match="not a share"):
        built({"name": "supervised", "labelled": 0.0})


def test_a_teacher_may_be_named_and_reads_images_in_its_own_scale():
    batch = told_batch()
    made = built({"name": "relate", "teacher": "vit3d-tiny", "resolution": 0.0})
    assert made(batch)["loss"].isfinite()
    (relate,) = made.objectives.values()
    told = made(batch)["loss"].item()
    relate.shuffled = True
    assert made(batch)["loss"].item() != told
