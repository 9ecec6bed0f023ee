"""The same network with fresh weights, to show what the training of an encoder is worth."""

from __future__ import annotations

import json
from typing import Any

from radfoundry import registry
from radfoundry.config import Component
from radfoundry.nets import weight_files

FRESH = "untrained_seed"
SEED = 20


def twin(component: Component) -> Any:
    """The encoder a setting names with fresh weights; None where it has none that were trained, or none can be made.

    A checkpoint is built anew from what it says of its builder; the bundled encoder is asked for fresh weights.
    """
    if component.name.endswith(".safetensors"):
        about, _ = weight_files.header(component.name)
        builder, options = about["builder"], json.loads(about["options"])
        return _fresh(builder, options) or registry.build("encoders", builder, **options).eval()
    return _fresh(component.name, component.options)


def _fresh(name: str, options: dict[str, Any]) -> Any:
    import inspect

    builder = registry.resolve("encoders", name)
    if FRESH not in inspect.signature(builder).parameters or options.get(FRESH) is not None:
        return None
    return builder(**{**options, FRESH: SEED}).eval()
