"""The agreement of two trainings' maps, against the overlap of sets of pixels."""

import numpy as np
import pandas as pd
import pytest

from hemojax.benchmark import consistency, explained
from hemojax.config import defaults
from hemojax.run import Run


def pixels(heat):
    return set(map(tuple, np.argwhere(heat > 0.5)))


def test_iou_over_the_slices_that_both_explained(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    heats = {
        seed: {("case", n): rng.random((9, 9)).astype(np.float32) for n in numbers}
        for seed, numbers in {0: (1, 2, 3, 7), 4: (2, 3, 5, 7), 9: (3, 7)}.items()
    }
    heats[0]["case", 7] = heats[4]["case", 7] = np.zeros((9, 9), np.float32)  # neither draws anything
    runs = {seed: Run(defaults(), tmp_path / str(seed)) for seed in heats}
    none = explained.Explained(pd.DataFrame(), pd.DataFrame())
    monkeypatch.setattr(consistency.explained, "of_run", lambda run: none)

    def heat_of(run, slices, *, stage, method):
        if method == "gradcam":
            yield from ((*key, heat) for key, heat in heats[int(run.workdir.name)].items())

    monkeypatch.setattr(consistency.full_maps, "heat_of", heat_of)
    cells = pd.DataFrame({"stage": ["stage1", "stage1"], "method": ["gradcam", "absent"]})
    found = consistency.measure(runs, cells).set_index(["first", "second"])
    assert set(found["method"]) == {"gradcam"}
    for (one, other), numbers in {(0, 4): (2, 3), (0, 9): (3, 7), (4, 9): (3, 7)}.items():
        masks = [[pixels(heats[seed]["case", n]) for n in numbers] for seed in (one, other)]
        expected = np.mean([len(a & b) / len(a | b) for a, b in zip(*masks, strict=True)])
        assert found.loc[(one, other), "iou"] == pytest.approx(expected)
        assert found.loc[(one, other), "slices"] == len(numbers)
