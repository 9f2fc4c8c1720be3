"""A step's inputs: the same whenever it is run again, others in the next epoch; what is fetched when; NaN stops it."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data.folders import generic

from hemojax import models
from hemojax.config import defaults
from hemojax.data import grey, loader, records
from hemojax.data.datasets import LAYOUTS
from hemojax.errors import UserError
from hemojax.models.resnet import ResNet
from hemojax.run import Run
from hemojax.training import loop


class NoCheckpoints:
    def __init__(self, folder):
        pass

    def last(self, like):
        return None

    def save(self, epoch, state, validation_loss):
        pass

    def close(self):
        pass


def config():
    made = defaults()
    made.data.size = 32
    made.train.update({"epochs": 2, "batch": 2, "log_steps": 3})
    made.model.name = "small"
    return made


def test_inputs_follow_from_the_step_and_the_slice():
    inputs = jax.jit(loop.training_inputs(config(), per_epoch=3))
    image = jnp.asarray(np.random.default_rng(0).integers(0, 65536, (2, 32, 32, 1)), jnp.uint16)
    numbers = jnp.array([4, 9])
    first = inputs(image, numbers, jnp.int32(4))
    assert first.shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(first, inputs(image, numbers, jnp.int32(4)))
    np.testing.assert_array_equal(first[::-1], inputs(image[::-1], numbers[::-1], jnp.int32(5)))  # the same epoch
    assert not np.array_equal(first, inputs(image, numbers, jnp.int32(6)))


def test_the_classifiers_first_weights_are_scaled_and_no_others():
    made, scaled = config(), config()
    made.model.name = scaled.model.name = "resnet18"
    scaled.train.head_scale = 30.0
    first, second = (loop.initial_variables(one)["params"] for one in (made, scaled))
    kernel = second["fc"].pop("kernel")
    np.testing.assert_allclose(kernel, 30 * first["fc"].pop("kernel"), rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, first, second)


class KeptCheckpoints(NoCheckpoints):
    kept: ClassVar[list] = []

    def save(self, epoch, state, validation_loss):
        self.kept.append(epoch)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A config and a reader of eight small scans, for a network of one stage; no checkpoint is written."""
    monkeypatch.setitem(models.MODELS, "small", lambda **options: ResNet(depths=(1,), **options))
    monkeypatch.setattr(loop, "Checkpoints", KeptCheckpoints)
    monkeypatch.setattr(KeptCheckpoints, "kept", [])
    made, root, folder = config(), generic(tmp_path / "set", cases=8), tmp_path / "records"
    records.prepare(folder, LAYOUTS["generic"](root, {}), dict.fromkeys(("train", "validation", "test"), 1.0), {})
    grey.prepare(folder, made.data)
    (tmp_path / "work").mkdir()
    return made, loader.Reader(folder, share=0.5)


def test_training_that_diverges_stops_at_its_step_and_keeps_no_checkpoint(tmp_path, small):
    made, reader = small
    made.train.learning_rate, made.train.warmup = 1e18, 0.0
    with pytest.raises(UserError, match=r"is (nan|inf) at step \d+ \(epoch 1\); lower --config.train.learning_rate=1e"):
        loop.train(Run(made, tmp_path / "work"), reader, loop.initial_variables(made))
    assert KeptCheckpoints.kept == []
    assert "NaN" not in (tmp_path / "work" / "train.jsonl").read_text()


def test_statistics_that_are_no_numbers_stop_training_before_a_checkpoint(tmp_path, small):
    made, reader = small
    initial = loop.initial_variables(made)
    initial["batch_stats"]["bn1"]["var"] = initial["batch_stats"]["bn1"]["var"].at[3].set(np.nan)
    with pytest.raises(UserError, match=r"batch_stats\.bn1\.var holds NaN or infinity after epoch 1; lower"):
        loop.train(Run(made, tmp_path / "work"), reader, initial)  # whose losses do not depend on it
    assert KeptCheckpoints.kept == []


def test_steps_are_fetched_at_the_logs_interval_alone(tmp_path, monkeypatch, small):
    made, reader = small
    per_epoch = loader.batches_an_epoch(reader.folder, 2)
    fetched, fetch = [], jax.device_get

    def counting(tree):
        fetched.append(len(tree) if isinstance(tree, list) else 0)
        return fetch(tree)

    monkeypatch.setattr(jax, "device_get", counting)
    loop.train(Run(made, tmp_path / "work"), reader, loop.initial_variables(made))
    whole, rest = divmod(per_epoch, 3)
    expected = [3] * whole + [rest] * (rest > 0)
    assert [number for number in fetched if number] == 2 * expected
    assert KeptCheckpoints.kept == [1, 2]
    lines = (tmp_path / "work" / "train.jsonl").read_text().splitlines()
    steps = [line for line in lines if '"kind": "step"' in line]
    assert [f'"step": {n + 1},' in line for n, line in enumerate(steps)] == [True] * (2 * per_epoch)
