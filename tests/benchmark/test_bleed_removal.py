"""The removal of bleeds that are all there is to see, by a classifier that sees nothing but brightness."""

import dataclasses

import numpy as np
import pytest
from benchmark import bright_heads

from hemojax import results
from hemojax.benchmark import bleed_removal
from hemojax.config import defaults
from hemojax.data.hounsfield import IMAGENET_MEAN, IMAGENET_STD
from hemojax.metrics import classification
from hemojax.models.staged import StagedNetwork
from hemojax.reporting import bleed_removal_figure
from hemojax.run import TrainedRun


class Brightest(StagedNetwork):
    """Its logit is how far the brightest pixel exceeds 48 HU, in windows."""

    @property
    def stages(self):
        return ()

    def classify(self, x, train):
        return (x * IMAGENET_STD + IMAGENET_MEAN).max((1, 2)).mean(-1, keepdims=True) - 0.6


NETWORK = Brightest(1)


@pytest.fixture(scope="module")
def config():
    config = defaults()
    config.data.size = config.eval.size = bright_heads.SIDE
    config.data.normalisation = "imagenet"
    with config.unlocked():
        config.data.masks = {"core": (1,), "lesion": (1, 2)}
    config.eval.gallery = 1
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return bright_heads.prepare(tmp_path_factory.mktemp("records") / "records")


@pytest.fixture(scope="module")
def run(config, folder):
    return TrainedRun(config, folder.parent, NETWORK, {}, 1)


@pytest.fixture(scope="module")
def measured(run):
    return bleed_removal.measure(run)


def test_every_mask_is_removed_in_both_ways(measured):
    table, _ = measured
    found = {(row.case, row.mask, row.fill) for row in table.itertuples()}
    # Case d has no core, and the slices of case f, which are sagittal, no other side.
    assert found == {
        ("d", "lesion", "surroundings"),
        ("d", "lesion", "other side"),
        ("e", "core", "surroundings"),
        ("e", "core", "other side"),
        ("e", "lesion", "surroundings"),
        ("e", "lesion", "other side"),
        ("f", "core", "surroundings"),
        ("f", "lesion", "surroundings"),
    }
    assert len(table) == len(found)
    assert (table["label"] == "any").all()
    assert table["slice"].tolist() == [3 if case == "e" else 0 for case in table["case"]]


def test_the_logit_falls_to_that_of_what_is_left(measured):
    table, _ = measured
    np.testing.assert_allclose(table["logit"], 70 / 80 - 0.6, atol=1e-5)
    brain = table[(table["mask"] == "lesion") | (table["fill"] == "other side")]
    np.testing.assert_allclose(brain.loc[brain["mask"] == "lesion", "filled_logit"], 30 / 80 - 0.6, atol=1e-5)
    around = table[(table["mask"] == "core") & (table["fill"] == "surroundings")]
    np.testing.assert_allclose(around["filled_logit"], 60 / 80 - 0.6, atol=1e-5)


def test_batches_of_any_size_give_the_same(run, measured):
    one_by_one = run.config.copy_and_resolve_references()
    one_by_one.eval.batch = 1
    table, examples = bleed_removal.measure(dataclasses.replace(run, config=one_by_one))
    assert table.equals(measured[0])
    assert {name: values.tolist() for name, values in examples.items()} == {
        name: values.tolist() for name, values in measured[1].items()
    }


def test_position_alone_is_perfect_here_whichever_way_slices_are_numbered(run):
    table = bleed_removal.positions(run)
    assert len(table) == 4 * 4
    straight = table[table["case"] != "f"]
    assert classification.auroc(straight["truth"].to_numpy(), straight["score"].to_numpy()) == 1
    # Both training scans bleed in their lowest slice alone; a slice a third of the scan away tells next to nothing.
    assert straight.loc[straight["truth"] == 1, "score"].to_numpy() == pytest.approx(1, abs=1e-6)


def test_what_is_written_can_be_read(run):
    bleed_removal.write(run)
    assert len(results.read_table(run.results / "removal.parquet")) == 8
    assert len(results.read_table(run.results / "position.parquet")) == 16
    with np.load(run.results / "removal.npz", allow_pickle=False) as stored:
        arrays = dict(stored)
    assert set(arrays) == set(bleed_removal_figure.REMOVAL)
    assert arrays["mask"].tolist() == ["core", "lesion"] or arrays["mask"].tolist() == ["lesion"]
    shown = arrays["before"][0]
    assert shown.dtype == np.uint8
    assert shown.max() == round(255 * 70 / 80)
    assert arrays["surroundings"][-1].max() == arrays["other side"][-1].max() == round(255 * 30 / 80)
