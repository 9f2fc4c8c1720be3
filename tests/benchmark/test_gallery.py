"""The slices that the report shows."""

import numpy as np
import pandas as pd
import pytest

from hemojax.benchmark import gallery


@pytest.mark.parametrize(("slices", "expected"), [(1, 1), (2, 2), (4, 3), (30, 9)])
def test_the_gallery_shows_no_slice_twice(slices, expected):
    counts = pd.DataFrame(
        {"case": "a", "slice": range(slices), "split": "test", "mask": "core", "stage": "s", "method": "m"}
        | {"threshold": np.float32(0.3), "tp": range(slices), "fp": 1, "fn": 1}
    )
    best = {"stage": "s", "method": "m", "threshold": float(np.float32(0.3))}
    picked = gallery._pick(counts, "core", best, 3)
    assert len(picked) == expected
    assert not picked.duplicated(["case", "slice"]).any()
    if slices == 30:
        dice = picked.groupby("kind")["dice"].mean()
        assert dice["best"] > dice["typical"] > dice["worst"]
