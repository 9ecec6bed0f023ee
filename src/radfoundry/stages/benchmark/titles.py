"""What encoders are called in the tables of a comparison."""

from __future__ import annotations

import re
from collections.abc import Sequence

from radfoundry.config import Component
from radfoundry.records import InputError


def titles(components: Sequence[Component]) -> list[str]:
    """The names of encoders in tables; those of two runs of one name keep their number.

    >>> titles([Component(name=f"steps/{n}-pretrain/encoder.safetensors") for n in (1, 2)])
    ['1-pretrain', '2-pretrain']
    """
    short = [title(component) for component in components]
    return [
        name if short.count(name) == 1 else component.name.rpartition("/")[0].rpartition("/")[2] or name
        for name, component in zip(short, components, strict=True)
    ]


def title(component: Component) -> str:
    """The name of an encoder in tables: its registry name, or that of its checkpoint file or of the run it came from.

    >>> title(Component(name="runs/first/encoder.safetensors"))
    'first'
    """
    folder, _, name = component.name.removesuffix(".safetensors").rpartition("/")
    run = folder.rpartition("/")[2]
    return re.sub(r"^\d+-", "", run) if name == "encoder" and run else name


def distinct(components: Sequence[Component]) -> list[str]:
    """Names that differ: components of one name are told apart by their options, refused where these are alike.

    >>> distinct([Component(name="vit3d-tiny", spacing_mm=n) for n in (1, 3)])
    ['vit3d-tiny(spacing_mm=1)', 'vit3d-tiny(spacing_mm=3)']
    """
    names = titles(components)
    told = [", ".join(f"{key}={value}" for key, value in component.options.items()) for component in components]
    full = [
        f"{name}({options})" if names.count(name) > 1 and options else name
        for name, options in zip(names, told, strict=True)
    ]
    twice = [name for name in full if full.count(name) > 1]
    if twice:
        raise InputError(f"{twice[0]} is named twice", where="encoders", remedy="name each once")
    return full
