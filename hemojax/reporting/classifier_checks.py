"""Does the classifier look at the bleed at all, and do the maps depend on what it has learnt? In plain words."""

import numpy as np
import pandas as pd

from hemojax.metrics import classification
from hemojax.reporting.sections import Section, number

GOOD_AUROC = 0.9
FEW_FLIPS = 0.5
UNCHANGED = 0.5
WARNING = "A classifier that does not need the bleed cannot be asked to point at it."
_IN_WORDS = {"surroundings": "filled from its surroundings", "other side": "replaced by the mirrored other side"}


def looks(slices: pd.DataFrame, removal: pd.DataFrame, position: pd.DataFrame) -> Section:
    """What becomes of the positive calls on test when the bleed is taken out, and what slice position alone can do.

    Args:
        slices: the table of logits.
        removal: the table of logits with a mask filled.
        position: the table of scores by position.
    """
    title = "Does the classifier look at the bleed?"
    if removal.empty:
        return Section(title, ("No positive test slice has a mask, so no bleed could be taken out.",))
    first = "any" if (removal["label"] == "any").any() else removal["label"].iloc[0]
    rows = [
        removed(group) | dict(zip(("label", "mask", "fill"), key, strict=True))
        for key, group in removal.groupby(["label", "mask", "fill"], sort=False, observed=True)
    ]
    found = pd.DataFrame(rows)
    area, by_position = (_auroc(table, first, score) for table, score in ((slices, "logit"), (position, "score")))
    chief = found[found["label"] == first]
    text = [_in_words(row) for _, row in chief.iterrows()]
    text.append(
        f"On the test split the place of a slice in its scan alone, learnt from the training slices, has AUROC "
        f"**{number(by_position)}** for {first}; the classifier has {number(area)}."
    )
    kept = chief[chief["flipped"] < FEW_FLIPS * chief["called"]]
    if area >= GOOD_AUROC and len(kept):
        cases = ", ".join(f"{row['mask']} {_IN_WORDS[row['fill']]}" for _, row in kept.iterrows())
        text.append(
            f"**WARNING**: AUROC {number(area)}, yet fewer than half of the positive calls flip: {cases}. {WARNING}"
        )
    table = pd.DataFrame(
        {
            "label": found["label"],
            "mask": found["mask"],
            "filled from": found["fill"],
            "positive": found["before"].map(number),
            "filled positive": found["after"].map(number),
            "median logit": found["logit"].map(lambda value: number(value, 2)),
            "filled logit": found["filled_logit"].map(lambda value: number(value, 2)),
            "flipped": found["flipped"].astype(str) + " of " + found["called"].astype(str),
            "n": found["n"].astype(str),
            "patients": found["patients"].astype(str),
        }
    )
    return Section(title, tuple(text), table, brief=tuple(table.columns))


def sanity(table: pd.DataFrame) -> Section:
    """How like its original the map of each method stays, the further the network is randomised (Adebayo et al. 2018).

    Args:
        table: the table of cascading randomisation.
    """
    title = "Do the maps depend on what was learnt?"
    if table.empty:
        return Section(title, ("No maps of a randomised network were made.",))
    cells, last = ["method", "stage"], table["depth"].max()
    mean = table.groupby([*cells, "depth", "randomised"], sort=False, observed=True)["spearman"].mean().reset_index()
    final = mean[mean["depth"] == last].set_index(cells)["spearman"].sort_values(ascending=False, kind="stable")
    parts = mean.drop_duplicates("depth").sort_values("depth")["randomised"].tolist()
    shown = mean.pivot(index=cells, columns="randomised", values="spearman").loc[final.index, parts].map(number)
    structure = table[table["depth"] == last].groupby(cells, observed=True)["ssim"].mean().loc[final.index].map(number)
    counted = table.groupby(cells, observed=True)
    one_row_a_slice = counted.apply(lambda rows: len(rows[["case", "slice"]].drop_duplicates()), include_groups=False)
    shown["SSIM at the end"] = structure
    shown["n"] = one_row_a_slice.loc[final.index].astype(str)
    shown["patients"] = counted["patient"].nunique().loc[final.index].astype(str)
    unchanged = final[final > UNCHANGED]
    names = ", ".join(f"{method} at {stage} ({number(value)})" for (method, stage), value in unchanged.items())
    text = (
        "Mean rank correlation (Spearman) with the original map while the network is randomised from the classifier "
        f"down to the part that heads the column; in the last one, {parts[-1]}, nothing learnt is left. A map without "
        "any order, such as an empty one, counts 0.",
        f"Still correlated above {UNCHANGED} when all is random: {names or 'none'}."
        + (" Such a map shows the image, and does not explain the classifier." if names else ""),
    )
    shown = shown.rename_axis(columns=None).reset_index()
    return Section(title, text, shown, brief=(*cells, *dict.fromkeys((parts[0], parts[-1])), "n", "patients"))


def removed(rows: pd.DataFrame) -> dict[str, float]:
    """What becomes of these rows of the table of logits with a mask filled: shares, medians and numbers."""
    before, after = rows["logit"].to_numpy() > 0, rows["filled_logit"].to_numpy() > 0
    return {
        "before": before.mean(),
        "after": after.mean(),
        "logit": rows["logit"].median(),
        "filled_logit": rows["filled_logit"].median(),
        "called": int(before.sum()),
        "flipped": int((before & ~after).sum()),
        "n": len(rows),
        "patients": rows["patient"].nunique(),
    }


def _in_words(row: pd.Series) -> str:
    return (
        f"Of {row['n']} positive test slices of {row['patients']} patients the classifier calls "
        f"{_percent(row['before'])} positive, and **{_percent(row['after'])}** with the {row['mask']} "
        f"{_IN_WORDS[row['fill']]}; {row['flipped']} of {row['called']} positive calls flip, and the median logit goes "
        f"from {number(row['logit'], 2)} to {number(row['filled_logit'], 2)}."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _auroc(table: pd.DataFrame, label: str, score: str) -> float:
    rows = table[(table["split"] == "test") & (table["label"] == label)]
    return classification.auroc(rows["truth"].to_numpy(bool), rows[score].to_numpy(np.float64))
