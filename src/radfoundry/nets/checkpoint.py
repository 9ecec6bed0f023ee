"""Weights on disk: safetensors with the encoder's spec inside, and a probe that proves they are the right ones."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from radfoundry import registry, runs
from radfoundry.records import EncoderSpec, InputError

FORMAT = "1"
PROBE_KEY = "golden_probe"
TOLERANCE = 1e-3


def save(encoder: Any, path: str | Path, *, builder: str, options: dict[str, Any] | None = None) -> None:
    """Write weights, spec and the embedding of a fixed probe image; written whole or not at all.

    builder: the encoder's name in the registry; options: what its builder was called with.
    """
    weights = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    weights[PROBE_KEY] = embed_probe(encoder)
    about = {
        "format": FORMAT,
        "builder": builder,
        "options": json.dumps(options or {}),
        "spec": json.dumps(dataclasses.asdict(encoder.spec)),
    }
    with runs.atomic(path) as partial:
        save_file(weights, partial, metadata=about)


def load(path: str | Path) -> Any:
    """Build the encoder a checkpoint describes and check that it embeds the stored probe as it did when saved.

    Reads safetensors only. Refuses other files, weights that do not fit the named builder, a changed spec,
    and a probe embedding that differs.
    """
    about, weights = _read(Path(path))
    encoder = registry.build("encoders", about["builder"], **json.loads(about["options"]))
    stored = weights.pop(PROBE_KEY, None)
    try:
        encoder.load_state_dict(weights)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:200]
        raise InputError(
            f"weights do not fit {about['builder']}: {detail}", where=str(path), finding="weights"
        ) from None
    if dataclasses.asdict(encoder.spec) != _plain_spec(json.loads(about["spec"])):
        raise InputError("its spec is not the builder's", where=str(path), remedy="save it again", finding="spec")
    if stored is None or not torch.allclose(embed_probe(encoder), stored, atol=TOLERANCE, rtol=TOLERANCE):
        raise InputError(
            "the golden probe does not give the stored embedding",
            where=str(path),
            remedy="the weights or the code changed since it was saved; get the checkpoint again",
            finding="probe",
        )
    return encoder


def _read(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    try:
        with safe_open(path, framework="pt") as handle:
            about = handle.metadata() or {}
            weights = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), remedy="check the path", finding="missing-file") from None
    except (SafetensorError, OSError) as error:
        detail = " ".join(str(error).split())[:120]
        raise InputError(
            f"not a safetensors file ({detail})", where=str(path), remedy="no other format is read"
        ) from None
    if about.get("format") != FORMAT or not {"builder", "options", "spec"} <= set(about):
        raise InputError("no radfoundry encoder inside", where=str(path), remedy="save it with nets.checkpoint.save")
    return about, weights


def _plain_spec(values: dict[str, Any]) -> dict[str, Any]:
    """JSON turned tuples into lists; give the record its tuples back."""
    tuples: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return dataclasses.asdict(EncoderSpec(**tuples))


@torch.no_grad()
def embed_probe(encoder: Any) -> torch.Tensor:
    """The pooled embedding of a fixed image that every axis and channel of the spec takes part in."""
    shape = encoder.spec.shape or (32, 32, 32)
    axes = [torch.linspace(0, 1, size) if size > 1 else torch.zeros(1) for size in shape]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    frequencies = torch.tensor([3.0, 5.0, 7.0])[:, None, None, None]
    image = torch.sin(frequencies * grid + torch.arange(3.0)[:, None, None, None]).sum(dim=0)
    channels = torch.stack([image * (channel + 1) for channel in range(encoder.spec.channels)])
    return encoder.encode(channels[None]).pooled[0].float().cpu()


def fingerprint(encoder: Any) -> str:
    """A short name for exactly these weights and this spec; equal encoders give equal fingerprints."""
    state = encoder.state_dict() if hasattr(encoder, "state_dict") else {}
    probe = [round(float(value), 4) for value in embed_probe(encoder)[:64]]
    sizes = {name: list(value.shape) for name, value in state.items()}
    return runs.digest([dataclasses.asdict(encoder.spec), sizes, probe, weight_bytes(state)])


def weight_bytes(state: dict[str, torch.Tensor]) -> str:
    """The digest of all weights, in order of their names."""
    import hashlib

    total = hashlib.sha256()
    for name in sorted(state):
        total.update(name.encode())
        total.update(state[name].detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
