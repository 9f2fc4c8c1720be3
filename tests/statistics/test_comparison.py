import numpy as np
import pandas as pd
import pytest
from result_tables import four_methods, lesions_table, maps_table, only
from scipy import stats

from hemojax.statistics import comparison, summary, thresholds


def judged(counts, rule=thresholds.FIXED):
    rows = thresholds.cut(counts, maps_table(counts), lesions_table(counts))
    return rows[(rows["split"] == "test") & (rows["rule"] == rule)]


@pytest.fixture(scope="module")
def rows():
    return judged(four_methods())


def test_a_difference_is_that_of_the_summaries_and_its_sign_decides(rows):
    summarised = summary.summarise(rows, 10)
    differences = comparison.against_random(rows, resamples=500)
    assert set(differences["method"]) == {"good", "poor"}
    for found in differences.to_dict("records"):
        names = (found["method"], "randomcam")
        method, random = (only(summarised, method=name, population=thresholds.DRAWN)["dice"] for name in names)
        assert found["difference"] == pytest.approx(method - random)
        assert found["low"] <= found["high"]
        assert found["beats"] == (found["low"] > 0)
        assert found["loses"] == (found["high"] < 0)
        assert found["p_holm"] >= found["p"]
    assert only(differences, method="good")["beats"]
    assert not only(differences, method="good")["loses"]


def test_a_method_neither_beats_nor_loses_to_itself_and_a_worse_one_loses(rows):
    twin = rows[rows["method"] == "randomcam"].assign(method="twin")
    differences = comparison.against_random(pd.concat([rows, twin, twin.assign(method="worse", tp=0.0)]), 100)
    row = only(differences, method="twin")
    assert (row["difference"], row["low"], row["high"], row["p_holm"]) == (0, 0, 0, 1)
    assert not row["beats"]
    assert not row["loses"]
    assert only(differences, method="worse")["loses"]


def test_only_slices_that_both_have_are_compared(rows):
    partial = rows[(rows["method"] != "good") | (rows["slice"] < 2)]
    found = only(comparison.against_random(partial, resamples=10), method="good")
    assert (found["slices"], found["patients"]) == (2, 1)
    summarised = summary.summarise(partial[partial["slice"] < 2], 10)
    good, random = (
        only(summarised, method=name, population=thresholds.DRAWN)["dice"] for name in ("good", "randomcam")
    )
    assert found["difference"] == pytest.approx(good - random)


def test_the_order_of_rows_does_not_matter(rows):
    shuffled = rows.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(comparison.against_random(shuffled, 50), comparison.against_random(rows, 50))


def test_every_other_method_is_compared_with_the_chosen_one(rows):
    best = rows[["mask", "method", "stage"]].drop_duplicates()
    chosen = {"m": {"pixels": {"stage": "s", "method": "good"}}}
    found = comparison.against_chosen(rows, best, chosen, 200)
    assert set(found["method"]) == {"poor", "randomcam", "brain"}
    forward = only(comparison.against_random(rows, 200), method="good")
    back = only(found, method="randomcam")
    assert back["difference"] == pytest.approx(-forward["difference"])
    assert (back["low"], back["high"]) == pytest.approx((-forward["high"], -forward["low"]))


def test_without_a_reference_there_is_nothing_to_compare(rows):
    found = comparison.against_random(rows[rows["method"] != "randomcam"])
    assert found.empty
    assert {"beats", "loses", "p_holm"} <= set(found.columns)


def test_ranks_of_a_worked_example():
    # Demsar 2006, section 3.2.2: 4 classifiers on 14 data sets; his table 6.
    scores = pd.DataFrame(
        {
            "C4.5": [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.0, 0.940, 0.619, 0.972, 0.957],
            "C4.5+m": [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.0, 0.962, 0.666, 0.981, 0.978],
            "+cf": [0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609, 0.563, 0.866, 1.0, 0.965, 0.614, 0.9751, 0.946],
            "both": [0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685, 0.625, 0.875, 1.0, 0.962, 0.669, 0.975, 0.970],
        }
    )  # fmt: skip
    found = comparison.rank(scores)
    assert found.mean.round(3).to_dict() == {"both": 1.964, "C4.5+m": 2.0, "+cf": 2.893, "C4.5": 3.143}
    assert found.critical == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 14)), rel=1e-3)
    assert found.p == pytest.approx(stats.friedmanchisquare(*scores.to_numpy().T).pvalue)
    assert found.patients == 14


def test_ranks_where_nothing_is_to_be_told():
    alike = comparison.rank(pd.DataFrame({"a": [0.5, 0.5], "b": [0.5, 0.5], "c": [0.5, 0.5]}))
    assert alike.mean.tolist() == [2, 2, 2]
    assert np.isnan(alike.p)
    assert np.isnan(comparison.rank(pd.DataFrame({"a": [0.5]})).critical)


def test_the_dice_of_a_patient_is_pooled_over_slices_and_averaged_over_seeds(rows):
    best = rows[["mask", "method", "stage"]].drop_duplicates()
    table = comparison.patient_dice(rows, best)
    assert table.index.tolist() == ["c", "d", "e"]
    tp, fp, fn = rows.loc[(rows["method"] == "good") & (rows["patient"] == "c"), ["tp", "fp", "fn"]].sum()
    assert table.loc["c", "good"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    random = rows[(rows["method"] == "randomcam") & (rows["patient"] == "d")]
    dices = 2 * random["tp"] / (2 * random["tp"] + random["fp"] + random["fn"])
    assert table.loc["d", "randomcam"] == pytest.approx(dices.mean())
    partial = rows[(rows["method"] != "poor") | (rows["slice"] < 2)]
    assert "poor" not in comparison.patient_dice(partial, best).columns
