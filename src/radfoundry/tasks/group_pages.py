"""Whom a model serves worse, and who lives longer by what it says: tables and curves by group of patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from radfoundry.records import Cohort, Estimate, InputError, Predictions, Task
from radfoundry.stats import log_rank, subgroups, survival
from radfoundry.tasks import finish, pages, questions
from radfoundry.tasks.probe import Probe

UNKNOWN = "unknown"
QUARTERS = "age-quarters"
DRAWS = 1000


def factors(cohort: Cohort, cases: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The group of every case for each fact or label: ages in bands (`age`) or in quarters of these patients
    (`age-quarters`), unknown named so; only what differs at all.

    Refuses a name that no case knows, unless it is sex, age or site.
    """
    by_key = {case.key: case for case in cohort.cases}
    found = {}
    for name in names:
        target = "age_years" if name in ("age", QUARTERS) else name
        values = [questions.value_of(by_key[str(key)], target) for key in cases]
        if all(value is None for value in values) and name not in ("sex", "age", "site", QUARTERS):
            raise questions.no_label(cohort, where=f"subgroups {name}", name=name)
        if target == "age_years":
            ages = np.array([np.nan if value is None else float(value) for value in values])
            groups = subgroups.age_quarters(ages) if name == QUARTERS else subgroups.age_bands(ages)
        else:
            groups = np.array([UNKNOWN if value is None else str(value) for value in values])
        if len(np.unique(groups)) > 1:
            found[name] = groups
    return found


def subgroup_block(
    cohort: Cohort, found: Probe, names: Sequence[str], *, title: str
) -> tuple[dict[str, Any] | None, dict[str, Estimate]]:
    """The table of every group of every factor, and its AUROC differences as metrics; nothing where no factor differs.

    Sensitivity and specificity are those at the cut-off that was frozen before the test.
    """
    groups = factors(cohort, found.predictions.case, names)
    if not groups:
        return None, {}
    cut = 0.5
    if found.finish.operating_point:
        cut = float(finish.finish(np.array([found.finish.operating_point["threshold"]]), found.finish).value[0])
    base = found.predictions
    mended = Predictions(base.case, base.patient, base.target, found.answers.value, base.site)
    table = subgroups.subgroup_table(mended, groups, threshold=cut)
    rows = [
        {
            "group": f"{row.factor}: {row.group}",
            "n": str(row.n),
            "positives": str(row.positives),
            **{
                key: getattr(row, key).to_dict()
                for key in ("auroc", "sensitivity", "specificity", "calibration", "difference")
            },
            "verdict": row.verdict,
        }
        for row in table
    ]
    labels = {"n": "exams", "positives": "with", "auroc": "AUROC", "calibration": "observed minus predicted"}
    labels |= {"difference": "AUROC against all others", "group": "group"}
    block = {
        "kind": "table",
        "title": title,
        "note": "Too few to say is no all-clear: such a group could not show a difference of 0.1. p-values by Holm.",
        "columns": [{"key": key, "label": labels.get(key, key)} for key in rows[0]],
        "rows": rows,
    }
    return block, {f"auroc-{row.factor}={row.group}-minus-others": row.difference for row in table}


def survival_blocks(
    cohort: Cohort, found: Probe, task: Task, labels: Mapping[str, str], *, name: str
) -> tuple[list[dict[str, Any]], dict[str, Estimate]]:
    """Kaplan-Meier curves by the true label and by what the model called, each with its hazard ratio.

    `labels` name the labels of follow-up (`time`) and of the event (`event`). Cases without them are left out. Where
    both sides have curves, `separation-predicted-minus-true` compares how far apart they are, paired.
    """
    if set(labels) != {"time", "event"}:
        raise InputError("needs time and event", where="survival", remedy="survival.time=LABEL survival.event=LABEL")
    asked = questions.survive(time=labels["time"], event=labels["event"])
    _, truth = questions.answers(cohort, asked)
    known = np.array([str(key) in truth for key in found.predictions.case])
    time, event = np.array([truth[str(key)] for key in found.predictions.case[known]]).T
    blocks, numbers = [], {}
    sides = {"true": found.predictions.target[known], "predicted": found.answers.called[known]}
    for side, called in sides.items():
        if len(np.unique(called)) < 2 or (called < 0).any():
            continue
        words = {value: f"{side} {task.target}: {'yes' if value else 'no'}" for value in (1, 0)}
        curves = {
            said: survival.kaplan_meier(time[called == value], event[called == value]) for value, said in words.items()
        }
        tested = log_rank.log_rank(time, event, np.where(called == 1, "yes", "no"))
        numbers[f"hazard-ratio-{side}-label"] = tested.hazard_ratio
        made = pages.survival_curves(
            f"By {side} {task.target}: {name}", curves, time_unit=labels["time"], event=labels["event"]
        )
        made["note"] += f" Log-rank p = {tested.p_value:.2g}; hazard ratio {tested.hazard_ratio}."
        blocks.append(made)
    if len(numbers) == 2:
        numbers["separation-predicted-minus-true"] = separation_gap(time, event, (sides["predicted"], sides["true"]))
    return blocks, numbers


def separation_gap(time: np.ndarray, event: np.ndarray, calls: tuple[np.ndarray, np.ndarray]) -> Estimate:
    """How much farther apart the first calls keep the curves than the second, in |log hazard ratio|, paired.

    Patients are drawn again and again with both calls; draws in which a call has one side only do not count.
    """

    def apart(rows: np.ndarray, call: np.ndarray) -> float:
        if len(np.unique(call[rows])) < 2:
            return np.nan
        ratio = log_rank.log_rank(time[rows], event[rows], call[rows]).hazard_ratio
        return abs(float(np.log(ratio.value))) if ratio.defined else np.nan

    rng = np.random.default_rng(0)
    every = np.arange(len(time))
    value = apart(every, calls[0]) - apart(every, calls[1])
    draws = [rng.integers(0, len(time), len(time)) for _ in range(DRAWS)]
    gaps = np.array([apart(rows, calls[0]) - apart(rows, calls[1]) for rows in draws])
    kept = gaps[~np.isnan(gaps)]
    method = f"paired bootstrap, percentile, {DRAWS} draws of {len(time)} exams"
    if np.isnan(value) or len(kept) < DRAWS // 2:
        return Estimate.undefined("a call has one side only", n=len(time), method=method)
    low, high = np.quantile(kept, [0.025, 0.975])
    return Estimate(float(value), float(low), float(high), method=method, n=len(time))
