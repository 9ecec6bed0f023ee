"""The ways of describing a crop that the transfer benchmarks compare, and simulated crops to train heads on."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radfoundry.nets.bundled import AnatomyNet, both_ways
from radfoundry.nets.intensity import first_order
from radfoundry.records import Estimate, Predictions
from radfoundry.simulate.stream import CropPlan
from radfoundry.simulate.stream import crops as stream

SIZE = 32
SPACING_MM = 3.0
Method = Callable[[np.ndarray], np.ndarray]
RESULTS = Path(__file__).resolve().parents[1] / "results"
HEAD_SEED = 990_017


def methods(weights: Path | None, *, mirrored: bool = False) -> dict[str, Method]:
    """Name to function from crops `(n, 32, 32, 32)` to features `(n, d)`.

    "place alone" are the last three of the anatomy half: the mean place in the template that the net itself states.
    weights: a safetensors file of the network's own tensors; None for the weights in the package. mirrored: the trained
    net's place is averaged with that of the mirror image, as the packaged encoder does.
    """
    found: dict[str, Method] = {}
    nets = {"radfoundry-mri": network(weights), "untrained": network(None, fresh=True)}
    for name, run in ((name, _once(net, mirrored=mirrored and name != "untrained")) for name, net in nets.items()):
        found[f"{name} anatomy"] = _of_net(run, 0)
        found[f"{name} place alone"] = _of_net(run, 0, last=3)
        found[f"{name} style"] = _of_net(run, 1)
    found["raw 12 mm intensities"] = raw
    found["first-order statistics"] = statistics
    return found


def network(weights: Path | None, *, fresh: bool = False) -> AnatomyNet:
    """The network with trained weights, or the same net as it is before training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = AnatomyNet()
    if not fresh:
        if weights is None:
            from radfoundry.nets.bundled import build

            return build().net.eval()
        from safetensors.torch import load_file

        net.load_state_dict(load_file(weights))
    return net.eval()


def _of_net(run: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], part: int, *, last: int = 0) -> Method:
    return lambda images: run(images)[part][:, -last:]


def _once(net: AnatomyNet, *, mirrored: bool) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Structure and style of crops; the last few arrays of crops are remembered, so that each is run once."""
    seen: list[tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]] = []

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        for known, answer in seen:
            if known is images:
                return answer
        structure, style = [], []
        with torch.no_grad():
            for start in range(0, len(images), 32):
                batch = torch.from_numpy(images[start : start + 32].astype(np.float32))[:, None]
                dense = both_ways(net, batch) if mirrored else net(batch)
                structure.append(dense.structure.numpy())
                style.append(dense.style.numpy())
        seen.append((images, (np.concatenate(structure), np.concatenate(style))))
        return seen[-1][1]

    return run


def raw(images: np.ndarray) -> np.ndarray:
    """Mean brightness of blocks of 12 mm, each crop brought to mean 0 and deviation 1."""
    small = images.reshape(len(images), 8, 4, 8, 4, 8, 4).mean(axis=(2, 4, 6)).reshape(len(images), -1)
    return (small - small.mean(axis=1, keepdims=True)) / (small.std(axis=1, keepdims=True) + 1e-6)


def statistics(images: np.ndarray) -> np.ndarray:
    """First-order statistics after the Image Biomarker Standardisation Initiative."""
    return first_order(torch.from_numpy(images.reshape(len(images), -1).astype(np.float32))).numpy()


def simulated(
    count: int, *, protocols: Sequence[str], seed: int = HEAD_SEED, size: int = SIZE
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simulated crops `(n, 32, 32, 32)` of 3 mm voxels, their centres in the template (mm), their protocol.

    From `simulate.stream`, whose crops the encoder was not trained on, with a seed used nowhere else.
    """
    plan = CropPlan(
        size=size, spacing_mm=(SPACING_MM, SPACING_MM), thickness_mm=(1.0, 6.5), views=1, protocols=tuple(protocols)
    )
    images, centres, names = [], [], []
    for batch in stream(plan, batch_size=8, seed=seed):
        picture = batch.images[:, 0].numpy()
        top = np.percentile(picture.reshape(len(picture), -1), 99.5, axis=1)[:, None, None, None]
        images.append(np.clip(picture / np.maximum(top, 1e-3), 0, 1).astype(np.float32))
        centres.append(batch.centre_mm.numpy())
        names += [plan.protocols[int(index)] for index in batch.protocol[:, 0]]
        if len(names) >= count:
            break
    return np.concatenate(images)[:count], np.concatenate(centres)[:count], np.array(names[:count])


def kept(path: Path, make: Callable[[], tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """Arrays from a cache file, computed the first time."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{f"part{n}": value for n, value in enumerate(make())})
    with np.load(path, allow_pickle=False) as parts:
        return tuple(parts[name] for name in sorted(parts.files))


def of_patients(statistic: Callable[[np.ndarray], float], values: np.ndarray, patients: np.ndarray) -> Estimate:
    """A statistic of one column with an interval from drawing patients."""
    from radfoundry.stats.bootstrap import bootstrap

    data = Predictions.of(np.zeros(len(values)), values, patient=patients)
    return bootstrap(lambda sample: statistic(sample.score), data, draws=1000, method="percentile")


def written(estimate: Estimate) -> dict[str, Any]:
    """An estimate as it is kept in a results file."""
    return {
        "value": round(estimate.value, 4),
        "low": round(estimate.low, 4),
        "high": round(estimate.high, 4),
        "n": estimate.n,
    }


def save(name: str, result: dict[str, Any]) -> None:
    """Write `benchmarks/results/NAME.json` with the machine, versions and date."""
    about = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {platform.system()}, CPU only",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps({"about": about, **result}, indent=1) + "\n")
