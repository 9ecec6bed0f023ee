"""A cohort in memory: small pictures with a planted ball, and a tiny encoder that reads them."""

import dataclasses

import numpy as np

from radfoundry.data.store import content_hash
from radfoundry.nets import embedding, vit
from radfoundry.records import Acquisition, Case, Cohort, EncoderSpec, Series
from radfoundry.tasks.views import Views
from radfoundry.volume import Volume

SIDE = 24


def encoder(seed=0):
    spec = EncoderSpec(name="tiny", modality=("US",), shape=(SIDE, SIDE, 1), intensity="zscore", width=16, dimensions=2)
    return vit.create(spec, depth=1, patch=(8, 8, 1), seed=seed)


def picture(rng, size):
    image = rng.normal(size=(SIDE, SIDE))
    centre = rng.uniform(8, 16, 2)
    distance = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(np.indices(image.shape), centre, strict=True)))
    return image + 4 * (distance < size)


class Kept:
    """Pixels in memory."""

    def __init__(self, volumes):
        self.volumes = volumes

    def __call__(self, series):
        return self.volumes[series.key]


def make(patients=32, *, seed=0, header=None):
    """Cohort, table of features, views, and the ball's radius by case; `header`: site by patient number."""
    rng = np.random.default_rng(seed)
    volumes, cases, sizes = {}, [], {}
    loader = Kept(volumes)
    for number in range(patients):
        size = float(rng.uniform(1.5, 6.5))
        volume = Volume.of(picture(rng, size).astype(np.float32), np.eye(4))
        key, case, patient = f"s{number:02d}", f"c{number:02d}", f"p{number:02d}"
        volumes[key] = volume
        site = header(number, size) if header else "one"
        series = Series(
            key,
            patient,
            case,
            Acquisition(modality="US"),
            (1, SIDE, SIDE, 1),
            (1.0, 1.0, 1.0),
            site=site,
            content=content_hash(volume),
            loader=loader,
        )
        cases.append(Case(case, patient, (series,), labels={"large": int(size > 4), "size": size}, site=site))
        sizes[case] = size
    cohort = Cohort(tuple(cases))
    net = encoder()
    table = embedding.embed(cohort, net)
    return cohort, table, Views(table.series, net, None), sizes


def with_answer(rows, answer):
    """The same rows with other answers."""
    return dataclasses.replace(rows, answer=answer)


def with_split(cohort, parts):
    """The cohort with a split named default."""
    return dataclasses.replace(cohort, splits={"default": parts})
