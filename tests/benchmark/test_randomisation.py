"""Cascading randomisation of tiny networks with random "trained" weights."""

import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest
from benchmark import bright_heads
from flax import traverse_util

from hemojax import results
from hemojax.benchmark import randomisation
from hemojax.benchmark.explained import Explained, explained_slices
from hemojax.config import defaults
from hemojax.data import grey
from hemojax.models.efficientnet import EfficientNet, StageSpec
from hemojax.models.resnet import ResNet
from hemojax.run import Run, TrainedRun
from hemojax.training import state

TABLE = (StageSpec(False, 6, 1, 8, 1), StageSpec(False, 4, 2, 12, 1))
NETWORKS = {"resnet": ResNet(1, depths=(1, 1)), "efficientnet": EfficientNet(1, table=TABLE, stem=8, head=16)}


def flat(variables):
    return traverse_util.flatten_dict(variables)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_variable_belongs_to_one_part(name):
    network = NETWORKS[name]
    everything = jax.eval_shape(lambda: state.initialise(network, 32, 3, jax.random.key(0)))
    parts = randomisation.parts(network, 32, 3)
    assert tuple(parts) == (*network.links, randomisation.CLASSIFIER)
    assert sum(map(len, parts.values())) == len(flat(everything))
    assert frozenset().union(*parts.values()) == frozenset(flat(everything))
    if name == "resnet":
        assert {names[1] for names in parts["stem"]} == {"conv1", "bn1"}
        assert parts[randomisation.CLASSIFIER] == {("params", "fc", "kernel"), ("params", "fc", "bias")}


def test_the_cascade_goes_down_and_never_back():
    network = NETWORKS["efficientnet"]
    shapes = jax.eval_shape(lambda: state.initialise(network, 32, 3, jax.random.key(0)))
    trained, fresh = (jax.tree.map(lambda leaf, v=value: np.full(leaf.shape, v), shapes) for value in (1.0, 2.0))
    parts = randomisation.parts(network, 32, 3)
    given = {}

    def statistics(variables):
        given.update(variables)
        return jax.tree.map(lambda leaf: leaf - 7, fresh["batch_stats"])

    done = set()
    for part, variables in randomisation.cascade(trained, fresh, parts, statistics):
        done |= parts[part]
        for name, value in flat(variables).items():
            expected = flat(fresh if name in done else trained)[name]
            expected = expected - 7 if name in done and name[0] == "batch_stats" else expected
            np.testing.assert_array_equal(value, expected)
        np.testing.assert_array_equal(
            flat({"params": given["params"]})["params", "features_0", "0", "kernel"],
            flat(variables)["params", "features_0", "0", "kernel"],
        )
    assert done == set(flat(trained))


def test_statistics_are_those_with_which_training_would_normalise():
    network, images = ResNet(1, depths=(1,)), np.random.default_rng(0).random((4, 32, 32, 3), np.float32)
    variables = state.initialise(network, 32, 3, jax.random.key(0))
    train = jax.jit(lambda x: network.apply(variables, x, train=True, mutable=["batch_stats"])[0])
    infer = jax.jit(lambda v, x: network.apply(v, x))
    expected, found = train(images), randomisation.statistics_of(network, images)(variables)
    # Running variances are unbiased, those of training are not: n / (n - 1), n = 4 * 8 * 8 at the last stage.
    np.testing.assert_allclose(infer({**variables, "batch_stats": found}, images), expected, atol=0.03)
    assert abs(infer(variables, images) - expected).max() > 0.1


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    config, network = defaults(), ResNet(1, depths=(1,))
    config.data.size = config.eval.size = 32
    config.eval.sanity.slices = 2
    config.cam.batch = 16
    with config.unlocked():
        config.data.masks = {"lesion": (1, 2)}
    folder = bright_heads.prepare(tmp_path_factory.mktemp("records") / "records")
    grey.prepare(folder, config.data)
    nothing_called = pd.DataFrame({"case": ["?"], "slice": [0], "logit": [-1.0]})
    slices = explained_slices(Run(config, folder.parent), nothing_called)
    rng, shapes = np.random.default_rng(0), jax.eval_shape(lambda: state.initialise(network, 32, 3, jax.random.key(0)))
    variables = jax.tree.map(lambda leaf: (1 + rng.standard_normal(leaf.shape)).astype(np.float32) / 10, shapes)
    variables["batch_stats"] = jax.tree.map(abs, variables["batch_stats"])
    logits = slices[["case", "slice"]].assign(label="any", logit=1.0)
    cells = pd.DataFrame(
        [
            ("gradcam", "stem"),
            ("eigencam", "stem"),
            ("cam", "stage1"),
            ("ablationcam", "stem"),
            ("randomcam", "stem"),
        ],
        columns=["method", "stage"],
    ).assign(mask="lesion", threshold=0.5)
    cells = pd.concat([cells, cells.assign(mask="other")])
    return TrainedRun(config, folder.parent, network, variables, 1), Explained(slices, logits), cells


def test_a_map_of_activations_stays_until_its_stage_is_reached(compared, tmp_path):
    run, explained, cells = compared
    table = randomisation.compare(run, explained, cells=cells)
    assert set(zip(table["method"], table["stage"], strict=True)) == {
        ("gradcam", "stem"),
        ("eigencam", "stem"),
        ("cam", "stage1"),
    }
    assert table.groupby(["method", "depth"]).size().eq(2).all()
    assert table.drop_duplicates("depth")["randomised"].tolist() == [randomisation.CLASSIFIER, "stage1", "stem"]
    eigen = table[table["method"] == "eigencam"].groupby("depth")[["spearman", "ssim"]].mean()
    assert eigen.loc[[1, 2]].to_numpy() == pytest.approx(1, abs=1e-6)
    assert (eigen.loc[[3]] < 0.99).all(axis=None)
    assert (table.loc[table["method"] == "cam", "spearman"] < 0.9999).all()
    results.write_table(tmp_path / "sanity.parquet", table.assign(run="r"))
    assert len(results.read_table(tmp_path / "sanity.parquet")) == 3 * 3 * 2


def test_no_slices_no_rows(compared, tmp_path):
    run, explained, cells = compared
    config = run.config.copy_and_resolve_references()
    config.eval.sanity.slices = 0
    table = randomisation.compare(dataclasses.replace(run, config=config), explained, cells=cells)
    assert table.empty
    results.write_table(tmp_path / "sanity.parquet", table.assign(run=pd.Series(dtype=str)))
