"""The report's section on faithfulness, made from the faithfulness table alone."""

import pandas as pd

from hemojax.reporting.sections import Section, number

LOWER, HIGHER = "lower is better", "higher is better"
METRICS = {
    "insertion": HIGHER,
    "deletion": LOWER,
    "average_drop": LOWER,
    "increase": HIGHER,
    "road_combined": HIGHER,
    "road_most": LOWER,
    "road_least": HIGHER,
    "infidelity": LOWER,
    "max_sensitivity": LOWER,
}
"""Which way each metric is good; in the order of the table's columns."""


def faithfulness(table: pd.DataFrame) -> Section:
    """Each method at its stage by metric, means over the slices; the method with the best combined ROAD comes first."""
    title = "Faithfulness"
    if table.empty:
        return Section(title, ("Faithfulness was not measured.",))
    keys = ["method", "stage"]
    cells = table.groupby([*keys, "metric"], observed=True)["value"].mean().unstack("metric")
    cells = cells.reindex(columns=list(METRICS)).sort_values("road_combined", ascending=False, kind="stable")
    seen = table.drop_duplicates([*keys, "case", "slice"]).groupby(keys, observed=True)
    shown = cells.map(number)
    shown.columns = [f"{metric.replace('_', ' ')} ({METRICS[metric]})" for metric in METRICS]
    shown["n"], shown["patients"] = seen.size().astype(str), seen["patient"].nunique().astype(str)
    slices = table.drop_duplicates(["case", "slice"])
    text = (
        f"Measured on {len(slices)} slices of {slices['patient'].nunique()} patients of the test split, at even "
        "distances over those with a lesion; each method at its best stage on validation, means over its n slices.",
        "Insertion and deletion (RISE), average drop, increase in confidence and ROAD are of the target's probability: "
        "an area under a curve, a share of the confidence, the share of slices whose confidence rises, and a change of "
        "the probability. Infidelity is of its logit, squared, at the best scale of the map. `-`: too costly.",
        "These figures say whether the classifier follows the map, not whether the map points at the bleed.",
    )
    brief = ("method", "stage", *shown.columns[[0, 1, 4]], "n", "patients")
    return Section(title, text, shown.reset_index(), brief=brief)
