"""Maps at full size: raw and refined beside one another, registered, and taken back by their names."""

import jax.numpy as jnp
import numpy as np
import pytest
from benchmark import bright_heads

from hemojax.benchmark import full_maps, ground_truth, stored_maps
from hemojax.benchmark.explained import Explained
from hemojax.cam import postprocess, refinement
from hemojax.config import defaults
from hemojax.data import hounsfield, records
from hemojax.run import Run

SIZE, CELLS = 48, 12


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    config = defaults()
    config.data.size = config.eval.size = SIZE
    config.cam.update(methods=("gradcam", "gradcam++"), stages=("stage1",), batch=2)
    bright_heads.prepare(workdir / "records")
    return Run(config, workdir)


@pytest.fixture(scope="module")
def explained(run):
    """The bleeding test slices, and one map of each method, warm where the bleed is."""
    index = records.read_index(run.records, "test")
    rows = index[index["any"] == 1].assign(lesion=True).reset_index(drop=True)
    heats = np.random.default_rng(0).random((len(rows), 2, CELLS, CELLS)).astype(np.float32) ** 4
    arrays = {f"stage1/{name}": heats[:, n] for n, name in enumerate(run.config.cam.methods)}
    stored_maps._write(run.maps / "shared" / "000000.npz", arrays)
    return Explained(rows, rows[["case", "slice"]])


def stages(run, explained):
    return {batch.names: batch for batch in full_maps.batches(run, explained) if not batch.baseline}


def test_each_map_stands_beside_its_refined_one(run, explained):
    found = stages(run, explained)
    raw, refined = (("gradcam", 0), ("gradcam++", 0)), (("gradcam+pamr", 0), ("gradcam+++pamr", 0))
    assert set(found) == {raw, refined}
    assert full_maps.steps(run, explained) == 3 * len(explained.slices)  # the baselines too
    of_slice, shift = ground_truth.Slices(run), -(1 - CELLS / SIZE) / 2
    before, after = (
        full_maps.each_slice(lambda _, maps: np.asarray(maps), found[names], SIZE) for names in (raw, refined)
    )
    for at, row in enumerate(explained.slices.itertuples()):
        full = jnp.stack(
            [postprocess.full_heat(heat, (SIZE, SIZE), shift) for heat in jnp.asarray(found[raw].heats[at])]
        )
        np.testing.assert_allclose(before[at], full, atol=1e-6)
        guide = hounsfield.guide(of_slice(row.split, row.record).hu)
        np.testing.assert_allclose(after[at], refinement.refine("pamr", full, jnp.asarray(guide)), atol=1e-4)
        assert np.abs(after[at] - before[at]).max() > 0.1


def test_a_refined_map_is_found_by_its_name(run, explained):
    found = list(full_maps.heat_of(run, explained, stage="stage1", method="gradcam+++pamr"))
    assert [(case, at) for case, at, _ in found] == list(
        zip(explained.slices["case"], explained.slices["slice"], strict=True)
    )
    expected = full_maps.each_slice(
        lambda _, maps: np.asarray(maps[1]), stages(run, explained)[("gradcam+pamr", 0), ("gradcam+++pamr", 0)], SIZE
    )
    for (_, _, heat), other in zip(found, expected, strict=True):
        np.testing.assert_allclose(heat, other, atol=1e-6)


def test_maps_as_pytorch_grad_cam_draws_them(run, explained):
    config = run.config.copy_and_resolve_references()
    config.cam.registration, config.eval.refine = False, ()
    ((_, batch),) = stages(Run(config, run.workdir), explained).items()
    (first, *_) = full_maps.each_slice(lambda _, maps: np.asarray(maps), batch, SIZE)
    np.testing.assert_allclose(first[0], postprocess.full_heat(jnp.asarray(batch.heats[0, 0]), (SIZE, SIZE)), atol=1e-6)
