import numpy as np
import pandas as pd
import pytest

from hemojax.metrics import boxes, overlap
from hemojax.statistics.box_accuracy import max_box_accuracy


def test_max_box_accuracy_of_a_worked_example():
    # IoUs of two slices at two thresholds; each delta takes the threshold that suits it.
    rows = [(0.5, 0.75), (0.5, 0.2), (float(boxes.BOX_THRESHOLDS[2]), 0.4), (float(boxes.BOX_THRESHOLDS[2]), 0.35)]
    table = pd.DataFrame(rows, columns=["threshold", "box_best"]).astype(np.float32)
    table = table.assign(split="test", mask="lesion", stage="stage2", method="gradcam", seed=0)
    elsewhere = table.assign(threshold=overlap.THRESHOLDS[1], box_best=np.float32(1))  # no threshold of the sweep
    without = table.assign(box_best=np.float32(np.nan))
    (row,) = max_box_accuracy(pd.concat([table, elsewhere, without])).itertuples()
    assert row.max_box_accuracy == pytest.approx((1.0 + 0.5 + 0.5) / 3)  # IoU 0.3, 0.5, 0.7
    assert max_box_accuracy(without).empty
