"""Lossless JPEG (ITU-T T.81 annex H, Huffman coding), decoded here because hostile files crash the C++ decoder.

The length of the code that would begin at every bit is looked up at once; following the codes is then one addition
per sample, and differences and predictions are whole-array arithmetic.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

SOF3, DHT, SOI, EOI, SOS, DRI = 0xC3, 0xC4, 0xD8, 0xD9, 0xDA, 0xDD
SAMPLES_LIMIT = 1 << 29
LOOKUP_BITS = 16


@dataclass(frozen=True, eq=False)
class Table:
    """A Huffman table by 16-bit window: the category of the code it begins with, its length, and both together."""

    category: np.ndarray
    length: np.ndarray
    total: np.ndarray


@dataclass(frozen=True)
class Frame:
    """What the markers before the first coded sample say."""

    precision: int
    rows: int
    columns: int
    tables: tuple[Table, ...]
    predictor: int
    shift: int
    restart: int
    start: int


def decode(data: bytes) -> np.ndarray:
    """The samples of a lossless JPEG image as uint16 (rows, columns) or (rows, columns, components).

    Refuses (ValueError) other JPEG processes, subsampled or separately coded components, and damaged data.
    """
    try:
        frame = _markers(data)
    except (LookupError, struct.error):
        raise ValueError("the markers are damaged") from None
    count = frame.rows * frame.columns * len(frame.tables)
    if not 0 < count <= SAMPLES_LIMIT or count > 8 * len(data):
        raise ValueError("size")  # every sample takes at least one bit
    pieces = _pieces(data, frame.start)
    per_piece = frame.restart * len(frame.tables) if frame.restart else count
    if frame.restart % frame.columns or len(pieces) < -(-count // per_piece):
        raise ValueError("restart intervals")
    parts, left = [], count
    for piece in pieces:
        size = min(per_piece, left)
        if size:
            differences = _differences(piece, frame.tables, size)
            parts.append(_predicted(differences.reshape(-1, frame.columns, len(frame.tables)), frame))
            left -= size
    samples = np.concatenate(parts) << frame.shift
    return (samples[..., 0] if len(frame.tables) == 1 else samples).astype(np.uint16)


def _markers(data: bytes) -> Frame:
    if data[:2] != bytes((0xFF, SOI)):
        raise ValueError("no JPEG image")
    offset, restart = 2, 0
    tables: dict[int, Table] = {}
    size: tuple[int, int, int, bytes] | None = None
    while True:
        if data[offset] != 0xFF:
            raise ValueError("marker")
        marker = data[offset + 1]
        if marker == 0xFF:  # fill byte
            offset += 1
            continue
        (length,) = struct.unpack_from(">H", data, offset + 2)
        body = data[offset + 4 : offset + 2 + length]
        offset += 2 + length
        if marker == SOF3:
            size = (*struct.unpack_from(">BHH", body), body[5:])
        elif marker == DHT:
            tables |= _huffman_tables(body)
        elif marker == DRI:
            (restart,) = struct.unpack_from(">H", body)
        elif marker == SOS:
            return _frame(size, tables, body, restart, offset)
        elif marker in (EOI, *range(0xC0, 0xD0)):
            raise ValueError("not the lossless process")


def _frame(
    size: tuple[int, int, int, bytes] | None, tables: Mapping[int, Table], scan: bytes, restart: int, start: int
) -> Frame:
    if size is None:
        raise ValueError("no frame header")
    precision, rows, columns, components = size
    count = components[0]
    if count not in (1, 3) or scan[0] != count or not 2 <= precision <= 16:
        raise ValueError("components")
    if any(components[2 + 3 * index] != 0x11 for index in range(count)):
        raise ValueError("subsampling")
    used = tuple(tables[scan[2 + 2 * index] >> 4] for index in range(count))
    predictor, _, shifts = scan[1 + 2 * count : 4 + 2 * count]
    if not 1 <= predictor <= 7 or (shifts & 15) >= precision:
        raise ValueError("predictor")
    return Frame(precision, rows, columns, used, predictor, shifts & 15, restart, start)


def _huffman_tables(body: bytes) -> dict[int, Table]:
    """All tables of one DHT segment, by number."""
    found: dict[int, Table] = {}
    offset = 0
    while offset < len(body):
        number, counts = body[offset] & 15, body[offset + 1 : offset + 17]
        offset += 17
        symbols = body[offset : offset + sum(counts)]
        offset += sum(counts)
        if len(counts) < 16 or len(symbols) != sum(counts):
            raise ValueError("Huffman table")
        found[number] = _lookup(counts, symbols)
    return found


def _lookup(counts: bytes, symbols: bytes) -> Table:
    category = np.full(1 << LOOKUP_BITS, 255, dtype=np.uint8)
    length = np.zeros(1 << LOOKUP_BITS, dtype=np.uint8)
    code, place = 0, 0
    for bits, number in enumerate(counts, start=1):
        for _ in range(number):
            first = code << (LOOKUP_BITS - bits)
            last = (code + 1) << (LOOKUP_BITS - bits)
            if last > 1 << LOOKUP_BITS or symbols[place] > 16:
                raise ValueError("Huffman table")
            category[first:last], length[first:last] = symbols[place], bits
            code, place = code + 1, place + 1
        code <<= 1
    # Category 16 carries no further bits (T.81, H.1.2.2); a window that begins no code leads nowhere.
    extra = np.where(category <= 15, category, 0)
    total = np.where(category == 255, 0, length + extra).astype(np.uint8)
    return Table(category, length, total)


def _pieces(data: bytes, start: int) -> list[np.ndarray]:
    """The coded bytes between restart markers, without the zero that follows every coded 0xFF."""
    coded = np.frombuffer(data, dtype=np.uint8, offset=start)
    after = np.append(coded[1:], 0)
    marks = np.flatnonzero((coded == 0xFF) & (after != 0))
    pieces, begin = [], 0
    for mark in marks:
        if after[mark] == 0xFF:
            continue
        pieces.append(coded[begin:mark])
        begin = mark + 2
        if not 0xD0 <= after[mark] <= 0xD7:
            break
    else:
        pieces.append(coded[begin:])
    return [_unstuffed(piece) for piece in pieces]


def _unstuffed(piece: np.ndarray) -> np.ndarray:
    keep = np.ones(len(piece), dtype=bool)
    keep[1:] = ~((piece[:-1] == 0xFF) & (piece[1:] == 0))
    return piece[keep]


def _differences(coded: np.ndarray, tables: tuple[Table, ...], count: int) -> np.ndarray:
    """`count` decoded differences, components alternating."""
    padded = np.concatenate([coded, np.zeros(8, dtype=np.uint8)]).astype(np.uint32)
    windows24 = padded[:-2] << 16 | padded[1:-1] << 8 | padded[2:]
    windows = np.stack([(windows24 >> (8 - bit)) & 0xFFFF for bit in range(8)], axis=1).reshape(-1)
    places = _places([table.total[windows].tobytes() for table in _distinct(tables)], tables, count)
    if places[-1] >= 8 * len(coded):
        raise ValueError("the coded data end early")
    found = np.empty(count, dtype=np.int64)
    for index, table in enumerate(tables):
        own = places[index :: len(tables)]
        found[index :: len(tables)] = _values(padded, windows[own], own, table)
    return found


def _distinct(tables: tuple[Table, ...]) -> tuple[Table, ...]:
    """One table where all components share it: then following the codes need not ask which is next."""
    return tables[:1] if all(table is tables[0] for table in tables) else tables


def _places(totals: list[bytes], tables: tuple[Table, ...], count: int) -> np.ndarray:
    """The bit at which each code begins."""
    places: list[int] = []
    append, place = places.append, 0
    try:
        if len(totals) == 1:
            (total,) = totals
            for _ in range(count):
                append(place)
                place += total[place]
        else:
            for index in range(count):
                append(place)
                place += totals[index % len(tables)][place]
    except IndexError:
        raise ValueError("the coded data end early") from None
    return np.array(places, dtype=np.int64)


def _values(padded: np.ndarray, windows: np.ndarray, places: np.ndarray, table: Table) -> np.ndarray:
    category = table.category[windows].astype(np.int64)
    if (category == 255).any():
        raise ValueError("a code that is in no table")
    bits = np.where(category == 16, 0, category)
    at = places + table.length[windows]
    first = at >> 3
    wide = (padded[first].astype(np.int64) << 16) | (padded[first + 1].astype(np.int64) << 8) | padded[first + 2]
    value = (wide >> (24 - (at & 7) - bits)) & ((1 << bits) - 1)
    signed = np.where((bits > 0) & (value < (1 << np.maximum(bits - 1, 0))), value - (1 << bits) + 1, value)
    return np.where(category == 16, 1 << 15, signed)


def _predicted(differences: np.ndarray, frame: Frame) -> np.ndarray:
    """Samples (rows, columns, components): the first row follows its left, the first column its upper neighbour."""
    start = 1 << (frame.precision - frame.shift - 1)
    samples = differences.copy()
    samples[0, 0] += start
    samples[0] = np.cumsum(samples[0], axis=0)
    if frame.predictor == 1:
        samples[:, 0] = np.cumsum(samples[:, 0], axis=0)
        samples[1:] = np.cumsum(samples[1:], axis=1)
    elif frame.predictor == 2:
        samples = np.cumsum(samples, axis=0)
    else:
        samples[:, 0] = np.cumsum(samples[:, 0], axis=0)
        _fill_by_neighbours(samples & 0xFFFF, samples, frame.predictor)
    return samples & 0xFFFF


def _fill_by_neighbours(known: np.ndarray, samples: np.ndarray, predictor: int) -> None:
    """Predictors of table H.1 that need two neighbours: sample by sample, since they round."""
    rules = {
        3: lambda left, above, corner: corner,
        4: lambda left, above, corner: left + above - corner,
        5: lambda left, above, corner: left + ((above - corner) >> 1),
        6: lambda left, above, corner: above + ((left - corner) >> 1),
        7: lambda left, above, corner: (left + above) >> 1,
    }
    rule = rules[predictor]
    for component in range(samples.shape[2]):
        above = known[0, :, component].tolist()
        for row in range(1, len(samples)):
            line = samples[row, :, component].tolist()
            line[0] &= 0xFFFF
            for column in range(1, len(line)):
                guess = rule(line[column - 1], above[column], above[column - 1])
                line[column] = (line[column] + guess) & 0xFFFF
            samples[row, :, component] = line
            above = line
