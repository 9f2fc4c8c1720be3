"""Spread over trainings: a worked example."""

import numpy as np
import pandas as pd
import pytest

from hemojax.statistics import trainings
from hemojax.statistics.thresholds import PROTOCOLS

PROTOCOL = PROTOCOLS["hemojax"]


def summary(dice):
    """Of one training, given {(split, method, stage): dice}."""
    rows = [
        {"split": split, "method": method, "stage": stage, "dice": value, "iou": value / 2}
        for (split, method, stage), value in dice.items()
    ]
    same = {"mask": "blood", "baseline": False, "slices": 5, "patients": 3, "patient_dice": 0.1}
    boxes = {"box_dice": np.nan, "box_loose": 1.0, "rule": PROTOCOL.rule, "population": PROTOCOL.population}
    return pd.DataFrame(rows).assign(**same, **boxes)


def test_a_methods_stage_is_the_best_on_validation_on_average():
    both = ("stage1", "stage2")
    first = {("validation", "a", s): v for s, v in zip(both, (0.9, 0.7), strict=True)}
    second = {("validation", "a", s): v for s, v in zip(both, (0.1, 0.6), strict=True)}
    test = {("test", "a", "stage1"): 1.0, ("validation", "b", "stage1"): 0.2, ("test", "b", "stage1"): 0.3}
    summaries = {
        0: summary(first | test | {("test", "a", "stage2"): 0.5}),
        7: summary(second | test | {("test", "a", "stage2"): 0.7}),
    }
    best = trainings.best_stages(summaries, PROTOCOL)
    assert best[["method", "stage"]].to_numpy().tolist() == [["a", "stage2"], ["b", "stage1"]]
    spread = trainings.spread(summaries, best, PROTOCOL).set_index("method")
    assert spread.index.tolist() == ["a", "b"]  # the best on test first
    assert spread.loc["a", "dice_mean"] == pytest.approx(0.6)
    assert spread.loc["a", "dice_sd"] == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert spread.loc["b", "iou_sd"] == 0
    assert np.isnan(spread.loc["a", "box_dice_mean"])


def test_a_stage_that_some_training_lacks_is_no_candidate():
    one = {("validation", "a", "stage1"): 0.2, ("validation", "a", "stage2"): 0.9}
    other = {("validation", "a", "stage1"): 0.2}
    assert trainings.best_stages({0: summary(one), 1: summary(other)}, PROTOCOL)["stage"].tolist() == ["stage1"]
