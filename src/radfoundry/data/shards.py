"""Records in a few large files, read one after another: training from millions of them in constant memory.

A shard is a magic word and then records; a record is its length, its checksum and its bytes, so that reading never
seeks and never holds more than one record and the shuffling buffer. `index.json` says how many records each has.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from radfoundry import runs
from radfoundry.records import InputError

MAGIC = b"RADSHARD"
FORMAT = 1
INDEX = "index.json"
HEAD = struct.Struct("<QI")
WIDTH = struct.Struct("<I")
RECORD_LIMIT_BYTES = 1 << 32


@dataclass(frozen=True, eq=False)
class Record:
    """One training example: a key, arrays by name, and plain facts about it."""

    key: str
    arrays: Mapping[str, np.ndarray]
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Shard:
    """One file of an index."""

    file: str
    records: int
    bytes: int


def write(records: Iterable[Record], folder: str | Path, *, per_shard: int = 1000) -> tuple[Shard, ...]:
    """Write records as they come, `per_shard` to a file; each file and at last the index appear whole.

    Refuses a folder that has an index already, arrays that are not numbers, and no records at all.
    """
    target = Path(folder)
    if (target / INDEX).exists():
        raise InputError("there are shards already", where=str(target), remedy="choose another folder")
    if per_shard < 1:
        raise InputError(f"{per_shard} records a shard", remedy="give at least 1")
    source = iter(records)
    shards: list[Shard] = []
    while True:
        name = f"shard-{len(shards):05d}.bin"
        with runs.atomic(target / name) as partial:
            count = _fill(partial, source, per_shard)
            size = partial.stat().st_size
        if count == 0:
            (target / name).unlink()
            break
        shards.append(Shard(name, count, size))
        if count < per_shard:
            break
    if not shards:
        raise InputError("no records", where=str(target), remedy="give at least one")
    runs.write_json(
        target / INDEX, {"format": FORMAT, "shards": [[shard.file, shard.records, shard.bytes] for shard in shards]}
    )
    return tuple(shards)


def _fill(path: Path, source: Iterator[Record], most: int) -> int:
    count = 0
    with path.open("wb") as handle:
        handle.write(MAGIC)
        while count < most and (record := next(source, None)) is not None:
            payload = encoded(record)
            handle.write(HEAD.pack(len(payload), zlib.crc32(payload)))
            handle.write(payload)
            count += 1
    return count


def index(folder: str | Path) -> tuple[Shard, ...]:
    """The shards of a folder; refuses a folder without a readable index or with an index that names other folders."""
    path = Path(folder) / INDEX
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        shards = tuple(Shard(str(file), int(records), int(size)) for file, records, size in values["shards"])
        stated = values["format"]
    except FileNotFoundError:
        raise InputError("no shards here", where=str(folder), remedy="write them with data.shards.write") from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        detail = " ".join(str(error).split())[:80]
        raise InputError(f"the index is damaged ({detail})", where=str(path), remedy="write the shards again") from None
    if stated != FORMAT or any(Path(shard.file).name != shard.file or shard.records < 1 for shard in shards):
        raise InputError("the index is not one of ours", where=str(path), remedy="write the shards again")
    return shards


def part_of(shards: tuple[Shard, ...], part: int, parts: int) -> tuple[Shard, ...]:
    """The shards that one of several processes reads: every `parts`-th, each by exactly one.

    >>> [s.file for s in part_of((Shard("a", 1, 1), Shard("b", 1, 1), Shard("c", 1, 1)), 0, 2)]
    ['a', 'c']
    """
    if not 0 <= part < parts:
        raise InputError(f"part {part} of {parts}", remedy="give a part from 0 to parts - 1")
    if len(shards) < parts:
        raise InputError(
            f"{len(shards)} shards for {parts} processes", remedy="write more and smaller shards (per_shard)"
        )
    return shards[part::parts]


def stream(
    folder: str | Path,
    *,
    part: tuple[int, int] = (0, 1),
    rng: np.random.Generator | None = None,
    buffer: int = 256,
    skip: int = 0,
) -> Iterator[Record]:
    """All records of a part, once; without `rng` in the order they were written.

    With `rng` the shards come in a drawn order and each record is drawn from the next `buffer` ones, so that
    memory stays that of `buffer` records however many there are. The same generator state gives the same order;
    `skip` leaves out the first records of it, to go on where a run stopped. A damaged record is refused by its
    shard and place.
    """
    chosen = list(part_of(index(folder), *part))
    if rng is not None:
        chosen = [chosen[place] for place in rng.permutation(len(chosen))]
    raw = (item for shard in chosen for item in _payloads(Path(folder) / shard.file, shard.records))
    for number, (payload, where) in enumerate(raw if rng is None else shuffled(raw, rng, buffer)):
        if number >= skip:
            yield decoded(payload, where=where)


def shuffled(items: Iterable[Any], rng: np.random.Generator, buffer: int) -> Iterator[Any]:
    """Each item once, drawn from the next `buffer` ones.

    >>> sorted(shuffled(range(5), np.random.default_rng(0), 3))
    [0, 1, 2, 3, 4]
    """
    held: list[Any] = []
    for item in items:
        if len(held) < max(1, buffer):
            held.append(item)
            continue
        place = int(rng.integers(len(held)))
        drawn, held[place] = held[place], item
        yield drawn
    while held:
        place = int(rng.integers(len(held)))
        held[place], held[-1] = held[-1], held[place]
        yield held.pop()


def _payloads(path: Path, count: int) -> Iterator[tuple[bytes, str]]:
    try:
        handle: BinaryIO = path.open("rb")
    except OSError:
        raise InputError("a shard is missing", where=str(path), remedy="write the shards again") from None
    with handle:
        if handle.read(len(MAGIC)) != MAGIC:
            raise InputError("not a shard of records", where=str(path), remedy="write the shards again")
        for number in range(count):
            where = f"{path}, record {number}"
            head = handle.read(HEAD.size)
            length, checksum = HEAD.unpack(head) if len(head) == HEAD.size else (RECORD_LIMIT_BYTES, 0)
            payload = handle.read(length) if length < RECORD_LIMIT_BYTES else b""
            if len(payload) != length or zlib.crc32(payload) != checksum:
                raise InputError("damaged or cut off", where=where, remedy="write the shards again", finding="damaged")
            yield payload, where


def encoded(record: Record) -> bytes:
    """A record as bytes: the length of its description, the description as JSON, then the arrays."""
    listed, parts = [], []
    for name, array in record.arrays.items():
        if array.dtype.kind not in "biuf":
            raise InputError(f"array {name!r} holds {array.dtype}, not numbers", where=f"record {record.key}")
        little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
        listed.append([name, little.dtype.str, list(array.shape)])
        parts.append(little.tobytes())
    text = json.dumps(
        {"key": record.key, "arrays": listed, "about": runs.plain(record.about)}, allow_nan=False
    ).encode()
    return b"".join([WIDTH.pack(len(text)), text, *parts])


def decoded(payload: bytes, *, where: str = "record") -> Record:
    """The inverse of `encoded`; refuses descriptions that do not fit the bytes.

    >>> decoded(encoded(Record("a", {"x": np.arange(3)}, {"site": 1}))).arrays["x"].tolist()
    [0, 1, 2]
    """
    try:
        begin = WIDTH.size + WIDTH.unpack_from(payload)[0]
        table = json.loads(payload[WIDTH.size : begin])
        arrays = {}
        for name, kind, shape in table["arrays"]:
            dtype = np.dtype(kind)
            count = math.prod(int(size) for size in shape)
            if dtype.kind not in "biuf" or count < 0:
                raise ValueError(f"array {name} is not numbers")
            arrays[name] = np.frombuffer(payload, dtype, count, begin).reshape(shape)
            begin += count * dtype.itemsize
        if begin != len(payload):
            raise ValueError("bytes left over")
        return Record(table["key"], arrays, table["about"])
    except (ValueError, KeyError, TypeError, struct.error) as error:
        detail = " ".join(str(error).split())[:80]
        raise InputError(
            f"damaged ({detail})", where=where, remedy="write the shards again", finding="damaged"
        ) from None
