"""The same network with fresh weights, to show what the training of an encoder is worth."""

from __future__ import annotations

import json
from typing import Any

from radfoundry import registry
from radfoundry.config import Component
from radfoundry.nets import weight_files

FRESH = "untrained_seed"
SEED = 20
WITHOUT_WEIGHTS = ("intensity",)
BUNDLED = ("radfoundry-mri",)
INNER = {"sequence-set": "vit3d-tiny", "slices": "vit2d-tiny"}  # what they hold unless told otherwise


def twin(component: Component) -> Any:
    """The encoder a setting names with fresh weights; None where it has none that were trained, or none can be made.

    A checkpoint is built anew from what it says of its builder; the bundled encoder is asked for fresh weights.
    """
    if component.name.endswith(".safetensors"):
        about, _ = weight_files.header(component.name)
        builder, options = about["builder"], json.loads(about["options"])
        return _fresh(builder, options) or registry.build("encoders", builder, **options).eval()
    return _fresh(component.name, component.options)


def never_trained(component: Component) -> bool:
    """Whether the weights of an encoder come out of a random number generator, by its name and options alone.

    >>> never_trained(Component(name="vit2d-tiny")), never_trained(Component(name="intensity"))
    (True, False)
    """
    name, options = component.name, component.options
    if name in WITHOUT_WEIGHTS or name not in registry.entries("encoders"):
        return False
    if name in BUNDLED:
        return options.get(FRESH) is not None
    inner = options.get("encoder", INNER.get(name))
    return never_trained(Component(name=str(inner))) if inner else not options.get("path")


def remarks(*components: Component) -> list[str]:
    """One line for each encoder that was never trained: its figures are not those of a trained one."""
    names = dict.fromkeys(component.name for component in components if never_trained(component))
    return [
        f"the weights of {name} are random (radfoundry pretrain trains them): frozen, it gives random features"
        for name in names
    ]


def _fresh(name: str, options: dict[str, Any]) -> Any:
    import inspect

    builder = registry.resolve("encoders", name)
    if FRESH not in inspect.signature(builder).parameters or options.get(FRESH) is not None:
        return None
    return builder(**{**options, FRESH: SEED}).eval()
