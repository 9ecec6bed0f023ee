"""What pretraining gained: perfect and useless features, one-way correlations against an oracle, pairs cut."""

import numpy as np
import torch

from radfoundry.records import Features
from radfoundry.simulate import stream
from radfoundry.stats.icc import icc
from radfoundry.train import gains
from radfoundry.train.batches import Batch
from radfoundry.train.processes import Place
from radfoundry.train.sources import Parted, Simulated

PLAN = stream.CropPlan(size=16, spacing_mm=(5.0, 5.0), views=2, protocols=("T1w", "T2w"), lesion_rate=0.5)


class Mean:
    """Features that say how the crop's image numbers lie: the first numbers of each image, some of them noise."""

    def __init__(self, *, noise: float) -> None:
        self.noise = noise

    def encode(self, images: torch.Tensor) -> Features:
        rows = images.flatten(1)[:, :6]
        grain = torch.randn(rows.shape, generator=torch.Generator().manual_seed(int(self.noise * 1000)))
        return Features(pooled=rows + self.noise * grain, tokens=rows[:, None], grid=(1, 1, 1))


def twins(count: int = 40) -> list[Batch]:
    """Patients whose two views are the same image."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(count, 1, 3, 3, 3, generator=generator).repeat(1, 2, 1, 1, 1)
    place = images.flatten(2)[:, :, :3] * 10
    return [
        Batch(images[:25], case=torch.arange(25), centre_mm=place[:25]),
        Batch(images[25:], case=torch.arange(25, count), centre_mm=place[25:]),
    ]


def test_features_that_do_not_see_the_sequence_find_everybody_and_noise_finds_few():
    found = gains.measured(twins(), {"pretrain": Mean(noise=0.0), "start": Mean(noise=3.0)})
    assert found["pretrain/retrieval"].value == 1 and found["pretrain/agreement"].value > 0.999
    assert found["start/retrieval"].value < 0.4
    assert found["pretrain/position"].value < 0.2 < found["start/position"].low
    for metric in ("retrieval", "agreement", "position"):  # positive is better, also where less is better
        assert found[f"pretrain-minus-start/{metric}"].low > 0, metric


def test_an_encoder_gains_nothing_over_itself():
    found = gains.measured(twins(), {"pretrain": Mean(noise=1.0), "start": Mean(noise=1.0)})
    for metric in ("retrieval", "agreement", "position"):
        gap = found[f"pretrain-minus-start/{metric}"]
        assert gap.value == 0 and not gap.low > 0


def test_agreement_is_the_one_way_correlation_of_every_feature():
    features = torch.randn(30, 2, 4, generator=torch.Generator().manual_seed(5))
    features[:, 1] += features[:, 0] * torch.tensor([0.0, 0.5, 1.0, 4.0])
    features[:, :, 3] = 7.0  # says nothing
    expected = [icc(features[:, :, column].numpy(), form="ICC(1,1)").value for column in range(3)]
    np.testing.assert_allclose(gains.agreement(features)[:3], expected, atol=1e-6)
    assert gains.agreement(features)[3] == 0


def test_the_jackknife_of_a_mean_is_the_standard_error():
    values = torch.randn(50, 2, 1, generator=torch.Generator().manual_seed(6))
    found = gains.by_patient(lambda rows: float(rows[:, 0].mean()), values)
    error = float(values[:, 0].std()) / 50**0.5
    np.testing.assert_allclose((found.high - found.low) / 2, 1.96 * error, rtol=1e-5)


def test_parted_partners_keep_what_is_known_of_each_image():
    source = Simulated(PLAN, 3, 0, "percentile", Place())
    whole, parted = source.batch(2), Parted(source).batch(2)
    assert torch.equal(whole.images[:, 0], parted.images[:, 0])
    for row in range(3):
        giver = (row - 1) % 3
        for name in ("images", "protocol", "settings", "centre_mm"):
            assert torch.equal(getattr(parted, name)[row, 1], getattr(whole, name)[giver, 1]), name
    assert torch.equal(whole.labels, parted.labels)  # of the first view
