"""Is the difference between two methods real? Paired resamples of patients, and ranks over patients."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from hemojax.statistics import bootstrap, summary
from hemojax.statistics.summary import CELL, RANDOM, is_random, patient_sums

_DICE = summary.FIGURES.index("dice")
_COLUMNS = ["difference", "low", "high", "beats", "loses", "p", "p_holm", "slices", "patients"]


def against_random(rows: pd.DataFrame, resamples: int = bootstrap.RESAMPLES) -> pd.DataFrame:
    """Compares every method with RandomCAM at the same stage; see `differences`."""
    cells = rows.loc[~rows["baseline"].astype(bool), CELL].drop_duplicates()
    cells = cells[~is_random(cells["method"])]
    return differences(rows, cells, cells.assign(method=RANDOM), resamples)


def against_chosen(
    rows: pd.DataFrame, best: pd.DataFrame, chosen: dict[str, dict], resamples: int = bootstrap.RESAMPLES
) -> pd.DataFrame:
    """Compares every method at its own best stage with the stage and method chosen on validation; see `differences`.

    Args:
        rows: of one rule and population.
        best: from `summary.best_stages`.
        chosen: from `summary.choose`.
        resamples: of the patients.
    """
    pixels = {mask: kinds["pixels"] for mask, kinds in chosen.items()}
    others = best[[row.method != pixels[row.mask]["method"] for row in best.itertuples()]]
    cells = others[["mask", "stage", "method"]].assign(split="test")
    references = cells.assign(
        stage=[pixels[mask]["stage"] for mask in cells["mask"]],
        method=[pixels[mask]["method"] for mask in cells["mask"]],
    )
    return differences(rows, cells, references, resamples)


def differences(
    rows: pd.DataFrame, cells: pd.DataFrame, references: pd.DataFrame, resamples: int = bootstrap.RESAMPLES
) -> pd.DataFrame:
    """Compares each cell with its reference, on the slices that both have.

    Args:
        rows: from `thresholds.cut`, of one rule and population.
        cells: columns CELL.
        references: the same, a row for each of `cells`; pairs of which `rows` lacks one are left out.
        resamples: of the patients, the same for both.

    Returns:
        One row a pair, CELL of the cell: `difference` of pooled Dice (seeds averaged) and its 95 % interval `low`,
        `high`; `beats` and `loses` if the interval lies wholly above or below 0; `p`, and `p_holm`, corrected over all
        pairs of the same split and mask; `slices` and `patients` compared.
    """
    place = rows.groupby(["case", "slice"], observed=True).ngroup().to_numpy()
    groups = {key: np.asarray(index) for key, index in rows.reset_index().groupby(CELL, observed=True).indices.items()}
    found = []
    pairs = zip(cells[CELL].itertuples(index=False), references[CELL].itertuples(index=False), strict=True)
    for cell, reference in pairs:
        one, other = groups.get(tuple(cell)), groups.get(tuple(reference))
        if one is None or other is None:
            continue
        both = np.intersect1d(place[one], place[other])
        if not len(both):
            continue
        first, second = (
            summary.as_array(patient_sums(rows.iloc[index[np.isin(place[index], both)]], [])) for index in (one, other)
        )
        draws = bootstrap.patient_draws(first.shape[-1], resamples)
        difference = summary.point(first)[_DICE] - summary.point(second)[_DICE]
        one_drawn, other_drawn = (
            summary.figures(bootstrap.resampled_sums(draws, sums))[_DICE] for sums in (first, second)
        )
        resampled = one_drawn - other_drawn
        low, high = bootstrap.interval(resampled)
        p = bootstrap.two_sided_p(resampled, first.shape[-1])
        patients = first.shape[-1]
        found.append((*cell, difference, low, high, low > 0, high < 0, p, p, len(both), patients))
    table = pd.DataFrame(found, columns=[*CELL, *_COLUMNS])
    family = table.groupby(["split", "mask"], observed=True)["p_holm"]
    table["p_holm"] = family.transform(lambda p: bootstrap.holm(p.to_numpy(float)))
    return table


class Ranks(NamedTuple):
    """How methods rank over patients.

    Attributes:
        mean: the mean rank of each method, 1 the best; ties share their ranks.
        critical: mean ranks that are closer than this are not told apart (Nemenyi's test, 5 %).
        p: Friedman's test that all methods are alike; NaN with fewer than three methods.
        patients: how many rank them.
    """

    mean: pd.Series
    critical: float
    p: float
    patients: int


def rank(scores: pd.DataFrame) -> Ranks:
    """Ranks methods within each patient (Demsar 2006).

    Args:
        scores: a row a patient, a column a method; higher is better.
    """
    patients, methods = scores.shape
    ranks = pd.DataFrame(stats.rankdata(-scores.to_numpy(), axis=1), columns=scores.columns)
    # With all patients' ranks alike and tied, Friedman's statistic is 0 / 0.
    told = methods > 2 and patients > 1 and bool((scores.nunique(axis=1) > 1).any())
    p = float(stats.friedmanchisquare(*scores.to_numpy().T).pvalue) if told else float("nan")
    # Demsar's q is the studentised range over sqrt(2), which cancels the 2 in his sqrt(k (k + 1) / (6 n)).
    q = float(stats.studentized_range.ppf(0.95, methods, np.inf)) / np.sqrt(2) if methods > 1 else float("nan")
    critical = q * np.sqrt(methods * (methods + 1) / (6 * max(patients, 1)))
    return Ranks(ranks.mean().sort_values(kind="stable"), float(critical), p, patients)


def patient_dice(rows: pd.DataFrame, best: pd.DataFrame) -> pd.DataFrame:
    """Pooled Dice of each patient (a row) and method at its best stage (a column), of one mask, seeds averaged.

    Methods that saw only some of the slices are left out, as their patients' Dice are not comparable.
    """
    cells = rows.merge(best[["mask", "stage", "method"]], on=["mask", "stage", "method"])
    slices = cells.drop_duplicates(["method", "case", "slice"]).groupby("method", observed=True).size()
    cells = cells[cells["method"].isin(slices.index[slices == slices.max()])]
    sums = patient_sums(cells, ["method"])
    return sums.groupby(["patient", "method"], observed=True)["patient_dice"].mean().unstack("method")
