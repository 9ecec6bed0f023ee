"""Tensors from safetensors files and from nothing else, each file checked before one number of it is used."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from radfoundry.records import InputError

HEADER_LIMIT_BYTES = 16 << 20
NAME_LIMIT = 512
DIMENSIONS_LIMIT = 8
# Bytes of one element; sub-byte and 8-bit float kinds are not used by any encoder here and are refused.
KINDS = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "F16": 2, "BF16": 2, "I32": 4, "F32": 4, "I64": 8, "F64": 8}
PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".torch", ".pkl", ".pickle", ".model")
CONVERT = (
    "python -c \"import torch, safetensors.torch as s; d = torch.load('in.pth', map_location='cpu', "
    "weights_only=True); d = next((d[k] for k in ('state_dict', 'network_weights', 'model', 'trunk_state_dict') "
    "if k in d), d); s.save_file({k: v.clone().contiguous() for k, v in d.items()}, 'out.safetensors')\""
)


@dataclass(frozen=True)
class Entry:
    """One tensor as a file's header states it: kind of number, shape, and its bytes from `begin` to `end`."""

    kind: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read(path: str | Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """The text entries and the tensors of one safetensors file.

    Refuses in one line: other formats (a pickle can run any program when it is opened, so none is), a header
    that is too long, malformed or names a tensor twice, places that overlap, leave gaps or end beyond the
    file, unknown kinds of numbers, and weights that are NaN or infinite.
    """
    source = Path(path)
    about, _ = header(source)
    try:
        with safe_open(source, framework="pt") as handle:
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise _refused(source, f"not a safetensors file ({_one_line(error)})") from None
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise InputError(
                f"weight {_shown(name)} holds NaN or infinite numbers",
                where=str(source),
                remedy="get the file again",
                finding="weights",
            )
    return about, tensors


def header(path: str | Path) -> tuple[dict[str, str], dict[str, Entry]]:
    """What a file says it holds, without reading a weight; refuses whatever does not add up."""
    source = Path(path)
    try:
        size = source.stat().st_size
        with source.open("rb") as handle:
            first = handle.read(8)
            length = struct.unpack("<Q", first)[0] if len(first) == 8 else -1
            if not 2 <= length <= min(HEADER_LIMIT_BYTES, size - 8):
                raise _refused(source, _unlike(source, first, length, size))
            text = handle.read(length)
    except FileNotFoundError:
        raise InputError("no such file", where=str(source), remedy="check the path", finding="missing-file") from None
    except OSError as error:
        raise _refused(source, f"not a safetensors file ({_one_line(error)})") from None
    try:
        table = json.loads(text.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise _refused(source, f"not a safetensors file (header: {_one_line(error)})") from None
    try:
        about, entries = _parsed(table)
        _tile(entries, size - 8 - length)
    except ValueError as error:
        raise _refused(source, f"not a safetensors file ({_one_line(error)})") from None
    return about, entries


def _unlike(source: Path, first: bytes, length: int, size: int) -> str:
    if first[:2] == b"PK" or first[:1] == b"\x80" or source.suffix in PICKLES:
        return "a pickle, not a safetensors file; opening it could run any program"
    if length > HEADER_LIMIT_BYTES:
        return f"not a safetensors file (its header would be {length} bytes)"
    return f"not a safetensors file (header of {length} bytes in a file of {size})"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{_shown(name)} is there twice")
        found[name] = value
    return found


def _parsed(table: Any) -> tuple[dict[str, str], dict[str, Entry]]:
    if not isinstance(table, dict):
        raise ValueError("the header is no table")
    about = table.pop("__metadata__", {})
    if not isinstance(about, dict) or not all(isinstance(value, str) for value in about.values()):
        raise ValueError("its metadata is not text")
    return about, {name: _entry(name, value) for name, value in table.items()}


def _entry(name: str, value: Any) -> Entry:
    if not name or len(name) > NAME_LIMIT or not name.isprintable():
        raise ValueError(f"{_shown(name)} is no name for a tensor")
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{_shown(name)} is not described as a tensor")
    kind, shape, places = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"{_shown(name)} has numbers of kind {_shown(str(kind))}")
    if not (_whole(shape) and _whole(places)) or len(shape) > DIMENSIONS_LIMIT or len(places) != 2:
        raise ValueError(f"{_shown(name)} has an impossible shape or place")
    if places[1] - places[0] != math.prod(shape) * KINDS[kind]:
        raise ValueError(f"{_shown(name)} does not fill its place")
    return Entry(kind, tuple(shape), places[0], places[1])


def _whole(values: Any) -> bool:
    return isinstance(values, list) and all(type(item) is int and 0 <= item < 2**53 for item in values)


def _tile(entries: dict[str, Entry], size: int) -> None:
    """Every byte after the header belongs to exactly one tensor."""
    place = 0
    for entry in sorted(entries.values(), key=lambda item: (item.begin, item.end)):
        if entry.begin != place:
            raise ValueError("tensors overlap or leave gaps")
        place = entry.end
    if place != size:
        raise ValueError(f"the tensors end at byte {place} of {size}")


def _refused(source: Path, what: str) -> InputError:
    pickled = what.startswith("a pickle")
    return InputError(
        what,
        where=str(source),
        remedy=f"convert it in an environment of its own: {CONVERT}" if pickled else "no other format is read",
        finding="pickle" if pickled else "format",
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def _shown(name: str) -> str:
    return repr(name[:60])


def matching(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], *, where: str) -> dict[str, torch.Tensor]:
    """The tensors a network wants, taken from a file; refuses missing ones and other shapes, naming the first."""
    for name, value in wanted.items():
        if name not in found:
            # Counters of batches seen are absent from some published conversions and are never used.
            if name.endswith("num_batches_tracked"):
                found = {**found, name: value}
                continue
            raise InputError(
                f"no weight {name}", where=where, remedy="give the weights of this kind of network", finding="weights"
            )
        if found[name].shape != value.shape:
            raise InputError(
                f"weight {name} has shape {tuple(found[name].shape)}, the network {tuple(value.shape)}",
                where=where,
                remedy="give the weights of this kind of network",
                finding="weights",
            )
    return {name: found[name] for name in wanted}


def without_prefix(found: dict[str, torch.Tensor], *prefixes: str) -> dict[str, torch.Tensor]:
    """The tensors below the first of the prefixes that is there, by their names without it; else all of them.

    >>> list(without_prefix({"module.conv1.weight": torch.ones(1), "other": torch.ones(1)}, "module."))
    ['conv1.weight']
    """
    for prefix in prefixes:
        inside = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
        if inside:
            return inside
    return found


def write(weights: dict[str, torch.Tensor], path: Path, *, about: dict[str, str]) -> None:
    """A safetensors file whose bytes depend on its content alone; the library orders its metadata by chance."""
    save_file(weights, path, metadata=about)
    with path.open("r+b") as handle:
        size = int.from_bytes(handle.read(8), "little")
        header = json.loads(handle.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= size:  # the same values in another order, so that they fit where they were
            handle.seek(8)
            handle.write(text.ljust(size))
