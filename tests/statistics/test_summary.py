import json

import numpy as np
import pandas as pd
import pytest
from result_tables import PATIENTS, counts_table, four_methods, lesions_table, maps_table, only

from hemojax.errors import UserError
from hemojax.statistics import bootstrap, summary, thresholds
from hemojax.statistics.thresholds import DRAWN, FIXED, VALIDATION

PROTOCOL = thresholds.PROTOCOLS["hemojax"]


def cut(counts, **figures):
    return thresholds.cut(counts, maps_table(counts, **figures), lesions_table(counts))


@pytest.fixture(scope="module")
def table():
    return four_methods()


def summarise(counts, resamples=10, **figures):
    return summary.summarise(cut(counts, **figures), resamples)


def test_sums_do_not_overflow_int32():
    big = 2**30
    counts = counts_table("x", [[[big, big, big]] * 3] * 3, split="validation")
    assert only(thresholds.select_thresholds(counts))["dice"] == 0.5
    assert only(summarise(counts), rule=VALIDATION, population=DRAWN)["dice"] == 0.5


def test_a_summary_worked_by_hand():
    counts = [[[1, 1, 1], [4, 1, 1], [0, 0, 5]], [[1, 1, 1], [2, 2, 0], [0, 0, 2]], [[1, 1, 1], [0, 0, 8], [0, 0, 8]]]
    boxes = [[6, 2, 2, True, True, 0.6], [1, 3, 1, True, False, 0.3], [0, 0, 9, False, False, 0]]
    counts = counts_table("x", counts, split="validation", boxes=boxes)
    figures = {"pointing": [True, True, False], "energy": [0.5, 0.2, 0.2], "auroc": [0.9, np.nan, 0.7]}
    row = only(summarise(counts, **figures), rule=FIXED, population=DRAWN)
    dices = [8 / 10, 4 / 6, 0]
    expected = {
        "dice": 12 / (12 + 3 + 9), "iou": 6 / 18, "precision": 6 / 9, "recall": 6 / 15,
        "slice_dice": np.mean(dices), "slice_iou": np.mean([4 / 6, 2 / 4, 0]),
        "slice_precision": np.mean([4 / 5, 2 / 4]), "slice_recall": np.mean([4 / 5, 1, 0]),
        "patient_dice": np.mean([12 / (12 + 3 + 1), 0]),  # slices 0 and 1 are of one patient
        "box_dice": 14 / (14 + 5 + 12), "box_iou": 7 / 24, "box_loose": 2 / 3, "box_strict": 1 / 3, "box_best": 0.3,
        "pointing": 2 / 3, "energy": 0.3, "auroc": 0.8, "rank": 0.5,
        "threshold": 0.5, "slices": 3, "patients": 2, "seeds": 1, "baseline": False, "size": 64,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == pytest.approx(expected)


def test_rows_are_summarised_at_the_selected_threshold(table):
    selections = thresholds.select_thresholds(table)
    found = summarise(table)
    for method in ("good", "poor"):
        selected = only(selections, method=method)
        row = only(found, method=method, rule=VALIDATION, split="validation", population=DRAWN)
        assert row["threshold"] == pytest.approx(selected["threshold"])
        assert row["dice"] == pytest.approx(selected["dice"])
        test = table[(table["split"] == "test") & (table["method"] == method)]
        tp, fp, fn = test.loc[test["threshold"] == selected["threshold"], ["tp", "fp", "fn"]].sum()
        row = only(found, method=method, rule=VALIDATION, split="test", population=DRAWN)
        assert row["dice"] == 2 * tp / (2 * tp + fp + fn)


def test_seeds_are_averaged_each_at_its_own_threshold(table):
    row = only(summarise(table), method="randomcam", rule=VALIDATION, split="test", population=DRAWN)
    alone = []
    for seed in range(3):
        one = table[(table["method"] == "randomcam") & (table["seed"] == seed)]
        alone.append(only(summarise(one), rule=VALIDATION, split="test", population=DRAWN))
    assert row["seeds"] == 3
    for figure in ("dice", "slice_iou", "patient_dice", "box_dice", "box_loose", "threshold"):
        assert row[figure] == pytest.approx(np.mean([one[figure] for one in alone]))
    assert (row["slices"], row["patients"]) == (4, 3)


def test_the_order_of_rows_does_not_matter(table):
    shuffled = table.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(thresholds.select_thresholds(shuffled), thresholds.select_thresholds(table))
    pd.testing.assert_frame_equal(summarise(shuffled, 50), summarise(table, 50))


def test_boxes_that_were_not_counted_everywhere_have_no_figure(table):
    table = table.copy()
    table.loc[(table["method"] == "poor") & (table["slice"] == 1), ["box_tp", "box_fp", "box_fn"]] = pd.NA
    found = summarise(table)
    boxes = found[["box_dice", "box_iou", "box_dice_low"]].isna()
    assert boxes[found["method"] == "poor"].all(axis=None)
    others = (found["method"] != "poor") & (found["split"] == "test")
    assert not boxes[others].any(axis=None)


def test_intervals_are_the_bootstraps_over_patients(table):
    row = only(summarise(table, 300), method="good", rule=FIXED, split="test", population=DRAWN)
    here = table[(table["method"] == "good") & (table["split"] == "test") & (table["threshold"] == 0.5)]
    slices = {patient: rows[["tp", "fp", "fn"]].to_numpy() for patient, rows in here.groupby("patient")}
    pooled, per_slice = [], []
    for draw in bootstrap.patient_draws(3, 300):
        drawn = [slices[patient] for times, patient in zip(draw, "cde", strict=True) for _ in range(times)]
        tp, fp, fn = np.concatenate(drawn).sum(axis=0)
        pooled.append(2 * tp / (2 * tp + fp + fn))
        tp, fp, fn = np.concatenate(drawn).T
        per_slice.append(np.mean(tp / (tp + fp + fn)))
    for name, values in (("dice", pooled), ("slice_iou", per_slice)):
        assert (row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))


def test_every_figure_of_the_test_split_has_an_interval_around_it(table):
    found = summarise(table, 200)
    test = found[found["split"] == "test"]
    for name in summary.FIGURES:
        assert (test[f"{name}_low"] <= test[name] + 1e-12).all(), name
        assert (test[f"{name}_high"] >= test[name] - 1e-12).all(), name


def test_a_population_without_slices_has_no_rows(table):
    lesions = lesions_table(table, called=False)
    found = summary.summarise(thresholds.cut(table, maps_table(table), lesions), 10)
    assert set(found["population"]) == {thresholds.DRAWN, thresholds.WITH_FALSE}
    assert found["dice"].dtype == np.float64


def test_the_best_method_is_chosen_on_validation_for_pixels_and_boxes():
    parts = []
    for method, tp, box_tp in (("a", 60, 10), ("b", 50, 90), ("randomcam", 99, 99), ("brain", 98, 98)):
        for split, pixels in (("validation", tp), ("test", 100 - tp)):
            n = len(PATIENTS[split])
            boxes = [[box_tp, 10, 10, True, True, 1.0]] * n
            counts = [[[pixels, 10, 10]] * 3] * n
            parts.append(counts_table(method, counts, split=split, boxes=boxes, baseline=method == "brain"))
    partial = [[97, 1, 1, True, True, 1.0]] * 2
    parts.append(counts_table("partial", [[[97, 1, 1]] * 3] * 2, split="validation", boxes=partial))
    chosen = summary.choose(summarise(pd.concat(parts, ignore_index=True)), PROTOCOL)
    threshold = pytest.approx(0.3)
    assert chosen == {
        "m": {
            "pixels": {"stage": "s", "method": "a", "threshold": threshold, "dice": pytest.approx(120 / 140)},
            "boxes": {"stage": "s", "method": "b", "threshold": threshold, "dice": pytest.approx(180 / 200)},
        }
    }
    json.dumps(chosen)


def test_the_best_stage_of_each_method_is_that_on_validation():
    parts = []
    for stage, validation, test in (("s", 60, 10), ("t", 50, 90)):
        for split, tp in (("validation", validation), ("test", test)):
            parts.append(counts_table("a", [[[tp, 10, 10]] * 3] * len(PATIENTS[split]), split=split, stage=stage))
    best = summary.best_stages(summarise(pd.concat(parts, ignore_index=True)), PROTOCOL)
    assert best[["mask", "method", "stage"]].to_numpy().tolist() == [["m", "a", "s"]]


def test_without_boxes_none_is_chosen_for_boxes_and_without_candidates_the_user_is_told():
    table = counts_table("a", [[[5, 5, 5]] * 3] * 3, split="validation")
    assert set(summary.choose(summarise(table), PROTOCOL)["m"]) == {"pixels"}
    with pytest.raises(UserError, match="m mask"):
        summary.choose(summarise(table.assign(method="randomcam")), PROTOCOL)
