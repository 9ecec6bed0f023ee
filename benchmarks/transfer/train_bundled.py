"""Pretrain the bundled encoder on simulated heads alone.

    python benchmarks/transfer/train_bundled.py OUT --steps 5000 --seed 0

Every step cuts the same crops in two renderings from a pool of simulated heads and asks for what the simulator knows:
the template position of every block, the tissue of every voxel, the same anatomy vector for both renderings (InfoNCE),
the tissues' brightness and the sequence from the style vector, and no trace of their change in the anatomy vector.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from radfoundry.nets.bundled import ANATOMY, STYLE, AnatomyNet, Dense
from radfoundry.simulate.pool import CLASS_NAMES, STYLE_TISSUES, HeadPool, PoolBatch, View

PLACE_SCALE_MM = 50.0
WEIGHTS = {
    "place": 5.0,
    "centre": 3.0,
    "tissue": 1.0,
    "finding": 3.0,
    "same": 0.5,
    "bright": 0.5,
    "sequence": 0.3,
    "apart": 1.0,
}


class Heads(nn.Module):
    """What is asked of the vectors while training; not shipped."""

    def __init__(self) -> None:
        super().__init__()
        self.centre = nn.Linear(ANATOMY, 3)
        self.bright = nn.Linear(STYLE, len(STYLE_TISSUES))
        self.sequence = nn.Linear(STYLE, len(CLASS_NAMES))


def dense_losses(dense: Dense, batch: PoolBatch) -> dict[str, torch.Tensor]:
    """Template position of every block and tissue of every voxel, for one rendering."""
    head = nn.functional.avg_pool3d(batch.shares.sum(dim=1, keepdim=True), 2)
    weight = (head > 0.1).float() + 0.1
    apart = ((dense.places_mm - batch.places_mm) / PLACE_SCALE_MM).abs().mean(dim=1, keepdim=True)
    air = (1 - batch.shares.sum(dim=1, keepdim=True)).clamp(0, 1)
    target = torch.cat([air, batch.shares], dim=1)
    logits = dense.shares[:, :-1].log_softmax(dim=1)
    finding = nn.functional.binary_cross_entropy_with_logits(
        dense.shares[:, -1:], batch.lesion.clamp(0, 1), pos_weight=torch.tensor(4.0)
    )
    return {
        "place": (apart * weight).sum() / weight.sum(),
        "tissue": -(target * logits).sum(dim=1).mean(),
        "finding": finding,
    }


def same_loss(first: torch.Tensor, second: torch.Tensor, *, temperature: float = 0.08) -> torch.Tensor:
    """InfoNCE in both directions (van den Oord et al. 2018): the other rendering of a crop among all crops."""
    a, b = nn.functional.normalize(first, dim=1), nn.functional.normalize(second, dim=1)
    scores = a @ b.T / temperature
    truth = torch.arange(len(a))
    return (nn.functional.cross_entropy(scores, truth) + nn.functional.cross_entropy(scores.T, truth)) / 2


def apart_loss(first: torch.Tensor, second: torch.Tensor, views: tuple[View, View]) -> torch.Tensor:
    """How far the change of the anatomy vector between renderings goes along with the change of contrast."""
    change = (first - second) / torch.cat([first, second]).std(dim=0).clamp_min(1e-3)
    return (
        change.T @ (_style(views[0]) - _style(views[1])) / len(change)
    ).square().mean() + 0.02 * change.square().mean()


def _style(view: View) -> torch.Tensor:
    known = nn.functional.one_hot((view.sequence + 1).clamp_min(0), len(CLASS_NAMES) + 1)[:, 1:].float()
    return torch.cat([view.brightness.nan_to_num(0.0), 2 * known], dim=1)


def style_losses(style: torch.Tensor, view: View, heads: Heads) -> dict[str, torch.Tensor]:
    """Brightness of the tissues and the sequence's class, read off the style vector."""
    there = ~view.brightness.isnan()
    missed = (heads.bright(style) - view.brightness.nan_to_num(0.0)).square() * there
    losses = {"bright": missed.sum() / there.sum().clamp_min(1)}
    known = view.sequence >= 0
    if known.any():
        losses["sequence"] = nn.functional.cross_entropy(heads.sequence(style[known]), view.sequence[known])
    return losses


def losses_of(net: AnatomyNet, heads: Heads, batch: PoolBatch, *, without: frozenset[str]) -> dict[str, torch.Tensor]:
    """All terms for one batch, by name; `without` names terms that are left out."""
    size = len(batch.centre_mm)
    both = net(torch.cat([view.images for view in batch.views]))
    terms: dict[str, torch.Tensor] = {}
    for part, view in zip((slice(0, size), slice(size, 2 * size)), batch.views, strict=True):
        dense = Dense(*(getattr(both, name)[part] for name in Dense.__dataclass_fields__))
        centre = nn.functional.l1_loss(heads.centre(dense.anatomy), batch.centre_mm / PLACE_SCALE_MM)
        found = {**dense_losses(dense, batch), "centre": centre, **style_losses(dense.style, view, heads)}
        for name, value in found.items():
            terms[name] = terms.get(name, torch.zeros(())) + value / 2
    terms["same"] = same_loss(both.anatomy[:size], both.anatomy[size:])
    terms["apart"] = apart_loss(both.anatomy[:size], both.anatomy[size:], batch.views)
    return {name: value for name, value in terms.items() if name not in without}


def rate(step: int, *, done: float, decay: float, top: float) -> float:
    """Warm up over 40 steps, hold, then fall to 2 % over the last `decay` share; `done` is the share done so far."""
    rising = min(1.0, (step + 1) / 40)
    falling = min(1.0, max(0.02, (1 - done) / max(1e-6, decay)))
    return top * min(rising, falling)


def train(out: Path, options: argparse.Namespace) -> None:
    """The loop: one line of JSON every ten steps, a snapshot of the averaged weights every `snapshot` steps."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    net, heads = AnatomyNet(), Heads()
    if options.resume:
        net.load_state_dict(load_file(Path(options.resume) / "average.safetensors"))
        heads.load_state_dict(load_file(Path(options.resume) / "heads.safetensors"))
    average = copy.deepcopy(net).requires_grad_(False)
    weights = [*net.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=options.rate, betas=(0.9, 0.95), weight_decay=0.02)
    pool = HeadPool(heads=options.pool, seed=options.seed + 1000 * options.part, lesion_rate=options.lesions)
    without, started, shown = frozenset(options.without), time.perf_counter(), {}
    for step in range(options.steps):
        done = max(step / options.steps, (time.perf_counter() - started) / (60 * options.minutes))
        for group in optimiser.param_groups:
            group["lr"] = rate(step, done=done, decay=options.decay / options.steps, top=options.rate)
        batch = pool.batch(heads=options.heads, crops=options.crops, physics=options.physics, together=options.together)
        if step % options.renew == options.renew - 1:
            pool.renew()
        terms = losses_of(net, heads, batch, without=without)
        loss = sum((WEIGHTS[name] * value for name, value in terms.items()), torch.zeros(()))
        optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(weights, 3.0)
        if torch.isfinite(norm):
            optimiser.step()
        _follow(average, net, momentum=min(0.99, (step + 1) / (step + 10)))
        for name, value in terms.items():
            seen = float(value.detach())
            shown[name] = 0.9 * shown.get(name, seen) + 0.1 * seen
        if step % 10 == 9:
            line = {
                "step": step + 1,
                "seconds": round(time.perf_counter() - started),
                "cpu": round(time.process_time()),
            }
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps({**line, **{name: round(value, 4) for name, value in shown.items()}}) + "\n")
        if step % options.snapshot == options.snapshot - 1 or step == options.steps - 1 or done >= 1:
            _save(out, net, heads, average)
        if done >= 1:
            break


def _follow(average: nn.Module, net: nn.Module, *, momentum: float) -> None:
    with torch.no_grad():
        for slow, fast in zip(average.parameters(), net.parameters(), strict=True):
            slow.lerp_(fast, 1 - momentum)


def _save(out: Path, net: nn.Module, heads: nn.Module, average: nn.Module) -> None:
    for name, module in (("net", net), ("heads", heads), ("average", average)):
        partial = out / f"{name}.partial"
        save_file(module.state_dict(), partial)
        partial.replace(out / f"{name}.safetensors")


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    for name, kind, value in (
        ("steps", int, 5000), ("decay", int, 3000), ("seed", int, 0), ("part", int, 0), ("pool", int, 40),
        ("heads", int, 5), ("crops", int, 2), ("renew", int, 6), ("snapshot", int, 100), ("threads", int, 1),
        ("rate", float, 1.5e-3), ("physics", float, 0.6), ("lesions", float, 0.7), ("together", float, 0.5),
        ("minutes", float, 1e6), ("resume", str, ""),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=kind, default=value)
    parser.add_argument("--without", nargs="*", default=[], choices=sorted(WEIGHTS))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "options.json").write_text(json.dumps({**vars(options), "out": options.out.name}, indent=1))
    train(options.out, options)


if __name__ == "__main__":
    main()
