import numpy as np
import pandas as pd
import pytest

from hemojax.reporting import classifier_checks


def slices(errors=0):
    """Ten positive and ten negative test slices of two patients; `errors` positives lie below all negatives."""
    logit = np.concatenate([np.where(np.arange(10) < errors, -9.0, 2.0), np.full(10, -1.0)])
    place = {"patient": ["a", "b"] * 10, "case": ["a", "b"] * 10, "slice": range(20), "split": "test", "label": "any"}
    return pd.DataFrame(place | {"truth": [1] * 10 + [0] * 10, "logit": logit})


def position():
    """AUROC 0.75 on test; worse on validation, which must not count."""
    test = slices().assign(score=np.where(np.arange(20) < 5, 0.9, 0.2))
    return pd.concat([test, test.assign(split="validation", truth=1 - test["truth"])])


def removal(flips, fill="surroundings", mask="lesion"):
    """Eight of ten slices are called positive; of these so many flip."""
    before = np.array([3.0] * 8 + [-1.0] * 2)
    after = np.where(np.arange(10) < flips, -2.0, before)
    place = {"patient": ["a", "b"] * 5, "case": ["a", "b"] * 5, "slice": range(10), "split": "test", "label": "any"}
    return pd.DataFrame(place | {"mask": mask, "fill": fill, "logit": before, "filled_logit": after})


def test_a_classifier_that_looks_at_the_bleed():
    section = classifier_checks.looks(slices(), pd.concat([removal(6), removal(4, "other side")]), position())
    first, second, third = section.text
    assert first == (
        "Of 10 positive test slices of 2 patients the classifier calls 80 % positive, and **20 %** with the lesion "
        "filled from its surroundings; 6 of 8 positive calls flip, and the median logit goes from 3.00 to -2.00."
    )
    assert "**40 %** with the lesion replaced by the mirrored other side; 4 of 8" in second
    assert "AUROC **0.750** for any; the classifier has 1.000" in third
    row = section.table.iloc[0]
    assert row["filled from"] == "surroundings"
    assert (row["positive"], row["filled positive"], row["flipped"]) == ("0.800", "0.200", "6 of 8")
    assert (row["n"], row["patients"]) == ("10", "2")


@pytest.mark.parametrize(("errors", "flips", "warned"), [(0, 3, True), (0, 4, False), (3, 3, False)])
def test_a_good_classifier_that_does_not_need_the_bleed_is_warned_of(errors, flips, warned):
    section = classifier_checks.looks(slices(errors), pd.concat([removal(flips), removal(8, mask="core")]), position())
    assert any(classifier_checks.WARNING in line for line in section.text) == warned
    if warned:
        assert "half of the positive calls flip: lesion filled from its surroundings" in section.text[-1]
        assert "core" not in section.text[-1]


def test_nothing_called_positive_or_nothing_removed_is_no_error():
    never = removal(0).assign(logit=-1.0, filled_logit=-1.0)
    section = classifier_checks.looks(slices(), never, position())
    assert "0 of 0 positive calls flip" in section.text[0]
    assert not any("WARNING" in line for line in section.text)
    assert classifier_checks.looks(slices(), never.iloc[:0], position()).table is None


def randomised():
    rows = []
    for method, last in (("layercam", 0.75), ("gradcam", 0.0)):
        for depth, (part, value) in enumerate(zip(("classifier", "stage1", "stem"), (0.9, 0.8, last), strict=True), 1):
            for case, offset in (("a", 0.1), ("b", -0.1)):
                row = {"case": case, "patient": case, "slice": 3, "split": "test", "stage": "stage1", "method": method}
                row |= {"randomised": part, "depth": depth, "spearman": value + offset, "ssim": value / 2}
                rows.append(row)
    return pd.DataFrame(rows)


def test_maps_that_outlive_the_classifier_are_named():
    section = classifier_checks.sanity(randomised())
    assert section.table["method"].tolist() == ["layercam", "gradcam"]
    assert list(section.table.columns) == [
        *("method", "stage", "classifier", "stage1", "stem", "SSIM at the end", "n", "patients"),
    ]
    assert section.table.iloc[0].tolist() == ["layercam", "stage1", "0.900", "0.800", "0.750", "0.375", "2", "2"]
    assert section.text[1] == (
        "Still correlated above 0.5 when all is random: layercam at stage1 (0.750). Such a map shows the image, "
        "and does not explain the classifier."
    )
    none = classifier_checks.sanity(randomised().query("method == 'gradcam'"))
    assert none.text[1] == "Still correlated above 0.5 when all is random: none."
    assert classifier_checks.sanity(randomised().iloc[:0]).table is None
