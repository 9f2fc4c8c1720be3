"""Jobs and map files, also of stages with a slash in their names."""

import numpy as np
import pandas as pd

from configs import base
from hemojax.benchmark import explanations

STAGES = ("stage2", "stage2/expand")
SLICES = pd.DataFrame({"case": "a", "slice": range(3), "split": "test", "lesion": True})


def tapped_config():
    config = base.get_config()
    config.cam.stages = STAGES
    config.cam.methods = ("gradcam", "ablationcam", "scorecam", "randomcam")
    config.cam.scorecam.stages = STAGES[1:]
    return config


def test_each_job_has_a_folder_of_its_own_without_folders_inside():
    names = [job.name for job in explanations.jobs(tapped_config().cam, SLICES)]
    assert names == ["shared", "ablationcam-stage2", "ablationcam-stage2-expand", "scorecam-stage2-expand"]


def test_maps_are_read_as_they_were_written(tmp_path):
    config, rng, written = tapped_config(), np.random.default_rng(0), {}
    for job in explanations.jobs(config.cam, SLICES):
        for start, rows in ((0, 2), (2, 1)):
            maps = {
                f"{stage}/{method}": rng.random((rows, 2, 4, 4) if method == "randomcam" else (rows, 4, 4))
                for stage in job.stages
                for method in job.methods
            }
            explanations._write(tmp_path / "maps" / job.name / f"{start:06d}.npz", maps)
            written |= {(start, name): values for name, values in maps.items()}
    read = {}
    for batch in explanations.read(config, SLICES, tmp_path):
        start = int(batch.rows["slice"].iloc[0])
        for place, (method, seed) in enumerate(batch.names):
            read.setdefault((start, f"{batch.stage}/{method}"), []).append(batch.heats[:, place])
            assert seed == len(read[start, f"{batch.stage}/{method}"]) - 1
    assert set(read) == set(written)
    for key, maps in read.items():
        np.testing.assert_array_equal(np.stack(maps, axis=1).squeeze(1 if len(maps) == 1 else ()), written[key])


def test_a_job_that_goes_on_keeps_its_batches():
    before = {"methods": ["gradcam"], "weights": "epoch 3", "batch": 8}
    assert explanations.with_batches_of(before, before | {"batch": 256}) == before
    other = before | {"weights": "epoch 4", "batch": 256}
    assert explanations.with_batches_of(before, other) == other
    assert explanations.with_batches_of({}, before) == before
