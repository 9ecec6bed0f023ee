"""Put trained weights into the package: half precision, the probe embedding, and how they were made as JSON beside.

python benchmarks/transfer/export_bundled.py RUN_FOLDER ... [--note TEXT]

Several folders are the stages of one training, each resumed from the one before; the last one has the weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from radfoundry.nets import bundled, checkpoint


def main() -> None:
    """Read the averaged weights of a run, round them, and write them with their card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--note", default="")
    parser.add_argument("--cpu", default="")
    options = parser.parse_args()
    encoder = bundled.build(untrained_seed=0)
    encoder.net.load_state_dict(load_file(options.runs[-1] / "average.safetensors"))
    rounded = {name: value.half() for name, value in encoder.state_dict().items()}
    encoder.load_state_dict({name: value.float() for name, value in rounded.items()})
    rounded[checkpoint.PROBE_KEY] = checkpoint.embed_probe(encoder)
    target = bundled.WEIGHTS_FILE
    target.parent.mkdir(exist_ok=True)
    partial = target.with_suffix(".partial")
    about = {
        "format": "1",
        "builder": "radfoundry-mri",
        "options": "{}",
        "spec": json.dumps(dataclasses.asdict(encoder.spec)),
    }
    save_file(rounded, partial, metadata=about)
    partial.replace(target)
    stages = [_stage(folder) for folder in options.runs]
    card = {
        "name": "radfoundry-mri",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "trained_on": "simulated heads alone (radfoundry.simulate.pool); no patient's image",
        "stages": stages,
        "crops_seen": sum(stage["crops_seen"] for stage in stages),
        "wall_minutes": round(sum(stage["wall_seconds"] for stage in stages) / 60),
        "processor_minutes": round(sum(stage["processor_seconds"] for stage in stages) / 60),
        "hardware": options.cpu,
        "torch": torch.__version__,
        "weights": sum(value.numel() for value in encoder.parameters()),
        "note": options.note,
        "licence": "Apache-2.0",
    }
    target.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n")


def _stage(folder: Path) -> dict[str, Any]:
    """What one stage of the training was asked and did, from its folder."""
    settings = json.loads((folder / "options.json").read_text())
    last = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
    return {
        "command": "python benchmarks/transfer/train_bundled.py OUT " + _flags(settings),
        "steps_done": last["step"],
        "crops_seen": last["step"] * settings["heads"] * settings["crops"] * 2,
        "wall_seconds": last["seconds"],
        "processor_seconds": last["cpu"],
        "last_losses": {key: value for key, value in last.items() if key not in ("step", "seconds", "cpu")},
    }


def _flags(settings: dict[str, Any]) -> str:
    names = (
        "steps",
        "decay",
        "seed",
        "part",
        "pool",
        "heads",
        "crops",
        "renew",
        "rate",
        "physics",
        "lesions",
        "together",
        "minutes",
        "threads",
    )
    resumed = "--resume PREVIOUS " if settings["resume"] else ""
    return resumed + " ".join(f"--{name} {settings[name]}" for name in names if name in settings)


if __name__ == "__main__":
    main()
