"""The smallest encoder a pretraining run can be asked for by name."""

from radfoundry.nets import vit
from radfoundry.records import EncoderSpec


def tiny_encoder(*, seed=0):
    spec = EncoderSpec(
        name="tiny", orientation="RAS", spacing_mm=(3.0, 3.0, 3.0), shape=(16, 16, 16), intensity="zscore", width=32
    )
    return vit.create(spec, depth=1, patch=(8, 8, 8), seed=seed)
