import numpy as np
import pandas as pd
import pytest
from result_tables import counts_table, four_methods, lesions_table, maps_table, only

from hemojax.errors import UserError
from hemojax.statistics import thresholds


def test_the_threshold_is_selected_by_pooled_dice_on_validation_only():
    # Per slice 0.3 wins twice of three; pooled, the large third slice decides for 0.7.
    small = [[8, 2, 2], [5, 5, 5], [1, 9, 9]]
    large = [[100, 900, 900], [500, 500, 500], [900, 100, 100]]
    validation = counts_table("x", [small, small, large], split="validation")
    test = counts_table("x", [large[::-1]] * 4)
    both = pd.concat([validation, test])
    found = only(thresholds.select_thresholds(both), method="x")
    assert found["threshold"] == np.float32(0.7)
    assert found["dice"] == pytest.approx(902 * 2 / (902 * 2 + 118 + 118))
    assert only(thresholds.select_thresholds(both, "test"))["threshold"] == np.float32(0.3)


def test_of_equally_good_thresholds_the_lowest_is_selected():
    same = counts_table("x", [[[5, 5, 5], [7, 3, 3], [7, 3, 3]]] * 3, split="validation")
    assert only(thresholds.select_thresholds(same.iloc[::-1]))["threshold"] == np.float32(0.5)


def test_each_seed_and_mask_has_its_own_threshold():
    first, second = [[9, 1, 1], [5, 5, 5], [1, 9, 9]], [[1, 9, 9], [5, 5, 5], [9, 1, 1]]
    parts = [
        counts_table("x", [counts] * 3, split="validation", seed=seed, mask=mask)
        for counts, seed, mask in ((first, 0, "m"), (second, 1, "m"), (second, 0, "n"))
    ]
    found = thresholds.select_thresholds(pd.concat(parts)).set_index(["seed", "mask"])["threshold"]
    assert found.to_dict() == {(0, "m"): np.float32(0.3), (1, "m"): np.float32(0.7), (0, "n"): np.float32(0.7)}


def test_without_validation_slices_that_have_a_mask_the_user_is_told():
    table = four_methods()
    with pytest.raises(UserError, match="validation"):
        thresholds.select_thresholds(table[table["split"] == "test"])
    with pytest.raises(UserError, match="validation"):
        thresholds.select_thresholds(counts_table("x", [[[0, 5, 0]] * 3] * 3, split="validation"))


def test_slices_that_are_only_called_positive_do_not_move_the_threshold():
    drawn, undrawn = [[8, 2, 2], [5, 0, 5], [1, 0, 9]], [[0, 99, 0], [0, 99, 0], [0, 0, 0]]
    table = counts_table("x", [drawn, drawn, undrawn], split="validation")
    assert only(thresholds.select_thresholds(table))["threshold"] == np.float32(0.3)


def test_every_map_is_cut_by_every_rule():
    validation = counts_table("x", [[[9, 1, 1], [5, 5, 5], [1, 9, 9]]] * 3, split="validation")
    test = counts_table("x", [[[3, 7, 7], [5, 5, 5], [8, 2, 2]]] * 4)
    counts = pd.concat([validation, test], ignore_index=True)
    rows = thresholds.cut(counts, maps_table(counts, otsu=0.5, energy=0.25), lesions_table(counts))
    of_test = rows[rows["split"] == "test"].groupby("rule")[["tp", "threshold"]].agg(["min", "max"])
    tp = {thresholds.FIXED: 5, thresholds.VALIDATION: 3, thresholds.OTSU: 5, thresholds.ORACLE: 8}
    assert (of_test[("tp", "min")].to_dict(), of_test[("tp", "max")].to_dict()) == (tp, tp)
    assert of_test[("threshold", "max")].to_dict() == pytest.approx(
        {thresholds.FIXED: 0.5, thresholds.VALIDATION: 0.3, thresholds.OTSU: 0.5, thresholds.ORACLE: 0.7}
    )
    assert (rows["energy"] == 0.25).all()
    assert set(rows.loc[rows["split"] == "validation", "rule"]) == {
        thresholds.FIXED,
        thresholds.VALIDATION,
        thresholds.OTSU,
    }
    assert len(rows) == 3 * 3 + 4 * 4


def test_populations():
    drawn, undrawn = [[8, 2, 2]] * 3, [[0, 9, 0]] * 3
    counts = counts_table("x", [drawn, drawn, undrawn, drawn])
    counts = pd.concat([counts, counts_table("x", [drawn] * 3, split="validation")], ignore_index=True)
    lesions = lesions_table(counts, called=True)
    lesions.loc[(lesions["split"] == "test") & (lesions["slice"] == 1), "called"] = False
    rows = thresholds.cut(counts, maps_table(counts), lesions)
    rows = rows[(rows["split"] == "test") & (rows["rule"] == thresholds.FIXED)]
    slices = {name: thresholds.of_population(rows, name)["slice"].tolist() for name in thresholds.POPULATIONS}
    assert slices == {
        thresholds.DRAWN: [0, 1, 3],
        thresholds.TRUE_POSITIVES: [0, 3],
        thresholds.WITH_FALSE: [0, 1, 2, 3],
    }


def test_tertiles():
    thirds = thresholds.tertiles(pd.Series([9.0, 1, 8, 2, 7, 3, 6, 4, 5]))
    assert thirds.tolist() == ["large", "small", "large", "small", "large", "small", "medium", "medium", "medium"]
