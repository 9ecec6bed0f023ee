"""Teach a rater: first the physics of bad images, from simulation, then people's scores, from few scans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from radfoundry.nets.rater import Prompt, Rater, build, region_word
from radfoundry.records import InputError
from radfoundry.simulate import rated
from radfoundry.simulate.degrade import LADDERS

SCORE_UNIT = 20.0  # a difference of so many points of the score weighs as much as one standardised physical unit
RANK_POINTS = 2.0
KNOWN_SHARE = 0.2  # how fast pretrained weights move beside new ones
JUDGEMENT = ("purpose", "joined", "score")
TRUNK = ("stages", "slice", "measured", "sequence", "region")
ROOTS = np.sqrt(np.array([ladder[-1] for ladder in LADDERS.values()]))


@dataclass(frozen=True, eq=False)
class Lesson:
    """What there is to learn from: N series.

    pictures `(N, S, 6, 64, 64)` and measures `(N, S, 8)` of their slices · prompts one a series ·
    strengths `(N, 9)` in the order of `degrade.KINDS`, or None · scores `(N,)`, or None.
    With `paired` rows 2i + 1 are rows 2i made worse, so their score has to be lower.
    """

    pictures: np.ndarray
    measures: np.ndarray
    prompts: Sequence[Prompt]
    strengths: np.ndarray | None = None
    scores: np.ndarray | None = None
    paired: bool = False

    def take(self, rows: np.ndarray) -> Lesson:
        """Some of the series."""
        return Lesson(
            self.pictures[rows],
            self.measures[rows],
            [self.prompts[int(row)] for row in rows],
            None if self.strengths is None else self.strengths[rows],
            None if self.scores is None else self.scores[rows],
            self.paired,
        )


@dataclass(frozen=True)
class Course:
    """How to learn: steps, series a step and slices of each, highest learning rate, how much slower what was
    pretrained moves, and how often the words of a prompt are left out."""

    steps: int = 300
    batch: int = 16
    slices: int = 4
    learning_rate: float = 2e-3
    trunk_share: float = 1.0
    seed: int = 0
    forget: float = 0.15


def standardised(strengths: np.ndarray) -> np.ndarray:
    """Physical strengths `(N, 9)` on a scale where half of each ladder is about 0 to 1; roots, since little matters."""
    return (np.sqrt(np.maximum(strengths, 0)) / ROOTS - 0.25) / 0.35


def learn(rater: Rater, lesson: Lesson, course: Course) -> list[dict[str, float]]:
    """Teach a rater in place by AdamW with a cosine schedule; gives the loss terms of every tenth step.

    Pictures are mirrored at random. Words of the prompt are left out at random, so that a scan without a
    header can be scored too. Where there are strengths, physics is learned; where there are scores, the score.
    """
    rng = np.random.default_rng(np.random.SeedSequence([course.seed, 73]))
    rater.train()
    slow = [p for name, p in rater.named_parameters() if name.startswith(TRUNK)]
    fast = [p for name, p in rater.named_parameters() if not name.startswith(TRUNK)]
    rates = (course.learning_rate * course.trunk_share, course.learning_rate)
    groups = [{"params": part, "lr": rate, "top": rate} for part, rate in zip((slow, fast), rates, strict=True)]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.02)
    words = rater.words(lesson.prompts)
    history = []
    for step in range(course.steps):
        done = step / course.steps
        for group in optimiser.param_groups:
            group["lr"] = group["top"] * min(1.0, (step + 1) / 20) * 0.5 * (1 + np.cos(np.pi * done))
        rows = _rows(len(words), course.batch, lesson.paired, rng)
        told = _forgotten(words[rows], course.forget, lesson.paired, rng)
        terms = _terms(rater, lesson, rows, told, slices=course.slices, rng=rng)
        loss = torch.stack(list(terms.values())).sum()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(rater.parameters(), 1.0)
        optimiser.step()
        if step % 10 == 0:
            history.append({name: float(value.detach()) for name, value in terms.items()})
    rater.eval()
    return history


def _rows(count: int, batch: int, paired: bool, rng: np.random.Generator) -> np.ndarray:
    if not paired:
        return rng.choice(count, min(batch, count), replace=False)
    first = 2 * rng.choice(count // 2, min(batch // 2, count // 2), replace=False)
    return np.stack([first, first + 1], axis=1).ravel()


def _forgotten(words: torch.Tensor, share: float, paired: bool, rng: np.random.Generator) -> torch.Tensor:
    """Sequence and region left out at random, alike in both of a pair; the purpose is always known."""
    lost = rng.random((len(words), 2)) < share
    if paired:
        lost[1::2] = lost[::2]
    kept = words.clone()
    kept[:, :2][torch.from_numpy(lost)] = 0
    return kept


def _terms(
    rater: Rater, lesson: Lesson, rows: np.ndarray, words: torch.Tensor, *, slices: int, rng: np.random.Generator
) -> dict[str, torch.Tensor]:
    shown = rng.choice(lesson.pictures.shape[1], min(slices, lesson.pictures.shape[1]), replace=False)
    pictures = torch.from_numpy(lesson.pictures[np.ix_(rows, shown)].astype(np.float32))
    measures = torch.from_numpy(lesson.measures[np.ix_(rows, shown)])
    said = rater(_turned(pictures, rng), measures, words)
    terms = {}
    if lesson.strengths is not None:
        wanted = torch.from_numpy(standardised(lesson.strengths[rows])).float()
        terms["physics"] = nn.functional.smooth_l1_loss(said.physics, wanted)
    if lesson.scores is not None:
        given = torch.from_numpy(lesson.scores[rows]).float()
        terms["score"] = nn.functional.smooth_l1_loss(said.score / SCORE_UNIT, given / SCORE_UNIT)
        if lesson.paired:
            terms["order"] = nn.functional.softplus((said.score[1::2] - said.score[::2]) / RANK_POINTS).mean()
    return terms


def _turned(pictures: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """The whole batch mirrored at random; amplitudes of frequencies stay as they are."""
    for axis in (3, 4):
        if rng.random() < 0.5:
            pictures = torch.cat([pictures[:, :, :-1].flip(axis), pictures[:, :, -1:]], dim=2)
    return pictures


@torch.no_grad()
def said_of(rater: Rater, lesson: Lesson, *, block: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Scores `(N,)` and physical parameters `(N, 9)` of many series, prompted as the lesson says."""
    words = rater.words(lesson.prompts)
    scores, physics = [], []
    for at in range(0, len(words), block):
        rows = slice(at, at + block)
        pictures = torch.from_numpy(lesson.pictures[rows].astype(np.float32))
        said = rater(pictures, torch.from_numpy(lesson.measures[rows]), words[rows])
        scores.append(said.score)
        physics.append(said.physics)
    return torch.cat(scores).numpy().astype(float), torch.cat(physics).numpy().astype(float)


def learn_physics(
    *, patients: int, series: int, steps: int, seed: int, progress: Callable[[str, int, int], None] | None = None
) -> Rater:
    """A rater that knows from simulated heads alone how strong noise, motion and the other faults of a scan are.

    The upstream stage of MedIQA; nobody's score and no patient's image is needed.
    """
    scans = []
    for patient in range(patients):
        scans += rated.clean_scans(patient, seed=seed)
        if progress is not None:
            progress("physics", patient + 1, patients)
    spoiled = rated.spoil(scans, series, rng=np.random.default_rng(np.random.SeedSequence([seed, 11])))
    rater = build(seed=seed)
    learn(rater, physics_lesson(spoiled), Course(steps=steps, slices=3, learning_rate=3e-3, seed=seed))
    return rater


def physics_lesson(spoiled: rated.Spoiled) -> Lesson:
    """Spoiled scans with the strengths of their faults as what is to be learned."""
    prompts = [
        Prompt(str(one), region_word(str(two))) for one, two in zip(spoiled.sequence, spoiled.region, strict=True)
    ]
    return Lesson(spoiled.pictures, spoiled.measures, prompts, spoiled.strengths)


def teach(
    start: Rater | None, lesson: Lesson, *, purposes: Sequence[str], steps: int, seed: int, salient: bool = True
) -> Rater:
    """A rater taught by people's scores: from one that knows physics, whose sight moves slower, or from nothing."""
    fresh = build(purposes=purposes, salient=salient, seed=seed)
    rater = fresh if start is None else retold(start, fresh)
    share = 1.0 if start is None else KNOWN_SHARE
    learn(rater, lesson, Course(steps=steps, learning_rate=3e-3, trunk_share=share, seed=seed))
    return rater


def retold(known: Rater, fresh: Rater) -> Rater:
    """A fresh rater with what a known one sees of images; its judgement stays new, for scores given for other purposes.

    Refuses raters of different widths.
    """
    if known.options["width"] != fresh.options["width"]:
        raise InputError("raters of different widths share nothing", remedy="teach both at one width")
    kept = {name: value for name, value in known.state_dict().items() if not name.startswith(JUDGEMENT)}
    fresh.load_state_dict({**fresh.state_dict(), **kept})
    return fresh
