import json

import numpy as np
import pandas as pd
import pytest

from hemojax.errors import UserError
from hemojax.metrics import bootstrap, statistics

PATIENTS = {"validation": ["a", "a", "b"], "test": ["c", "c", "d", "e"]}
THRESHOLDS = np.float32([0.3, 0.5, 0.7])


def rows(method, counts, *, split="test", stage="s", seed=0, mask="m", boxes=None, baseline=False, pointing=True):
    """A counts table of one map. `counts` is (slices, thresholds, 3): tp, fp, fn; `boxes` (slices, 5)."""
    table = []
    for place, (patient, slice_counts) in enumerate(zip(PATIENTS[split], counts, strict=False)):
        for threshold, (tp, fp, fn) in zip(THRESHOLDS, slice_counts, strict=True):
            row = {"case": f"{split} {patient}", "patient": patient, "slice": place, "split": split, "stage": stage}
            row |= {"method": method, "seed": seed, "mask": mask, "threshold": threshold, "tp": tp, "fp": fp, "fn": fn}
            names = ["box_tp", "box_fp", "box_fn", "box_loose", "box_strict"]
            row |= dict(zip(names, [None] * 5 if boxes is None else boxes[place], strict=True))
            table.append(row | {"pointing": pointing, "baseline": baseline})
    types = dict.fromkeys(["tp", "fp", "fn"], "int32") | dict.fromkeys(["box_tp", "box_fp", "box_fn"], "Int32")
    types |= dict.fromkeys(["box_loose", "box_strict"], "boolean") | {"seed": "int16", "threshold": "float32"}
    return pd.DataFrame(table).astype(types)


def random_counts(rng, slices, scale=1.0):
    counts = rng.integers(1, 100, (slices, 3, 3))
    counts[..., 0] = np.sort(scale * counts[..., 0], axis=1)[:, ::-1]
    return counts


@pytest.fixture
def table():
    """Two methods, RandomCAM with three seeds and a baseline, all with boxes, on 3 validation and 4 test slices."""
    rng = np.random.default_rng(3)
    parts = []
    for split, patients in PATIENTS.items():
        n = len(patients)
        for method, seeds, scale in (("good", 1, 5), ("poor", 1, 1), ("randomcam", 3, 1), ("brain", 1, 9)):
            for seed in range(seeds):
                boxes = np.concatenate([rng.integers(1, 50, (n, 3)), rng.integers(0, 2, (n, 2))], axis=1)
                counts = random_counts(rng, n, scale)
                options = {"split": split, "seed": seed, "boxes": boxes, "baseline": method == "brain"}
                parts.append(rows(method, counts, pointing=bool(rng.integers(2)), **options))
    return pd.concat(parts, ignore_index=True)


def only(frame, **wanted):
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    (row,) = frame.to_dict("records")
    return row


def test_the_threshold_is_selected_by_pooled_dice_on_validation_only():
    # Per slice 0.3 wins twice of three; pooled, the large third slice decides for 0.7.
    small = [[8, 2, 2], [5, 5, 5], [1, 9, 9]]
    large = [[100, 900, 900], [500, 500, 500], [900, 100, 100]]
    validation = rows("x", [small, small, large], split="validation")
    test = rows("x", [large[::-1]] * 4)
    found = only(statistics.select_thresholds(pd.concat([validation, test])), method="x")
    assert found["threshold"] == np.float32(0.7)
    assert found["dice"] == pytest.approx(902 * 2 / (902 * 2 + 118 + 118))


def test_of_equally_good_thresholds_the_lowest_is_selected():
    same = rows("x", [[[5, 5, 5], [7, 3, 3], [7, 3, 3]]] * 3, split="validation")
    assert only(statistics.select_thresholds(same.iloc[::-1]))["threshold"] == np.float32(0.5)


def test_each_seed_and_mask_has_its_own_threshold():
    first, second = [[9, 1, 1], [5, 5, 5], [1, 9, 9]], [[1, 9, 9], [5, 5, 5], [9, 1, 1]]
    parts = [
        rows("x", [counts] * 3, split="validation", seed=seed, mask=mask)
        for counts, seed, mask in ((first, 0, "m"), (second, 1, "m"), (second, 0, "n"))
    ]
    found = statistics.select_thresholds(pd.concat(parts)).set_index(["seed", "mask"])["threshold"]
    assert found.to_dict() == {(0, "m"): np.float32(0.3), (1, "m"): np.float32(0.7), (0, "n"): np.float32(0.7)}


def test_without_validation_rows_the_user_is_told(table):
    with pytest.raises(UserError, match="validation"):
        statistics.select_thresholds(table[table["split"] == "test"])


def test_sums_do_not_overflow_int32():
    big = 2**30
    counts = rows("x", [[[big, big, big]] * 3] * 3, split="validation")
    thresholds = statistics.select_thresholds(counts)
    assert only(thresholds)["dice"] == 0.5
    assert only(statistics.summarise(counts, thresholds, 10), rule="validation")["dice"] == 0.5


def test_a_summary_worked_by_hand():
    counts = [[[1, 1, 1], [4, 1, 1], [0, 0, 5]], [[1, 1, 1], [2, 2, 0], [0, 0, 2]], [[1, 1, 1], [0, 0, 8], [0, 0, 8]]]
    boxes = [[6, 2, 2, True, True], [1, 3, 1, True, False], [0, 0, 9, False, False]]
    table = rows("x", counts, split="validation", boxes=boxes)
    table.loc[table["slice"] == 2, "pointing"] = False
    thresholds = statistics.select_thresholds(table)
    row = only(statistics.summarise(table, thresholds, 10), rule="fixed 0.5")
    dices = [8 / 10, 4 / 6, 0]
    expected = {
        "dice": 12 / (12 + 3 + 9), "iou": 6 / 18, "precision": 6 / 9, "recall": 6 / 15,
        "slice_dice": np.mean(dices), "slice_iou": np.mean([4 / 6, 2 / 4, 0]),
        "slice_precision": np.mean([4 / 5, 2 / 4]), "slice_recall": np.mean([4 / 5, 1, 0]),
        "patient_dice": np.mean([12 / (12 + 3 + 1), 0]),  # slices 0 and 1 are of one patient
        "box_dice": 14 / (14 + 5 + 12), "box_iou": 7 / 24, "box_loose": 2 / 3, "box_strict": 1 / 3,
        "pointing": 2 / 3, "threshold": 0.5, "slices": 3, "patients": 2, "seeds": 1, "baseline": False,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == pytest.approx(expected)


def test_rows_are_summarised_at_the_selected_threshold(table):
    thresholds = statistics.select_thresholds(table)
    summary = statistics.summarise(table, thresholds, 10)
    for method in ("good", "poor"):
        selected = only(thresholds, method=method)
        row = only(summary, method=method, rule="validation", split="validation")
        assert row["threshold"] == selected["threshold"]
        assert row["dice"] == pytest.approx(selected["dice"])
        test = table[(table["split"] == "test") & (table["method"] == method)]
        tp, fp, fn = test.loc[test["threshold"] == selected["threshold"], ["tp", "fp", "fn"]].sum()
        assert only(summary, method=method, rule="validation", split="test")["dice"] == 2 * tp / (2 * tp + fp + fn)


def test_seeds_are_averaged_each_at_its_own_threshold(table):
    row = only(
        statistics.summarise(table, statistics.select_thresholds(table), 10),
        method="randomcam", rule="validation", split="test",
    )  # fmt: skip
    alone = []
    for seed in range(3):
        one = table[(table["method"] == "randomcam") & (table["seed"] == seed)]
        summary = statistics.summarise(one, statistics.select_thresholds(one), 10)
        alone.append(only(summary, rule="validation", split="test"))
    assert row["seeds"] == 3
    for figure in ("dice", "slice_iou", "patient_dice", "box_dice", "box_loose", "threshold"):
        assert row[figure] == pytest.approx(np.mean([one[figure] for one in alone]))
    assert (row["slices"], row["patients"]) == (4, 3)


def test_the_order_of_rows_does_not_matter(table):
    thresholds = statistics.select_thresholds(table)
    shuffled = table.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(statistics.select_thresholds(shuffled), thresholds)
    pd.testing.assert_frame_equal(
        statistics.summarise(shuffled, thresholds, 50), statistics.summarise(table, thresholds, 50)
    )
    pd.testing.assert_frame_equal(
        statistics.paired_differences(shuffled, thresholds, resamples=50),
        statistics.paired_differences(table, thresholds, resamples=50),
    )


def test_boxes_that_were_not_counted_everywhere_have_no_figure(table):
    table.loc[(table["method"] == "poor") & (table["slice"] == 1), ["box_tp", "box_fp", "box_fn"]] = pd.NA
    summary = statistics.summarise(table, statistics.select_thresholds(table), 10)
    boxes = summary[["box_dice", "box_iou", "box_loose", "box_strict"]].isna()
    assert boxes[summary["method"] == "poor"].all(axis=None)
    assert not boxes[summary["method"] != "poor"].any(axis=None)


def test_the_interval_is_the_bootstraps_over_patients(table):
    thresholds = statistics.select_thresholds(table)
    row = only(statistics.summarise(table, thresholds, 300), method="good", rule="fixed 0.5", split="test")
    here = table[(table["method"] == "good") & (table["split"] == "test") & (table["threshold"] == 0.5)]
    counts = {patient: rows[["tp", "fp", "fn"]].sum().to_numpy() for patient, rows in here.groupby("patient")}
    dices = []
    for draw in bootstrap.patient_draws(3, 300):
        tp, fp, fn = sum(times * counts[patient] for times, patient in zip(draw, "cde", strict=True))
        dices.append(2 * tp / (2 * tp + fp + fn))
    assert (row["dice_low"], row["dice_high"]) == pytest.approx(tuple(np.percentile(dices, [2.5, 97.5])))


def test_a_difference_is_that_of_the_summaries_and_its_sign_decides(table):
    thresholds = statistics.select_thresholds(table)
    summary = statistics.summarise(table, thresholds, 10)
    differences = statistics.paired_differences(table, thresholds, resamples=500)
    assert set(differences["method"]) == {"good", "poor"}
    for found in differences.to_dict("records"):
        where = {name: found[name] for name in ("split", "mask", "stage", "rule")}
        method, random = (only(summary, method=name, **where)["dice"] for name in (found["method"], "randomcam"))
        assert found["difference"] == pytest.approx(method - random)
        assert found["low"] <= found["high"]
        assert found["beats"] == (found["low"] > 0)
        assert found["loses"] == (found["high"] < 0)
    good = only(differences, method="good", split="test", rule="fixed 0.5")
    assert good["beats"]
    assert not good["loses"]


def test_a_method_neither_beats_nor_loses_to_itself_and_a_worse_one_loses(table):
    twin = table[table["method"] == "randomcam"].assign(method="twin")
    worse = twin.assign(method="worse", tp=0)
    both = pd.concat([table, twin, worse])
    differences = statistics.paired_differences(both, statistics.select_thresholds(both), resamples=100)
    for row in differences[differences["method"] == "twin"].to_dict("records"):
        assert (row["difference"], row["low"], row["high"]) == (0, 0, 0)
        assert not row["beats"]
        assert not row["loses"]
        assert row["p_holm"] == 1
    assert differences.loc[differences["method"] == "worse", "loses"].all()


def test_only_slices_that_both_have_are_compared(table):
    partial = table[(table["method"] != "good") | (table["slice"] < 2)]
    thresholds = statistics.select_thresholds(partial)
    found = only(
        statistics.paired_differences(partial, thresholds, resamples=10), method="good", split="test", rule="fixed 0.5"
    )
    assert (found["slices"], found["patients"]) == (2, 1)
    cut = partial[partial["slice"] < 2]
    summary = statistics.summarise(cut, thresholds, 10)
    good, random = (
        only(summary, method=method, split="test", rule="fixed 0.5")["dice"] for method in ("good", "randomcam")
    )
    assert found["difference"] == pytest.approx(good - random)


def test_without_a_reference_there_is_nothing_to_compare(table):
    without = table[table["method"] != "randomcam"]
    found = statistics.paired_differences(without, statistics.select_thresholds(without))
    assert found.empty
    assert {"beats", "loses", "p_holm"} <= set(found.columns)


def test_the_best_method_is_chosen_on_validation_for_pixels_and_boxes():
    parts = []
    for method, tp, box_tp in (("a", 60, 10), ("b", 50, 90), ("randomcam", 99, 99), ("brain", 98, 98)):
        for split, pixels in (("validation", tp), ("test", 100 - tp)):
            n = len(PATIENTS[split])
            boxes = [[box_tp, 10, 10, True, True]] * n
            counts = [[[pixels, 10, 10]] * 3] * n
            parts.append(rows(method, counts, split=split, boxes=boxes, baseline=method == "brain"))
    parts.append(rows("partial", [[[97, 1, 1]] * 3], split="validation", boxes=[[97, 1, 1, True, True]]))
    table = pd.concat(parts)
    chosen = statistics.choose(statistics.summarise(table, statistics.select_thresholds(table), 10))
    threshold = pytest.approx(0.3)
    assert chosen == {
        "m": {
            "pixels": {"stage": "s", "method": "a", "threshold": threshold, "dice": pytest.approx(120 / 140)},
            "boxes": {"stage": "s", "method": "b", "threshold": threshold, "dice": pytest.approx(180 / 200)},
        }
    }
    json.dumps(chosen)


def test_without_boxes_none_is_chosen_for_boxes_and_without_candidates_the_user_is_told():
    table = rows("a", [[[5, 5, 5]] * 3] * 3, split="validation")
    assert set(statistics.choose(statistics.summarise(table, statistics.select_thresholds(table), 10))["m"]) == {
        "pixels"
    }
    random = table.assign(method="randomcam")
    summary = statistics.summarise(random, statistics.select_thresholds(random), 10)
    with pytest.raises(UserError, match="m mask"):
        statistics.choose(summary)
