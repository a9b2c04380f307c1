"""Every metric in a line: what it is called, which way is better, in what unit."""

from __future__ import annotations

from typing import Literal, NamedTuple

Better = Literal["higher", "lower", "neither"]
Family = Literal["risk", "alarms", "detection", "value", "termination", "success", "scoring"]


class Definition(NamedTuple):
    """Name, family, unit ('' for a ratio), better direction and meaning of a metric."""

    label: str
    family: Family
    better: Better
    unit: str
    meaning: str


def _recall(rate: int) -> Definition:
    return Definition(
        f"Event recall at {rate}/h",
        "alarms",
        "higher",
        "",
        f"Share of events with an alarm on in the H seconds before their onset, at the threshold "
        f"with the highest recall at no more than {rate} false "
        f"alarm{'' if rate == 1 else 's'} per hour of monitored time. The threshold is chosen "
        "on these data.",
    )


def _lead(quantile: str, rate: int) -> Definition:
    return Definition(
        f"{quantile} lead time at {rate}/h",
        "alarms",
        "neither",
        "s",
        "Time from the first alarm in an event's lead window to its onset, at most H; over "
        "recalled events only, so models that recall other events are not compared by it.",
    )


_DETECTED = (
    "An episode is flagged from the first step at which the score reaches the alarm threshold. "
    "Each rival has the threshold that gives it no more false positives than PRO on these data."
)

DEFINITIONS: dict[str, Definition] = {
    "risk_auroc": Definition(
        "AUROC", "risk", "higher", "",
        "Chance that a step with an onset within H has a higher risk than one without. "
        "0.5 is guessing.",
    ),
    "risk_auprc": Definition(
        "AUPRC", "risk", "higher", "",
        "Average precision over all thresholds. Guessing gives the prevalence.",
    ),
    "risk_brier": Definition(
        "Brier", "risk", "lower", "", "Mean squared error of the probability."
    ),
    "risk_nll": Definition(
        "NLL", "risk", "lower", "nat",
        "Mean negative log-likelihood; probabilities are clipped to [1e-7, 1 - 1e-7].",
    ),
    "risk_ece": Definition(
        "ECE", "risk", "lower", "",
        "Expected calibration error: mean distance between predicted and observed share over 10 "
        "bins of equal mass.",
    ),
    "event_recall_1": _recall(1),
    "event_recall_6": _recall(6),
    "lead_median_1": _lead("Median", 1),
    "lead_p10_1": _lead("10th percentile of", 1),
    "lead_median_6": _lead("Median", 6),
    "lead_p10_6": _lead("10th percentile of", 6),
    "calibrated_recall": Definition(
        "Event recall, calibrated", "alarms", "higher", "",
        "Share of events recalled at the threshold stored in the checkpoint.",
    ),
    "calibrated_false_alarms": Definition(
        "False alarms, calibrated", "alarms", "lower", "1/h",
        "False alarms per hour of monitored time at the threshold stored in the checkpoint.",
    ),
    "calibrated_lead_median": Definition(
        "Median lead time, calibrated", "alarms", "neither", "s",
        "Median lead time at the threshold stored in the checkpoint.",
    ),
    "calibrated_lead_p10": Definition(
        "10th percentile of lead time, calibrated", "alarms", "neither", "s",
        "10th percentile of lead time at the threshold stored in the checkpoint.",
    ),
    "detection_auroc": Definition(
        "AUROC", "detection", "higher", "",
        "Chance that a failed episode has a higher peak score than a successful one.",
    ),
    "detection_auprc": Definition(
        "AUPRC", "detection", "higher", "", "Average precision of the episode's peak score."
    ),
    "detection_balanced_accuracy": Definition(
        "Balanced accuracy", "detection", "higher", "",
        "Mean of true-positive and true-negative rate. " + _DETECTED,
    ),
    "detection_tpr": Definition(
        "TPR", "detection", "higher", "", "Share of failed episodes flagged."
    ),
    "detection_fpr": Definition(
        "FPR", "detection", "lower", "", "Share of successful episodes flagged."
    ),
    "detection_time": Definition(
        "Detection time", "detection", "lower", "",
        "Mean share of the episode that had passed when a failure was first flagged.",
    ),
    "detection_timestep_accuracy": Definition(
        "Timestep accuracy", "detection", "higher", "",
        "Mean share of steps whose verdict (failure from the first flag on) equals the outcome.",
    ),
    "value_voc": Definition(
        "VOC", "value", "higher", "",
        "Value-order correlation: Spearman rank of value against time, mean over successes. "
        "A clock has 1 by definition.",
    ),
    "value_kendall": Definition(
        "Kendall tau-b", "value", "higher", "",
        "Kendall rank of value against time, mean over successes. A clock has 1 by definition.",
    ),
    "value_pairwise": Definition(
        "Pairwise accuracy", "value", "higher", "",
        "Share of (success, failure) pairs of one task in which the success has the higher "
        "mean value.",
    ),
    "value_success_auroc": Definition(
        "Success AUROC", "value", "higher", "",
        "Chance that a success has a higher last value than a failure.",
    ),
    "value_pearson": Definition(
        "Pearson", "value", "higher", "",
        "Correlation of value and discounted return within an episode, mean over episodes.",
    ),
    "termination_auroc": Definition(
        "AUROC", "termination", "higher", "",
        "Chance that a step near the end has a higher P(about to end) than another.",
    ),
    "termination_brier": Definition(
        "Brier", "termination", "lower", "", "Mean squared error of P(about to end)."
    ),
    "success_auroc": Definition(
        "AUROC", "success", "higher", "",
        "Chance that a step at the end of a success has a higher P(success) than one at the end "
        "of a failure.",
    ),
    "success_brier": Definition(
        "Brier", "success", "lower", "",
        "Mean squared error of P(success) at the steps at the end of episodes.",
    ),
    "scoring_progress_r2": Definition(
        "R² of progress", "scoring", "higher", "",
        "Share of the variance of what was gained over the chunk (the return from its end on, "
        "less the value at its beginning) that is explained. 0 is the mean.",
    ),
    "scoring_progress_spearman": Definition(
        "Rank correlation of progress", "scoring", "higher", "",
        "Spearman rank of expected progress against what was gained; draws keep the ranks of the "
        "whole sample.",
    ),
    "scoring_risk_auroc": Definition(
        "AUROC of risk", "scoring", "higher", "",
        "Chance that an executed chunk with an onset within H has a higher risk than one without.",
    ),
    "scoring_risk_brier": Definition(
        "Brier of risk", "scoring", "lower", "", "Mean squared error of the chunk's risk."
    ),
    "scoring_success_auroc": Definition(
        "AUROC of success", "scoring", "higher", "",
        "Chance that a chunk of a success has a higher P(success) than one of a failure.",
    ),
    "scoring_success_brier": Definition(
        "Brier of success", "scoring", "lower", "", "Mean squared error of the chunk's P(success)."
    ),
    "scoring_supported": Definition(
        "Supported", "scoring", "neither", "",
        "Share of the held-out executed chunks that count as like those of the training.",
    ),
}  # fmt: skip
"""By metric key, in the order in which they are reported."""

FAMILIES: dict[str, str] = {
    "risk": "Risk",
    "alarms": "Alarms and lead time",
    "detection": "Failure detection per episode",
    "value": "Value",
    "termination": "Termination",
    "success": "Success",
    "scoring": "Action scoring",
}
"""Titles of the families, in the order in which they are reported."""
