"""What the report says about the classifier: a map of one that does not work means nothing."""

import numpy as np
import pandas as pd

from hemojax.metrics import classification
from hemojax.reporting.sections import Section, number


def in_words(slices: pd.DataFrame) -> list[str]:
    """The classifier's AUROC on test; nothing if there are no test slices with the label "any"."""
    test = slices[(slices["split"] == "test") & (slices["label"] == "any")]
    if test.empty:
        return []
    area = classification.auroc(test["truth"].to_numpy(bool), test["logit"].to_numpy(np.float64))
    seen = f"{len(test)} slices of {test['patient'].nunique()} patients"
    words = "The classifier tells slices with and without a haemorrhage apart with AUROC "
    return [f"{words}**{number(area)}** on test ({seen})."]


def classifier(slices: pd.DataFrame) -> Section:
    """How well the classifier does on each split and label."""
    rows = []
    # Validation before test, "any" before the subtypes.
    order = {name: place for place, name in enumerate(("train", "validation", "test"))}
    groups = {key: group for key, group in slices.groupby(["split", "label"], observed=True)}
    for split, label in sorted(groups, key=lambda key: (key[1] != "any", key[1], order.get(key[0], 3))):
        group = groups[split, label]
        truth, logit = group["truth"].to_numpy(bool), group["logit"].to_numpy(np.float64)
        decided = classification.decisions(truth, logit)
        rows.append(
            {
                "split": split,
                "label": label,
                "AUROC": number(classification.auroc(truth, logit)),
                "AP": number(classification.average_precision(truth, logit)),
                "F1": number(decided["f1"]),
                "sensitivity": number(decided["sensitivity"]),
                "specificity": number(decided["specificity"]),
                "ECE": number(classification.expected_calibration_error(truth, logit)),
                "Brier": number(classification.brier(truth, logit)),
                "positive": str(int(truth.sum())),
                "n": str(len(group)),
                "patients": str(group["patient"].nunique()),
            }
        )
    text = (
        "Per slice; F1, sensitivity and specificity with a slice called positive where its probability exceeds 0.5; "
        "ECE and Brier score say how far probabilities are from what comes true."
    )
    table = pd.DataFrame(rows)
    return Section("Classifier", (text,), table, figure="figures/reliability.png", brief=tuple(table.columns))
