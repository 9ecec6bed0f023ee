"""What must be said beside every answer of a predictor that was not shown to know more than the usual answer."""

from __future__ import annotations

from collections.abc import Mapping

from radfoundry.records import Estimate

# The main measure of a kind of question, and its value for somebody who knows nothing.
IGNORANT = {
    "auroc": 0.5,
    "auroc-one-against-rest": 0.5,
    "macro-auroc": 0.5,
    "concordance": 0.5,
    "quadratic-kappa": 0.0,
    "r2": 0.0,
}
# Paired differences to an answer that needs no image: how the name ends, which side of 0 is better, and in words.
SIMPLER = (
    ("-minus-drafts-of-others", 1, "draft better than drafts of other patients"),
    ("-minus-mean-place/error-mm", -1, "point better than the mean place"),
    ("gain-on-mean-change", 1, "foresee better than the mean change"),
)
COMPARATOR_GAP = "segmenter-minus-unet/dice"


def cautions(metrics: Mapping[str, Estimate], *, finished: str = "") -> list[str]:
    """Remarks on a predictor's answers: how its scores were finished, and a main measure not above chance.

    `metrics` are those on patients it had not seen, `finished` what was remarked when its scores were calibrated.

    >>> cautions({"auroc": Estimate(0.62, 0.45, 0.78)})
    ['not shown to answer better than chance: auroc 0.62 (0.45-0.78) on patients it had not seen']
    >>> cautions({"auroc": Estimate(0.82, 0.75, 0.88)})
    []
    """
    said = [finished] if finished else []
    name = next((name for name in IGNORANT if name in metrics), None)
    if name is not None and not metrics[name].low > IGNORANT[name]:
        said.append(
            f"not shown to answer better than chance: {name} {metrics[name].text()} on patients it had not seen"
        )
    for ending, side, words in SIMPLER:
        value = next((value for key, value in metrics.items() if key.endswith(ending)), None)
        if value is not None and not (value.low > 0 if side > 0 else value.high < 0):
            said.append(f"not shown to {words}: difference {value.text()} on patients it had not seen")
    gap = next((value for key, value in metrics.items() if key.startswith(COMPARATOR_GAP)), None)
    if gap is not None and gap.high < 0:
        said.append(
            "the U-Net taught beside it (comparator/ of the same run) outlines better: "
            f"difference in Dice {gap.text(3)} on patients it had not seen"
        )
    return said
