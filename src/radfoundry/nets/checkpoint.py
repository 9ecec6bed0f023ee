"""Weights on disk: safetensors with the encoder's spec inside, and a probe that proves they are the right ones."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from radfoundry import registry, runs
from radfoundry.nets import weight_files
from radfoundry.records import EncoderSpec, InputError

FORMAT = "1"
PROBE_KEY = "golden_probe"
TOLERANCE = 1e-3
OPTION_LIMIT = 1 << 40


def save(encoder: Any, path: str | Path, *, builder: str, options: dict[str, Any] | None = None) -> None:
    """Write weights, spec and the embedding of a fixed probe image; written whole or not at all.

    builder: the encoder's name in the registry; options: what its builder needs to make the same architecture
    again, by default what the encoder itself states (`encoder.options`).
    """
    chosen = getattr(encoder, "options", {}) if options is None else options
    # Cloned, because two names may share one tensor, which the format does not allow.
    weights = {name: value.detach().cpu().clone().contiguous() for name, value in encoder.state_dict().items()}
    weights[PROBE_KEY] = embed_probe(encoder)
    about = {
        "format": FORMAT,
        "builder": builder,
        "options": json.dumps(chosen),
        "spec": json.dumps(dataclasses.asdict(encoder.spec)),
    }
    with runs.atomic(path) as partial:
        weight_files.write(weights, partial, about=about)


def load(path: str | Path) -> Any:
    """Build the encoder a checkpoint describes and check that it embeds the stored probe as it did when saved.

    Reads safetensors only. Refuses other files, weights that do not fit the named builder, options that name
    a file, a changed spec, and a probe embedding that differs.
    """
    about, weights = _read(Path(path))
    options, spec = _described(about, where=str(path))
    stored = weights.pop(PROBE_KEY, None)
    # First without memory for the weights, so that a file cannot ask for more of it than it holds.
    _fit(_empty(about["builder"], options), weights, about["builder"], where=str(path))
    encoder = registry.build("encoders", about["builder"], **options)
    _fit(encoder, weights, about["builder"], where=str(path))
    encoder.load_state_dict(weights)
    if dataclasses.asdict(encoder.spec) != spec:
        raise InputError("its spec is not the builder's", where=str(path), remedy="save it again", finding="spec")
    if stored is None or not _same_probe(embed_probe(encoder), stored):
        raise InputError(
            "the golden probe does not give the stored embedding",
            where=str(path),
            remedy="the weights or the code changed since it was saved; get the checkpoint again",
            finding="probe",
        )
    return encoder


def _same_probe(found: torch.Tensor, stored: torch.Tensor) -> bool:
    return found.shape == stored.shape and torch.allclose(found, stored.float(), atol=TOLERANCE, rtol=TOLERANCE)


def _read(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    about, weights = weight_files.read(path)
    if about.get("format") != FORMAT or not {"builder", "options", "spec"} <= set(about):
        raise InputError("no radfoundry encoder inside", where=str(path), remedy="save it with nets.checkpoint.save")
    return about, weights


def _described(about: dict[str, str], *, where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options and spec of a checkpoint as plain values; a file inside a file is refused."""
    try:
        options, values = json.loads(about["options"]), json.loads(about["spec"])
        spec = _plain_spec(values)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        detail = " ".join(str(error).split())[:100]
        raise InputError(
            f"its description is damaged ({detail})", where=where, remedy="get the file again", finding="spec"
        ) from None
    if not isinstance(options, dict) or not all(_harmless(key, value) for key, value in options.items()):
        raise InputError(
            "its options are not sizes and switches of an encoder",
            where=where,
            remedy="a checkpoint may not name other files; save it with nets.checkpoint.save",
            finding="options",
        )
    return options, spec


def _harmless(key: Any, value: Any) -> bool:
    """No path to read, no number beyond reason; the builders check their own sizes more closely."""
    if key == "path":
        return False
    if isinstance(value, dict):
        return all(_harmless(name, item) for name, item in value.items())
    if isinstance(value, list):
        return len(value) <= 64 and all(_harmless("", item) for item in value)
    if isinstance(value, str):
        return "/" not in value and "\\" not in value
    return value is None or (isinstance(value, (int, float)) and abs(value) < OPTION_LIMIT)


def _empty(builder: str, options: dict[str, Any]) -> Any:
    """The encoder without memory for its weights, or None where its parts cannot be built that way."""
    try:
        with torch.device("meta"):
            return registry.build("encoders", builder, **options)
    except (NotImplementedError, RuntimeError):
        return None


def _fit(encoder: Any, weights: dict[str, torch.Tensor], builder: str, *, where: str) -> None:
    if encoder is None:
        return
    wanted = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if differing:
        first = differing[0]
        raise InputError(
            f"weights do not fit {builder}: {first} is {found.get(first, 'missing')}, not "
            f"{wanted.get(first, 'part of it')}" + (f" (and {len(differing) - 1} more)" if differing[1:] else ""),
            where=where,
            remedy="the file was made with other code or changed; get it again",
            finding="weights",
        )


def _plain_spec(values: dict[str, Any]) -> dict[str, Any]:
    """JSON turned tuples into lists; give the record its tuples back."""
    tuples: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return dataclasses.asdict(EncoderSpec(**tuples))


def probe_image(spec: EncoderSpec) -> torch.Tensor:
    """(1, channels, I, J, K): a fixed image that every axis and channel of the spec takes part in."""
    shape = spec.shape or ((64, 64, 1) if spec.dimensions == 2 else (32, 32, 32))
    axes = [torch.linspace(0, 1, size) if size > 1 else torch.zeros(1) for size in shape]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    frequencies = torch.tensor([3.0, 5.0, 7.0])[:, None, None, None]
    image = torch.sin(frequencies * grid + torch.arange(3.0)[:, None, None, None]).sum(dim=0)
    return torch.stack([image * (channel + 1) for channel in range(spec.channels)])[None]


@torch.no_grad()
def embed_probe(encoder: Any) -> torch.Tensor:
    """The pooled embedding of the probe image, as the encoder gives it outside training."""
    training = getattr(encoder, "training", False)
    if training:
        encoder.eval()
    image = probe_image(encoder.spec)
    weight = next(iter(encoder.parameters()), None) if hasattr(encoder, "parameters") else None
    pooled = encoder.encode(image if weight is None else image.to(weight.device)).pooled[0].float().cpu()
    if training:
        encoder.train()
    return pooled


def fingerprint(encoder: Any) -> str:
    """A short name for exactly these weights and this spec; equal encoders give equal fingerprints."""
    state = encoder.state_dict() if hasattr(encoder, "state_dict") else {}
    probe = [round(float(value), 4) for value in embed_probe(encoder)[:64]]
    sizes = {name: list(value.shape) for name, value in state.items()}
    return runs.digest([dataclasses.asdict(encoder.spec), sizes, probe, weight_bytes(state)])


def weight_bytes(state: dict[str, torch.Tensor]) -> str:
    """The digest of all weights, in order of their names."""
    total = hashlib.sha256()
    for name in sorted(state):
        total.update(name.encode())
        total.update(state[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
