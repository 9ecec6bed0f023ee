"""Live checks: every so many steps the encoder is asked what it can do, and alarms are raised when it goes wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from radfoundry import runs
from radfoundry.records import Estimate, InputError
from radfoundry.text.tokens import Tokeniser
from radfoundry.train import probes, reading
from radfoundry.train.batches import Batch
from radfoundry.train.learner import Learner
from radfoundry.train.loop import Course
from radfoundry.train.processes import from_first
from radfoundry.train.sources import Source

CHECKS = "checks.jsonl"
# Whether more is better.
RISING = {
    "retrieval": True,
    "sequence": True,
    "lesion": True,
    "report-retrieval": True,
    "effective-rank": True,
    "position": False,
}
COLLAPSED_RANK = 3.0
COLLAPSED_UNIFORMITY = -0.05
HELD_OUT_SEED = 7_919_000_000


@dataclass(eq=False)
class Checks:
    """Held-out batches, how often they are asked, and what came out so far.

    every: steps between checks, 0 for none · stop_on: the probe whose failing to improve ends the run · patience:
    checks without improvement until then. `best` is where the probe was best, `best_weights` the encoder's slow
    average then. of_cohort: crops of the cohort that is learned from, asked for the site only, which
    guessing would name rightly in `chance_site`.
    """

    held_out: list[Batch]
    every: int
    stop_on: str | None = None
    patience: int = 5
    of_cohort: list[Batch] = field(default_factory=list)
    chance_site: float = 0.5
    tokeniser: Tokeniser | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    best_step: int = 0
    best_value: float | None = None
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    alarms: dict[str, str] = field(default_factory=dict)

    def __call__(self, step: int, course: Course) -> bool:
        """Ask when it is time; True asks the run to stop."""
        if self.every == 0 or (step % self.every and course.progress < 1):
            return False
        found = self.ask(course)
        line = {"step": step, "seconds": round(course.at.seconds, 3), **found}
        self.history.append(line)
        if course.place.first:
            course.folder.mkdir(parents=True, exist_ok=True)
            with (course.folder / CHECKS).open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(runs.plain(line)) + "\n")
        self.alarms |= alarms_of(found, chance_site=self.chance_site)
        if self.stop_on is None:
            return False
        return self.stale(step, from_first(found[self.stop_on].value, course.place), course)

    def ask(self, course: Course) -> dict[str, Estimate]:
        """The measures of the encoder as it is now."""
        learner = course.learner
        found = probes.measures(embed(learner, self.held_out))
        if self.of_cohort:
            seen = embed(learner, self.of_cohort)
            site = seen.site if seen.site is not None else torch.zeros(len(seen.features))
            found["site"] = probes.named_rightly(seen.features[:, :1], site[:, None])
        if self.tokeniser is not None and reading.aligner_of(learner) is not None:
            found |= self.read(learner, self.tokeniser)
        apart: Any = getattr(learner, "reshard", None)
        if apart is not None:  # sharded weights stay together after a forward pass until they are told
            apart()
        return found

    def read(self, learner: Any, tokeniser: Tokeniser) -> dict[str, Estimate]:
        """Whether reports are found by images, and findings by prompts."""
        images, said = reading.vectors(learner, self.held_out)
        truth = torch.cat([batch.findings.cpu() for batch in self.held_out if batch.findings is not None])
        prompted = reading.zero_shot(learner, images, truth, tokeniser)
        return {
            "report-retrieval": reading.found_among(images, said),
            **{f"prompted-{name}": value for name, value in prompted.items()},
        }

    def stale(self, step: int, value: float, course: Course) -> bool:
        """Note an improvement; say whether there has been none for too long."""
        rising = RISING.get(str(self.stop_on), True)
        better = self.best_value is None or (value > self.best_value if rising else value < self.best_value)
        if better:
            self.best_step, self.best_value = step, value
            self.best_weights = {name: weight.clone() for name, weight in course.trained.average.weights.items()}
            return False
        since = sum(line["step"] > self.best_step for line in self.history)
        if since < self.patience:
            return False
        course.stopped = (
            f"{self.stop_on} did not improve in {since} checks; best {self.best_value:.3f} at step {self.best_step}"
        )
        return True

    def resume(self, folder: Path, *, up_to: int) -> None:
        """Read the checks of a run that goes on."""
        path = folder / CHECKS
        if not path.is_file():
            return
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        kept = [line for line in lines if line["step"] <= up_to]
        with runs.atomic(path) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self.history = [
            {key: Estimate.from_dict(value) if isinstance(value, dict) else value for key, value in line.items()}
            for line in kept
        ]


def prepare(source: Source, *, patients: int, every: int, stop_on: str | None, patience: int) -> Checks:
    """Checks on patients of a source that training never shows; refuses a probe the source cannot answer."""
    if every == 0:
        return Checks([], 0)
    held_out: list[Batch] = []
    while sum(len(batch) for batch in held_out) < patients:
        held_out.append(source.batch(len(held_out)))
    if stop_on is not None and stop_on not in RISING:
        raise InputError(f"no probe {stop_on!r} to stop on", where="stop_on", remedy=", ".join(RISING))
    return Checks(held_out, every, stop_on, patience)


@torch.no_grad()
def embed(learner: Learner, batches: list[Batch]) -> probes.Probed:
    """Pooled features of held-out batches, with what is known of them."""
    device = next(learner.parameters()).device
    features = []
    for batch in batches:
        pooled = learner(batch.to(device), asked=True)["pooled"]
        features.append(pooled.float().cpu().reshape(len(batch), batch.views, -1))

    def joined(name: str) -> torch.Tensor | None:
        values = [getattr(batch, name) for batch in batches]
        return None if any(value is None for value in values) else torch.cat([value.cpu() for value in values])

    place, lesion = joined("centre_mm"), joined("lesion")
    return probes.Probed(
        torch.cat(features),
        place_mm=None if place is None else place[:, 0].double(),
        sequence=joined("protocol"),
        lesion=None if lesion is None else lesion.flatten(1).sum(dim=1) > probes.LEAST_LESION_VOXELS,
        site=joined("site"),
    )


def alarms_of(found: dict[str, Estimate], *, chance_site: float = 0.5) -> dict[str, str]:
    """What has gone wrong, by name: features that collapse, features that give the hospital away."""
    raised = {}
    rank, spread = found["effective-rank"].value, found["uniformity"].value
    if rank < COLLAPSED_RANK or spread > COLLAPSED_UNIFORMITY:
        raised["collapse"] = f"features use {rank:.1f} directions (uniformity {spread:.2f}): all images look alike"
    site = found.get("site")
    if site is not None and site.low > chance_site:
        raised["site-leak"] = (
            f"the hospital can be read from the features in {site} of images (chance {chance_site:.2f})"
        )
    return raised
