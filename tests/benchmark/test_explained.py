"""Which slices are explained."""

import pandas as pd

from hemojax.benchmark.explained import spread


def test_a_subset_is_spread_over_each_split():
    slices = pd.DataFrame({"split": ["validation"] * 10 + ["test"] * 3, "slice": [*range(10), *range(3)]})
    slices["lesion"] = True
    chosen = spread(slices, 4)
    assert chosen["slice"].tolist() == [1, 3, 6, 8, 0, 1, 2]
    assert spread(slices, 0)["slice"].tolist() == slices["slice"].tolist()
    # Of false positives the same share: half of them here.
    slices["lesion"] = [True, False] * 4 + [True] * 5
    chosen = spread(slices, 3)
    assert chosen.loc[chosen["split"] == "validation", "lesion"].tolist() == [True, False, True, False, True]
    assert chosen["slice"].tolist() == [2, 3, 6, 7, 9, 0, 1, 2]
