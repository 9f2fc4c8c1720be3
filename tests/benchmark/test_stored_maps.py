"""Jobs and map files, also of stages with a slash in their names."""

import numpy as np
import pandas as pd
import pytest

from hemojax.benchmark import stored_maps
from hemojax.benchmark.explained import Explained
from hemojax.config import defaults
from hemojax.errors import UserError
from hemojax.run import Run

STAGES = ("stage2", "stage2/expand")
SLICES = pd.DataFrame({"case": "a", "slice": range(3), "split": "test", "lesion": True})


def tapped_config():
    config = defaults()
    config.cam.stages = STAGES
    config.cam.methods = ("gradcam", "ablationcam", "scorecam", "randomcam")
    config.cam.scorecam.stages = STAGES[1:]
    return config


def test_each_job_has_a_folder_of_its_own_without_folders_inside():
    names = [job.name for job in stored_maps.jobs(tapped_config().cam, SLICES)]
    assert names == ["shared", "ablationcam-stage2", "ablationcam-stage2-expand", "scorecam-stage2-expand"]


def test_costly_methods_have_a_job_a_stage():
    slices = pd.DataFrame({"split": ["validation"] * 3 + ["test"] * 40, "slice": range(43), "lesion": True})
    found = {job.name: job for job in stored_maps.jobs(defaults().cam, slices)}
    assert set(found) == {"shared", "scorecam-stage2", *(f"ablationcam-stage{n}" for n in (1, 2, 3, 4))}
    assert len(found["scorecam-stage2"].slices) == 3 + 16
    assert len(found["ablationcam-stage1"].slices) == 43
    assert not {"scorecam", "ablationcam"} & set(found["shared"].methods)


def test_maps_are_read_as_they_were_written(tmp_path):
    config, rng, written = tapped_config(), np.random.default_rng(0), {}
    for job in stored_maps.jobs(config.cam, SLICES):
        for start, rows in ((0, 2), (2, 1)):
            maps = {
                f"{stage}/{method}": rng.random((rows, 2, 4, 4) if method == "randomcam" else (rows, 4, 4))
                for stage in job.stages
                for method in job.methods
            }
            stored_maps._write(tmp_path / "maps" / job.name / f"{start:06d}.npz", maps)
            written |= {(start, name): values for name, values in maps.items()}
    read = {}
    for batch in stored_maps.read(Run(config, tmp_path), Explained(SLICES, pd.DataFrame())):
        start = int(batch.rows["slice"].iloc[0])
        for place, (method, seed) in enumerate(batch.names):
            read.setdefault((start, f"{batch.stage}/{method}"), []).append(batch.heats[:, place])
            assert seed == len(read[start, f"{batch.stage}/{method}"]) - 1
    assert set(read) == set(written)
    for key, maps in read.items():
        np.testing.assert_array_equal(np.stack(maps, axis=1).squeeze(1 if len(maps) == 1 else ()), written[key])


def test_a_job_that_goes_on_keeps_its_batches():
    before = {"methods": ["gradcam"], "weights": "epoch 3", "batch": 8}
    assert stored_maps.with_batches_of(before, before | {"batch": 256}) == before
    other = before | {"weights": "epoch 4", "batch": 256}
    assert stored_maps.with_batches_of(before, other) == other
    assert stored_maps.with_batches_of({}, before) == before


def test_a_map_that_is_no_number_is_named():
    slices = pd.DataFrame({"case": ["p1", "p2"], "slice": [4, 7]})
    maps = {"stage2/gradcam": np.zeros((2, 3, 3)), "stage2/randomcam": np.zeros((2, 5, 3, 3))}
    stored_maps._check_finite(maps, slices)
    maps["stage2/randomcam"][1, 2, 0, 0] = np.nan
    with pytest.raises(UserError, match=r"the map stage2/randomcam of p2, slice 7, holds NaN"):
        stored_maps._check_finite(maps, slices)
