import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from hemojax.statistics import bootstrap, pooled_curves


def pixels(inside, outside):
    levels = np.concatenate([np.repeat(np.arange(len(side)), side) for side in (inside, outside)])
    return np.repeat([1, 0], [inside.sum(), outside.sum()]), levels


def test_pooled_figures_and_their_intervals():
    rng = np.random.default_rng(1)
    rows = [
        {"split": "test", "mask": "m", "stage": "s", "method": "x", "seed": seed, "patient": patient}
        | {side: rng.integers(0, 9, 16).tolist() for side in ("inside", "outside")}
        for seed in (0, 1)
        for patient in "abc"
    ]
    table = pd.DataFrame(rows)
    cells = pd.DataFrame({"mask": ["m"], "stage": ["s"], "method": ["x"]})
    (found,) = pooled_curves.summarise(table, cells, 600).to_dict("records")
    drawn = []
    for draw in bootstrap.patient_draws(3, 600):
        of_seed = []
        for _, group in table.groupby("seed"):
            sums = [
                sum(n * np.array(v) for n, v in zip(draw, group[side], strict=True)) for side in ("inside", "outside")
            ]
            of_seed.append(metrics.average_precision_score(*pixels(*sums)))
        drawn.append(np.mean(of_seed))
    assert (found["pxap_low"], found["pxap_high"]) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))
    whole = [
        metrics.roc_auc_score(*pixels(*(np.sum(group[side].to_list(), axis=0) for side in ("inside", "outside"))))
        for _, group in table.groupby("seed")
    ]
    assert found["pixel_auroc"] == pytest.approx(np.mean(whole))
