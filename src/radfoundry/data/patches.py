"""Random patches of stored volumes, as fast as memory allows: what a training loop eats."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from radfoundry.data.store import StoredVolume
from radfoundry.records import InputError
from radfoundry.volume import Volume, points_to_world

MEMORY_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class PatchBatch:
    """Patches `(B, C, I, J, K)` float32, the number of the volume each came from, and its first voxel there."""

    array: np.ndarray
    volume: np.ndarray
    start: np.ndarray

    def __len__(self) -> int:
        return len(self.array)


@dataclass(frozen=True, eq=False)
class PatchReader:
    """Reads boxes from a list of stored volumes and keeps decoded volumes within a memory budget.

    A volume is decoded whole the first time it is touched and kept in its own voxel type while the budget lasts;
    volumes beyond the budget are read box by box from disk. Which ones are kept makes no difference to the
    values. May be shared by threads.
    """

    stored: tuple[StoredVolume, ...]
    size: tuple[int, int, int]
    memory_bytes: int
    kept: dict[int, np.ndarray] = field(default_factory=dict)
    locks: tuple[threading.Lock, ...] = ()
    budget: threading.Lock = field(default_factory=threading.Lock)
    used_bytes: list[int] = field(default_factory=lambda: [0])

    @classmethod
    def open(
        cls, paths: Sequence[str | Path], size: Sequence[int], *, memory_bytes: int = MEMORY_BYTES, threads: int = 1
    ) -> PatchReader:
        """Open the volumes and check that the patch fits into each; voxels are not read yet.

        `size` is in voxels; `threads` decompress one box together. Refuses an empty list, a volume smaller
        than the patch and volumes with different numbers of channels, by name.
        """
        wanted = tuple(int(n) for n in size)
        if len(wanted) != 3 or min(wanted) < 1:
            raise InputError(f"patch size {tuple(size)} is not three positive numbers of voxels", finding="shape")
        if not paths:
            raise InputError("no volumes to take patches from", remedy="give at least one stored volume")
        stored = tuple(StoredVolume.open(path, threads=threads) for path in paths)
        for item in stored:
            if any(n < patch for n, patch in zip(item.shape[1:], wanted, strict=True)):
                raise InputError(
                    f"the volume {item.shape[1:]} is smaller than the patch {wanted}",
                    where=item.path,
                    remedy="prepare it with a larger shape, or ask for smaller patches",
                    finding="crop",
                )
            if item.shape[0] != stored[0].shape[0]:
                raise InputError(
                    f"{item.shape[0]} channels where {stored[0].path} has {stored[0].shape[0]}",
                    where=item.path,
                    remedy="give volumes with the same channels",
                    finding="shape",
                )
        locks = tuple(threading.Lock() for _ in stored)
        return cls(stored, (wanted[0], wanted[1], wanted[2]), int(memory_bytes), locks=locks)

    @property
    def channels(self) -> int:
        """How many channels every patch has."""
        return self.stored[0].shape[0]

    def places(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """`count` random volumes, and a first voxel in each: every volume, then every place in it, equally likely."""
        volumes = rng.integers(0, len(self.stored), size=count)
        room = np.array([item.shape[1:] for item in self.stored]) - self.size + 1
        return volumes, rng.integers(0, room[volumes])

    def read_into(self, target: np.ndarray, volume: int, start: np.ndarray) -> None:
        """Write one patch into `target` `(C, *size)`, converting to its type."""
        low = [int(n) for n in start]
        whole = self._whole(volume)
        if whole is None:
            with self.locks[volume]:
                box = self.stored[volume].read(low, self.size)
        else:
            box = whole[(slice(None), *(slice(a, a + n) for a, n in zip(low, self.size, strict=True)))]
        np.copyto(target, box, casting="unsafe")

    def _whole(self, volume: int) -> np.ndarray | None:
        whole = self.kept.get(volume)
        if whole is not None:
            return whole
        item = self.stored[volume]
        size_bytes = int(np.prod(item.shape)) * item.dtype.itemsize
        with self.locks[volume]:
            if volume in self.kept:
                return self.kept[volume]
            with self.budget:
                if self.used_bytes[0] + size_bytes > self.memory_bytes:
                    return None
                self.used_bytes[0] += size_bytes
            # Opened once more, so that the pages of the compressed file are given back after decoding.
            self.kept[volume] = StoredVolume.open(item.path).read((0, 0, 0), item.shape[1:])
            return self.kept[volume]


def random_patches(
    paths: Sequence[str | Path],
    size: Sequence[int],
    *,
    count: int,
    rng: np.random.Generator,
    memory_bytes: int = MEMORY_BYTES,
) -> Iterator[Volume]:
    """`count` random boxes of `size` voxels from stored volumes, each a float32 volume with its own affine.

    The same generator state gives the same patches. `memory_bytes` bounds the decoded volumes kept. Refuses
    volumes smaller than the patch.
    """
    reader = PatchReader.open(paths, size, memory_bytes=memory_bytes)
    volumes, starts = reader.places(count, rng)
    for number, start in zip(volumes.tolist(), starts, strict=True):
        item = reader.stored[number]
        array = np.empty((reader.channels, *reader.size), np.float32)
        reader.read_into(array, number, start)
        affine = item.affine.copy()
        affine[:3, 3] = points_to_world(item.affine, start[None])[0]
        yield Volume(array, affine, item.units, item.channels)


def patch_batches(
    reader: PatchReader, *, batches: int, batch: int = 8, rng: np.random.Generator, threads: int = 2
) -> Iterator[PatchBatch]:
    """Random patches in batches, read ahead by a few threads while the caller computes.

    Which patches come depends on the generator alone, not on the number of threads. Each batch is a
    fresh array, so it may be kept or handed to a GPU.
    """
    if batch < 1 or batches < 0 or threads < 1:
        raise InputError(f"{batches} batches of {batch} patches by {threads} threads", remedy="use positive numbers")
    with ThreadPoolExecutor(threads, thread_name_prefix="patches") as pool:
        # Two batches at a time: one with the caller, one being filled. Nothing here may hold on to the first.
        ahead: deque[tuple[PatchBatch, list[Future[None]]]] = deque()
        for number in range(batches + 1):
            if number < batches:
                ahead.append(_started(reader, batch, rng, pool))
            if number > 0:
                for part in ahead[0][1]:
                    part.result()
                yield ahead.popleft()[0]


def _started(
    reader: PatchReader, batch: int, rng: np.random.Generator, pool: ThreadPoolExecutor
) -> tuple[PatchBatch, list[Future[None]]]:
    volumes, starts = reader.places(batch, rng)
    array = np.empty((batch, reader.channels, *reader.size), np.float32)
    parts = [
        pool.submit(reader.read_into, array[n], int(volume), start)
        for n, (volume, start) in enumerate(zip(volumes, starts, strict=True))
    ]
    return PatchBatch(array, volumes, starts), parts
