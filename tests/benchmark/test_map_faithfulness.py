"""The driver against the metrics themselves, one map at a time, on a tiny network."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from hemojax import results
from hemojax.benchmark import explained, stored_maps
from hemojax.benchmark import map_faithfulness as driver
from hemojax.cam import engine, postprocess, random, targets
from hemojax.config import defaults
from hemojax.data import hounsfield
from hemojax.metrics import faithfulness, road, robustness
from hemojax.models.resnet import ResNet
from hemojax.reporting import faithfulness_section as section
from hemojax.run import TrainedRun
from hemojax.training import state

pytestmark = pytest.mark.end_to_end

SIZE, STEPS = 8, 4
CELLS = pd.DataFrame(
    {
        "mask": ["lesion", "lesion", "core", "lesion", "lesion", "lesion"],
        "method": ["gradcam", "randomcam", "gradcam", "scorecam", "hu_threshold", "layercam"],
        "stage": ["stage2", "stage1", "stage2", "stage2", "-", "stage3"],  # layercam has no maps there
        "threshold": np.float32(0.5),
    }
)
SLICES = pd.DataFrame(
    {"case": ["a"] * 3 + ["b"] * 4, "patient": ["p"] * 3 + ["q"] * 4, "slice": [0, 1, 2, 0, 1, 2, 3]}
    | {"split": ["validation"] * 2 + ["test"] * 5, "any": [1, 1, 1, 1, 0, 1, 1]}
).assign(lesion=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with maps, its explained slices, and the images of these."""
    workdir = tmp_path_factory.mktemp("run")
    config = defaults()
    config.data.size = SIZE
    config.cam.stages, config.cam.methods = ("stage1", "stage2"), ("gradcam", "randomcam", "scorecam")
    config.cam.scorecam.update(slices=1, stages=("stage2",))
    config.cam.update(random_seeds=2, batch=3)
    config.eval.faithfulness.update(slices=3, steps=STEPS, blur=2.0)
    network = ResNet(1, depths=(1, 1))
    rng = np.random.default_rng(0)
    images = rng.normal(size=(len(SLICES), SIZE, SIZE, 3)).astype(np.float32)
    shapes = jax.eval_shape(lambda: state.initialise(network, SIZE, 3, jax.random.key(0)))
    variables = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), shapes)
    variables["batch_stats"] = jax.tree.map(abs, variables["batch_stats"])
    logits = SLICES[["case", "slice"]].assign(label="any", logit=np.float32(1))
    for job in stored_maps.jobs(config.cam, SLICES):
        at = [find(row) for row in job.slices.itertuples()]
        explain = engine.build(network, job.methods, job.stages, seeds=2)
        target = explained.targets_of(config, job.slices, logits)
        identities = explained.identities(job.slices)
        maps = explain(variables, images[at], target, identities).maps
        named = {f"{stage}/{method}": np.asarray(values) for (stage, method), values in maps.items()}
        stored_maps._write(workdir / "maps" / job.name / "000000.npz", named)
    return TrainedRun(config, workdir, network, variables, 1), explained.Explained(SLICES, logits), images


def find(row):
    return int(np.flatnonzero((SLICES["case"] == row.case) & (SLICES["slice"] == row.slice))[0])


def measured(run, monkeypatch, cells=CELLS, **options):
    trained, slices, images = run
    config = trained.config.copy_and_resolve_references()
    config.cam.batch = options.pop("batch", config.cam.batch)
    config.eval.faithfulness.update(options)
    monkeypatch.setattr(driver, "images", lambda run, rows, size: images[[find(row) for row in rows.itertuples()]])
    return driver.measure(dataclasses.replace(trained, config=config), slices, cells=cells)


@pytest.fixture(scope="module")
def table(run):
    with pytest.MonkeyPatch.context() as patch:
        return measured(run, patch)


def test_a_row_a_slice_method_and_metric(table, tmp_path):
    every = {*section.METRICS}
    counted = table.groupby(["method", "stage", "metric"]).size()
    assert set(counted.index.droplevel("metric")) == {
        ("gradcam", "stage2"),
        ("randomcam", "stage1"),
        ("scorecam", "stage2"),
    }
    assert set(counted["gradcam", "stage2"].index) == set(counted["randomcam", "stage1"].index) == every
    assert (counted["gradcam"] == 3).all()
    # scorecam explained one of the five test slices, the middle one, as one of the three measured is
    assert set(counted["scorecam", "stage2"].index) == every - {"max_sensitivity"}
    assert (counted["scorecam"] == 1).all()
    assert not table.duplicated(["case", "slice", "stage", "method", "metric"]).any()
    assert (table["split"] == "test").all()
    assert np.isfinite(table["value"]).all()
    results.write_table(tmp_path / "faithfulness.parquet", table)
    pd.testing.assert_frame_equal(results.read_table(tmp_path / "faithfulness.parquet"), table, check_dtype=False)


def test_values_are_those_of_the_metrics(run, table):
    trained, slices, images = run
    config, network, variables = trained.config, trained.network, trained.variables
    value = hounsfield.normalise(np.zeros((1, 1, 1), np.float32), config.data.normalisation)[0, 0]
    chosen = explained.spread(SLICES[SLICES["split"] == "test"], 3)
    explain, apply = engine.build(network, ("gradcam",), ("stage2",)), jax.jit(network.apply)
    for row in chosen.iloc[1:].itertuples():  # one whose positive class is explained, and one whose negative class is
        image, sign = jnp.asarray(images[find(row)]), 1 if row.any else -1
        identity = random.identity(row.case, row.slice)
        batches = stored_maps.read(trained, slices)
        (heat,) = (
            batch.heats[list(batch.rows.index).index(find(row)), batch.names.index(("gradcam", 0))]
            for batch in batches
            if batch.stage == "stage2" and ("gradcam", 0) in batch.names
        )
        full = postprocess.full_heat(jnp.asarray(heat), (SIZE, SIZE))

        def logit(images, sign=sign):
            return sign * apply(variables, images)[:, 0]

        def score(images, logit=logit):
            return jax.nn.sigmoid(logit(images))

        keys = jax.random.split(jax.random.fold_in(jax.random.key(0), identity))
        change = faithfulness.confidence_change(score, image, full, jnp.asarray(value))
        removal = road.road(score, image, full, keys[0])
        start = faithfulness.blurred(image, 2.0)
        squares = robustness.random_squares(keys[1], (SIZE, SIZE))

        def maps(images, sign=sign, identity=identity):
            target = targets.Target(np.zeros(len(images), int), np.full(len(images), float(sign)))
            return explain(variables, images, target, np.full(len(images), identity)).maps["stage2", "gradcam"]

        noise = robustness.uniform_noise(jax.random.key(identity), image.shape)
        expected = {
            "deletion": faithfulness.deletion(score, image, full, jnp.asarray(value), STEPS),
            "insertion": faithfulness.insertion(score, image, full, start, STEPS),
            "average_drop": change.drop,
            "increase": change.increase,
            "road_most": removal.most,
            "road_least": removal.least,
            "road_combined": removal.combined,
            "infidelity": robustness.infidelity(logit, image, full, squares, jnp.asarray(value)),
            "max_sensitivity": robustness.max_sensitivity(maps, image, jnp.asarray(heat), noise),
        }
        here = (table["case"] == row.case) & (table["slice"] == row.slice) & (table["method"] == "gradcam")
        found = table[here].set_index("metric")["value"].to_dict()
        for name, figure in expected.items():
            np.testing.assert_allclose(found[name], figure, rtol=2e-4, atol=1e-5, err_msg=name)


def test_figures_do_not_depend_on_the_batch(run, table, monkeypatch):
    other = measured(run, monkeypatch, batch=2)
    keys = ["case", "slice", "stage", "method", "metric"]
    both = table.merge(other, on=keys, suffixes=("", "_other"), validate="one_to_one")
    assert len(both) == len(table) == len(other)
    np.testing.assert_allclose(both["value"], both["value_other"], rtol=1e-4, atol=1e-5)


def test_nothing_asked_for_gives_an_empty_table(run, monkeypatch, tmp_path):
    for table in (measured(run, monkeypatch, slices=0), measured(run, monkeypatch, cells=CELLS.iloc[4:])):
        assert table.empty
        results.write_table(tmp_path / "faithfulness.parquet", table)
        assert section.faithfulness(table).table is None


def test_the_section_gives_means_their_direction_and_their_number(table):
    found = section.faithfulness(table)
    rows = found.table.set_index("method")
    mean = table[(table["method"] == "gradcam") & (table["metric"] == "deletion")]["value"].mean()
    assert rows.loc["gradcam", "deletion (lower is better)"] == f"{mean:.3f}"
    assert rows.loc["scorecam", "max sensitivity (lower is better)"] == "-"
    assert rows.loc["gradcam", ["stage", "n", "patients"]].tolist() == ["stage2", "3", "2"]
    assert set(found.brief) <= set(found.table.columns)
    assert "3 slices of 2 patients" in found.text[0]
