"""Put trained weights into the package: half precision, the probe embedding, and how they were made as JSON beside.

python benchmarks/transfer/export_bundled.py RUN_FOLDER [--note TEXT]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from radfoundry.nets import bundled, checkpoint


def main() -> None:
    """Read the averaged weights of a run, round them, and write them with their card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--note", default="")
    parser.add_argument("--cpu", default="")
    options = parser.parse_args()
    encoder = bundled.build(untrained_seed=0)
    encoder.net.load_state_dict(load_file(options.run / "average.safetensors"))
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
    lines = (options.run / "log.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    settings = json.loads((options.run / "options.json").read_text())
    card = {
        "name": "radfoundry-mri",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "trained_on": "simulated heads alone (radfoundry.simulate.pool); no patient's image",
        "command": "python benchmarks/transfer/train_bundled.py OUT " + _flags(settings),
        "settings": settings,
        "steps_done": last["step"],
        "crops_seen": last["step"] * settings["heads"] * settings["crops"] * 2,
        "wall_seconds": last["seconds"],
        "cpu_seconds": last["cpu"],
        "hardware": options.cpu,
        "torch": torch.__version__,
        "last_losses": {key: value for key, value in last.items() if key not in ("step", "seconds", "cpu")},
        "weights": sum(value.numel() for value in encoder.parameters()),
        "note": options.note,
        "licence": "Apache-2.0",
    }
    target.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n")


def _flags(settings: dict[str, object]) -> str:
    names = ("steps", "decay", "seed", "part", "pool", "heads", "crops", "renew", "rate", "physics", "threads")
    return " ".join(f"--{name} {settings[name]}" for name in names)


if __name__ == "__main__":
    main()
